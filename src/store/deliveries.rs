//! Webhooks as they came, before anything was made of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, oneshot};

use crate::domain::DeliveryId;

/// A stored delivery that waits for intake.
#[derive(Debug, sqlx::FromRow)]
pub struct Delivery {
    /// GitHub's id of it.
    pub id: DeliveryId,
    /// The event's name (header `X-GitHub-Event`).
    pub event: String,
    /// The body, byte for byte as it was signed.
    pub body: Vec<u8>,
    /// How often intake has tried it.
    pub tries: i32,
}

/// Whether a delivery is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// First seen, or seen and not yet processed.
    New,
    /// Processed before: nothing changes.
    Duplicate,
}

/// Where deliveries are handed in.
///
/// Those that come while a commit is under way are stored together in the next one: at a commit each, a busy disk and
/// not the processor would say how many webhooks a second can be taken.
#[derive(Debug, Clone)]
pub struct DeliveryBatcher {
    db: PgPool,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    commits: Arc<Semaphore>,
}

/// A delivery that waits for a commit, and whom to tell.
#[derive(Debug)]
struct Waiting {
    id: DeliveryId,
    event: String,
    body: Bytes,
    outcome: Option<String>,
    answer: oneshot::Sender<Result<Stored, Arc<sqlx::Error>>>,
}

/// Commits that may be under way at once: one is on its way to the disk while another gathers rows.
const COMMITS: usize = 2;
/// The most deliveries of one commit, in number and in bytes.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 32 << 20;

impl DeliveryBatcher {
    /// A desk of this database.
    pub fn new(db: PgPool) -> Self {
        Self { db, waiting: Arc::default(), commits: Arc::new(Semaphore::new(COMMITS)) }
    }

    /// Stores a delivery. When this returns it is durable. One that asks for nothing comes with its outcome: it is
    /// processed by being stored, and costs neither a second commit nor another look at its body.
    ///
    /// A redelivery of a processed one changes nothing; one that still waits for its next try is tried at once.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached; then nothing was stored.
    pub async fn put(
        &self,
        id: &DeliveryId,
        event: &str,
        body: &Bytes,
        outcome: Option<&str>,
    ) -> Result<Stored, Arc<sqlx::Error>> {
        loop {
            let (sender, mut answer) = oneshot::channel();
            self.lock().push(Waiting {
                id: id.clone(),
                event: event.to_owned(),
                body: body.clone(),
                outcome: outcome.map(str::to_owned),
                answer: sender,
            });
            // Whoever gets to commit does so for all that wait, and mostly that is somebody else.
            let told = loop {
                tokio::select! {
                    biased;
                    told = &mut answer => break told,
                    Ok(commit) = self.commits.acquire() => {
                        self.commit_waiting().await;
                        drop(commit);
                        if self.lock().is_empty() {
                            break answer.await;
                        }
                    }
                }
            };
            // No answer: the request that committed for us was cut off by its sender. Storing twice does no harm.
            if let Ok(put) = told {
                return put;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit_waiting(&self) {
        let batch: Vec<Waiting> = {
            let mut waiting = self.lock();
            let mut bytes = 0;
            let fits = |next: &&Waiting| {
                bytes += next.body.len();
                bytes <= BATCH_BYTES
            };
            // One alone always fits, however large.
            let count = waiting.iter().take(BATCH).take_while(fits).count().max(1).min(waiting.len());
            waiting.drain(..count).collect()
        };
        let stored = store(&self.db, &batch).await.map_err(Arc::new);
        for waiting in batch {
            let put = match &stored {
                Ok(new) if new.contains(&waiting.id) => Ok(Stored::New),
                Ok(_) => Ok(Stored::Duplicate),
                Err(error) => Err(Arc::clone(error)),
            };
            // A sender that does not listen any more has gone away.
            let _ = waiting.answer.send(put);
        }
    }
}

/// Stores deliveries in one commit; gives the ids of those that were not processed before.
async fn store(db: &PgPool, batch: &[Waiting]) -> sqlx::Result<HashSet<DeliveryId>> {
    // The same id may stand twice in a batch, which one insert does not take, and in two batches: those insert it in the
    // same order, so that neither waits for the other for ever.
    let mut batch: Vec<&Waiting> = batch.iter().collect();
    batch.sort_by_key(|waiting| waiting.id.as_str());
    batch.dedup_by_key(|waiting| waiting.id.as_str());
    if batch.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<&str> = batch.iter().map(|waiting| waiting.id.as_str()).collect();
    let events: Vec<&str> = batch.iter().map(|waiting| waiting.event.as_str()).collect();
    let bodies: Vec<&[u8]> = batch.iter().map(|waiting| waiting.body.as_ref()).collect();
    let outcomes: Vec<Option<&str>> = batch.iter().map(|waiting| waiting.outcome.as_deref()).collect();
    let new: Vec<DeliveryId> = sqlx::query_scalar(
        "insert into delivery (id, event, body, outcome, done_at)
         select id, event, body, outcome, case when outcome is not null then now() end
         from unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as new (id, event, body, outcome)
         on conflict (id) do update set not_before = now() where delivery.done_at is null
         returning id",
    )
    .bind(ids)
    .bind(events)
    .bind(bodies)
    .bind(outcomes)
    .fetch_all(db)
    .await?;
    Ok(new.into_iter().collect())
}

/// Takes the oldest open delivery that nobody else holds, counts a try of it, and puts its next one `patience` away: a
/// crash in this try only delays it.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn take(db: &PgPool, patience: Duration) -> sqlx::Result<Option<Delivery>> {
    sqlx::query_as(
        "update delivery set tries = tries + 1, not_before = now() + $1
         where id = (select id from delivery where done_at is null and not_before <= now()
                     order by not_before limit 1 for update skip locked)
         returning id, event, body, tries",
    )
    .bind(patience)
    .fetch_optional(db)
    .await
}

/// Makes every delivery that a dead process was working on free at once. Called when no other process takes any.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn free_taken(db: &PgPool) -> sqlx::Result<u64> {
    let freed = sqlx::query("update delivery set not_before = now() where done_at is null and not_before > now()")
        .execute(db)
        .await?;
    Ok(freed.rows_affected())
}

/// Records what came of a delivery; false when it was recorded before.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn done(tx: &mut PgConnection, id: &DeliveryId, outcome: &str) -> sqlx::Result<bool> {
    let changed = sqlx::query("update delivery set done_at = now(), outcome = $2 where id = $1 and done_at is null")
        .bind(id)
        .bind(outcome)
        .execute(tx)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// Puts a delivery's next try `delay` away.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn later(db: &PgPool, id: &DeliveryId, delay: Duration) -> sqlx::Result<()> {
    sqlx::query("update delivery set not_before = now() + $2 where id = $1 and done_at is null")
        .bind(id)
        .bind(delay)
        .execute(db)
        .await?;
    Ok(())
}
