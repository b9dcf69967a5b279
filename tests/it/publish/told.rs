//! Messages about publications, to all kinds of receivers: what waits for whom, and how it has ended.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
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
/// The job's page.
const PAGE: &str = "http://ci.example.org/acme/styles/builds/12/jobs/4";

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

/// Receivers of each kind.
struct Receivers {
    services: ChatServices,
    program: Program,
    /// A receiver of webhooks in the form of Travis, at two addresses. One of these asks for publications.
    receiver: Receiver,
    mails: MailServer,
    _folder: TempDir,
}

impl Receivers {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            services: ChatServices::start().await,
            program: Program::start().await,
            receiver: Receiver::start().await,
            mails: MailServer::start(folder.path()),
            _folder: folder,
        }
    }

    /// Returns a world whose build tells all of them, with the notifier for that.
    async fn world(&self) -> (World, Notifier) {
        let mut webhooks = recipients(&json!({}));
        webhooks["receivers"] = json!([
            {"url": self.receiver.url("travis"), "when": {}},
            {"url": self.receiver.url("asks"), "when": {"on_publish": "always"}},
        ]);
        let world = telling(&[&ALL[..], &["webhook:deploy"][..]].concat(), webhooks).await;
        let notifier = with(&world, &self.services.sections(&ALL, "template = \"%{result}\"\n")).await;
        let hooks = with(&world, &self.program.section("")).await.hooks;
        let email: toml::Table = toml::from_str(&self.mails.section()).unwrap();
        let email = email["notifications"]["email"].clone().try_into().unwrap();
        (world, Notifier { hooks, mailer: Some(Mailer::new(&email).unwrap()), ..notifier })
    }

    /// Lists the last messages of the chats, each with the name of its service, once each has this number of them.
    fn said(&self, count: usize) -> Vec<(&'static str, String)> {
        let said = ALL.iter().map(|service| {
            let got = self.services.got(service);
            assert_eq!(got.len(), count, "{service}: {got:?}");
            (*service, got[count - 1].to_string().replace('\\', ""))
        });
        said.collect()
    }

    /// Returns the last mail, once there is this number of them.
    async fn mail(&self, count: usize) -> String {
        self.mails.wait_for(count).await[count - 1]["content"].as_str().unwrap().replace("=\r\n", "")
    }

    /// Returns the last event that the program got, if it got this number of them.
    fn event(&self, count: usize) -> Value {
        let got = self.program.got();
        assert_eq!(got.len(), count, "{got:?}");
        serde_json::from_str(&got[count - 1].1).unwrap()
    }
}

#[tokio::test]
async fn every_kind_of_receiver_is_asked_once_for_an_approval_and_told_once_of_the_end() {
    let receivers = Receivers::start().await;
    let (world, notifier) = receivers.world().await;

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
    for (service, said) in receivers.said(1) {
        assert!(said.contains("… acme/styles #12.4 waits for approval") && said.contains(PAGE), "{service}: {said}");
        assert!(said.contains("The people of production decide: anna, user:ben"), "{service}: {said}");
        assert!(said.contains("Hugging Face acme/ink") && said.contains("GitHub release of acme/styles"), "{said}");
        assert!(said.contains("branch main") && said.contains("by Ada: Ink"), "{said}");
    }
    let mail = receivers.mail(1).await;
    assert!(mail.contains("Subject: Waits for approval: acme/styles#12.4 (main - 0000000)"), "{mail}");
    assert!(mail.contains("The people of production decide: anna, user:ben") && mail.contains(PAGE), "{mail}");
    let asked: Vec<Value> = receivers.receiver.got().iter().map(|webhook| webhook.json()).collect();
    let [asked] = &asked[..] else { panic!("{asked:?}") };
    let told = &asked["publication"];
    assert_eq!([&told["event"], &told["job"], &told["url"]], ["approval", "12.4", PAGE]);
    assert_eq!((&asked["number"], &told["environment"]), (&json!("12"), &json!("production")));
    assert_eq!(told["approvers"], json!(["anna", "user:ben"]));
    let event = receivers.event(1);
    assert_eq!(event["type"], "publication.approval");
    let places = event["data"]["publication"]["places"].as_array().unwrap();
    let states: Vec<_> = places.iter().map(|place| (place["place"].as_str(), place["state"].as_str())).collect();
    let unapproved = ["huggingface", "release", "s3"].map(|place| (Some(place), Some("unapproved")));
    assert_eq!(states, unapproved);

    decide(&world, Decision::Approve).await;
    send(&notifier).await;
    finish(&world).await;
    send(&notifier).await;
    let hub = format!("{}/acme/ink/tree/build-12", world.hub.endpoint());
    for (service, said) in receivers.said(2) {
        assert!(said.contains("✔ acme/styles #12.4 is published") && said.contains(&hub), "{service}: {said}");
        assert!(said.contains(&format!("s3://{BUCKET}/models/4/12")), "{service}: {said}");
    }
    let mail = receivers.mail(2).await;
    assert!(mail.contains("Subject: Published: acme/styles#12.4") && mail.contains(&hub), "{mail}");
    assert_eq!(receivers.event(2)["type"], "publication.published");
    assert_eq!(receivers.receiver.got().len(), 2, "a receiver that was written for Travis is told of nothing else");
    send(&notifier).await;
    receivers.said(2);
}

#[tokio::test]
async fn every_kind_of_receiver_is_told_once_who_has_rejected() {
    let receivers = Receivers::start().await;
    let (world, notifier) = receivers.world().await;
    pass(&world).await;
    sqlx::query("delete from notification").execute(&world.db).await.unwrap();
    decide(&world, Decision::Reject).await;
    send(&notifier).await;
    for (service, said) in receivers.said(1) {
        assert!(said.contains("✘ acme/styles #12.4 was rejected") && said.contains(PAGE), "{service}: {said}");
        for place in ["Hugging Face acme/ink", "GitHub release of acme/styles"] {
            assert!(said.contains(&format!("{place}: rejected by anna")), "{service}: {said}");
        }
    }
    let mail = receivers.mail(1).await;
    assert!(mail.contains("Subject: Rejected: acme/styles#12.4 (main - 0000000)"), "{mail}");
    assert!(mail.contains("Hugging Face acme/ink: rejected by anna") && mail.contains(PAGE), "{mail}");
    let told: Vec<Value> = receivers.receiver.got().iter().map(|webhook| webhook.json()).collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    let (told, event) = (&told["publication"], receivers.event(1));
    assert_eq!((&told["event"], &told["environment"]), (&json!("rejected"), &json!("production")));
    assert_eq!((&event["type"], &event["data"]["publication"]), (&json!("publication.rejected"), told));
    let places = told["places"].as_array().unwrap();
    assert_eq!(places.len(), 3);
    assert!(places.iter().all(|it| it["state"] == "rejected" && it["decided_by"] == "anna"), "{places:?}");
    send(&notifier).await;
    receivers.said(1);
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
    let got = services.got("slack");
    assert!(got.len() == 1 && got[0].to_string().contains("was rejected"), "somebody has decided already: {got:?}");
    let retry = async || publications::retry(&mut world.db.acquire().await.unwrap(), JOB, None).await.unwrap();
    retry().await;
    send(&notifier).await;
    assert!(services.got("slack")[1].to_string().contains("waits for approval"));
    // This rejection is over before it is told.
    decide(&world, Decision::Reject).await;
    retry().await;
    assert_eq!(events(&world.db).await.last(), Some(&("rejected".to_owned(), 2)));
    send(&notifier).await;
    let got = services.got("slack");
    assert!(got.len() == 3 && got[2].to_string().contains("waits for approval"), "{got:?}");
    // The weights of another attempt are others.
    let again = "update publication set attempt = 2 where job_id = $1";
    sqlx::query(again).bind(JOB).execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!(services.got("slack").len(), 4);
    // Neither a try nor a hold is an event.
    sqlx::query("update publication set held_until = now(), tries = 1").execute(&world.db).await.unwrap();
    send(&notifier).await;
    assert_eq!(services.got("slack").len(), 4);
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
