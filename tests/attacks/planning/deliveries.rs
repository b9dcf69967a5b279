//! Deliveries whose texts no database takes, and deliveries that always fail.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::intake::HOLD;
use trainyard::store::deliveries;

use crate::support::app::App;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

const HELLO: &str = "language: shell\nscript: echo \"<$TRAVIS_COMMIT_MESSAGE>\" | cut -c 1-40\n";

/// Makes a repository with one commit, and the payload of its push.
fn pushed(app: &App) -> (Repo, Value) {
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Hello");
    let push = payload::push(&app.github, &repo, "main");
    (repo, push)
}

/// Starts a service whose database has its schema.
async fn ready() -> App {
    let app = App::start("").await;
    alert(&app, None).await;
    app
}

/// Makes Postgres refuse every build: this stands for a text that it refuses and that nothing has cleaned.
async fn refuse_builds(db: &PgPool) {
    let refuse =
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no such build'; end $$;
         create trigger refuse before insert on build for each row execute function refuse()";
    sqlx::raw_sql(refuse).execute(db).await.unwrap();
}

/// Waits until a delivery has an outcome, and returns that. Meanwhile every try is due at once.
async fn outcome(db: &PgPool, id: &str) -> String {
    for _ in 0..600 {
        let found: Option<String> =
            sqlx::query_scalar("select outcome from delivery where id = $1").bind(id).fetch_one(db).await.unwrap();
        if let Some(outcome) = found {
            return outcome;
        }
        let early = "update delivery set not_before = now() where done_at is null and last_error is not null";
        sqlx::query(early).execute(db).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("delivery {id} has no outcome");
}

/// Waits until the alert on the deliveries has these words, or is gone, and returns the one that `/readyz` lists.
async fn alert(app: &App, words: Option<&str>) -> Value {
    for _ in 0..600 {
        let (_, ready) = app.get("/readyz").await;
        let ready: Value = serde_json::from_str(&ready).unwrap_or_default();
        let alerts = ready["alerts"].as_array().cloned().unwrap_or_default();
        let found = alerts.iter().find(|alert| alert["component"] == "deliveries");
        let message = found.map(|alert| alert["message"].as_str().unwrap());
        let is_wanted = message.is_some_and(|message| words.is_some_and(|words| message.contains(words)));
        if ready["ready"] == true && (is_wanted || message == words) {
            return found.cloned().unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the alert does not become {words:?}");
}

#[tokio::test]
async fn nul_and_long_texts_of_a_payload_are_stored_changed() {
    let app = App::start("").await;
    let (_, mut push) = pushed(&app);
    push["head_commit"]["message"] = json!(format!("a\0b {}", "x".repeat(1 << 20)));
    push["head_commit"]["author"]["name"] = json!("A\0da");
    push["sender"]["login"] = json!("a\0da");
    push["compare"] = json!("http://\0");
    push["repository"]["default_branch"] = json!("m\0ain");
    Delivery::new("nul", "push", &push).post(&app.base).await;
    assert_eq!(outcome(&app.db, "nul").await, "acme/styles#1");
    let (message, branch, author): (String, String, String) =
        sqlx::query_as("select message, branch, author from build").fetch_one(&app.db).await.unwrap();
    assert!(message.starts_with("a\u{fffd}b x") && message.len() <= 64 << 10, "{} bytes", message.len());
    assert_eq!((branch.as_str(), author.as_str()), ("main", "A\u{fffd}da"));
    // The message is in the environment of the job, and its list shows the start.
    let sha = push["after"].as_str().unwrap();
    assert_eq!(app.github.wait_for_end(sha, "trainyard/push").await.state, "success");
    assert!(String::from_utf8_lossy(&app.log(1).await).contains("<a\u{fffd}b xxxx"));
    let (_, list) = app.get("/api/v1/repos/acme/styles/builds").await;
    assert!(list.len() < 8 << 10, "{} bytes", list.len());
    app.stop().await;
}

#[tokio::test]
async fn a_message_of_a_megabyte_in_git_is_cut() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let base = repo.commit("Hello");
    let message = repo.work().join("../message");
    std::fs::write(&message, "y".repeat(1 << 20)).unwrap();
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "-F", message.to_str().unwrap()]);
    let head = repo.head();
    repo.open_pull_request(1, &base, &head);
    let pull = payload::pull_request(&app.github, &repo, 1, &base, &head);
    Delivery::new("pull", "pull_request", &pull).post(&app.base).await;
    assert_eq!(outcome(&app.db, "pull").await, "acme/styles#1");
    let length: i32 = sqlx::query_scalar("select length(message) from build").fetch_one(&app.db).await.unwrap();
    assert!((60_000..=64 << 10).contains(&length), "{length}");
    app.stop().await;
}

#[tokio::test]
async fn words_of_a_payload_in_an_outcome_are_changed_and_cut() {
    let app = App::start("").await;
    let (_, mut push) = pushed(&app);
    for (id, git_ref) in [("nul", "refs/x\0y".to_owned()), ("long", format!("refs/{}", "z".repeat(1 << 20)))] {
        push["ref"] = json!(git_ref);
        let (code, _) = Delivery::new(id, "push", &push).post(&app.base).await;
        assert_eq!(code, 202);
        let outcome = outcome(&app.db, id).await;
        assert!(outcome.len() < 400 && !outcome.contains('\0'), "{} bytes", outcome.len());
    }
    push["ref"] = json!("refs/heads/main");
    push["repository"]["full_name"] = json!("acme/\0");
    Delivery::new("name", "push", &push).post(&app.base).await;
    assert!(outcome(&app.db, "name").await.contains("repository name"));
    app.stop().await;
}

#[tokio::test]
async fn a_delivery_that_crashed_the_service_eight_times_is_an_errored_build_and_an_alert() {
    let app = ready().await;
    let (repo, push) = pushed(&app);
    let delivery = Delivery::new("crash", "push", &push);
    // As eight processes left it that died while they worked on it.
    sqlx::query("insert into delivery (id, event, body, tries) values ('crash', 'push', $1, 8)")
        .bind(&delivery.body)
        .execute(&app.db)
        .await
        .unwrap();
    let outcome = outcome(&app.db, "crash").await;
    assert_eq!(outcome, "acme/styles#1");
    let status = app.github.wait_for_end(&repo.head(), "trainyard/push").await;
    assert_eq!(status.state, "error");
    let (rule, message): (String, String) =
        sqlx::query_as("select rule, message from problem").fetch_one(&app.db).await.unwrap();
    assert_eq!(rule, "given-up");
    assert!(message.contains("8 tries") && message.contains("the service stopped while it worked on it"), "{message}");
    alert(&app, Some("delivery crash was given up")).await;
    // A day later it is forgotten.
    sqlx::query("update delivery set done_at = now() - interval '25 hours'").execute(&app.db).await.unwrap();
    alert(&app, None).await;
    app.stop().await;
}

#[tokio::test]
async fn a_delivery_that_no_build_can_show_is_given_up_with_its_reason() {
    let app = ready().await;
    refuse_builds(&app.db).await;
    let (_, push) = pushed(&app);
    Delivery::new("refused", "push", &push).post(&app.base).await;
    let outcome = outcome(&app.db, "refused").await;
    assert!(outcome.starts_with("no build: 8 tries") && outcome.contains("no such build"), "{outcome}");
    let (tries, builds): (i32, i64) =
        sqlx::query_as("select tries, (select count(*) from build) from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!((tries, builds), (16, 0));
    alert(&app, Some("delivery refused was given up: 8 tries")).await;
    app.stop().await;
}

#[tokio::test]
async fn a_try_holds_its_delivery_until_it_ends_or_another_one_has_it() {
    let db = database::pool().await;
    sqlx::query("insert into delivery (id, event, body) values ('held', 'push', '')").execute(&db).await.unwrap();
    let left = async || -> f64 {
        sqlx::query_scalar("select extract(epoch from not_before - now())::float8 from delivery")
            .fetch_one(&db)
            .await
            .unwrap()
    };
    let first = deliveries::take(&db, HOLD).await.unwrap().unwrap();
    sqlx::query("update delivery set not_before = not_before - interval '20 s'").execute(&db).await.unwrap();
    deliveries::hold(&db, &first, HOLD).await.unwrap();
    assert!(left().await > HOLD.as_secs_f64() - 10.0);
    deliveries::later(&db, &first.id, Duration::ZERO, "it failed").await.unwrap();
    deliveries::hold(&db, &first, HOLD).await.unwrap();
    assert!(left().await <= 0.0, "the try has ended");
    deliveries::take(&db, HOLD).await.unwrap().unwrap();
    deliveries::hold(&db, &first, 2 * HOLD).await.unwrap();
    assert!(left().await <= HOLD.as_secs_f64(), "another try has it");
}

#[tokio::test]
async fn a_delivery_that_is_stuck_is_an_alert_until_it_goes_well() {
    let app = ready().await;
    refuse_builds(&app.db).await;
    let (_, push) = pushed(&app);
    let delivery = Delivery::new("stuck", "push", &push);
    sqlx::query("insert into delivery (id, event, body, tries) values ('stuck', 'push', $1, 4)")
        .bind(&delivery.body)
        .execute(&app.db)
        .await
        .unwrap();
    alert(&app, Some("delivery stuck is not done after 5 tries")).await;
    alert(&app, Some("no such build")).await;
    sqlx::query("drop trigger refuse on build").execute(&app.db).await.unwrap();
    // A redelivery makes it due.
    delivery.post(&app.base).await;
    assert_eq!(outcome(&app.db, "stuck").await, "acme/styles#1");
    alert(&app, None).await;
    app.stop().await;
}
