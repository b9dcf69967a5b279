//! Rows in Postgres. This module is the only writer: free functions on a connection, one file for each table.
//!
//! Unless a function says otherwise, its only error is that Postgres did not answer.
//!
//! **Invariant:** `queue` is the only code that changes a job's state, and each such change happens in a transaction
//! that also rolls the build up and wishes its status.

pub mod alerts;
pub mod api;
pub mod builds;
pub mod checks;
pub mod crons;
pub mod delays;
pub mod deliveries;
pub mod missed;
pub mod inputs;
pub mod notifications;
pub mod output;
pub mod people;
pub mod postgres;
pub mod problems;
pub mod publications;
pub mod pulls;
pub mod queue;
pub mod removal;
pub mod replays;
pub mod repos;
pub mod requests;
pub mod runner;
pub mod sealed;
pub mod wakeup;
pub mod wishes;

use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, migrate::Migrator};

/// History of the schema, compiled into the program.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// Time since its last use for which a connection counts as alive. Postgres takes longer to restart.
const FRESH: Duration = Duration::from_secs(1);

/// `[database]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://…`, or `None` for a private cluster in the data folder.
    pub url: Option<SecretString>,
    /// Number of connections that this process may hold for its steps, 8 to 1000.
    pub connections: u32,
    /// Time from which a statement is logged, without its values; zero for none.
    #[serde(with = "humantime_serde")]
    pub slow_statement: Duration,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, connections: 16, slow_statement: Duration::from_secs(1) }
    }
}

impl DatabaseConfig {
    /// Returns the options of the configured server, or `None` when Trainyard runs its own.
    ///
    /// # Errors
    /// Fails when `url` is not a Postgres URL.
    pub fn options(&self) -> anyhow::Result<Option<PgConnectOptions>> {
        let Some(url) = &self.url else { return Ok(None) };
        let options = url.expose_secret().parse().context(
            "database.url is not a Postgres URL; it should read like postgres://user:password@host:5432/trainyard",
        )?;
        Ok(Some(options))
    }

    /// Returns pools that connect when they are first used, so that the service starts even while Postgres is
    /// unreachable.
    pub fn pools(&self, options: PgConnectOptions) -> Pools {
        let options = options.application_name("trainyard");
        // The names of levels are those of another crate.
        let level = if self.slow_statement.is_zero() { "off" } else { "warn" };
        let options = match level.parse() {
            Ok(level) => options.log_slow_statements(level, self.slow_statement),
            Err(_) => options,
        };
        let jobs = pool(JOB_CONNECTIONS).after_connect(|connection, _| {
            Box::pin(async move { sqlx::query(JOB_PLANS).execute(connection).await.map(drop) })
        });
        let pages = pool(PAGE_CONNECTIONS).after_connect(|connection, _| {
            Box::pin(async move { sqlx::query(PAGE_LIMIT).execute(connection).await.map(drop) })
        });
        Pools {
            steps: pool(self.connections).connect_lazy_with(options.clone()),
            jobs: jobs.connect_lazy_with(options.clone()),
            pages: pages.connect_lazy_with(options),
        }
    }

    /// Returns the number of connections that a process may hold in all.
    pub fn most_connections(&self) -> u32 {
        self.connections + JOB_CONNECTIONS + PAGE_CONNECTIONS + TOUCH_CONNECTIONS
    }
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        // A ping before each use would cost a short statement as much time again.
        .test_before_acquire(false)
        .before_acquire(|connection, facts| {
            Box::pin(async move {
                if facts.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// Connections for running jobs. Their leases end when they cannot be extended for some seconds.
const JOB_CONNECTIONS: u32 = 8;
/// Connections for pages.
const PAGE_CONNECTIONS: u32 = 8;
/// Connections outside of pools: the locks of the runners, and the bells of other processes.
const TOUCH_CONNECTIONS: u32 = 3;
/// Plans for the statements of jobs: one plan suits all parameters. Postgres would plan each claim anew while its estimates
/// of small tables are wrong, which takes longer than the claim.
const JOB_PLANS: &str = "set plan_cache_mode = 'force_generic_plan'";
/// Time limit for a statement of a page. No page has to read so much.
const PAGE_LIMIT: &str = "set statement_timeout = '10s'";

/// The connections of a process, in pools that cannot starve each other: readers of pages, who may be anyone, take none
/// from the jobs.
#[derive(Debug, Clone)]
pub struct Pools {
    /// For deliveries, intake, outbox and janitor.
    pub steps: PgPool,
    /// For workers: claims, leases, logs and verdicts.
    pub jobs: PgPool,
    /// For pages.
    pub pages: PgPool,
}

impl Pools {
    /// Closes all connections, after their last use.
    pub async fn close(&self) {
        tokio::join!(self.steps.close(), self.jobs.close(), self.pages.close());
    }
}

/// Returns the id of the installation that this database belongs to. Containers carry it as a label.
pub async fn instance(db: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("select id::text from instance").fetch_one(db).await
}
