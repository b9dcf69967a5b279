//! Lists and facts, each for who may see them.

use axum::body::Body;
use serde_json::{Value, json};
use trainyard::domain::Right;
use trainyard::store::people::audit;

use super::world::{OPERATOR, World, in_browser, job, job_with_gpus, request};
use crate::support::people;

fn column<'a>(list: &'a Value, name: &str) -> Vec<&'a Value> {
    list.as_array().unwrap().iter().map(|row| &row[name]).collect()
}

#[tokio::test]
async fn everybody_learns_who_they_are() {
    let world = World::new().await;
    assert_eq!(world.get("/api/v1/me", "").await.status, 401);
    assert_eq!(world.get("/api/v1/me", "no token of ours").await.status, 401);
    let operator = world.get("/api/v1/me", OPERATOR).await.body;
    assert_eq!(
        operator,
        json!({"kind": "operator", "name": "ops", "is_operator": true, "scope": "admin", "repositories": null, "token": null})
    );
    let (person, _) = world.person("ada", Right::Write).await;
    let bounded = people::token(world.db(), person.id, "bot", Right::Read, Some(&[world.secret])).await;
    let told = world.get("/api/v1/me", &bounded).await.body;
    assert_eq!((&told["kind"], &told["name"], &told["scope"]), (&json!("token"), &json!("ada"), &json!("read")));
    assert_eq!((&told["repositories"], &told["token"]["name"]), (&json!(["acme/secret"]), &json!("bot")));
    let session = people::session(world.db(), person.id).await;
    let told = world.send(in_browser("GET", "/api/v1/me", &session).body(Body::empty()).unwrap()).await.body;
    assert_eq!((&told["kind"], &told["scope"], &told["token"]), (&json!("person"), &json!("admin"), &json!(null)));
}

#[tokio::test]
async fn lists_have_pages_and_only_what_the_caller_may_read() {
    let world = World::new().await;
    for _ in 0..3 {
        world.finished(world.open).await;
        world.finished(world.secret).await;
    }
    let (_, token) = world.person("ada", Right::Read).await;
    let numbers = |answer: &Value| -> Vec<String> {
        let builds = answer["builds"].as_array().unwrap().iter();
        builds.map(|build| format!("{}#{}", build["name"].as_str().unwrap(), build["number"])).collect()
    };
    let mut seen = Vec::new();
    let mut path = "/api/v1/builds?limit=4".to_owned();
    loop {
        let page = world.get(&path, &token).await;
        seen.push(numbers(&page.body));
        let Some(next) = page.body["next"].as_i64() else {
            assert_eq!(page.header("link"), "");
            break;
        };
        let address = format!("https://ci.example/api/v1/builds?limit=4&before={next}");
        assert_eq!(page.header("link"), format!("<{address}>; rel=\"next\""));
        path = address.trim_start_matches("https://ci.example").to_owned();
    }
    assert_eq!(seen, [vec!["secret#3", "open#3", "secret#2", "open#2"], vec!["secret#1", "open#1"]]);
    assert_eq!(numbers(&world.get("/api/v1/builds?limit=2", OPERATOR).await.body), ["secret#3", "open#3"]);
    let strangers = world.get("/api/v1/builds?limit=2", "").await.body;
    assert_eq!(numbers(&strangers), ["open#3", "open#2"]);
    let rest = world.get(&format!("/api/v1/builds?before={}", strangers["next"]), "").await.body;
    assert_eq!((numbers(&rest), &rest["next"]), (vec!["open#1".to_owned()], &json!(null)));

    let of_repo = world.get("/api/v1/repos/acme/secret/builds?limit=2", &token).await.body;
    assert_eq!((numbers(&of_repo).len(), &of_repo["next"]), (2, &json!(2)));

    let repos = world.get("/api/v1/repos", &token).await.body;
    assert_eq!(column(&repos["repos"], "name"), ["open", "secret"]);
    assert_eq!(repos["repos"][1]["last_build"]["number"], 3);
    assert_eq!(repos["repos"][1]["url"], "https://ci.example/acme/secret");
    let first = world.get("/api/v1/repos?limit=1", &token).await.body;
    let second = world.get(&format!("/api/v1/repos?limit=1&before={}", first["next"]), &token).await.body;
    assert_eq!((&second["repos"][0]["name"], &second["next"]), (&json!("secret"), &json!(null)));
    assert_eq!(column(&world.get("/api/v1/repos", "").await.body["repos"], "name"), ["open"]);
    let one = world.get("/api/v1/repos/acme/secret", &token).await.body;
    assert_eq!((&one["right"], &one["private"], &one["branches"]), (&json!("read"), &json!(true), &json!(["main"])));

    // More builds of others than are looked at first.
    sqlx::query(
        "insert into build (repo_id, number, kind, branch, sha, built_sha, state, finished_at)
         select $1, 3 + n, 'push', 'main', repeat('0', 40), repeat('0', 40), 'passed', now() from generate_series(1, 600) n",
    )
    .bind(world.secret)
    .execute(world.db())
    .await
    .unwrap();
    let strangers = world.get("/api/v1/builds?limit=2", "").await.body;
    assert_eq!(numbers(&strangers), ["open#3", "open#2"]);
    assert_eq!(numbers(&world.get("/api/v1/builds?limit=2", &token).await.body), ["secret#603", "secret#602"]);
}

#[tokio::test]
async fn a_job_is_told_with_its_build_and_its_earlier_attempts() {
    let world = World::new().await;
    let (_, token) = world.person("ada", Right::Write).await;
    let done = world.finished(world.secret).await;
    let path = format!("/api/v1/jobs/{}", done.id);
    let told = world.get(&path, &token).await.body;
    assert_eq!((&told["build"]["number"], &told["verdict"]), (&json!(1), &json!("passed")));
    assert_eq!((&told["title"], &told["earlier_attempts"]), (&json!("unit"), &json!([])));
    let restart = "/api/v1/repos/acme/secret/builds/1/jobs/1/restart";
    assert_eq!(world.send(request("POST", restart, &token).body(Body::empty()).unwrap()).await.status, 200);
    let told = world.get(&path, &token).await.body;
    assert_eq!((&told["state"], &told["build"]["state"]), (&json!("queued"), &json!("queued")));
    let earlier = &told["earlier_attempts"][0];
    assert_eq!((&earlier["attempt"], &earlier["verdict"]), (&json!(1), &json!("passed")));
    assert_eq!((&earlier["log_length"], &earlier["restarted_by"]), (&json!(6), &json!("ada (laptop)")));
    assert_eq!(world.get(&path, "").await.status, 404);
}

#[tokio::test]
async fn the_queue_counts_all_jobs_and_names_those_that_the_caller_may_read() {
    let world = World::new().await;
    world.build(world.open, &[job("a"), job_with_gpus("train")]).await;
    world.build(world.secret, &[job("hidden"), job_with_gpus("hidden too")]).await;
    world.build(world.open, &[job("b")]).await;
    let (_, token) = world.person("ada", Right::Read).await;
    let places = |queue: &Value| -> Vec<String> {
        let jobs = queue["jobs"].as_array().unwrap().iter();
        jobs.map(|job| format!("{} {} {}", job["place"], job["repo"].as_str().unwrap(), job["job"].as_str().unwrap()))
            .collect()
    };
    let all = world.get("/api/v1/queue", &token).await.body;
    let expected = ["1 acme/secret 1.2", "2 acme/open 1.2", "1 acme/secret 1.1", "2 acme/open 1.1", "3 acme/open 2.1"];
    assert_eq!(places(&all), expected);
    assert_eq!((&all["jobs"][0]["gpus"], &all["jobs"][2]["gpus"]), (&json!(2), &json!(0)));
    let strangers = world.get("/api/v1/queue", "").await.body;
    assert_eq!(places(&strangers), ["2 acme/open 1.2", "2 acme/open 1.1", "3 acme/open 2.1"]);
    assert!(!strangers.to_string().contains("hidden"), "{strangers}");
    assert_eq!(strangers["jobs"][1]["url"], "https://ci.example/acme/open/builds/1/jobs/1");
}

#[tokio::test]
async fn runners_are_shown_as_on_their_page() {
    let world = World::new().await;
    sqlx::raw_sql(
        "insert into runner (name, endpoint, slots, labels, seen_at) values
             ('box/local', 'unix:///run/docker.sock', 4, '{big}', now()), ('gone', 'x', 1, '{}', now() - interval '1 hour');
         insert into alert (component, message) values ('runner box/local', 'It does not answer.')",
    )
    .execute(world.db())
    .await
    .unwrap();
    let runners = world.get("/api/v1/runners", OPERATOR).await.body;
    assert_eq!(column(&runners["runners"], "state"), ["unreachable", "away"]);
    assert_eq!((&runners["runners"][0]["slots"], &runners["runners"][0]["gpus"]), (&json!(4), &json!([])));
    assert_eq!(world.get("/api/v1/runners", "").await.status, 401);
    let alerts = world.get("/api/v1/alerts", OPERATOR).await.body;
    assert_eq!(alerts["alerts"][0]["component"], "runner box/local");
}

#[tokio::test]
async fn a_person_makes_tokens_and_a_token_makes_none() {
    let world = World::new().await;
    let (person, token) = world.person("ada", Right::Admin).await;
    let session = people::session(world.db(), person.id).await;
    let new = json!({"name": "ci", "scope": "write", "days": 30, "repositories": ["acme/secret"]}).to_string();
    let by_token = world.send(request("POST", "/api/v1/tokens", &token).body(new.clone().into()).unwrap()).await;
    assert_eq!(by_token.status, 403);
    let make = |body: String| in_browser("POST", "/api/v1/tokens", &session).body(Body::from(body)).unwrap();
    let made = world.send(make(new)).await;
    assert_eq!(made.status, 201);
    let text = made.body["token"].as_str().unwrap();
    assert_eq!(world.get("/api/v1/me", text).await.body["token"]["name"], "ci");
    for wrong in [
        json!({"name": "", "scope": "read", "days": 7}),
        json!({"name": "x", "scope": "all", "days": 7}),
        json!({"name": "x", "scope": "read", "days": 8}),
        json!({"name": "x", "scope": "read", "days": 7, "repositories": ["acme/nothing"]}),
        json!({"name": "x", "scope": "read", "days": 7, "more": 1}),
    ] {
        assert_eq!(world.send(make(wrong.to_string())).await.status, 400, "{wrong}");
    }
    let tokens = world.get("/api/v1/tokens", &token).await.body;
    assert_eq!(column(&tokens["tokens"], "name"), ["ci", "laptop"]);
    assert_eq!(tokens["tokens"][0]["repositories"], json!(["acme/secret"]));
    // A token for less than everything of its person sees nothing of the others.
    assert_eq!(world.get("/api/v1/tokens", text).await.status, 403);
    let path = format!("/api/v1/tokens/{}", tokens["tokens"][0]["id"]);
    let (_, others) = world.person("grace", Right::Admin).await;
    assert_eq!(world.send(request("DELETE", &path, &others).body(Body::empty()).unwrap()).await.status, 404);
    let revoked = world.send(request("DELETE", &path, &token).body(Body::empty()).unwrap()).await;
    assert_eq!(revoked.body, json!({"revoked": "ci"}));
    assert_eq!(world.get("/api/v1/me", text).await.status, 401);
    let audit = world.get("/api/v1/audit?limit=2", OPERATOR).await.body;
    assert_eq!(column(&audit["entries"], "what"), ["revoke a token", "make a token"]);
}

#[tokio::test]
async fn the_record_has_pages_and_variables_have_no_values() {
    let world = World::new().await;
    for what in ["one", "two", "three"] {
        audit::add(world.db(), audit::New { who: "ada", what, target: "x", address: "" }).await.unwrap();
    }
    let first = world.get("/api/v1/audit?limit=2", OPERATOR).await.body;
    assert_eq!(column(&first["entries"], "what"), ["three", "two"]);
    let second = world.get(&format!("/api/v1/audit?limit=2&before={}", first["next"]), OPERATOR).await.body;
    assert_eq!((column(&second["entries"], "what"), &second["next"]), (vec![&json!("one")], &json!(null)));

    sqlx::query(
        "insert into variable (repo_id, name, branch, value, is_public)
         values ($1, 'HF_TOKEN', '', 'sealed', false), ($1, 'HF_TOKEN', 'main', 'sealed', true)",
    )
    .bind(world.secret)
    .execute(world.db())
    .await
    .unwrap();
    let variables = world.get("/api/v1/repos/acme/secret/variables", OPERATOR).await.body;
    assert_eq!(column(&variables["variables"], "branch"), [&json!(null), &json!("main")]);
    assert!(!variables.to_string().contains("sealed"), "{variables}");
    let (_, token) = world.person("ada", Right::Write).await;
    assert_eq!(world.get("/api/v1/repos/acme/secret/variables", &token).await.status, 403);
}
