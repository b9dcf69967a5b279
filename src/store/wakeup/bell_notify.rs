//! Bells between the processes of an installation: what is rung in one is heard in all, by Postgres's NOTIFY.
//!
//! It is a task of its own with connections of its own, so no step pays for it. What is rung meanwhile goes in one
//! message. A message that gets lost costs what a lost ring costs: the next look finds the rows.

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
/// The shortest time between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a Postgres that is away is left alone.
const RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// How long nothing is heard before the connection is tried: a firewall that has forgotten it tells nobody.
const SILENCE: Duration = Duration::from_secs(20);
/// An answer that takes longer means a connection that is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// Jobs that one message names; Postgres takes up to 8000 bytes.
const JOBS: usize = 300;

/// Carries rings to other processes and theirs here, until `shutdown`.
pub async fn keep(options: PgConnectOptions, bells: Bells, shutdown: CancellationToken) {
    let options = options.application_name("trainyard bells");
    // Random, since processes on several machines may have the same number.
    let own = format!("{:016x}", RandomState::new().build_hasher().finish());
    bells.rung.listen();
    let pool = connection(&options);
    tokio::select! {
        () = notify(&pool, &bells, &own) => {}
        () = hear(&options, &bells, &own) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Not of the service's pool: a listener holds its connection, and a busy pool would hold up the bells.
fn connection(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone())
}

/// Tells what is rung here.
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

/// Rings here what others tell.
async fn hear(options: &PgConnectOptions, bells: &Bells, own: &str) {
    loop {
        let Err(error) = listen(options, bells, own).await;
        debug!("cannot hear the bells of other processes: {error:#}");
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn listen(options: &PgConnectOptions, bells: &Bells, own: &str) -> anyhow::Result<std::convert::Infallible> {
    // Each time a new one: sqlx takes leave of an old connection in the background, which one that is gone holds up.
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

/// `sender steps jobs`: the process that rang, a letter for each step, and the jobs whose logs have grown.
fn messages(heard: &Heard, own: &str) -> Vec<String> {
    let steps: String = heard.steps.iter().map(|kind| letter(*kind)).collect();
    let jobs: Vec<String> = heard.logs.iter().map(ToString::to_string).collect();
    if jobs.is_empty() {
        return vec![format!("{own} {steps} ")];
    }
    jobs.chunks(JOBS).map(|jobs| format!("{own} {steps} {}", jobs.join(","))).collect()
}

/// None of what this process has told itself.
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
