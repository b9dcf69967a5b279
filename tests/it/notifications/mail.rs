//! Emails about builds, through a real SMTP server.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::mail::Mailer;
use trainyard::notifier::Notifier;
use trainyard::repo_keys::PublicKey;

use super::webhooks::{notifier, settle};
use crate::support::app::{App, configuration, merged};
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::mail::{FaultyServer, MailServer, USER};
use crate::support::payload::{self, Delivery};

async fn push(app: &App, repo: &Repo, text: &str, message: &str) -> String {
    repo.write(".travis.yml", text);
    let sha = repo.commit(message);
    Delivery::new(&sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    settle(&app.db).await;
    sha
}

fn config(script: &str, recipients: &str) -> String {
    format!("language: shell\nscript: \"{script}\"\nnotifications:\n  email:\n    recipients: {recipients}\n")
}

/// Returns a mail's content without the breaks that its encoding makes.
fn content(mail: &Value) -> String {
    mail["content"].as_str().unwrap().replace("=\r\n", "")
}

#[tokio::test]
async fn recipients_are_mailed_as_on_travis_and_only_those_whom_the_operator_allows() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start(folder.path());
    let app = App::start(&server.section()).await;
    let repo = app.github.repo("acme/styles");
    let hostile = "Paint\r\nBcc: eve@evil.example";
    push(&app, &repo, &config("false", "[anna@example.org, eve@evil.example]"), hostile).await;
    let got = server.wait_for(1).await;
    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!((&got[0]["from"], &got[0]["to"]), (&json!(USER), &json!(["anna@example.org"])));
    assert_eq!(got[0]["tls"], true);
    let mail = content(&got[0]);
    assert!(mail.contains("Subject: Failed: acme/styles#1 (main - "), "{mail}");
    assert!(mail.contains("From: Trainyard <ci@example.org>\r\n") && mail.contains("Auto-Submitted: auto-generated"));
    assert!(mail.contains("text/plain") && mail.contains("text/html") && mail.contains("/acme/styles/builds/1"));
    assert!(mail.contains("exited with 1") && !mail.contains("\r\nBcc:"), "{mail}");
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("an email") && page.contains("is not among notifications.email.domains"), "{page}");
    assert!(!page.contains("anna@example.org"), "{page}");

    // The first success after a failure is mailed, and no further one.
    push(&app, &repo, &config("true", "anna@example.org"), "Mend").await;
    push(&app, &repo, &config("true", "anna@example.org"), "Go on").await;
    let got = server.wait_for(2).await;
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(content(&got[1]).contains("Subject: Fixed: acme/styles#2"), "{got:?}");
    // A secret address.
    let (_, key) = app.get("/api/v1/repos/acme/styles/key").await;
    let key: Value = serde_json::from_str(&key).unwrap();
    let secure = PublicKey::from_pem(key["key"].as_str().unwrap()).unwrap().encrypt("bob@example.org").unwrap();
    push(&app, &repo, &config("false", &format!("[secure: \"{secure}\"]")), "Break").await;
    assert_eq!(server.wait_for(3).await[2]["to"], json!(["bob@example.org"]));
    app.stop().await;
}

#[tokio::test]
async fn a_mail_about_a_training_has_its_loss_as_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start(folder.path());
    let app = App::start(&server.section()).await;
    let repo = app.github.repo("acme/styles");
    let train = "lora:\n  smoke: false\n  train: {if: true, gpus: 0}\n";
    repo.write("train.py", include_str!("../../fixtures/trainer/train.py"));
    repo.write(
        "ink.yaml",
        "base_model: ./m.bin\ntrain_data_dir: ./data\nmetadata_path: ./data/captions.txt\noutput_dir: ./out\n\
         lora_rank: 16\nmax_train_steps: 40\nlearning_rate: 1.0e-4\n",
    );
    repo.write("m.bin", "a model");
    repo.write("data/captions.txt", "an image");
    let text = format!("{}{train}", config("true", "anna@example.org").replace("shell", "python"));
    push(&app, &repo, &text, "Ink").await;
    let mail = content(&server.wait_for(1).await[0]);
    assert!(mail.contains("Subject: Passed: acme/styles#1"), "{mail}");
    assert!(mail.contains("train ink.yaml: the loss goes from 1.0000 to 0.0250 at step 40"), "{mail}");
    assert!(mail.contains("multipart/related") && mail.contains("cid:loss-1"), "{mail}");
    assert!(mail.contains("Content-ID: <loss-1>") && mail.contains("Content-Disposition: inline"), "{mail}");
    let picture = mail.split_once("Content-Type: image/png").expect("a picture").1;
    assert!(picture.contains("iVBORw0KGgo"), "the begin of a PNG: {picture}");
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_mails_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start(folder.path());
    let app = App::start(&server.section()).await;
    let repo = app.github.repo("acme/styles");
    let base = {
        push(&app, &repo, "language: shell\nscript: 'true'\n", "Begin").await;
        repo.head()
    };
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write(".travis.yml", &config("false", "anna@example.org"));
    let head = repo.commit("Mail her");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let fork = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("fork", "pull_request", &fork).post(&app.base).await;
    app.github.wait_for_end(&head, "trainyard/pr").await;
    repo.git(&["push", "-q", "origin", "watercolour"]);
    let mut own = payload::pull_request(&app.github, &repo, 7, &base, &head);
    own["pull_request"]["head"]["repo"]["full_name"] = "acme/styles".into();
    Delivery::new("own", "pull_request", &own).post(&app.base).await;
    app.outcome("own").await;
    let open = "select count(*) from build where finished_at is null";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&app.db).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let count = "select count(*) from notification";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&app.db).await.unwrap(), 0);
    assert!(server.got().is_empty());
    app.stop().await;
}

/// Inserts a finished build that mails anna, and tries its notification until it is done. Returns its outcome and tries.
async fn told(db: &PgPool, notifier: &Notifier, number: i32) -> (String, i32) {
    let emails = json!({"receivers": [], "emails": [{"email": "anna@example.org", "when": {}}], "config": {}});
    sqlx::query(
        "insert into build (repo_id, number, kind, branch, sha, built_sha, state, finished_at, webhooks)
         values (1, $1, 'push', 'main', repeat('0', 40), repeat('0', 40), 'failed', now(), $2)",
    )
    .bind(number)
    .bind(emails)
    .execute(db)
    .await
    .unwrap();
    for _ in 0..8 {
        notifier.step().await.unwrap();
        sqlx::query("update notification set not_before = now() where done_at is null").execute(db).await.unwrap();
    }
    sqlx::query_as(
        "select outcome, tries from notification join build on build.id = build_id
         where number = $1 and notification.done_at is not null",
    )
    .bind(number)
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_and_a_refusal_ends_it() {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    let server = FaultyServer::start().await;
    let settings = format!(
        "host = '127.0.0.1'\nport = {}\ntls = 'none'\nfrom = '{USER}'\ndomains = ['example.org']\n",
        server.port
    );
    let email = toml::from_str(&settings).unwrap();
    let notifier = Notifier { mailer: Some(Mailer::new(&email).unwrap()), ..notifier(&db).await };
    assert_eq!(told(&db, &notifier, 2).await, ("sent".to_owned(), 1));
    server.will_answer(&[("RCPT", "451 4.7.1 wait\r\n"), ("GREETING", "421 later\r\n"), (".", "")]);
    assert_eq!(told(&db, &notifier, 3).await, ("sent".to_owned(), 4));
    server.will_answer(&[("RCPT", "550 5.1.1 anna@example.org is unknown\r\n")]);
    assert_eq!(told(&db, &notifier, 4).await, ("not sent: the mail server answered 550".to_owned(), 1));
    let alerts = async || -> i64 {
        let count = "select count(*) from alert where component = 'mail server'";
        sqlx::query_scalar(count).fetch_one(&db).await.unwrap()
    };
    assert_eq!(alerts().await, 0, "an unknown recipient is not the operator's fault");
    server.will_answer(&[("MAIL", "530 5.7.0 authenticate first\r\n")]);
    assert_eq!(told(&db, &notifier, 5).await, ("not sent: the mail server answered 530".to_owned(), 1));
    assert_eq!(alerts().await, 1);
    server.will_answer(&[("DATA", "421 away\r\n"); 8]);
    assert_eq!(told(&db, &notifier, 6).await, ("not sent: the mail server answered 421".to_owned(), 6));
    server.will_answer(&[]);
    assert_eq!(told(&db, &notifier, 7).await, ("sent".to_owned(), 1));
    assert_eq!(alerts().await, 0);
    assert_eq!(server.taken(), 3);
    // TLS is asked for, and the server has none: nothing is sent in the clear.
    let starttls = toml::from_str(&settings.replace("tls = 'none'", "tls = 'starttls'")).unwrap();
    let notifier = Notifier { mailer: Some(Mailer::new(&starttls).unwrap()), ..notifier };
    let (outcome, _) = told(&db, &notifier, 8).await;
    assert!(outcome.starts_with("not sent: the mail server"), "{outcome}");
    assert_eq!(server.taken(), 3);
}

#[tokio::test]
async fn a_build_that_a_newer_one_has_canceled_mails_nobody() {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    let server = FaultyServer::start().await;
    let settings = format!(
        "host = '127.0.0.1'\nport = {}\ntls = 'none'\nfrom = '{USER}'\ndomains = ['example.org']\n",
        server.port
    );
    let mailer = Mailer::new(&toml::from_str(&settings).unwrap()).unwrap();
    let notifier = Notifier { mailer: Some(mailer), ..notifier(&db).await };
    let emails = json!({"receivers": [], "emails": [{"email": "anna@example.org", "when": {}}], "config": {}});
    for (number, reason, mails) in [(2, "build #3 of branch main is newer", 0), (4, "canceled by anna", 1)] {
        let build: i64 = sqlx::query_scalar(
            "insert into build (repo_id, number, kind, branch, sha, built_sha, state, webhooks)
             values (1, $1, 'push', 'main', repeat('0', 40), repeat('0', 40), 'queued', $2) returning id",
        )
        .bind(number)
        .bind(&emails)
        .fetch_one(&db)
        .await
        .unwrap();
        sqlx::query(
            "insert into job (build_id, repo_id, number, kind, config, state, verdict, finished_at, reason)
             values ($1, 1, 1, 'script', '{}', 'finished', 'canceled', now(), $2)",
        )
        .bind(build)
        .bind(reason)
        .execute(&db)
        .await
        .unwrap();
        let cancel = "update build set state = 'canceled', finished_at = now() where id = $1";
        sqlx::query(cancel).bind(build).execute(&db).await.unwrap();
        while notifier.step().await.unwrap() {}
        assert_eq!(server.taken(), mails, "{reason}");
    }
}

#[tokio::test]
async fn the_operator_can_try_the_mail_server_and_the_doctor_examines_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = MailServer::start(folder.path());
    let github = GitHub::start(folder.path().join("github")).await;
    let file = folder.path().join("config.toml");
    let run = async |settings: &str| {
        std::fs::write(&file, merged(&configuration(folder.path(), None, &github), settings)).unwrap();
        let mut notify = tokio::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
        notify.args(["notify", "--test", "--to", "operator@elsewhere.example", "--config"]).arg(&file);
        let output = tokio::time::timeout(Duration::from_secs(60), notify.output()).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (status, said) = run(&server.section()).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(server.wait_for(1).await[0]["to"], json!(["operator@elsewhere.example"]));
    let (status, said) = run(&server.section().replace("password of", "another password of")).await;
    assert!(status == Some(1) && said.contains("not sent: the mail server answered 535"), "{said}");
    let (status, said) = run(&server.section().replace(&format!("ca = '{}'\n", server.ca), "")).await;
    assert!(status == Some(1) && said.contains("not sent: the mail server"), "an unknown certificate: {said}");
    for (settings, expected) in [
        (server.section(), "localhost takes our login"),
        (server.section().replace("password of", "another password of"), "localhost: permanent error (535)"),
    ] {
        std::fs::write(&file, merged(&configuration(folder.path(), None, &github), &settings)).unwrap();
        let mut doctor = tokio::process::Command::new(env!("CARGO_BIN_EXE_trainyard"));
        let output = doctor.args(["doctor", "--config"]).arg(&file).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(expected), "{said}");
    }
    let (status, said) = run("").await;
    assert!(status == Some(1) && said.contains("has no [notifications.email]"), "{said}");
    assert_eq!(server.got().len(), 1);
}
