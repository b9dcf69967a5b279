//! The service under fault: the built program on its own Postgres, with stand-ins around it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::app::{configuration, merged};
use crate::support::github::GitHub;
use crate::support::service::Service;

/// Slots of the runner: limits that must hold whatever happens.
pub const SLOTS: i64 = 3;

pub struct Yard {
    pub github: GitHub,
    folder: tempfile::TempDir,
    service: Option<Service>,
}

impl Yard {
    pub async fn start() -> Self {
        // Open to the unprivileged user that Postgres runs as.
        let folder = tempfile::Builder::new()
            .prefix("trainyard-faults-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let config = configuration(&folder.path().join("data"), None, &github);
        let runner = format!("[[runner]]\nname = \"local\"\nslots = {SLOTS}\nready = 2\n");
        std::fs::write(folder.path().join("config.toml"), merged(&config, &runner)).unwrap();
        let mut yard = Self { github, folder, service: None };
        yard.start_service();
        yard
    }

    pub fn start_service(&mut self) {
        let here = std::env::current_exe().unwrap();
        let program = here.parent().and_then(Path::parent).unwrap().join("trainyard");
        self.service = Some(Service::start(&program, &self.folder.path().join("config.toml")));
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where the service listens, if it runs.
    pub fn base(&self) -> Option<&str> {
        self.service.as_ref().map(|service| service.base.as_str())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(service) = self.service.take() {
            service.kill();
        }
    }

    /// Ctrl-C, and what comes of it.
    pub fn interrupt(&mut self) {
        if let Some(service) = self.service.take() {
            assert_eq!(service.interrupt(), Some(0), "the service did not stop well");
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(service) = &self.service {
            kill_process(Pid::from_raw(service.child.id().cast_signed()).unwrap(), signal).unwrap();
        }
    }

    /// kill -9 of its Postgres, all of it: the server's processes end when the first one is gone.
    pub fn kill_postgres(&self) {
        let file = self.folder.path().join("data/postgres/postmaster.pid");
        let pid = std::fs::read_to_string(file).ok().and_then(|text| text.lines().next()?.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // Gone already when the last fault was one like this.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// A connection to its Postgres, once that answers.
    pub async fn db(&self) -> PgPool {
        let options =
            PgConnectOptions::new_without_pgpass().socket(self.sockets()).username("trainyard").database("trainyard");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
            match pool.connect_with(options.clone()).await {
                Ok(pool) => return pool,
                Err(error) => assert!(Instant::now() < deadline, "Postgres does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn sockets(&self) -> PathBuf {
        self.folder.path().join("data/sockets")
    }

    /// Ends every fault that lasts.
    pub fn heal(&mut self) {
        self.github.clear_faults();
        self.github.git.fail_next(0);
        if self.service.is_none() {
            self.start_service();
        }
    }

    pub fn last_words(&self) -> String {
        let said = self.service.as_ref().map(Service::said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn stop(mut self) {
        self.interrupt();
    }
}
