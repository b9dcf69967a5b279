//! A whole service in the test's own process, on its own database and a free port.

use std::path::{Path, PathBuf};

use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainyard::app::App as Service;
use trainyard::config::Config;
use trainyard::planner::Planner;

use super::database;
use super::github::{GitHub, SECRET, TOKEN};

/// Image of shell jobs in tests.
pub const IMAGE: &str = "trainyard/minimal:bookworm";

/// Jobs that still run at the end of a test leave no container behind.
const CANCEL_ON_STOP: &str = "[server]\ncancel_on_stop = true\n";

pub struct App {
    pub base: String,
    pub db: PgPool,
    pub github: GitHub,
    pub folder: tempfile::TempDir,
    config: Config,
    shutdown: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
}

/// Returns the configuration of a service in `data` that talks to `github`, as the text of its file.
pub fn configuration(data: &Path, database: Option<&str>, github: &GitHub) -> String {
    let database = database.map(|url| format!("url = {url:?}\n")).unwrap_or_default();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = {data:?}\n\
         [database]\n{database}\n\
         [github]\napi_url = \"{}\"\ntoken = \"{TOKEN}\"\nwebhook_secret = \"{SECRET}\"\ntimeout = \"2s\"\n\
         statuses_per_minute = 0\nstatuses_per_hour = 0\n\
         [images]\ngeneric = \"{IMAGE}\"\n\
         [forks]\npolicy = \"run\"\n\
         [limits]\ngrace = \"1s\"\n\
         [storage]\nleast_free = \"1 GiB\"\n\
         [[runner]]\nready = 0\n",
        github.api_url()
    )
}

/// Returns the built program: tests and examples are built next to it.
pub fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("trainyard")
}

impl App {
    /// Starts a service with the usual configuration, changed by `change` (more TOML).
    pub async fn start(change: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        Self::start_in(folder, github, change).await
    }

    pub async fn start_in(folder: tempfile::TempDir, github: GitHub, change: &str) -> Self {
        let url = database::url().await;
        Self::start_on(folder, github, &url, &url, change).await
    }

    /// Starts a service on the database `url`, which it reaches at `from_service`.
    pub async fn start_on(
        folder: tempfile::TempDir,
        github: GitHub,
        url: &str,
        from_service: &str,
        change: &str,
    ) -> Self {
        // The test runner shows the messages when the test fails.
        let filter = "trainyard=debug,warn".to_owned();
        trainyard::telemetry::start(&trainyard::telemetry::TelemetryConfig { filter, ..Default::default() }).unwrap();
        let data = folder.path().join("data");
        let text = merged(&configuration(&data, Some(from_service), &github), CANCEL_ON_STOP);
        let text = merged(&text, change);
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), std::iter::empty()).unwrap();
        let service = Service::bind(config.clone(), Planner::new(program())).await.unwrap();
        let base = format!("http://{}", service.address().unwrap());
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "joined in stop()")]
        let serving = tokio::spawn(service.serve(shutdown.clone()));
        let db = PgPool::connect(url).await.unwrap();
        Self { base, db, github, folder, config, shutdown, serving }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Stops the service as Ctrl-C does. Panics when it did not end well, has stored a credential anywhere, or has used
    /// an App's token for another repository.
    pub async fn stop(self) {
        let (leaks, misused) = (self.leaks().await, self.github.app.misused());
        self.stop_with_leaks().await;
        assert!(misused.is_empty(), "{misused:?}");
        assert!(leaks.is_empty(), "{leaks:?}");
    }

    /// Returns the credentials that the service has stored, with their places.
    pub async fn leaks(&self) -> Vec<String> {
        database::leaks(&self.db, &self.config).await
    }

    /// Stops the service of a test that has put a credential somewhere.
    pub async fn stop_with_leaks(mut self) {
        self.shutdown.cancel();
        (&mut self.serving).await.unwrap().unwrap();
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.base)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Returns what became of a delivery. The pauses between its tries are skipped.
    pub async fn outcome(&self, delivery: &str) -> String {
        for _ in 0..1200 {
            let outcome: Option<String> = sqlx::query_scalar("select outcome from delivery where id = $1")
                .bind(delivery)
                .fetch_one(&self.db)
                .await
                .unwrap();
            if let Some(outcome) = outcome {
                return outcome;
            }
            // A delivery that waits for its next try is due within a minute; one that is being tried is not.
            sqlx::query(
                "update delivery set tries = 5, not_before = now()
                 where done_at is null and tries > 0 and not_before between now() and now() + interval '1 minute'",
            )
            .execute(&self.db)
            .await
            .unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the delivery {delivery} is not dealt with");
    }

    /// Returns the stored log of a job's last attempt.
    pub async fn log(&self, job: i64) -> Vec<u8> {
        let job = trainyard::domain::JobId(job);
        let attempt = trainyard::domain::AttemptId {
            job,
            number: sqlx::query_scalar("select attempt from job where id = $1")
                .bind(job)
                .fetch_one(&self.db)
                .await
                .unwrap(),
        };
        trainyard::store::output::logs::read(&self.db, attempt, 0, usize::MAX).await.unwrap().bytes
    }
}

impl Drop for App {
    /// Panics when a test that passed has not stopped its service: then jobs may still run, and nobody has looked for
    /// leaks.
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.serving.is_finished(), "the test must end with App::stop");
    }
}

/// Returns `base` with single keys replaced by the sections of `change`.
pub fn merged(base: &str, change: &str) -> String {
    let mut base: toml::Table = toml::from_str(base).unwrap();
    for (section, value) in toml::from_str::<toml::Table>(change).unwrap() {
        match (base.get_mut(&section), value) {
            // An empty section stands for its defaults.
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if new.is_empty() => old.clear(),
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => old.extend(new),
            // Each new runner has the values of the old one, except for those that it sets itself.
            (Some(toml::Value::Array(old)), toml::Value::Array(new)) => {
                let base = old[0].as_table().unwrap().clone();
                let changed = |new: toml::Value| base.clone().into_iter().chain(new.as_table().unwrap().clone());
                *old = new.into_iter().map(|new| toml::Value::Table(changed(new).collect())).collect();
            }
            (_, value) => drop(base.insert(section, value)),
        }
    }
    toml::to_string(&base).unwrap()
}
