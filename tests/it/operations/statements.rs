//! Slow statements in the log, and the state for supervisors.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::app::{configuration, merged};
use crate::support::database;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn the_log_has_slow_statements_without_their_values_and_readyz_tells_operators_alone() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let repo = github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: 'true'\n");
    let sha = repo.commit("A message of a person");
    let url = database::url().await;
    let base = configuration(&folder.path().join("data"), Some(&url), &github);
    let change = format!(
        "server = {{cancel_on_stop = true}}\ndatabase = {{slow_statement = '1us'}}\nauth = {{tokens = {{ops = '{OPERATOR}'}}}}\n"
    );
    let file = folder.path().join("config.toml");
    std::fs::write(&file, merged(&base, &change)).unwrap();
    let service = Service::start(PROGRAM.as_ref(), &file);
    Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    let said = service.said();
    assert!(said.contains("slow statement") && said.contains("update job"), "{said}");
    let slow: Vec<&str> =
        said.lines().filter(|line| line.contains("sqlx::query") || line.contains("slow statement")).collect();
    assert!(slow.iter().all(|line| !line.contains(&sha) && !line.contains("A message of a person")), "{slow:?}");

    let ready = async |token: Option<&str>| {
        let request = reqwest::Client::new().get(format!("{}/readyz", service.base));
        let request =
            token.map_or_else(|| request.try_clone().unwrap(), |token| request.try_clone().unwrap().bearer_auth(token));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, body) = ready(Some(OPERATOR)).await;
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)));
    let db = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("alter table _sqlx_migrations rename to hidden").execute(&db).await.unwrap();
    let begin = Instant::now();
    while ready(None).await.0 == 200 {
        assert!(begin.elapsed() < Duration::from_secs(20), "it stays ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, body) = ready(None).await;
    assert_eq!((status, body), (503, serde_json::json!({"ready": false})));
    let (_, body) = ready(Some(OPERATOR)).await;
    assert_eq!(body["reason"], "Postgres is not reachable or has no schema yet");
    let (_, body) = ready(Some("0123456789abcdef0123456789abcdee")).await;
    assert_eq!(body, serde_json::json!({"ready": false}));
    sqlx::query("alter table hidden rename to _sqlx_migrations").execute(&db).await.unwrap();
    assert_eq!(service.interrupt(), Some(0));
}
