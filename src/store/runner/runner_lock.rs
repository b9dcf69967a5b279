//! The runner lock: only one process serves a runner at a time, by advisory locks on a separate connection.
//!
//! Two processes on one runner would follow the same containers. A process has the locks as long as its connection
//! lives, so they are released when it dies, in whatever way.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// First half of our locks' keys, which distinguishes them from other locks in the database.
const CLASS: i32 = 0x7261_696e;
/// Time to wait for the end of another process that serves the runners: Postgres may take a moment to notice it.
const TAKE_TIMEOUT: Duration = Duration::from_secs(15);
const TAKE_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Interval of the checks of the connection.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit for an answer. After it, the connection counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// Time after which a process must have noticed that another one has its runners: it pings, waits for an answer, and
/// tries to take them.
const LOSS_NOTICED_AFTER: Duration = POLL_INTERVAL.saturating_add(PING_TIMEOUT).saturating_add(PING_TIMEOUT);

/// Another process serves a runner. The message names the runner and the machine, and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RunnerLocked(String);

/// The right to serve some runners.
#[derive(Debug)]
pub struct RunnerLock {
    options: PgConnectOptions,
    runners: Vec<String>,
    host: String,
    connection: Option<PgConnection>,
    /// Server processes of our connections since the lock was last taken: they may still hold it while they end.
    backends: BTreeSet<i32>,
}

/// Result of a try.
enum Tried {
    Ours,
    /// A backend of the server holds a runner for some process.
    Held(i32, RunnerLocked),
    /// The lock is free, but a process on another machine held it a moment ago.
    Left(String),
    /// Another process was faster.
    Missed,
}

/// State of a runner's lock in the database.
#[derive(sqlx::FromRow)]
struct Holder {
    backend: Option<i32>,
    host: Option<String>,
    is_left: bool,
}

impl RunnerLock {
    /// Takes the right to serve these runners from this machine. Waits a moment for a process that is just ending. A
    /// runner of another machine is left to that machine for a minute: its process may be restarting, or may not have
    /// noticed that Postgres restarted.
    ///
    /// # Errors
    /// Fails with [`RunnerLocked`] when another process serves one of the runners, and otherwise when Postgres does not
    /// answer.
    pub async fn take(options: PgConnectOptions, runners: Vec<String>, host: &str) -> anyhow::Result<Self> {
        let (connection, backends) = (None, BTreeSet::new());
        let mut lock = Self { options, runners, host: host.to_owned(), connection, backends };
        let (mut held, mut is_told): (Option<Instant>, bool) = (None, false);
        loop {
            let tried = lock.try_take(true).await.context("taking the runners")?;
            let wait_reason = match tried {
                Tried::Ours if held.is_none() => return Ok(lock),
                Tried::Ours => {
                    // Two processes that follow the same containers would both write their logs.
                    tokio::time::sleep(LOSS_NOTICED_AFTER).await;
                    match lock.lost().await {
                        None => return Ok(lock),
                        Some(reason) => reason,
                    }
                }
                Tried::Held(_, taken) if held.is_some_and(|since| since.elapsed() > TAKE_TIMEOUT) => {
                    return Err(taken.into());
                }
                Tried::Held(_, taken) => {
                    held.get_or_insert_with(Instant::now);
                    format!("{taken}; waiting a moment for that process to end")
                }
                Tried::Left(reason) => reason,
                Tried::Missed => continue,
            };
            if !is_told {
                warn!("{wait_reason}");
                is_told = true;
            }
            tokio::time::sleep(TAKE_RETRY_DELAY).await;
        }
    }

    /// Tries once. With `is_newcomer`, it does not take a runner that another machine served a moment ago.
    async fn try_take(&mut self, is_newcomer: bool) -> sqlx::Result<Tried> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        // With these settings, the server notices when our machine is gone, and lets another one take the runners.
        sqlx::raw_sql(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
             set application_name = 'trainyard runners'",
        )
        .execute(&mut connection)
        .await?;
        let own: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        // Recorded before it holds anything, because this try may be aborted at any time.
        self.backends.insert(own);
        // All runners are checked before the first is locked: a lock that is held only for a check would make its owner
        // stop.
        for runner in &self.runners {
            let Holder { backend, host, is_left } = self.holder(&mut connection, runner).await?;
            let host = host.unwrap_or_else(|| "an unknown machine".to_owned());
            if let Some(backend) = backend {
                return Ok(Tried::Held(
                    backend,
                    RunnerLocked(format!(
                        "runner {runner} is served by another process on {host}: stop that one, or give the runner another \
                         name here"
                    )),
                ));
            }
            if is_newcomer && is_left {
                return Ok(Tried::Left(format!(
                    "runner {runner} was served on {host} until a moment ago and is left to it for a minute; if it is \
                     another one, give the runner another name here"
                )));
            }
        }
        for runner in &self.runners {
            let lock = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))").bind(CLASS).bind(runner);
            if !lock.fetch_one(&mut connection).await? {
                return Ok(Tried::Missed);
            }
        }
        self.connection = Some(connection);
        self.backends = BTreeSet::from([own]);
        Ok(Tried::Ours)
    }

    async fn holder(&self, connection: &mut PgConnection, runner: &str) -> sqlx::Result<Holder> {
        sqlx::query_as(
            "select (select pid from pg_locks
                 where locktype = 'advisory' and classid = $1::oid and objsubid = 2 and granted
                     and objid = (hashtext($2)::bigint & 4294967295)::oid
                     and database = (select oid from pg_database where datname = current_database())
                 limit 1) as backend,
                 (select host from runner where name = $2) as host,
                 exists (select from runner where name = $2 and host <> $3 and seen_at > now() - interval '1 min')
                     as is_left",
        )
        .bind(CLASS)
        .bind(runner)
        .bind(&self.host)
        .fetch_one(connection)
        .await
    }

    /// Returns the reason why the lock is no longer ours, or `None` if it is.
    async fn lost(&mut self) -> Option<String> {
        let reason = match &mut self.connection {
            None => return Some("the runners are not locked yet".to_owned()),
            Some(connection) => match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => format!("the lock of the runners is lost with Postgres, taking it again: {error}"),
                Err(_) => "Postgres does not answer; taking the lock of the runners again".to_owned(),
            },
        };
        self.connection = None;
        Some(reason)
    }

    /// Keeps the lock until `shutdown`, and takes it again after an outage of Postgres.
    ///
    /// # Errors
    /// Fails with [`RunnerLocked`] when another process has taken a runner meanwhile: then this process must not
    /// continue.
    pub async fn keep(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            if self.connection.is_some() {
                match self.lost().await {
                    None => continue,
                    Some(reason) => warn!("{reason}"),
                }
            }
            if self.take_again(shutdown).await? {
                info!("the runners are locked again");
            }
        }
    }

    /// Takes the lock again. Returns false while Postgres does not answer.
    async fn take_again(&mut self, shutdown: &CancellationToken) -> Result<bool, RunnerLocked> {
        while !shutdown.is_cancelled() {
            match tokio::time::timeout(PING_TIMEOUT, self.try_take(false)).await {
                Ok(Ok(Tried::Ours)) => return Ok(true),
                // The other process follows our containers as soon as we must have noticed.
                Ok(Ok(Tried::Held(backend, taken))) if !self.backends.contains(&backend) => return Err(taken),
                // Our own old connection still holds the lock, until the server notices that it is dead.
                Ok(Ok(Tried::Held(..) | Tried::Left(_) | Tried::Missed)) => tokio::time::sleep(TAKE_RETRY_DELAY).await,
                Ok(Err(_)) | Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
