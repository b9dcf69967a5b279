//! The web side of a service without the rest of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trainyard::domain::{BuildId, JobKind, Problem, RepoId, Requirements, Scope, Trigger, TriggerKind, Verdict};
use trainyard::github::{Client, GitHubConfig};
use trainyard::outbox::ChartLinks;
use trainyard::permits::PublishConfig;
use trainyard::planner::Planner;
use trainyard::registration::Stored;
use trainyard::repo_keys::Seal;
use trainyard::storage::{Logs, Objects, StorageConfig};
use trainyard::store::builds::NewBuild;
use trainyard::store::deliveries::DeliveryBatcher;
use trainyard::store::output::logs;
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::NewJob;
use trainyard::store::repos::RepoFacts;
use trainyard::store::sealed::own_keys::{NotificationKey, ProvenanceKey};
use trainyard::store::sealed::repo_keys::RepoKeys;
use trainyard::store::sealed::webhook_secrets::StoredSecrets;
use trainyard::store::wakeup::bell::Bells;
use trainyard::store::{builds, queue, repos};
use trainyard::travis_ci::TravisConfig;
use trainyard::web;

/// Secret of its webhook.
pub const SECRET: &str = "It's a Secret to Everybody";

pub fn objects() -> Objects {
    let folder = std::env::temp_dir().join("trainyard-pages");
    Objects::open(&StorageConfig::default(), &folder).unwrap()
}

fn seal() -> Arc<Seal> {
    Arc::new(Seal::new(&[7; 32]).unwrap())
}

/// Returns the secrets of webhooks that are stored in this database.
pub fn stored_secrets(db: &PgPool) -> StoredSecrets {
    StoredSecrets::new(db.clone(), seal())
}

/// Returns the credentials for GitHub in this database, for a GitHub that is nowhere.
fn stored(db: &PgPool) -> Stored {
    let client = Client::new(&GitHubConfig::default()).unwrap();
    Stored::new(db, &seal(), client)
}

/// Returns the secrets of webhooks of a configuration's `[github]`.
pub fn secrets(db: &PgPool, config: &str) -> web::WebhookSecrets {
    let config: GitHubConfig = toml::from_str(config).unwrap();
    web::WebhookSecrets::new(&config, stored_secrets(db))
}

/// Returns who may see what with this `[auth]`, for a service at the loopback.
pub fn access(db: &PgPool, auth: &str) -> web::Access {
    access_through(db, auth, Client::new(&GitHubConfig::default()).unwrap(), true)
}

/// Returns who may see what with this `[auth]`, as this GitHub tells.
pub fn access_through(db: &PgPool, auth: &str, github: Client, is_loopback: bool) -> web::Access {
    web::Access::new(web::AccessParts {
        config: toml::from_str(auth).unwrap(),
        db: db.clone(),
        github,
        is_loopback,
        public_url: &"https://ci.example/".parse().unwrap(),
    })
}

pub fn state(db: &PgPool) -> web::State {
    web::State {
        db: db.clone(),
        health: web::Health::new(db.clone()),
        metrics: web::Metrics::new(db.clone()),
        deliveries: DeliveryBatcher::new(db.clone()),
        keys: RepoKeys::new(db.clone(), seal()),
        notification_key: NotificationKey::new(db.clone(), seal()),
        provenance_key: ProvenanceKey::new(db.clone(), seal()),
        logs: Logs::new(db.clone(), objects()),
        objects: objects(),
        bells: Bells::new(),
        webhook_secrets: secrets(db, &format!("webhook_secret = {SECRET:?}")),
        forges: [].into(),
        travis: web::Travis::new(&TravisConfig::default()),
        webhook_room: web::WebhookRoom::default(),
        limits: web::Limits::default(),
        charts: ChartLinks::new(seal()),
        access: access(db, ""),
        logins: web::Logins::new(seal()),
        tries: web::Tries::default(),
        planner: Planner::new(super::app::program()),
        setup: web::Setup::new(stored(db), false, None),
        queue: queue::QueueConfig::default(),
        publish: PublishConfig::default(),
        api: web::Api::default(),
        public_url: "https://ci.example/".parse().unwrap(),
        shutdown: CancellationToken::new(),
    }
}

/// Serves until the set is dropped, or until `shutdown`.
pub async fn serve(state: web::State, bounds: web::Bounds, shutdown: &CancellationToken) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(web::serve(listener, web::router(state), bounds, shutdown.clone()));
    (address, serving)
}

pub async fn repo(db: &PgPool) -> RepoId {
    repo_named(db, 1, "acme/lora-styles", false).await
}

pub async fn repo_named(db: &PgPool, github_id: i64, name: &str, private: bool) -> RepoId {
    let facts = RepoFacts {
        forge: "github".to_owned(),
        github_id,
        name: name.parse().unwrap(),
        private,
        default_branch: "main".into(),
        clone_url: format!("https://github.example/{name}.git"),
    };
    repos::upsert(&mut db.acquire().await.unwrap(), &facts).await.unwrap()
}

pub fn push(branch: &str) -> Trigger {
    Trigger {
        kind: TriggerKind::Push,
        repo: "acme/lora-styles".parse().unwrap(),
        branch: Some(branch.into()),
        tag: None,
        sha: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
        before: None,
        message: Some("Raise the rank to 32 <b>\n\nThe styles need it.".into()),
        author: Some("Ada Lovelace".into()),
        sender: Some("ada".into()),
        compare_url: Some("https://github.example/acme/lora-styles/compare/a...b".into()),
        pull_request: None,
        travis: None,
    }
}

pub fn job(kind: JobKind, stage: Option<&str>, name: &str) -> NewJob {
    NewJob {
        kind,
        stage: stage.map(Into::into),
        name: Some(name.into()),
        allow_failure: false,
        config: json!({ "language": "python", "script": ["pytest"] }),
        requirements: Requirements::default(),
    }
}

pub async fn build(db: &PgPool, repo: RepoId, trigger: &Trigger, jobs: &[NewJob], problems: &[Problem]) -> BuildId {
    let new = NewBuild {
        delivery: None,
        repo,
        trigger,
        built_sha: &trigger.sha,
        jobs,
        problems,
        decided: None,
        webhooks: None,
        chats: &[],
        fast_finish: false,
        linted: false,
        needs_approval: false,
        scope: Scope::Commit,
        lines: &[],
        cancels: None,
    };
    builds::create(&mut db.acquire().await.unwrap(), &new).await.unwrap().id
}

pub async fn claim(db: &PgPool) -> queue::Claimed {
    queue::claim(db, "host/local", Duration::from_secs(60)).await.unwrap().expect("a job waits")
}

pub async fn write(state: &web::State, job: &queue::Claimed, offset: usize, text: &str) {
    let mut connection = state.db.acquire().await.unwrap();
    let offset = i64::try_from(offset).unwrap();
    assert!(logs::append(&mut connection, job.attempt_id(), offset, text.as_bytes(), text.len()).await.unwrap());
    state.bells.ring_log(job.id);
}

pub async fn finish(state: &web::State, job: &queue::Claimed, offset: usize, verdict: Verdict, reason: Option<&str>) {
    let offset = i64::try_from(offset).unwrap();
    let exit_status = Some(i64::from(verdict != Verdict::Passed));
    let end = queue::Finish { verdict, exit_status, reason, tail: b"", offset, reports: Reports::default() };
    assert!(queue::finish(&state.db, job.attempt_id(), &end).await.unwrap());
    state.bells.ring_log(job.id);
}

pub async fn running_job(state: &web::State) -> queue::Claimed {
    let repo = repo(&state.db).await;
    build(&state.db, repo, &push("main"), &[job(JobKind::Script, None, "unit")], &[]).await;
    claim(&state.db).await
}
