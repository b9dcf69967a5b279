//! Webhooks of builds, in the form of Travis.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::notifier::{Chats, Notifier, Sender};
use trainyard::outbox::ChartLinks;
use trainyard::outgoing::SystemNames;
use trainyard::permits::PublishConfig;
use trainyard::repo_keys::{PublicKey, Seal};
use trainyard::store::sealed::own_keys::NotificationKey;
use trainyard::store::sealed::repo_keys::RepoKeys;

use crate::support::app::App;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::support::travis::receiver::Receiver;

const ALLOWED: &str = "[notifications]\nallow = [\"127.0.0.1\"]\n";
const HELLO: &str = "language: shell\nscript: \"true\"\n";

async fn push(app: &App, repo: &Repo, id: &str) {
    let (code, answer) = Delivery::new(id, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    assert_eq!(code, 202, "{answer}");
    app.github.wait_for_end(&repo.head(), "trainyard/push").await;
}

/// Returns the key of notifications, as clients for Travis read it.
async fn served_key(app: &App) -> String {
    let (code, answer) = app.get("/config").await;
    assert_eq!(code, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["config"]["notifications"]["webhook"]["public_key"].as_str().unwrap().to_owned()
}

/// Makes every open notification due, until there is none.
pub async fn settle(db: &PgPool) {
    for _ in 0..600 {
        let open: i64 = sqlx::query_scalar(
            "with due as (update notification set not_before = now() where done_at is null and not_before > now()
                 returning 1)
             select count(*) from notification where done_at is null",
        )
        .fetch_one(db)
        .await
        .unwrap();
        if open == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("a notification stays open");
}

#[tokio::test]
async fn receivers_of_travis_are_told_in_its_own_way() {
    let app = App::start(ALLOWED).await;
    let receiver = Receiver::start().await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Begin");
    push(&app, &repo, "d-1").await;
    let (_, key) = app.get("/api/v1/repos/acme/styles/key").await;
    let key: Value = serde_json::from_str(&key).unwrap();
    let with_password = receiver.url("secret").replace("http://", "http://hook:word@");
    let secure = PublicKey::from_pem(key["key"].as_str().unwrap()).unwrap().encrypt(&with_password).unwrap();
    repo.write(
        ".travis.yml",
        &format!(
            "{HELLO}env:\n  - FOO=1\nnotifications:\n  webhooks:\n    urls:\n      - {}\n      - secure: {secure}\n    \
             on_start: always\n",
            receiver.url("plain")
        ),
    );
    let sha = repo.commit("Tell");
    push(&app, &repo, "d-2").await;
    settle(&app.db).await;

    let served = served_key(&app).await;
    let got = receiver.wait_for(4).await;
    assert_eq!(got.len(), 4);
    for webhook in &got {
        assert!(webhook.is_signed_with(&served), "{webhook:?}");
        assert_eq!(webhook.slug, "acme/styles");
    }
    assert_eq!(got.iter().filter(|webhook| webhook.authorization.is_some()).count(), 2, "{got:?}");
    let (started, finished): (Vec<Value>, Vec<Value>) =
        got.iter().map(|webhook| webhook.json()).partition(|payload| payload["state"] == "started");
    assert_eq!((started.len(), finished.len()), (2, 2));
    assert_eq!((&started[0]["status"], &started[0]["status_message"]), (&Value::Null, &json!("Pending")));
    assert_eq!(started[0]["finished_at"], Value::Null);
    let payload = &finished[0];
    let told = ["number", "type", "state", "status", "status_message", "commit", "branch", "message", "author_name"];
    let expected = ["2", "push", "passed", "0", "Passed", &sha, "main", "Tell", "Ada"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    assert_eq!(told.map(|key| text(&payload[key])), expected, "{payload:#}");
    assert_eq!(payload["repository"]["owner_name"], "acme");
    assert!(payload["build_url"].as_str().unwrap().ends_with("/acme/styles/builds/2"), "{payload:#}");
    let job = &payload["matrix"][0];
    assert_eq!((&job["number"], &job["state"], &job["result"]), (&json!("2.1"), &json!("passed"), &json!(0)));
    assert_eq!(job["config"]["env"], "FOO=1");
    let whole = payload.to_string();
    assert!(!whole.contains(&secure) && !whole.contains("notifications"), "{whole}");

    let (_, page) = app.get("/acme/styles/builds/2").await;
    assert!(page.contains("a secret address") && page.contains("sent: it answered 200"), "{page}");
    assert!(!page.contains("word@") && !page.contains("/plain"), "{page}");
    app.stop().await;
}

#[tokio::test]
async fn a_fork_tells_nobody_and_a_branch_of_the_repository_does() {
    let app = App::start(ALLOWED).await;
    let receiver = Receiver::start().await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let base = repo.commit("Begin");
    push(&app, &repo, "d-1").await;
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write(".travis.yml", &format!("{HELLO}notifications: {{webhooks: \"{}\"}}\n", receiver.url("fork")));
    let head = repo.commit("Tell me");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let fork = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("fork", "pull_request", &fork).post(&app.base).await;
    app.github.wait_for_end(&head, "trainyard/pr").await;
    let count = "select count(*) from notification";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&app.db).await.unwrap(), 0);

    repo.git(&["push", "-q", "origin", "watercolour"]);
    let mut own = payload::pull_request(&app.github, &repo, 7, &base, &head);
    own["pull_request"]["head"]["repo"]["full_name"] = "acme/styles".into();
    Delivery::new("own", "pull_request", &own).post(&app.base).await;
    let payload = receiver.wait_for(1).await[0].json();
    assert_eq!((&payload["pull_request"], &payload["pull_request_number"]), (&json!(true), &json!(7)));
    assert_eq!((&payload["type"], &payload["head_commit"]), (&json!("pull_request"), &json!(head)));
    settle(&app.db).await;
    app.stop().await;
}

/// Inserts a build of acme/styles with this number and state.
async fn build(db: &PgPool, number: i32, state: &str, webhooks: Option<&Value>) {
    sqlx::query(
        "insert into build (repo_id, number, kind, branch, sha, built_sha, state, finished_at, webhooks)
         values (1, $1, 'push', 'main', repeat('0', 40), repeat('0', 40), $2::build_state,
             case when $2 <> 'queued' then now() end, $3)",
    )
    .bind(number)
    .bind(state)
    .bind(webhooks)
    .execute(db)
    .await
    .unwrap();
}

pub async fn notifier(db: &PgPool) -> Notifier {
    let seal = Arc::new(Seal::new(&[7; 32]).unwrap());
    let sender = Sender::new(&["127.0.0.1".parse().unwrap()], Arc::new(SystemNames)).unwrap();
    Notifier {
        db: db.clone(),
        keys: RepoKeys::new(db.clone(), Arc::clone(&seal)),
        key: NotificationKey::new(db.clone(), Arc::clone(&seal)),
        chats: Chats::new(&[], sender.clone()),
        sender,
        hooks: Arc::from([]),
        mailer: None,
        publish: PublishConfig::default(),
        charts: ChartLinks::new(seal),
        public_url: "http://ci.example.org/".parse().unwrap(),
    }
}

fn webhooks(url: &str, when: &Value) -> Value {
    json!({"receivers": [{"url": url, "when": when}], "config": {}})
}

#[tokio::test]
async fn receivers_are_told_of_what_they_ask_for_once() {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    let receiver = Receiver::start().await;
    let notifier = notifier(&db).await;
    let when = |key: &str, value: &str| json!({key: value});
    // The state before, the new state, the setting, and the words that come, if any.
    let table = [
        ("passed", "passed", json!({}), Some("Passed")),
        ("failed", "passed", json!({}), Some("Fixed")),
        ("passed", "failed", json!({}), Some("Broken")),
        ("failed", "failed", json!({}), Some("Still Failing")),
        ("passed", "errored", json!({}), Some("Errored")),
        ("passed", "canceled", json!({}), Some("Canceled")),
        ("passed", "passed", when("on_success", "change"), None),
        ("failed", "passed", when("on_success", "change"), Some("Fixed")),
        ("canceled", "passed", when("on_success", "change"), Some("Passed")),
        ("passed", "passed", when("on_success", "never"), None),
        ("failed", "failed", when("on_failure", "change"), None),
        ("passed", "failed", when("on_failure", "change"), Some("Broken")),
        ("passed", "errored", when("on_failure", "never"), None),
        ("passed", "canceled", when("on_cancel", "never"), None),
        ("passed", "running", json!({}), None),
        ("passed", "running", when("on_start", "always"), Some("Pending")),
    ];
    for (place, (before, state, when, told)) in (1..).zip(table) {
        build(&db, 10 * place, before, None).await;
        build(&db, 10 * place + 1, "queued", Some(&webhooks(&receiver.url("x"), &when))).await;
        let already = receiver.got().len();
        // Twice: the state only counts when it changes.
        for _ in 0..2 {
            sqlx::query(
                "update build set state = $2::build_state, finished_at = case when $2 <> 'running' then now() end
                 where number = $1",
            )
            .bind(10 * place + 1)
            .bind(state)
            .execute(&db)
            .await
            .unwrap();
        }
        while notifier.step().await.unwrap() {}
        let got = receiver.got();
        let words: Vec<Value> = got[already..].iter().map(|webhook| webhook.json()["status_message"].clone()).collect();
        let expected: Vec<Value> = told.into_iter().map(Value::from).collect();
        assert_eq!(words, expected, "{before} -> {state} {when}");
        sqlx::query(
            "update build set state = 'canceled', finished_at = now(), webhooks = null where state = 'running'",
        )
        .execute(&db)
        .await
        .unwrap();
    }
    // A build that begins with its end.
    for (number, (state, when, told)) in
        (1000..).zip([("errored", when("on_error", "never"), 0), ("errored", json!({}), 1), ("failed", json!({}), 1)])
    {
        let already = receiver.got().len();
        build(&db, number, state, Some(&webhooks(&receiver.url("x"), &when))).await;
        while notifier.step().await.unwrap() {}
        assert_eq!(receiver.got().len() - already, told, "{state} {when}");
    }
}

#[tokio::test]
async fn a_failing_receiver_is_told_again_but_not_for_ever() {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    let receiver = Receiver::start().await;
    let notifier = notifier(&db).await;
    let outcome = async |number: i32| -> (Option<String>, i32, bool) {
        sqlx::query_as(
            "select outcome, tries, notification.done_at is not null from notification join build on build.id = build_id
             where number = $1",
        )
        .bind(number)
        .fetch_one(&db)
        .await
        .unwrap()
    };
    let due = || sqlx::query("update notification set not_before = now() where done_at is null").execute(&db);
    let told = async |number: i32, url: &str, answers: &[u16]| {
        receiver.will_answer(answers);
        build(&db, number, "passed", Some(&webhooks(url, &json!({})))).await;
        for _ in 0..10 {
            notifier.step().await.unwrap();
            due().await.unwrap();
        }
        let (outcome, tries, is_done) = outcome(number).await;
        assert!(is_done, "{outcome:?}");
        (outcome.unwrap(), tries)
    };
    let url = receiver.url("x");
    assert_eq!(told(2, &url, &[500, 429, 200]).await, ("sent: it answered 200".to_owned(), 3));
    assert_eq!(told(3, &url, &[410]).await, ("not sent: it answered 410".to_owned(), 1));
    assert_eq!(told(4, &url, &[500; 10]).await, ("not sent: it answered 500".to_owned(), 6));
    let no_service = told(5, "http://127.0.0.1:9999/hook", &[]).await;
    assert_eq!(no_service, ("not sent: it cannot be reached".to_owned(), 6));
    let ours = told(6, "http://ci.example.org/webhooks/travis", &[]).await;
    assert_eq!(ours, ("not sent: this service tells itself nothing".to_owned(), 1));
    let sealed = json!({"receivers": [{"url": {"secure": "AAAA"}, "when": {}}], "config": {}});
    build(&db, 7, "passed", Some(&sealed)).await;
    notifier.step().await.unwrap();
    let words = outcome(7).await.0.unwrap();
    assert_eq!(words, "not sent: the address was not encrypted with this repository's key");
}
