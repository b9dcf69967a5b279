//! Messages about publications, to all kinds of receivers: what waits for whom, and how it has ended.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use trainyard::domain::JobId;
use trainyard::mail::Mailer;
use trainyard::notifier::{Chats, NotificationsConfig, Notifier};
use trainyard::permits::EnvironmentConfig;
use trainyard::store::publications::{self, Decision};

use super::world::{World, publish, usual};
use crate::notifications::hooks::Program;
use crate::notifications::webhooks::notifier;
use crate::support::chat::ChatServices;
use crate::support::mail::{FaultyServer, MailServer};
use crate::support::s3::BUCKET;
use crate::support::travis::receiver::Receiver;

const ALL: [&str; 7] = ["slack", "dingtalk", "feishu", "wecom", "telegram", "discord", "teams"];
const JOB: JobId = JobId(2);

/// Returns a world in which a build tells these receivers, and whose environment `production` has one person.
async fn telling(chats: &[&str], webhooks: Value) -> World {
    let mut world = World::with(&usual(), json!({})).await;
    world.publisher.permissions.environment.push(EnvironmentConfig {
        name: "production".to_owned(),
        repos: vec!["acme/*".to_owned()],
        approvers: vec!["anna".to_owned(), "user:ben".to_owned()],
        required: false,
    });
    sqlx::query("update build set chats = $1, webhooks = $2, branch = 'main', author = 'Ada', message = 'Ink'")
        .bind(chats)
        .bind(webhooks)
        .execute(&world.db)
        .await
        .unwrap();
    world
}

/// Lets a job pass that publishes to all places in the environment.
async fn pass(world: &World) {
    let mut order = publish();
    order["environment"] = json!("production");
    order["release"] = json!(true);
    order["s3"] = json!(format!("s3://{BUCKET}/models/4/{{build}}"));
    assert_eq!(world.pass(4, &usual(), order).await, JOB);
}

async fn decide(world: &World, decision: Decision) {
    let mut tx = world.db.begin().await.unwrap();
    publications::decide(&mut tx, JOB, "production", ("anna", decision)).await.unwrap();
    tx.commit().await.unwrap();
}

/// Publishes until all places have ended.
async fn finish(world: &World) {
    while !world.has_ended().await {
        assert!(world.publisher.step().await.unwrap());
        world.wait().await;
    }
}

/// Sends all notifications that are due.
async fn send(notifier: &Notifier) {
    while notifier.step().await.unwrap() {}
}

/// Returns a notifier of the world with these receivers of the configuration.
async fn with(world: &World, section: &str) -> Notifier {
    let config: toml::Table = toml::from_str(section).unwrap();
    let config: NotificationsConfig = config["notifications"].clone().try_into().unwrap();
    let notifier = notifier(&world.db).await;
    Notifier {
        chats: Chats::new(&config.chat, notifier.sender.clone()),
        hooks: config.webhook.into(),
        publish: world.publisher.permissions.clone(),
        ..notifier
    }
}

/// Lists the events of publications, each with the number of its notifications.
async fn events(db: &PgPool) -> Vec<(String, i64)> {
    sqlx::query_as("select event, count(*) from notification where job_id is not null group by event order by event")
        .fetch_all(db)
        .await
        .unwrap()
}

fn recipients(when: &Value) -> Value {
    json!({"receivers": [], "emails": [{"email": "anna@example.org", "when": when}], "config": {}})
}

#[tokio::test]
async fn every_kind_of_receiver_is_asked_once_for_an_approval_and_told_once_of_the_end() {
    let (services, program, receiver) = (ChatServices::start().await, Program::start().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mails = MailServer::start(folder.path());
    let mut webhooks = recipients(&json!({}));
    webhooks["receivers"] = json!([
        {"url": receiver.url("travis"), "when": {}},
        {"url": receiver.url("asks"), "when": {"on_publish": "always"}},
    ]);
    let world = telling(&[&ALL[..], &["webhook:deploy"][..]].concat(), webhooks).await;
    let notifier = with(&world, &services.sections(&ALL, "template = \"%{result}\"\n")).await;
    let hooks = with(&world, &program.section("")).await.hooks;
    let email: toml::Table = toml::from_str(&mails.section()).unwrap();
    let email = email["notifications"]["email"].clone().try_into().unwrap();
    let notifier = Notifier { hooks, mailer: Some(Mailer::new(&email).unwrap()), ..notifier };

    let changes = async || -> i64 {
        let count = "select count(*) from build_change where job_id = $1";
        sqlx::query_scalar(count).bind(JOB).fetch_one(&world.db).await.unwrap()
    };
    let before = changes().await;
    pass(&world).await;
    assert!(changes().await >= before + 3, "the stream of events has them, too");
    // Those of ends of the build are not of interest here.
    sqlx::query("delete from notification where job_id is null").execute(&world.db).await.unwrap();
    send(&notifier).await;
    let page = "http://ci.example.org/acme/styles/builds/12/jobs/4";
    for service in ALL {
        let got = services.got(service);
        assert_eq!(got.len(), 1, "{service}: {got:?}");
        let said = got[0].to_string().replace('\\', "");
        assert!(said.contains("… acme/styles #12.4 waits for approval") && said.contains(page), "{service}: {said}");
        assert!(said.contains("The people of production decide: anna, user:ben"), "{service}: {said}");
        assert!(said.contains("Hugging Face acme/ink") && said.contains("GitHub release of acme/styles"), "{said}");
        assert!(said.contains("branch main") && said.contains("by Ada: Ink"), "{said}");
    }
    let mail = mails.wait_for(1).await[0]["content"].as_str().unwrap().replace("=\r\n", "");
    assert!(mail.contains("Subject: Waits for approval: acme/styles#12.4 (main - 0000000)"), "{mail}");
    assert!(mail.contains("The people of production decide: anna, user:ben") && mail.contains(page), "{mail}");
    let asked: Vec<Value> = receiver.got().iter().map(|webhook| webhook.json()).collect();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    let told = &asked["publication"];
    assert_eq!([&told["event"], &told["job"], &told["url"]], ["approval", "12.4", page]);
    assert_eq!((&asked["number"], &told["environment"]), (&json!("12"), &json!("production")));
    assert_eq!(told["approvers"], json!(["anna", "user:ben"]));
    let event: Value = serde_json::from_str(&program.got()[0].1).unwrap();
    assert_eq!((program.got().len(), &event["type"]), (1, &json!("publication.approval")));
    let places = event["data"]["publication"]["places"].as_array().unwrap();
    let states: Vec<_> = places.iter().map(|place| (place["place"].as_str(), place["state"].as_str())).collect();
    let unapproved = ["huggingface", "release", "s3"].map(|place| (Some(place), Some("unapproved")));
    assert_eq!(states, unapproved);

    decide(&world, Decision::Approve).await;
    send(&notifier).await;
    finish(&world).await;
    send(&notifier).await;
    let hub = format!("{}/acme/ink/tree/build-12", world.hub.endpoint());
    for service in ALL {
        let got = services.got(service);
        assert_eq!(got.len(), 2, "{service}: {got:?}");
        let said = got[1].to_string().replace('\\', "");
        assert!(said.contains("✔ acme/styles #12.4 is published") && said.contains(&hub), "{service}: {said}");
        assert!(said.contains(&format!("s3://{BUCKET}/models/4/12")), "{service}: {said}");
    }
    let mail = mails.wait_for(2).await[1]["content"].as_str().unwrap().replace("=\r\n", "");
    assert!(mail.contains("Subject: Published: acme/styles#12.4") && mail.contains(&hub), "{mail}");
    let event: Value = serde_json::from_str(&program.got()[1].1).unwrap();
    assert_eq!((program.got().len(), &event["type"]), (2, &json!("publication.published")));
    assert_eq!(receiver.got().len(), 2, "a receiver that was written for Travis is told of nothing else");
    send(&notifier).await;
    assert!(ALL.iter().all(|service| services.got(service).len() == 2));
}

#[tokio::test]
async fn a_failure_is_told_once_all_places_have_ended_with_what_became_of_each() {
    let services = ChatServices::start().await;
    let world = telling(&["slack", "discord", "teams"], json!({"receivers": [], "config": {}})).await;
    let section = format!(
        "{}{}{}",
        services.sections(&["slack"], ""),
        services.section_of("discord", "on_failure = \"never\"\n"),
        services.section_of("teams", "on_failure = \"never\"\non_publish = \"always\"\n"),
    );
    let notifier = with(&world, &section).await;
    let mut order = publish();
    order["huggingface"] = json!("mallory/ink");
    order["release"] = json!(true);
    world.pass(4, &usual(), order).await;
    assert_eq!(events(&world.db).await, [], "nobody has to approve it");
    finish(&world).await;
    assert_eq!(events(&world.db).await, [("failed".to_owned(), 3)]);
    sqlx::query("delete from notification where job_id is null").execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!(["slack", "discord", "teams"].map(|service| services.got(service).len()), [1, 0, 1]);
    let said = services.got("slack")[0].to_string();
    assert!(said.contains("✘ acme/styles #12.4 is not published everywhere"), "{said}");
    assert!(said.contains("Hugging Face mallory/ink: ") && said.contains("|GitHub release of acme/styles>"), "{said}");
    // Published again, it ends again.
    publications::retry(&mut world.db.acquire().await.unwrap(), JOB, None).await.unwrap();
    finish(&world).await;
    send(&notifier).await;
    assert_eq!(services.got("slack").len(), 2);
}

#[tokio::test]
async fn an_event_that_is_over_is_not_told_and_a_new_one_is() {
    let services = ChatServices::start().await;
    let world = telling(&["slack"], json!({"receivers": [], "config": {}})).await;
    let notifier = with(&world, &services.sections(&["slack"], "")).await;
    pass(&world).await;
    decide(&world, Decision::Reject).await;
    sqlx::query("delete from notification where job_id is null").execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!((services.got("slack").len(), events(&world.db).await), (0, vec![]), "somebody has decided already");
    publications::retry(&mut world.db.acquire().await.unwrap(), JOB, None).await.unwrap();
    assert_eq!(events(&world.db).await, [("approval".to_owned(), 1)]);
    send(&notifier).await;
    assert!(services.got("slack")[0].to_string().contains("waits for approval"));
    // The weights of another attempt are others.
    let again = "update publication set attempt = 2 where job_id = $1";
    sqlx::query(again).bind(JOB).execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!(services.got("slack").len(), 2);
    // Neither a try nor a hold is an event.
    sqlx::query("update publication set held_until = now(), tries = 1").execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!(services.got("slack").len(), 2);
}

#[tokio::test]
async fn a_message_follows_the_settings_of_its_receiver() {
    for (when, told) in [
        (json!({}), 2),
        (json!({"on_publish": "never"}), 0),
        (json!({"on_success": "never"}), 1),
        (json!({"on_success": "never", "on_publish": "always"}), 2),
        (json!({"on_success": "change"}), 2),
    ] {
        let server = FaultyServer::start().await;
        let email = format!(
            "host = '127.0.0.1'\nport = {}\ntls = 'none'\nfrom = 'ci@example.org'\ndomains = ['example.org']\n",
            server.port
        );
        let world = telling(&[], recipients(&when)).await;
        let mailer = Some(Mailer::new(&toml::from_str(&email).unwrap()).unwrap());
        let notifier = Notifier { mailer, ..notifier(&world.db).await };
        pass(&world).await;
        sqlx::query("delete from notification where job_id is null").execute(&world.db).await.unwrap();
        send(&notifier).await;
        decide(&world, Decision::Approve).await;
        finish(&world).await;
        send(&notifier).await;
        let sent = "select count(*) from notification where outcome = 'sent'";
        let sent: i64 = sqlx::query_scalar(sent).fetch_one(&world.db).await.unwrap();
        assert_eq!(sent, told, "{when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_that_end_at_the_same_time_are_told_once() {
    let world = telling(&["slack"], json!({"receivers": [], "config": {}})).await;
    pass(&world).await;
    decide(&world, Decision::Approve).await;
    let mut first = world.db.begin().await.unwrap();
    let end = |place: &'static str| {
        sqlx::query(
            "update publication set state = 'published', done_at = now(), url = 'https://hub.example/x', commit_id = 'x'
             where job_id = $1 and place::text = $2",
        )
        .bind(JOB)
        .bind(place)
    };
    end("huggingface").execute(&mut *first).await.unwrap();
    let db = world.db.clone();
    let others = async move {
        end("release").execute(&db).await.unwrap();
        end("s3").execute(&db).await.unwrap();
    };
    let both = async {
        // Long enough for the others to wait for the end of this one.
        tokio::time::sleep(Duration::from_millis(300)).await;
        first.commit().await.unwrap();
    };
    tokio::join!(others, both);
    assert_eq!(events(&world.db).await, [("approval".to_owned(), 1), ("published".to_owned(), 1)]);
}
