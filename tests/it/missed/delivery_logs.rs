//! GitHub's logs of deliveries: what has failed there is asked for again.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use sqlx::PgPool;
use trainyard::github::Client;
use trainyard::intake::{DeliveryLogs, HiddenHooks, Said};

use crate::github::openapi;
use crate::support::app::App;
use crate::support::database;
use crate::support::github::{GitHub, SECRET};
use crate::support::payload::{self, Delivery};

const STYLES: &str = "acme/styles";
const PUBLIC: &str = "https://ci.example";
const HOUR: Duration = Duration::from_secs(3600);

/// A service with one build of the repository, and what reads the logs for it.
struct World {
    app: App,
    push: Value,
}

impl World {
    async fn new(change: impl Fn(&GitHub) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let git = github.repo(STYLES);
        git.write(".travis.yml", "language: shell\nscript: true\n");
        let sha = git.commit("Begin");
        github.app.install(&[STYLES]);
        let change = change(&github);
        let app = App::start_in(folder, github, &change).await;
        let push = payload::push(&app.github, &git, "main");
        assert_eq!(Delivery::new("first", "push", &push).post(&app.base).await.0, 202);
        app.github.wait_for_end(&sha, "trainyard/push").await;
        let push = payload::pushed(&app.github, &git, "main");
        Self { app, push }
    }

    /// Returns a client of GitHub as the service has one.
    fn client(&self) -> Client {
        let text = std::fs::read_to_string(self.app.folder.path().join("config.toml")).unwrap();
        let github = text.parse::<toml::Table>().unwrap().remove("github").unwrap();
        Client::new(&github.try_into().unwrap()).unwrap()
    }

    fn logs(&self, client: Client) -> DeliveryLogs {
        let public_url = PUBLIC.parse().unwrap();
        let hidden = HiddenHooks::default();
        DeliveryLogs { db: self.app.db.clone(), github: client, public_url, said: Said::default(), hidden }
    }

    /// Records failures of an outage in a log: of a delivery that never came, of an old one, and of one that came later.
    fn outage(&self, log: &str) {
        let ago = |minutes: i64| Utc::now() - TimeDelta::minutes(minutes);
        let hooks = &self.app.github.hooks;
        let of = |id: &str| Delivery::new(id, "push", &self.push);
        hooks.record(log, of("too-old"), 502, ago(4 * 24 * 60));
        hooks.record(log, Delivery::new("first", "push", &self.push), 0, ago(90));
        hooks.record(log, of("missed"), 503, ago(60));
        hooks.record(log, of("arrived"), 202, ago(55));
        hooks.record(log, of("missed"), 0, ago(50));
        for n in 0..120 {
            hooks.record(log, of("first"), 502, ago(40 - n / 10));
        }
        let ping = serde_json::json!({"zen": "Keep it logically awesome."});
        hooks.record(log, Delivery::signed(SECRET, "missed-ping", "ping", &ping), 502, ago(5));
    }
}

async fn is_stored(db: &PgPool, id: &str) -> bool {
    sqlx::query_scalar("select exists (select from delivery where id = $1)").bind(id).fetch_one(db).await.unwrap()
}

fn check_requests(github: &GitHub) {
    let api = openapi::description();
    for (method, path, body) in github.hooks.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path}");
    }
}

#[tokio::test]
async fn failed_deliveries_of_the_app_are_asked_for_once() {
    let world = World::new(GitHub::app_settings).await;
    let github = &world.app.github;
    let logs = world.logs(world.client());
    // The webhook leads to another service at first.
    github.hooks.set("", "https://other.example/webhooks/github", &world.app.base);
    world.outage("");
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR));
    github.hooks.set("", &format!("{PUBLIC}/webhooks/github"), &world.app.base);
    assert_eq!(logs.read_all().await.unwrap(), (2, HOUR));
    assert_eq!(github.hooks.asked(), ["missed", "missed-ping"], "the oldest first, and what came is left alone");
    assert!(is_stored(&world.app.db, "missed").await && is_stored(&world.app.db, "missed-ping").await);
    assert!(!is_stored(&world.app.db, "too-old").await);
    assert!(world.app.outcome("missed").await.starts_with("acme/styles#"));
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR), "nothing is missing now");
    // One that fails again is not asked for a second time.
    github.hooks.set("", &format!("{PUBLIC}/webhooks/github"), "http://127.0.0.1:9");
    github.hooks.record("", Delivery::new("lost", "push", &world.push), 503, Utc::now());
    assert_eq!(logs.read_all().await.unwrap(), (1, HOUR));
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR));
    assert_eq!(github.hooks.asked(), ["missed", "missed-ping", "lost"]);
    check_requests(github);
    world.app.stop().await;
}

#[tokio::test]
async fn failed_deliveries_of_a_repositorys_webhook_are_asked_for_where_the_token_may() {
    let world = World::new(|_| String::new()).await;
    let github = &world.app.github;
    let logs = world.logs(world.client());
    github.hooks.set(STYLES, &format!("{PUBLIC}/webhooks/github/acme"), &world.app.base);
    world.outage(STYLES);
    github.hooks.hide(true);
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR), "without the right it goes on");
    github.hooks.hide(false);
    assert_eq!(logs.read_all().await.unwrap(), (2, HOUR));
    assert_eq!(github.hooks.asked(), ["missed", "missed-ping"]);
    assert!(is_stored(&world.app.db, "missed").await);
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR));
    check_requests(github);
    world.app.stop().await;
}

#[tokio::test]
async fn failed_deliveries_of_an_organizations_webhook_are_asked_for_where_the_token_may() {
    let world = World::new(|_| String::new()).await;
    let github = &world.app.github;
    let logs = world.logs(world.client());
    // The repository has no webhook of its own, and the organization a second one of another service.
    github.hooks.set("acme", &format!("{PUBLIC}/webhooks/github/acme"), &world.app.base);
    world.outage("acme");
    assert_eq!(logs.read_all().await.unwrap(), (2, HOUR));
    assert_eq!(github.hooks.asked(), ["missed", "missed-ping"]);
    assert!(is_stored(&world.app.db, "missed").await);
    assert!(world.app.outcome("missed").await.starts_with("acme/styles#"));
    assert_eq!(logs.read_all().await.unwrap(), (0, HOUR), "nothing is missing now");
    check_requests(github);
    world.app.stop().await;
}

#[tokio::test]
async fn the_webhooks_of_an_organization_that_github_does_not_show_are_asked_for_rarely() {
    for code in [404, 403] {
        let world = World::new(|_| String::new()).await;
        let github = &world.app.github;
        github.hooks.hide_organizations(Some(code));
        github.hooks.set(STYLES, &format!("{PUBLIC}/webhooks/github"), &world.app.base);
        world.outage(STYLES);
        let logs = world.logs(world.client());
        let count = || github.hooks.requests().iter().filter(|it| it.1 == "/orgs/acme/hooks").count();
        let before = count();
        assert_eq!(logs.read_all().await.unwrap(), (2, HOUR), "those of the repository are read all the same");
        for _ in 0..3 {
            assert_eq!(logs.read_all().await.unwrap(), (0, HOUR));
        }
        assert_eq!(count() - before, 1, "{code}");
        check_requests(github);
        world.app.stop().await;
    }
}

#[tokio::test]
async fn a_delivery_of_an_outage_comes_after_the_next_start() {
    let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
    let github = GitHub::start(folder.path().join("github")).await;
    let git = github.repo(STYLES);
    git.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = git.commit("Begin");
    github.app.install(&[STYLES]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = format!("http://127.0.0.1:{port}");
    github.hooks.set("", &format!("{base}/webhooks/github"), &base);
    // The very first delivery of a repository: no check of its heads can find it.
    let push = Delivery::new("missed", "push", &payload::push(&github, &git, "main"));
    github.hooks.record("", push, 502, Utc::now());
    let address = format!("[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"{base}\"\n");
    let change = format!("{}{address}", github.app_settings());
    let app = App::start_on(tempfile::tempdir().unwrap(), github.clone(), &url, &url, &change).await;
    assert_eq!(github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    assert_eq!(app.outcome("missed").await, "acme/styles#1");
    app.stop().await;
}
