//! Rooms of Slack that a `.travis.yml` names.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::notifier::{Chats, Notifier, Sender};

use super::webhooks::{notifier, settle};
use crate::support::app::App;
use crate::support::database;
use crate::support::payload::{self, Delivery};
use crate::support::slack::{SlackHook, TOKEN};

/// Tells the process of the inner test where the stand-in is. The system's authorities are known at the start of a
/// process alone.
const PORT: &str = "SLACK_STAND_IN";

#[test]
fn rooms_are_told_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let slack = SlackHook::start(folder.path());
    let inner = "notifications::slack::rooms_are_told_by_a_process_that_trusts_the_stand_in";
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", inner, "--ignored", "--nocapture"]);
    test.env("SSL_CERT_FILE", folder.path().join("ca.pem")).env(PORT, slack.port.to_string());
    let output = test.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let got = slack.got();
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(got[0]["text"], "✘ acme/styles #2 failed");
    assert_eq!((&got[0]["channel"], &got[1]["channel"]), (&json!("#ci"), &Value::Null));
    let words = got[1]["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(words.ends_with("\nacme/styles@main: The build failed.\n&lt;!channel&gt;"), "{words}");
}

/// The name of Slack, at the stand-in.
#[derive(Debug)]
struct Names(u16);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        assert_eq!(name.as_str(), "acme.slack.com");
        let address = SocketAddr::from(([127, 0, 0, 1], self.0));
        Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
    }
}

/// Inserts a failed build that tells a room. Returns the outcome.
async fn told(db: &PgPool, notifier: &Notifier, number: i32, room: &Value) -> String {
    sqlx::query(
        "insert into build (repo_id, number, kind, branch, sha, built_sha, message, state, finished_at, webhooks)
         values (1, $1, 'push', 'main', repeat('0', 40), repeat('0', 40), '<!channel>', 'failed', now(), $2)",
    )
    .bind(number)
    .bind(json!({"receivers": [], "slack": [room], "config": {}}))
    .execute(db)
    .await
    .unwrap();
    notifier.step().await.unwrap();
    let outcome = "select outcome from notification join build on build.id = build_id where number = $1";
    sqlx::query_scalar(outcome).bind(number).fetch_one(db).await.unwrap()
}

fn room(text: &str) -> Value {
    json!({"room": text, "when": {}})
}

#[tokio::test]
#[ignore = "it runs in a process that rooms_are_told_over_tls starts"]
async fn rooms_are_told_by_a_process_that_trusts_the_stand_in() {
    let port = std::env::var(PORT).unwrap().parse().unwrap();
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    let sender = Sender::new(&["127.0.0.1".parse().unwrap()], Arc::new(Names(port))).unwrap();
    let notifier = Notifier { chats: Chats::new(&[], sender.clone()), sender, ..notifier(&db).await };
    assert_eq!(told(&db, &notifier, 2, &room(&format!("acme:{TOKEN}#ci"))).await, "sent");
    let template = ["%{repository}@%{branch}: %{message}", "%{commit_subject}"];
    let own = json!({"room": format!("acme:{TOKEN}"), "when": {}, "template": template});
    sqlx::query("update build set state = 'canceled' where number = 2").execute(&db).await.unwrap();
    sqlx::query("delete from notification").execute(&db).await.unwrap();
    assert_eq!(told(&db, &notifier, 3, &own).await, "sent");
    let refused = told(&db, &notifier, 4, &room("acme:wrong")).await;
    assert_eq!(refused, "not sent: it answered 404: no_service");
    let refused = told(&db, &notifier, 5, &room(&format!("acme:{TOKEN}#gone"))).await;
    assert_eq!(refused, "not sent: it answered 404: channel_not_found");
    let alerts: i64 = sqlx::query_scalar("select count(*) from alert").fetch_one(&db).await.unwrap();
    assert_eq!(alerts, 0, "the repository has to mend it");
    let wrong = told(&db, &notifier, 6, &room("evil.example:tok")).await;
    assert_eq!(wrong, "not sent: the room of Slack is not in the form account:token#channel");
    // The name leads inside.
    let sender = Sender::new(&[], Arc::new(Names(port))).unwrap();
    let notifier = Notifier { chats: Chats::new(&[], sender), ..notifier };
    let inside = told(&db, &notifier, 7, &room(&format!("acme:{TOKEN}"))).await;
    assert_eq!(inside, "not sent: the address is not on the internet, nor in notifications.allow");
}

#[tokio::test]
async fn a_push_tells_the_rooms_of_its_file_and_the_page_shows_no_token() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\nscript: 'false'\nnotifications:\n  slack:\n    rooms: [\"acme.evil.example/x:secret-token#ci\"]\n    \
         on_success: never\n",
    );
    let sha = repo.commit("Tell");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    settle(&app.db).await;
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("a room of Slack") && page.contains("not in the form account:token#channel"), "{page}");
    assert!(!page.contains("secret-token"), "{page}");
    app.stop().await;
}
