//! Bells between the processes of an installation: a bell that is rung in one is heard in all, by Postgres's NOTIFY.
//!
//! This is a separate task with separate connections, so it does not slow any step. Rings that come together are sent
//! in one message. A lost message does no more harm than a missed ring: the next check finds the rows.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::bell::{Bells, Heard, Kind};
use crate::domain::JobId;

const CHANNEL: &str = "trainyard";
/// Minimum time between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before the next try when Postgres is unreachable.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Time of silence after which the connection is tested: a firewall may drop it without notice.
const SILENCE: Duration = Duration::from_secs(20);
/// Time limit for an answer. After it, the connection counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// Number of jobs that a message names; Postgres allows up to 8000 bytes.
const JOBS: usize = 300;

/// Exchanges rings with other processes until `shutdown`.
pub async fn keep(options: PgConnectOptions, bells: Bells, shutdown: CancellationToken) {
    let options = options.application_name("trainyard bells");
    // Random, since processes on several machines may have the same process id.
    let own = format!("{:016x}", RandomState::new().build_hasher().finish());
    bells.rung.listen();
    let pool = connection(&options);
    tokio::select! {
        () = notify(&pool, &bells, &own) => {}
        () = hear(&options, &bells, &own) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Returns a separate pool: a listener holds its connection, and a busy pool would delay the bells.
fn connection(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone())
}

/// Sends the rings of this process.
async fn notify(pool: &PgPool, bells: &Bells, own: &str) {
    loop {
        let messages = messages(&bells.rung.take().await, own);
        let told = sqlx::query("select pg_notify($1, message) from unnest($2::text[]) as message")
            .bind(CHANNEL)
            .bind(&messages)
            .execute(pool)
            .await;
        match told {
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                debug!("cannot ring in other processes: {error}");
                tokio::time::sleep(RECONNECT_DELAY).await;
            }
        }
    }
}

/// Rings the bells that other processes have rung.
async fn hear(options: &PgConnectOptions, bells: &Bells, own: &str) {
    loop {
        let Err(error) = listen(options, bells, own).await;
        debug!("cannot hear the bells of other processes: {error:#}");
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn listen(options: &PgConnectOptions, bells: &Bells, own: &str) -> anyhow::Result<std::convert::Infallible> {
    // A new pool each time: sqlx closes an old connection in the background, and a dead connection would delay that.
    let mut listener = PgListener::connect_with(&connection(options)).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE, listener.recv()).await else {
            let answer = sqlx::raw_sql("select 1").execute(&mut listener);
            tokio::time::timeout(PING_TIMEOUT, answer).await.context("Postgres does not answer")??;
            continue;
        };
        if let Some(heard) = read(message?.payload(), own) {
            bells.ring_here(&heard);
        }
    }
}

/// Formats messages `sender steps jobs`: the process that rang, a letter for each step, and the jobs whose logs have
/// grown.
fn messages(heard: &Heard, own: &str) -> Vec<String> {
    let steps: String = heard.steps.iter().map(|kind| letter(*kind)).collect();
    let jobs: Vec<String> = heard.logs.iter().map(ToString::to_string).collect();
    if jobs.is_empty() {
        return vec![format!("{own} {steps} ")];
    }
    jobs.chunks(JOBS).map(|jobs| format!("{own} {steps} {}", jobs.join(","))).collect()
}

/// Parses a message. Returns `None` for a message of this process itself.
fn read(message: &str, own: &str) -> Option<Heard> {
    let mut parts = message.split(' ');
    if parts.next() == Some(own) {
        return None;
    }
    let steps = parts.next()?;
    let kinds = [Kind::Intake, Kind::Worker, Kind::Outbox];
    let jobs = parts.next()?.split(',').filter_map(|job| job.parse().ok().map(JobId));
    let steps: BTreeSet<Kind> = kinds.into_iter().filter(|kind| steps.contains(letter(*kind))).collect();
    Some(Heard { steps, logs: jobs.collect() })
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Intake => 'i',
        Kind::Worker => 'w',
        Kind::Outbox => 'o',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_told_but_not_to_its_own_process() {
        let logs: BTreeSet<JobId> = (1..=700).map(JobId).collect();
        let heard = Heard { steps: [Kind::Worker, Kind::Outbox].into(), logs };
        let messages = messages(&heard, "a");
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < 8000 && read(message, "a").is_none()));
        let read: Vec<Heard> = messages.iter().filter_map(|message| read(message, "b")).collect();
        assert!(read.iter().all(|part| part.steps == heard.steps));
        assert_eq!(read.into_iter().flat_map(|part| part.logs).collect::<BTreeSet<_>>(), heard.logs);
    }
}
