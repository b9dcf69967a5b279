//! Messages about builds to chats, whose services check them.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::notifier::{Chats, NotificationsConfig, Notifier};

use super::webhooks::{notifier, settle};
use crate::support::app::{App, configuration, merged};
use crate::support::chat::ChatServices;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};

const ALL: [&str; 7] = ["slack", "dingtalk", "feishu", "wecom", "telegram", "discord", "teams"];
const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

async fn push(app: &App, repo: &Repo, script: &str, message: &str) {
    repo.write(".travis.yml", &format!("language: shell\nscript: \"{script}\"\n"));
    let sha = repo.commit(message);
    Delivery::new(&sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    settle(&app.db).await;
}

#[tokio::test]
async fn every_kind_of_chat_takes_the_message_about_a_failure_and_about_its_mend() {
    let services = ChatServices::start().await;
    let app = App::start(&services.sections(&ALL, "")).await;
    let repo = app.github.repo("acme/styles");
    push(&app, &repo, "false", "Paint <!channel> @all [here](https://evil.example)").await;
    push(&app, &repo, "true", "Mend").await;
    push(&app, &repo, "true", "Go on").await;
    for service in ALL {
        let got = services.got(service);
        assert_eq!(got.len(), 2, "{service}: {got:?}");
        let (broken, mended) = (got[0].to_string(), got[1].to_string());
        assert!(broken.contains("acme/styles #1 failed") && broken.contains("/acme/styles/builds/1"), "{broken}");
        assert!(broken.contains("exited with 1"), "the status says why: {broken}");
        assert!(mended.contains("acme/styles #2 is fixed"), "{mended}");
        assert!(!broken.contains("<!channel>") || matches!(service, "feishu" | "teams"), "{service}: {broken}");
    }
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("the chat slack") && page.contains("sent"), "{page}");
    app.stop().await;
}

/// Inserts a build with a training that has passed.
async fn with_training(db: &PgPool) {
    database::insert_build(db, 1).await;
    sqlx::raw_sql(
        "update build set state = 'passed', finished_at = now();
         insert into job (build_id, repo_id, number, kind, config, state, verdict, attempt, started_at, finished_at)
         select id, repo_id, 1, 'train', '{}', 'finished', 'passed', 2, now(), to_timestamp(1800000000) from build;
         insert into series (job_id, name, steps, points) select id, 'loss', '{1, 2}', '{0.5, 0.25}' from job",
    )
    .execute(db)
    .await
    .unwrap();
}

/// Returns a notifier with the chats of this configuration.
async fn with(db: &PgPool, sections: &str) -> Notifier {
    let config: toml::Table = toml::from_str(sections).unwrap();
    let config: NotificationsConfig = config["notifications"].clone().try_into().unwrap();
    let notifier = notifier(db).await;
    Notifier { chats: Chats::new(&config.chat, notifier.sender.clone()), ..notifier }
}

/// Tells these chats of the end of the build.
async fn tell(notifier: &Notifier, chats: &[&str]) {
    let told = "insert into notification (repo_id, build_id, event, state, receiver)
                select repo_id, build.id, 'finished', state, jsonb_build_object('chat', chat)
                from build, unnest($1::text[]) as chat";
    sqlx::query(told).bind(chats).execute(&notifier.db).await.unwrap();
    while notifier.step().await.unwrap() {}
}

#[tokio::test]
async fn a_training_has_its_chart_where_a_chat_shows_images() {
    let services = ChatServices::start().await;
    let db = database::pool().await;
    with_training(&db).await;
    let notifier = with(&db, &services.sections(&ALL, "")).await;
    tell(&notifier, &ALL).await;
    let got = |service: &str, pointer: &str| {
        let last = services.got(service).pop().unwrap();
        last.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {last}")).to_owned()
    };
    let image = got("discord", "/embeds/0/image/url");
    assert!(image.starts_with("http://ci.example.org/charts/1/2/1807776000/") && image.ends_with(".png"), "{image}");
    assert_eq!(got("slack", "/attachments/1/image_url"), image);
    assert_eq!(got("telegram", "/link_preview_options/url"), image);
    assert_eq!(got("teams", "/attachments/0/content/body/3/url"), image);
    let picture = format!("\n\n![Loss of the training]({image})");
    assert!(got("dingtalk", "/markdown/text").ends_with(&picture));
    assert!(got("wecom", "/markdown_v2/content").ends_with(&picture));
    // No server of a chat would get this one.
    let inside = Notifier { public_url: "http://10.0.0.7/".parse().unwrap(), ..notifier };
    tell(&inside, &ALL).await;
    for service in ALL {
        let got = services.got(service);
        assert!(got.len() == 2 && !got[1].to_string().contains("/charts/"), "{service}: {got:?}");
    }
}

#[tokio::test]
async fn colours_and_mentions_of_wecom_are_kept_in_a_message_without_a_chart() {
    let services = ChatServices::start().await;
    let db = database::pool().await;
    with_training(&db).await;
    let template = "template = '<font color=\"info\">%{result}</font> <@anna>'\n";
    let notifier = with(&db, &services.sections(&["wecom"], template)).await;
    tell(&notifier, &["wecom"]).await;
    let [got] = &services.got("wecom")[..] else { panic!("{:?}", services.got("wecom")) };
    assert_eq!(got["msgtype"], "markdown");
    let content = got["markdown"]["content"].as_str().unwrap();
    assert!(content.ends_with("\n> <font color=\"info\">passed</font> <@anna>"), "{content}");
}

#[tokio::test]
async fn a_chat_hears_of_its_own_branches_and_a_fork_tells_nobody() {
    let services = ChatServices::start().await;
    let app = App::start(&services.sections(&["slack"], "branches = [\"release-*\"]\n")).await;
    let repo = app.github.repo("acme/styles");
    push(&app, &repo, "false", "Paint").await;
    let base = repo.head();
    repo.git(&["checkout", "--quiet", "-b", "watercolour"]);
    let head = repo.commit("From afar");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.open_pull_request(3, &base, &head);
    let mut fork = payload::pull_request(&app.github, &repo, 3, &base, &head);
    fork["pull_request"]["base"]["ref"] = "release-1".into();
    Delivery::new("fork", "pull_request", &fork).post(&app.base).await;
    app.github.wait_for_end(&head, "trainyard/pr").await;
    let count: i64 = sqlx::query_scalar("select count(*) from notification").fetch_one(&app.db).await.unwrap();
    assert_eq!(count, 0);
    let sha = repo.head();
    Delivery::new("release", "push", &payload::push(&app.github, &repo, "release-1")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    assert!(services.wait_for("slack", 1).await[0].to_string().contains("branch release-1"));
    settle(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_busy_chat_is_told_later_and_one_that_refuses_is_an_alert() {
    let services = ChatServices::start().await;
    let app = App::start(&services.sections(&["dingtalk", "feishu", "telegram"], "on_success = \"always\"\n")).await;
    let fast = json!({"errcode": 130_101, "errmsg": "send too fast, exceed 20 times per minute"});
    services.will_answer("dingtalk", &vec![(200, fast); 9]);
    let busy = json!({"ok": false, "error_code": 429, "parameters": {"retry_after": 1}});
    services.will_answer("telegram", &[(429, busy), (502, Value::Null)]);
    services.will_answer("feishu", &[(200, json!({"code": 19_021, "msg": "sign match fail"}))]);
    let repo = app.github.repo("acme/styles");
    // Nine refusals are more than the tries of a webhook: those that ask to wait do not count.
    push(&app, &repo, "true", "Paint").await;
    assert_eq!((services.got("dingtalk").len(), services.got("telegram").len()), (1, 1));
    assert!(services.got("feishu").is_empty());
    let alert = "select message from alert where component = 'chat feishu'";
    let message: Option<String> = sqlx::query_scalar(alert).fetch_optional(&app.db).await.unwrap();
    assert_eq!(message.as_deref(), Some("it takes no messages: it answered 19021: sign match fail"));
    push(&app, &repo, "true", "Go on").await;
    assert_eq!(services.got("feishu").len(), 1);
    let message: Option<String> = sqlx::query_scalar(alert).fetch_optional(&app.db).await.unwrap();
    assert_eq!(message, None);
    app.stop().await;
}

#[tokio::test]
async fn the_operator_can_try_the_chats() {
    let services = ChatServices::start().await;
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let text = merged(&configuration(folder.path(), None, &github), &services.sections(&ALL, ""));
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let run = async |chats: &[&str]| {
        let mut notify = tokio::process::Command::new(PROGRAM);
        notify.args(["notify", "--test"]).args(chats).arg("--config").arg(&file);
        let output = tokio::time::timeout(Duration::from_secs(60), notify.output()).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, said) = run(&[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(ALL.iter().all(|service| services.got(service).len() == 1), "{said}");
    services.will_answer("slack", &[(404, json!("no_service"))]);
    let (status, said) = run(&["slack"]).await;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("not sent: it answered 404") && !said.contains("/hook"), "{said}");
    let (status, said) = run(&["nobody"]).await;
    assert!(status == Some(2) && said.contains("no [[notifications.chat]]"), "{said}");
}
