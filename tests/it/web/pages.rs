//! The web side over a real database: webhooks in, pages, JSON and live logs out.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, header};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use scraper::{Html, Selector};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trainyard::domain::{JobId, JobKind, Problem, PullRequest, Severity, Trigger, TriggerKind, Verdict};
use trainyard::github::signature;
use trainyard::store::output::logs;
use trainyard::store::queue;
use trainyard::store::{alerts, deliveries};
use trainyard::web;

use crate::support::database::pool as db;
use crate::support::web::{SECRET, build, claim, finish, job, push, repo, running_job, secrets, state, write};

async fn ask(state: &web::State, request: Request<Body>) -> Response<Body> {
    web::router(state.clone()).oneshot(request).await.unwrap()
}

async fn get(state: &web::State, path: &str) -> (StatusCode, String) {
    let response = ask(state, Request::get(path).body(Body::empty()).unwrap()).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn page(state: &web::State, path: &str) -> Html {
    let (status, body) = get(state, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    Html::parse_document(&body)
}

async fn json_of(state: &web::State, path: &str) -> Value {
    serde_json::from_str(&get(state, path).await.1).unwrap()
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    page.select(&Selector::parse(selector).unwrap()).map(|element| words(element.text().collect())).collect()
}

// --- webhooks ---

fn webhook(body: &[u8]) -> axum::http::request::Builder {
    Request::post("/webhooks/github")
        .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
        .header("x-github-event", "push")
        .header("x-hub-signature-256", signature::sign(SECRET.as_bytes(), body))
}

async fn answer(state: &web::State, request: Request<Body>) -> (StatusCode, Value) {
    let response = ask(state, request).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The minimal push that asks for a build.
const PUSH: &str = r#"{
    "ref": "refs/heads/main", "before": "0000000000000000000000000000000000000000",
    "after": "2222222222222222222222222222222222222222",
    "repository": {"id": 1, "full_name": "acme/style", "clone_url": "https://github.example/acme/style.git"}
}"#;

#[tokio::test]
async fn a_signed_delivery_is_durable_before_the_answer() {
    let state = state(&db().await);
    let (status, said) = answer(&state, webhook(PUSH.as_bytes()).body(PUSH.into()).unwrap()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(said, json!({ "delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "state": "accepted" }));
    let stored = deliveries::take(&state.db, Duration::ZERO).await.unwrap().expect("it is stored");
    assert_eq!((stored.event.as_str(), stored.body.as_slice()), ("push", PUSH.as_bytes()));
    // The bell was rung, so this returns at once.
    tokio::time::timeout(Duration::from_secs(1), state.bells.intake.wait(Duration::from_secs(60))).await.unwrap();

    deliveries::done(&mut state.db.acquire().await.unwrap(), &stored.id, "no build", None).await.unwrap();
    let (status, said) = answer(&state, webhook(PUSH.as_bytes()).body(PUSH.into()).unwrap()).await;
    assert_eq!((status, &said["state"]), (StatusCode::ACCEPTED, &json!("already processed")));
}

#[tokio::test]
async fn a_delivery_that_asks_for_nothing_is_stored_with_the_reason_and_left_to_nobody() {
    let state = state(&db().await);
    let deletion = PUSH.replacen('{', r#"{"deleted": true, "#, 1);
    let with_nul = deletion.replace("refs/heads/main", r"refs/heads/ma\u0000in");
    for (body, why) in [
        (deletion.as_str(), "refs/heads/main was deleted"),
        (with_nul.as_str(), "refs/heads/ma\u{fffd}in was deleted"),
        ("[]", "the body is not a push payload"),
    ] {
        sqlx::query("delete from delivery").execute(&state.db).await.unwrap();
        for expected in ["accepted", "already processed"] {
            let request = webhook(body.as_bytes()).body(body.to_owned().into()).unwrap();
            let (status, said) = answer(&state, request).await;
            assert_eq!((status, &said["state"]), (StatusCode::ACCEPTED, &json!(expected)));
        }
        let (stored, outcome): (Vec<u8>, String) =
            sqlx::query_as("select body, outcome from delivery where done_at is not null")
                .fetch_one(&state.db)
                .await
                .unwrap();
        assert_eq!(stored, body.as_bytes());
        assert!(outcome.contains(why), "{outcome}");
        assert!(deliveries::take(&state.db, Duration::ZERO).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_form_is_signed_as_it_is_and_stored_as_json() {
    let state = state(&db().await);
    let body = "payload=%7B%22zen%22%3A%22Keep+it+logically+awesome%22%7D&other=1";
    let form = webhook(body.as_bytes()).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_eq!(answer(&state, form.body(body.into()).unwrap()).await.0, StatusCode::ACCEPTED);
    let stored: Vec<u8> = sqlx::query_scalar("select body from delivery").fetch_one(&state.db).await.unwrap();
    assert_eq!(stored, br#"{"zen":"Keep it logically awesome"}"#);
}

#[tokio::test]
async fn a_body_of_any_size_comes_back_byte_for_byte() {
    let state = state(&db().await);
    for (place, size) in [0, 1, 2047, 2048, 20_000, 1 << 20, (1 << 20) + 1].into_iter().enumerate() {
        let push = json!({
            "ref": "refs/heads/main", "before": "0".repeat(40), "after": "1".repeat(40), "place": place, "padding": "é\\".repeat(size / 3),
            "repository": {"id": 1, "full_name": "acme/style", "clone_url": "https://github.example/acme/style.git"},
        });
        let body = serde_json::to_vec(&push).unwrap();
        let id = format!("size-{place}");
        let mut request = webhook(&body);
        request.headers_mut().unwrap().insert("x-github-delivery", id.parse().unwrap());
        assert_eq!(answer(&state, request.body(body.clone().into()).unwrap()).await.0, StatusCode::ACCEPTED);
        let taken = deliveries::take(&state.db, Duration::from_secs(600)).await.unwrap().expect("it is stored");
        assert!(taken.body == body && taken.replay_of.is_none(), "{size}: {taken:?}");
    }
}

#[tokio::test]
async fn what_is_not_githubs_is_refused_and_not_stored() {
    let state = state(&db().await);
    let good = "{}";
    let unsigned = Request::post("/webhooks/github").header("x-github-event", "push").body(good.into()).unwrap();
    let missing = answer(&state, unsigned).await;
    let wrong = answer(&state, webhook(b"other").body(good.into()).unwrap()).await;
    assert_eq!(missing.0, StatusCode::UNAUTHORIZED);
    assert_eq!(missing, wrong, "the answer does not tell which it was");

    let signed = || {
        let signature = signature::sign(SECRET.as_bytes(), b"{}");
        Request::post("/webhooks/github").header("x-hub-signature-256", signature)
    };
    assert_eq!(answer(&state, signed().body(good.into()).unwrap()).await.0, StatusCode::BAD_REQUEST);
    let spaced = signed().header("x-github-event", "push").header("x-github-delivery", "a b");
    assert_eq!(answer(&state, spaced.body(good.into()).unwrap()).await.0, StatusCode::BAD_REQUEST);
    for bad in [&b"{"[..], b"", b"payload=%7B%7D", b"{\"a\":\"\xff\"}"] {
        let (status, said) = answer(&state, webhook(bad).body(bad.to_vec().into()).unwrap()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    }
    let large = vec![b' '; 25 * 1024 * 1024 + 1];
    let (status, _) = answer(&state, webhook(&large).body(large.into()).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let stored: i64 = sqlx::query_scalar("select count(*) from delivery").fetch_one(&state.db).await.unwrap();
    assert_eq!(stored, 0);
    let open = web::State { webhook_secrets: secrets(&state.db, ""), ..state };
    let (status, said) = answer(&open, webhook(b"{}").body(good.into()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said["error"].as_str().unwrap().contains("github.webhook_secret"));
}

// --- pages ---

#[tokio::test]
async fn pages_show_a_build_from_the_list_to_the_log() {
    let state = state(&db().await);
    assert!(get(&state, "/").await.1.contains("https://ci.example/webhooks/github"), "an empty list says what to do");
    let repo = repo(&state.db).await;
    let problem = Problem {
        severity: Severity::Warning,
        rule: "unknown-key".into(),
        message: "`scirpt` is not a key; did you mean `script`?".into(),
        file: Some(".travis.yml".into()),
        line: Some(3),
        column: Some(1),
        key: Some("scirpt".into()),
        fix: None,
    };
    let planned =
        [job(JobKind::Script, Some("Test"), "unit"), job(JobKind::Smoke, Some("Smoke"), "configs/style.yaml")];
    build(&state.db, repo, &push("main"), &planned, &[problem]).await;
    let claimed = claim(&state.db).await;
    let log = "travis_fold:start:install\r\x1b[0Ktravis_time:start:0a\r\x1b[0K$ pip install <torch>\n\
               ok\ntravis_time:end:0a:start=1,finish=2,duration=3000000000,event=install\r\x1b[0K\
               travis_fold:end:install\r\x1b[0K\x1b[31;1mboom\x1b[0m\n";
    write(&state, &claimed, 0, log).await;
    finish(&state, &claimed, log.len(), Verdict::Failed, Some("pytest exited with 1")).await;

    let home = page(&state, "/").await;
    assert_eq!(texts(&home, ".builds .main"), ["Raise the rank to 32 <b>"]);
    assert_eq!(texts(&home, ".builds .mark"), ["failed"]);

    let shown = page(&state, "/Acme/LoRA-styles/builds/1").await;
    assert_eq!(texts(&shown, "h3"), ["Test", "Smoke"]);
    assert_eq!(texts(&shown, ".jobs .mark"), ["failed", "canceled"]);
    assert_eq!(texts(&shown, ".problems a"), [".travis.yml:3:1"]);
    assert_eq!(texts(&shown, ".jobs .reason"), ["pytest exited with 1", "an earlier stage did not pass"]);

    let shown = page(&state, "/acme/lora-styles/builds/1/jobs/1").await;
    assert_eq!(texts(&shown, ".why"), ["pytest exited with 1"]);
    assert_eq!(texts(&shown, "#log details > summary code"), ["$ pip install <torch>"]);
    assert_eq!(texts(&shown, "#L1 > i"), ["3 s"]);
    assert_eq!(texts(&shown, "#L3 .f1.b"), ["boom"]);
    assert_eq!(texts(&shown, "[data-stream]").len(), 0, "a finished job needs no stream");

    let facts = page(&state, "/acme/lora-styles/builds/1/jobs/2?part=facts").await;
    assert_eq!(texts(&facts, ".hero .mark"), ["canceled"]);
    assert_eq!(texts(&facts, "#log").len(), 0);
}

#[tokio::test]
async fn history_is_paged_and_filtered() {
    let state = state(&db().await);
    let repo = repo(&state.db).await;
    for number in 1..=30 {
        let branch = if number % 10 == 0 { "release/1.0" } else { "main" };
        build(&state.db, repo, &push(branch), &[job(JobKind::Script, None, "unit")], &[]).await;
    }
    let first = page(&state, "/acme/lora-styles").await;
    assert_eq!(texts(&first, ".num").first().map(String::as_str), Some("#30"));
    assert_eq!(texts(&first, ".builds li").len(), 25);
    let second = page(&state, "/acme/lora-styles?branch=&before=6").await;
    assert_eq!(texts(&second, ".num"), ["#5", "#4", "#3", "#2", "#1"]);
    assert_eq!(texts(&second, ".pages a"), ["Newest"]);
    let release = page(&state, "/acme/lora-styles?branch=release%2F1.0").await;
    assert_eq!(texts(&release, ".num"), ["#30", "#20", "#10"]);
    assert_eq!(texts(&release, "option[selected]"), ["release/1.0"]);
    assert_eq!(get(&state, "/acme/lora-styles?branch=%00").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let state = state(&db().await);
    repo(&state.db).await;
    for path in [
        "/acme/other",
        "/acme/lora-styles/builds/1",
        "/acme/lora-styles/builds/x",
        "/acme/%00",
        "/acme/..%2f..",
        "/no/such/page/here/at/all",
        "/static/none.css",
    ] {
        let (status, body) = get(&state, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(body.contains("There is no such"), "{path}");
    }
    let (status, body) = get(&state, "/api/v1/repos/acme/other/builds").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["error"]), (StatusCode::NOT_FOUND, &json!("There is no such repository here.")));
}

#[tokio::test]
async fn every_page_says_what_is_in_trouble() {
    let state = state(&db().await);
    alerts::set(&state.db, "runner local", Some("Docker does not answer <here>")).await.unwrap();
    let home = page(&state, "/").await;
    assert_eq!(texts(&home, ".alerts li"), ["runner local Docker does not answer <here>"]);
    let ready = json_of(&state, "/readyz").await;
    assert_eq!(ready["ready"], json!(true));
    assert_eq!(ready["alerts"][0]["component"], json!("runner local"));
}

#[tokio::test]
async fn without_postgres_pages_say_so_and_the_process_lives() {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(300))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
        .unwrap();
    let state = state(&pool);
    let response = ask(&state, Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    assert!(get(&state, "/").await.1.contains("Postgres is not reachable"));
    let (status, _) = answer(&state, webhook(b"{}").body("{}".into()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "GitHub will show the delivery as failed");
    assert_eq!(get(&state, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&state, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn answers_carry_a_strict_policy_and_files_a_tag() {
    let state = state(&db().await);
    let response = ask(&state, Request::get("/").body(Body::empty()).unwrap()).await;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"));
    assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(!body.contains("style=") && !body.contains("onclick"), "the policy would drop them");

    let css = ask(&state, Request::get("/static/app.css").body(Body::empty()).unwrap()).await;
    let tag = css.headers()[header::ETAG].clone();
    let again = Request::get("/static/app.css").header(header::IF_NONE_MATCH, tag).body(Body::empty()).unwrap();
    assert_eq!(ask(&state, again).await.status(), StatusCode::NOT_MODIFIED);
    let packed = Request::get("/static/app.css").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).unwrap();
    assert_eq!(ask(&state, packed).await.headers()[header::CONTENT_ENCODING], "gzip");
}

#[tokio::test]
async fn the_badge_shows_the_last_finished_build_that_is_no_pull_request() {
    let state = state(&db().await);
    assert_eq!(get(&state, "/acme/lora-styles.svg").await.0, StatusCode::NOT_FOUND, "like the page");
    let repo = repo(&state.db).await;
    let one = [job(JobKind::Script, None, "unit")];
    build(&state.db, repo, &push("main"), &one, &[]).await;
    let claimed = claim(&state.db).await;
    finish(&state, &claimed, 0, Verdict::Passed, None).await;
    let pull = Trigger {
        kind: TriggerKind::PullRequest,
        pull_request: Some(PullRequest {
            number: 7,
            title: "Try rank 64".into(),
            head_branch: "rank".into(),
            head_repo: None,
            draft: false,
        }),
        ..push("main")
    };
    build(&state.db, repo, &pull, &one, &[]).await;
    let claimed = claim(&state.db).await;
    finish(&state, &claimed, 0, Verdict::Failed, None).await;
    build(&state.db, repo, &push("main"), &one, &[]).await;
    assert!(get(&state, "/acme/lora-styles.svg").await.1.contains("passing"));
    assert!(get(&state, "/acme/lora-styles.svg?branch=other").await.1.contains("unknown"));
}

#[tokio::test]
async fn programs_read_builds_as_json() {
    let state = state(&db().await);
    let repo = repo(&state.db).await;
    build(&state.db, repo, &push("main"), &[job(JobKind::Script, Some("Test"), "unit")], &[]).await;
    let list = json_of(&state, "/api/v1/repos/acme/lora-styles/builds?limit=1").await;
    assert_eq!(list["builds"][0]["number"], json!(1));
    let one = json_of(&state, "/api/v1/repos/acme/lora-styles/builds/1").await;
    assert_eq!((&one["state"], &one["jobs"][0]["state"]), (&json!("queued"), &json!("queued")));
    assert_eq!(one["jobs"][0]["url"], json!("https://ci.example/acme/lora-styles/builds/1/jobs/1"));
    assert_eq!(one["problems"], json!([]));
}

// --- logs ---

/// Reads a stream's events as (event, data, id) until the server ends it, or until `count` of them were read.
async fn events(state: &web::State, path: &str, last_id: Option<&str>, count: usize) -> Vec<(String, Value, String)> {
    let mut request = Request::get(path);
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let response = ask(state, request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut pieces = response.into_body().into_data_stream();
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let piece: Option<Result<Bytes, _>> =
            tokio::time::timeout(Duration::from_secs(10), pieces.next()).await.expect("an event comes in time");
        let Some(piece) = piece else { break };
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim_start().to_owned()
    };
    text.split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'))
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data")).unwrap_or_default();
            (field(event, "event"), data, field(event, "id"))
        })
        .collect()
}

fn stream_of(job: JobId) -> String {
    format!("/api/v1/jobs/{job}/log/stream")
}

#[tokio::test]
async fn the_raw_log_is_the_stored_bytes() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    let mut whole = String::new();
    for number in 0..300 {
        let part = format!("line {number} é {}\n", "x".repeat(2000));
        write(&state, &job, whole.len(), &part).await;
        whole.push_str(&part);
    }
    let (status, body) = get(&state, &format!("/api/v1/jobs/{}/log", job.id)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body == whole, "{} bytes, not {}", body.len(), whole.len());
    let (_, end) = get(&state, &format!("/api/v1/jobs/{}/log?offset={}", job.id, whole.len() - 5)).await;
    assert_eq!(end, "xxxx\n");
    assert_eq!(get(&state, "/api/v1/jobs/999/log").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stream_tells_the_log_as_it_grows_and_then_the_end() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    write(&state, &job, 0, "first\n").await;
    let path = stream_of(job.id);
    // The character é arrives in two writes; the reader has already received everything before it.
    assert_eq!(events(&state, &path, None, 1).await[0].1["text"], json!("first\n"));
    let mut connection = state.db.acquire().await.unwrap();
    assert!(logs::append(&mut connection, job.attempt_id(), 6, b"caf\xc3", 4).await.unwrap());
    let cut = events(&state, &path, Some("6@1"), 1).await;
    assert_eq!((&cut[0].1, cut[0].2.as_str()), (&json!({ "offset": 6, "text": "caf" }), "9@1"));

    let reader = events(&state, &path, Some("9@1"), usize::MAX);
    let writer = async {
        assert!(logs::append(&mut connection, job.attempt_id(), 10, b"\xa9\n", 2).await.unwrap());
        state.bells.ring_log(job.id);
        finish(&state, &job, 12, Verdict::Failed, Some("pytest exited with 1")).await;
    };
    let (told, ()) = tokio::join!(reader, writer);
    let text: String = told.iter().filter_map(|(_, data, _)| data["text"].as_str()).collect();
    assert_eq!(text, "é\n");
    let end = json!({ "state": "finished", "verdict": "failed", "reason": "pytest exited with 1" });
    assert_eq!(told.last().map(|(name, data, _)| (name.as_str(), data)), Some(("end", &end)));
    assert_eq!(told[told.len() - 2].2, "12@1");
}

#[tokio::test]
async fn the_html_stream_goes_on_where_the_page_stopped() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    let first = "travis_fold:start:install\r\x1b[0K$ pip install\n\x1b[32mCollecting";
    write(&state, &job, 0, first).await;
    let shown = page(&state, "/acme/lora-styles/builds/1/jobs/1").await;
    assert_eq!(texts(&shown, "#log details[open][data-running] summary code"), ["$ pip install"]);
    let element = shown.select(&Selector::parse("#log").unwrap()).next().unwrap().value();
    let path = element.attr("data-stream").unwrap().to_owned();

    let told = events(&state, &path, None, 1).await;
    assert_eq!(told[0].1, json!({ "ops": [], "unfinished": "<span class=\"f2\">Collecting</span>" }));
    let rest = " torch\x1b[0m\ntravis_fold:end:install\r\x1b[0Kdone";
    write(&state, &job, first.len(), rest).await;
    finish(&state, &job, first.len() + rest.len(), Verdict::Passed, None).await;
    let told = events(&state, &path, Some(&told[0].2), usize::MAX).await;
    let lines = told[0].1["ops"][0][1].as_str().unwrap();
    assert!(lines.contains("id=\"L2\"") && lines.contains("<span class=\"f2\">Collecting torch</span>"), "{lines}");
    let (name, data, _) = told.last().unwrap();
    assert_eq!(name, "end");
    assert_eq!(data["ops"][0], json!(["c"]));
    assert!(data["ops"][1][1].as_str().unwrap().contains("done"));
}

#[tokio::test]
async fn a_new_attempt_starts_the_stream_again() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    write(&state, &job, 0, "lost\n").await;
    assert!(queue::requeue(&state.db, job.attempt_id(), Duration::ZERO, "").await.unwrap());
    let again = claim(&state.db).await;
    write(&state, &again, 0, "kept\n").await;
    finish(&state, &again, 5, Verdict::Passed, None).await;
    let told = events(&state, &stream_of(job.id), Some("5@1"), usize::MAX).await;
    let names: Vec<&str> = told.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["restart", "chunk", "end"]);
    assert_eq!(told[1].1, json!({ "offset": 0, "text": "kept\n" }));
}

#[tokio::test]
async fn earlier_attempts_are_told_with_their_end_and_log() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    write(&state, &job, 0, "lost\n").await;
    let reason = "Docker was restarted <while> the job ran";
    assert!(queue::requeue(&state.db, job.attempt_id(), Duration::ZERO, reason).await.unwrap());
    let again = claim(&state.db).await;
    write(&state, &again, 0, "kept\n").await;
    let shown = page(&state, "/acme/lora-styles/builds/1/jobs/1").await;
    let told = texts(&shown, ".lost li");
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("Attempt 1 on") && told[0].ends_with(&format!("{reason}. Its log")), "{told:?}");
    let log = |attempt: &str| format!("/api/v1/jobs/{}/log{attempt}", job.id);
    assert_eq!(get(&state, &log("")).await.1, "kept\n");
    assert_eq!(get(&state, &log("?attempt=1")).await.1, "lost\n");
    assert_eq!(get(&state, &log("?attempt=2")).await.1, "kept\n");
    assert_eq!(get(&state, &log("?attempt=9")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn streams_end_with_the_process() {
    let state = state(&db().await);
    let job = running_job(&state).await;
    write(&state, &job, 0, "first\n").await;
    let path = stream_of(job.id);
    let mut pieces = ask(&state, Request::get(path).body(Body::empty()).unwrap()).await.into_body().into_data_stream();
    assert!(pieces.next().await.is_some());
    state.shutdown.cancel();
    let end = tokio::time::timeout(Duration::from_secs(10), pieces.next()).await.expect("it ends in time");
    assert!(end.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_that_come_together_are_each_stored_once() {
    let db = db().await;
    let desk = deliveries::DeliveryBatcher::new(db.clone());
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..200 {
        let desk = desk.clone();
        clients.spawn(async move {
            // Each id is sent twice, and some clients disconnect before their answer.
            let id = format!("together-{}", n / 2).parse().unwrap();
            let body = Bytes::from(format!("{{\"n\": {}}}", n / 2));
            let outcome = (n % 4 < 2).then_some("nothing");
            let received = deliveries::Received {
                id: &id,
                source: deliveries::Source::GitHub,
                event: "push",
                repo: None,
                signed_scope: None,
                body: &body,
                outcome,
            };
            let put = desk.put(received);
            if n % 10 == 0 {
                let _ = tokio::time::timeout(Duration::from_micros(200), put).await;
                return None;
            }
            Some((n, put.await.unwrap()))
        });
    }
    let answers = clients.join_all().await;
    // Deliveries that ask for nothing are processed by the first of the two.
    let open = answers.into_iter().flatten().filter(|(n, _)| n % 4 >= 2);
    assert!(open.into_iter().all(|(_, put)| put == deliveries::Stored::New));
    let (rows, right): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where convert_from(body, 'utf8')::json ->> 'n' = substr(id, 10)) from delivery",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!((rows, right), (100, 100));
}
