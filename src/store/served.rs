//! Which process serves a runner: one at a time, by advisory locks on a connection of their own.
//!
//! Two processes on one runner would follow the same containers. The locks are the process's as long as its connection
//! lives, so they are gone with it, however it died.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first half of our locks' keys, by which they differ from others in the database.
const CLASS: i32 = 0x7261_696e;
/// How long a process waits for another one to end that serves its runners: Postgres may take a moment to notice.
const PATIENCE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_millis(500);
/// How often the connection is tried.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer means a connection that is gone.
const ANSWER: Duration = Duration::from_secs(8);

/// The right to serve some runners.
#[derive(Debug)]
pub struct Served {
    options: PgConnectOptions,
    runners: Vec<String>,
    connection: Option<PgConnection>,
}

impl Served {
    /// Takes the right to serve these runners; waits a moment for a process that is just ending.
    ///
    /// # Errors
    /// When another process serves one of them, in words for the operator, or Postgres is away.
    pub async fn take(options: PgConnectOptions, runners: Vec<String>) -> anyhow::Result<Self> {
        let mut served = Self { options, runners, connection: None };
        let begin = Instant::now();
        loop {
            match served.try_take().await.context("taking the runners")? {
                None => return Ok(served),
                Some(taken) if begin.elapsed() > PATIENCE => bail!("{taken}"),
                Some(taken) if begin.elapsed() < RETRY => warn!("{taken}; waiting a moment for its end"),
                Some(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One try; tells which runner another process serves, if one does.
    async fn try_take(&mut self) -> sqlx::Result<Option<String>> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        // By these the server finds out that our machine is gone, and lets another one have the runners.
        sqlx::raw_sql(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
             set application_name = 'trainyard runners'",
        )
        .execute(&mut connection)
        .await?;
        for runner in &self.runners {
            let is_ours: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, hashtext($2))")
                .bind(CLASS)
                .bind(runner)
                .fetch_one(&mut connection)
                .await?;
            if !is_ours {
                let host: Option<Option<String>> = sqlx::query_scalar("select host from runner where name = $1")
                    .bind(runner)
                    .fetch_optional(&mut connection)
                    .await?;
                let host = host.flatten().map(|host| format!(" on {host}")).unwrap_or_default();
                return Ok(Some(format!(
                    "runner {runner} is served by another process{host}: stop that one, or give the runner another name here"
                )));
            }
        }
        self.connection = Some(connection);
        Ok(None)
    }

    /// Keeps the right until `shutdown`, and takes it again when Postgres was away.
    ///
    /// # Errors
    /// When another process has taken a runner meanwhile: this one must not go on then.
    pub async fn keep(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            if let Some(connection) = &mut self.connection {
                match tokio::time::timeout(ANSWER, connection.ping()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => warn!("the right to the runners is lost with Postgres, taking it again: {error}"),
                    Err(_) => warn!("Postgres does not answer; the right to the runners is taken again"),
                }
                self.connection = None;
            }
            match self.take_again(shutdown).await {
                Ok(true) => info!("the runners are ours again"),
                Ok(false) => {}
                Err(taken) => return Err(taken),
            }
        }
    }

    /// Whether it is taken; not yet while Postgres is away.
    async fn take_again(&mut self, shutdown: &CancellationToken) -> anyhow::Result<bool> {
        let begin = Instant::now();
        // Our own old connection may still hold it, until the server notices that it is gone.
        while !shutdown.is_cancelled() {
            match tokio::time::timeout(ANSWER, self.try_take()).await {
                Ok(Ok(None)) => return Ok(true),
                Ok(Ok(Some(taken))) if begin.elapsed() > PATIENCE => bail!("{taken}"),
                Ok(Ok(Some(_))) => tokio::time::sleep(RETRY).await,
                Ok(Err(_)) | Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}
