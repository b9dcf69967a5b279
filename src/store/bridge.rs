//! Bells between the processes of an installation: what is rung in one is heard in all, by Postgres's NOTIFY.
//!
//! It is a task of its own with connections of its own, so no step pays for it. What is rung meanwhile goes in one
//! message. A message that gets lost costs what a lost ring costs: the next look finds the rows.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

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
const RETRY: Duration = Duration::from_secs(2);
/// Jobs that one message names; Postgres takes up to 8000 bytes.
const JOBS: usize = 300;

/// Carries rings to other processes and theirs here, until `shutdown`.
pub async fn keep(options: PgConnectOptions, bells: Bells, shutdown: CancellationToken) {
    // Not the service's pool: a listener holds its connection, and a busy pool would hold up the bells.
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options.application_name("trainyard bells"));
    // Random, since processes on several machines may have the same number.
    let own = format!("{:016x}", RandomState::new().build_hasher().finish());
    bells.rung.listen();
    tokio::select! {
        () = tell(&pool, &bells, &own) => {}
        () = hear(&pool, &bells, &own) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Tells what is rung here.
async fn tell(pool: &PgPool, bells: &Bells, own: &str) {
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
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Rings here what others tell.
async fn hear(pool: &PgPool, bells: &Bells, own: &str) {
    loop {
        let Err(error) = listen(pool, bells, own).await;
        debug!("cannot hear the bells of other processes: {error}");
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen(pool: &PgPool, bells: &Bells, own: &str) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let message = listener.recv().await?;
        if let Some(heard) = read(message.payload(), own) {
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
