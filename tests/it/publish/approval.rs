//! Publications that wait for the approval of named people.

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trainyard::domain::{RepoId, Right};
use trainyard::permits::EnvironmentConfig;
use trainyard::store::publications::PublicationState;
use trainyard::web;

use super::world::{World, publish, usual};
use crate::support::people::{self, CSRF};
use crate::support::web::{access, state};

const PAGE: &str = "/acme/styles/builds/12/jobs/3";
const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

/// A way in which a request proves who sends it.
#[derive(Debug, Clone)]
enum Proof {
    Cookie(String),
    Token(String),
}

fn environment(required: bool) -> EnvironmentConfig {
    EnvironmentConfig {
        name: "production".to_owned(),
        repos: vec!["acme/*".to_owned()],
        approvers: vec!["Anna".to_owned()],
        required,
    }
}

/// Returns a world whose publication waits for the people of an environment, and the web side on its rows.
async fn waiting() -> (World, web::State) {
    let mut order = publish();
    order["environment"] = json!("production");
    order["release"] = json!(true);
    let mut world = World::with(&usual(), order).await;
    world.publisher.permissions.environment.push(environment(false));
    let state = of(&world);
    (world, state)
}

fn of(world: &World) -> web::State {
    let access = access(&world.db, &format!("tokens = {{ anna = {OPERATOR:?} }}"));
    web::State { access, publish: world.publisher.permissions.clone(), ..state(&world.db) }
}

async fn person(db: &PgPool, github_id: i64, login: &str, right: Right) -> Proof {
    let person = people::person(db, github_id, login).await;
    people::allow(db, person.id, RepoId(1), Some(right)).await;
    Proof::Cookie(people::session(db, person.id).await)
}

async fn ask(state: &web::State, proof: Option<&Proof>, method: &str, path: &str) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path).header("sec-fetch-site", "same-origin");
    request = match proof {
        None => request,
        Some(Proof::Cookie(value)) => {
            request.header(header::COOKIE, format!("__Host-trainyard={value}")).header("x-csrf-token", CSRF)
        }
        Some(Proof::Token(token)) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
    };
    let response = web::router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn decide(state: &web::State, proof: Option<&Proof>, verb: &str) -> (u16, Value) {
    let path = format!("/api/v1/repos{PAGE}/publish/{verb}");
    let (status, body) = ask(state, proof, "POST", &path).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn states(world: &World) -> Vec<PublicationState> {
    world.publications().await.iter().map(|it| it.state).collect()
}

#[tokio::test]
async fn only_a_named_person_lets_the_weights_go() {
    let (world, state) = waiting().await;
    assert_eq!(states(&world).await, [PublicationState::Unapproved, PublicationState::Unapproved]);
    assert!(!world.publisher.step().await.unwrap(), "nothing goes out before");
    let anna = person(&world.db, 7, "anna", Right::Write).await;
    let writer = person(&world.db, 8, "ben", Right::Admin).await;
    // An operator, a person of the same name by other ways, and a token of that name in the configuration.
    let operator = people::operator(&world.db, 9, "oscar").await;
    let operator = Proof::Cookie(people::session(&world.db, operator.id).await);
    let local = sqlx::query_scalar("insert into person (name, password) values ('anna', 'x') returning id")
        .fetch_one(&world.db)
        .await
        .unwrap();
    let local = trainyard::domain::PersonId(local);
    people::allow(&world.db, local, RepoId(1), Some(Right::Admin)).await;
    let local = Proof::Cookie(people::session(&world.db, local).await);
    let configured = Proof::Token(OPERATOR.to_owned());
    for proof in [&writer, &operator, &local, &configured] {
        for verb in ["approve", "reject"] {
            let (status, answer) = decide(&state, Some(proof), verb).await;
            assert_eq!(status, 403, "{proof:?}: {answer}");
            let why = answer["error"].as_str().unwrap();
            assert!(why.contains("Only the people of the environment production"), "{why}");
        }
        let (_, page) = ask(&state, Some(proof), "GET", PAGE).await;
        assert!(page.contains("<strong>waits for approval</strong>") && !page.contains("data-publish"), "{page}");
    }
    assert_eq!(decide(&state, None, "approve").await.0, 401);
    assert_eq!(states(&world).await, [PublicationState::Unapproved, PublicationState::Unapproved]);

    let (_, page) = ask(&state, Some(&anna), "GET", PAGE).await;
    assert!(page.contains(&format!("data-publish=\"/api/v1/repos{PAGE}/publish/approve\"")), "{page}");
    let (status, answer) = decide(&state, Some(&anna), "approve").await;
    assert_eq!((status, answer), (200, json!({"publications": 2, "decided_by": "anna"})));
    assert_eq!(decide(&state, Some(&anna), "approve").await.0, 409);
    assert_eq!(decide(&state, Some(&anna), "reject").await.0, 409, "it is too late");
    world.finish().await;
    assert_eq!(states(&world).await, [PublicationState::Published, PublicationState::Published]);
    world.assert_published_once();
    let (_, page) = ask(&state, Some(&writer), "GET", PAGE).await;
    assert!(page.contains("in production, approved by anna"), "{page}");
    let recorded: Vec<String> = sqlx::query_scalar("select who from audit where what = 'approve a publication'")
        .fetch_all(&world.db)
        .await
        .unwrap();
    assert_eq!(recorded, ["anna"]);
}

#[tokio::test]
async fn a_token_approves_only_with_the_right_to_write() {
    let (world, state) = waiting().await;
    let anna = people::person(&world.db, 7, "anna").await;
    people::allow(&world.db, anna.id, RepoId(1), Some(Right::Write)).await;
    let reads = Proof::Token(people::token(&world.db, anna.id, "reads", Right::Read, None).await);
    let writes = Proof::Token(people::token(&world.db, anna.id, "writes", Right::Write, None).await);
    assert_eq!(decide(&state, Some(&reads), "approve").await.0, 403);
    assert_eq!(decide(&state, Some(&writes), "approve").await.0, 200);
    // The person counts, not the token.
    let decided_by = world.publications().await[0].decided_by.clone();
    assert_eq!(decided_by.as_deref(), Some("anna"));
}

#[tokio::test]
async fn a_rejected_publication_needs_a_new_approval() {
    let (world, state) = waiting().await;
    let anna = person(&world.db, 7, "anna", Right::Write).await;
    let writer = person(&world.db, 8, "ben", Right::Write).await;
    assert_eq!(decide(&state, Some(&anna), "reject").await.0, 200);
    assert_eq!(states(&world).await, [PublicationState::Rejected, PublicationState::Rejected]);
    assert!(!world.publisher.step().await.unwrap());
    let (_, page) = ask(&state, Some(&writer), "GET", PAGE).await;
    assert!(page.contains("in production, rejected by anna") && page.contains("data-republish"), "{page}");
    let path = format!("/api/v1/repos{PAGE}/publish");
    assert_eq!(ask(&state, Some(&writer), "POST", &path).await.0, 200);
    assert_eq!(states(&world).await, [PublicationState::Unapproved, PublicationState::Unapproved]);
    assert!(world.publications().await.iter().all(|it| it.decided_by.is_none()));
    assert!(!world.publisher.step().await.unwrap());
    assert!(world.hub.repository("acme/ink").is_none() && world.github.releases.all().is_empty());
}

#[tokio::test]
async fn an_environment_that_is_required_meanwhile_stops_what_has_no_approval() {
    let mut world = World::start().await;
    world.publisher.permissions.environment.push(environment(true));
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Failed);
    assert!(publication.error.unwrap().contains("it needs the approval of the environment production by now"));
    let state = of(&world);
    let anna = person(&world.db, 7, "anna", Right::Write).await;
    assert_eq!(ask(&state, Some(&anna), "POST", &format!("/api/v1/repos{PAGE}/publish")).await.0, 200);
    assert_eq!(states(&world).await, [PublicationState::Unapproved]);
    assert_eq!(decide(&state, Some(&anna), "approve").await.0, 200);
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    world.assert_published_once();
}

#[tokio::test]
async fn the_schema_lets_nothing_out_without_an_approval() {
    let (world, _) = waiting().await;
    for change in [
        "state = 'waiting'",
        "state = 'published', done_at = now(), url = 'x'",
        "decided_by = 'mallory', decided_at = now()",
    ] {
        let changed =
            sqlx::query(sqlx::AssertSqlSafe(format!("update publication set {change}"))).execute(&world.db).await;
        assert!(changed.unwrap_err().to_string().contains("approved_before"), "{change}");
    }
}

/// Runs a command of the program against the web side. Returns its exit status, and what it prints.
async fn run(base: &str, token: &str, args: &[&str]) -> (i32, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
    command.args(args).args(["--repo", "acme/styles"]).current_dir(home.path()).env("HOME", home.path());
    command.env("TRAINYARD_URL", base).env("TRAINYARD_TOKEN", token);
    let output = command.output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_commands_approve_reject_list_and_publish_again() {
    let (world, state) = waiting().await;
    let person = people::person(&world.db, 7, "anna").await;
    people::allow(&world.db, person.id, RepoId(1), Some(Right::Write)).await;
    let anna = people::token(&world.db, person.id, "cli", Right::Write, None).await;
    let other = people::person(&world.db, 8, "ben").await;
    people::allow(&world.db, other.id, RepoId(1), Some(Right::Write)).await;
    let ben = people::token(&world.db, other.id, "cli", Right::Write, None).await;
    let (address, _serving) =
        crate::support::web::serve(state, web::Bounds::default(), &CancellationToken::new()).await;
    let base = format!("http://{address}");
    let (code, said) = run(&base, &ben, &["approve", "12.3"]).await;
    assert!(code != 0 && said.contains("Only the people of the environment production"), "{said}");
    let (code, said) = run(&base, &anna, &["reject", "12.3"]).await;
    assert!(code == 0 && said.contains("2 publications of acme/styles #12.3: rejected."), "{said}");
    let (code, said) = run(&base, &ben, &["publish", "12.3", "--list"]).await;
    assert!(code == 0 && said.contains("huggingface") && said.contains("rejected by anna"), "{said}");
    let (code, said) = run(&base, &ben, &["publish", "12.3"]).await;
    assert!(code == 0 && said.contains("2 publications of acme/styles #12.3 begin again."), "{said}");
    let (code, said) = run(&base, &ben, &["publish", "12.3", "--list"]).await;
    assert!(code == 0 && said.contains("the people of production decide"), "{said}");
    let (code, said) = run(&base, &anna, &["approve", "12.3"]).await;
    assert!(code == 0 && said.contains("2 publications of acme/styles #12.3: approved, and on the way."), "{said}");
    assert_eq!(states(&world).await, [PublicationState::Waiting, PublicationState::Waiting]);
    let (code, said) = run(&base, &ben, &["publish", "12"]).await;
    assert!(code == 2 && said.contains("name the job, such as 12.3"), "{said}");
}
