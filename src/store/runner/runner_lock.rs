//! Which process serves a runner: one at a time, by advisory locks on a connection of their own.
//!
//! Two processes on one runner would follow the same containers. The locks are the process's as long as its connection
//! lives, so they are gone with it, however it died.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first half of our locks' keys, by which they differ from others in the database.
const CLASS: i32 = 0x7261_696e;
/// How long a process waits for another one to end that serves its runners: Postgres may take a moment to notice.
const TAKE_TIMEOUT: Duration = Duration::from_secs(15);
const TAKE_RETRY_DELAY: Duration = Duration::from_millis(500);
/// How often the connection is tried.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// An answer that takes longer means a connection that is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// By when a process has noticed that another one has its runners: it looks, waits for an answer, and tries to take them.
const LOSS_NOTICED_AFTER: Duration = POLL_INTERVAL.saturating_add(PING_TIMEOUT).saturating_add(PING_TIMEOUT);

/// Another process serves a runner; says which and where, and what to do.
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
    /// The server's processes of our connections since it was last taken: they may hold it while they are at their ends.
    backends: BTreeSet<i32>,
}

/// What came of a try.
enum Tried {
    Ours,
    /// A process of the server holds a runner for somebody.
    Held(i32, RunnerLocked),
    /// Nobody holds it, but a process on another machine did a moment ago.
    Left(String),
    /// Somebody was quicker.
    Missed,
}

/// A runner, as it is in the database.
#[derive(sqlx::FromRow)]
struct Holder {
    backend: Option<i32>,
    host: Option<String>,
    is_left: bool,
}

impl RunnerLock {
    /// Takes the right to serve these runners from this machine; waits a moment for a process that is just ending. A runner
    /// that was another machine's is left to that for a minute: its process may be starting again, or not know yet that
    /// Postgres did.
    ///
    /// # Errors
    /// [`RunnerLocked`] when another process serves one of them; else when Postgres is away.
    pub async fn take(options: PgConnectOptions, runners: Vec<String>, host: &str) -> anyhow::Result<Self> {
        let (connection, backends) = (None, BTreeSet::new());
        let mut lock = Self { options, runners, host: host.to_owned(), connection, backends };
        let (mut held, mut is_told): (Option<Instant>, bool) = (None, false);
        loop {
            let tried = lock.try_take(true).await.context("taking the runners")?;
            let wait_reason = match tried {
                Tried::Ours if held.is_none() => return Ok(lock),
                Tried::Ours => {
                    // Two that follow the same containers would both write their logs.
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
                    format!("{taken}; waiting a moment for its end")
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

    /// One try. Whoever `is_newcomer` takes no runner that was another machine's a moment ago.
    async fn try_take(&mut self, is_newcomer: bool) -> sqlx::Result<Tried> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        // By these the server finds out that our machine is gone, and lets another one have the runners.
        sqlx::raw_sql(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
             set application_name = 'trainyard runners'",
        )
        .execute(&mut connection)
        .await?;
        let own: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        // Noted before it holds anything, since this try may be given up at any time.
        self.backends.insert(own);
        // All of them before the first is locked: a lock that is held only for a look would frighten its owner off.
        for runner in &self.runners {
            let Holder { backend, host, is_left } = self.holder(&mut connection, runner).await?;
            let host = host.unwrap_or_else(|| "a machine that is not told yet".to_owned());
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
                    "runner {runner} was served on {host} until a moment ago and is left to that for a minute; if it is \
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

    /// Why the right is not ours any more; none when it is.
    async fn lost(&mut self) -> Option<String> {
        let reason = match &mut self.connection {
            None => return Some("the right to the runners is not ours yet".to_owned()),
            Some(connection) => match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => format!("the right to the runners is lost with Postgres, taking it again: {error}"),
                Err(_) => "Postgres does not answer; the right to the runners is taken again".to_owned(),
            },
        };
        self.connection = None;
        Some(reason)
    }

    /// Keeps the right until `shutdown`, and takes it again when Postgres was away.
    ///
    /// # Errors
    /// [`RunnerLocked`] when another process has taken a runner meanwhile: this one must not go on then.
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
                info!("the runners are ours again");
            }
        }
    }

    /// Whether it is taken; not yet while Postgres is away.
    async fn take_again(&mut self, shutdown: &CancellationToken) -> Result<bool, RunnerLocked> {
        while !shutdown.is_cancelled() {
            match tokio::time::timeout(PING_TIMEOUT, self.try_take(false)).await {
                Ok(Ok(Tried::Ours)) => return Ok(true),
                // Whoever it is goes on with our containers as soon as we must have noticed.
                Ok(Ok(Tried::Held(backend, taken))) if !self.backends.contains(&backend) => return Err(taken),
                // Our own old connection still holds it, until the server notices that it is gone.
                Ok(Ok(Tried::Held(..) | Tried::Left(_) | Tried::Missed)) => tokio::time::sleep(TAKE_RETRY_DELAY).await,
                Ok(Err(_)) | Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
