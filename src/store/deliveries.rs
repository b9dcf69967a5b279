//! Webhooks as they were received, before they are interpreted.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;

use crate::domain::{DeliveryId, bounded, pg_text};

/// Sender of a delivery, which has signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeliverySource)]
#[sqlx(type_name = "delivery_source", rename_all = "lowercase")]
pub enum Source {
    /// GitHub. Its deliveries have ids of their own.
    GitHub,
    /// A Gitea or Forgejo server of `[[forge]]`.
    Gitea,
    /// Travis CI. The id of its deliveries is made here, from the body.
    Travis,
    /// A person with a token, or a cron: see [`super::requests`].
    Request,
}

/// A delivery that was received and verified.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub id: &'a DeliveryId,
    pub source: Source,
    pub event: &'a str,
    /// Name of the repository that it is about, as the sender writes it.
    pub repo: Option<&'a str>,
    /// Key of the scope whose secret has signed a delivery of GitHub.
    pub signed_scope: Option<&'a str>,
    pub body: &'a Bytes,
    /// Reason why it asks for no build, if so.
    pub outcome: Option<&'a str>,
}

/// A stored delivery that waits for intake.
#[derive(Debug, sqlx::FromRow)]
pub struct Delivery {
    pub id: DeliveryId,
    pub source: Source,
    /// Name of the event, as in the header `X-GitHub-Event`.
    pub event: String,
    /// Body, byte for byte as it was signed.
    pub body: Vec<u8>,
    /// Size of a body that is stored in compressed form.
    body_size: Option<i32>,
    /// Number of times that intake has tried the delivery, with this one.
    pub tries: i32,
    /// Failure of the try before this one, if there was one.
    pub last_error: Option<String>,
    /// An earlier delivery with the same body. GitHub's redeliveries keep their id, so this one is a replay.
    pub replay_of: Option<DeliveryId>,
}

/// A delivery that fails.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Failing {
    pub id: DeliveryId,
    pub tries: i32,
    pub last_error: String,
    /// True when there will be no other try.
    pub given_up: bool,
    /// Number of deliveries that fail, with this one.
    pub total: i64,
}

/// Result of storing a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// First received, or received before and not yet processed.
    New,
    /// Processed before: nothing changes.
    Duplicate,
}

/// Queue of deliveries that are about to be stored.
///
/// Deliveries that arrive while a commit is in progress are stored together in the next one. With one commit each, a
/// busy disk and not the processor would limit the number of webhooks per second.
#[derive(Debug, Clone)]
pub struct DeliveryBatcher {
    db: PgPool,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    commits: Arc<Semaphore>,
}

/// A delivery that waits for a commit, with the channel for its result.
#[derive(Debug)]
struct Waiting {
    id: DeliveryId,
    source: Source,
    event: String,
    repo: Option<String>,
    signed_scope: Option<String>,
    body: Body,
    outcome: Option<String>,
    answer: oneshot::Sender<Result<Stored, Arc<sqlx::Error>>>,
}

/// A body as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Body {
    bytes: Bytes,
    /// Size before the compression; `None` when `bytes` are the body itself.
    size: Option<i32>,
    /// Digest of a body that asks for a build.
    hash: Option<Vec<u8>>,
}

/// Sizes of a body that is compressed here, in bytes. A smaller one gains nothing, and a larger one would keep other
/// requests waiting.
const PACKED: RangeInclusive<usize> = 2 << 10..=1 << 20;
/// Compression level of zstd: the fastest.
const LEVEL: i32 = 1;

impl Body {
    fn new(body: &Bytes, asks_for_build: bool) -> Self {
        let hash = asks_for_build.then(|| Sha256::digest(body).to_vec());
        let size = i32::try_from(body.len()).ok().filter(|_| PACKED.contains(&body.len()));
        match size.and_then(|_| zstd::bulk::compress(body, LEVEL).ok()) {
            Some(packed) => Self { bytes: packed.into(), size, hash },
            None => Self { bytes: body.clone(), size: None, hash },
        }
    }

    /// Returns a stored body as it was signed.
    pub(super) fn unpack(stored: Vec<u8>, size: Option<i32>) -> sqlx::Result<Vec<u8>> {
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else { return Ok(stored) };
        let body = zstd::bulk::decompress(&stored, size).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(body)
    }
}

/// Longest delay between two tries of a delivery. One that is due later is being worked on, or waits for GitHub.
pub const LONGEST_DELAY: Duration = Duration::from_secs(128);
/// Time for which tries that GitHub did not answer do not count.
const GITHUB_PATIENCE: Duration = Duration::from_secs(3 * 24 * 3600);
/// Age at which a delivery that has failed and is still open counts as stuck.
const STUCK_AGE: Duration = Duration::from_secs(15 * 60);
/// Number of commits that may be in progress at once: one is written to the disk while another gathers rows.
const COMMITS: usize = 2;
/// Maximum length of an outcome, and of a failure, in bytes.
const MAX_REASON: usize = 2_000;
/// Maximum number of deliveries in a commit, and of their bytes.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 32 << 20;

impl DeliveryBatcher {
    /// Returns a batcher that writes to this database.
    pub fn new(db: PgPool) -> Self {
        Self { db, waiting: Arc::default(), commits: Arc::new(Semaphore::new(COMMITS)) }
    }

    /// Stores a delivery, which is durable when this returns. A delivery that asks for no build comes with its outcome:
    /// it is processed by being stored, and needs neither a second commit nor another look at its body.
    ///
    /// A redelivery of a processed delivery changes nothing, except that one which was given up without a build is open
    /// again. If the delivery still waits for its next try, a redelivery makes it due at once.
    ///
    /// # Errors
    /// Fails when Postgres rejects it or does not answer; then nothing was stored.
    pub async fn put(&self, received: Received<'_>) -> Result<Stored, Arc<sqlx::Error>> {
        let Received { id, source, event, repo, signed_scope, body, outcome } = received;
        let body = Body::new(body, outcome.is_none());
        loop {
            let (sender, mut answer) = oneshot::channel();
            self.lock().push(Waiting {
                id: id.clone(),
                source,
                event: event.to_owned(),
                repo: repo.map(str::to_owned),
                signed_scope: signed_scope.map(str::to_owned),
                body: body.clone(),
                outcome: outcome.map(str::to_owned),
                answer: sender,
            });
            // The request that gets a commit slot commits for all that wait; in most cases that is another request.
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
            // No answer: the request that committed for us was cut off by its sender. To store the delivery twice does
            // no harm.
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
                bytes += next.body.bytes.len();
                bytes <= BATCH_BYTES
            };
            // A single delivery always fits, however large it is.
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
            // If the receiver is gone, so is the request.
            let _ = waiting.answer.send(put);
        }
    }
}

/// Stores deliveries in one commit. Returns the ids of those that were not processed before.
async fn store(db: &PgPool, batch: &[Waiting]) -> sqlx::Result<HashSet<DeliveryId>> {
    // The same id may occur twice in a batch, which one insert cannot handle, and in two batches at once. The latter
    // insert in the same order, so that they cannot deadlock.
    let mut batch: Vec<&Waiting> = batch.iter().collect();
    batch.sort_by_key(|waiting| waiting.id.as_str());
    batch.dedup_by_key(|waiting| waiting.id.as_str());
    if batch.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<&str> = batch.iter().map(|waiting| waiting.id.as_str()).collect();
    let sources: Vec<Source> = batch.iter().map(|waiting| waiting.source).collect();
    let events: Vec<&str> = batch.iter().map(|waiting| waiting.event.as_str()).collect();
    let bodies: Vec<&[u8]> = batch.iter().map(|waiting| waiting.body.bytes.as_ref()).collect();
    let sizes: Vec<Option<i32>> = batch.iter().map(|waiting| waiting.body.size).collect();
    let hashes: Vec<Option<&[u8]>> = batch.iter().map(|waiting| waiting.body.hash.as_deref()).collect();
    let repos: Vec<Option<&str>> = batch.iter().map(|waiting| waiting.repo.as_deref()).collect();
    let scopes: Vec<Option<&str>> = batch.iter().map(|waiting| waiting.signed_scope.as_deref()).collect();
    let outcomes: Vec<Option<&str>> = batch.iter().map(|waiting| waiting.outcome.as_deref()).collect();
    let new: Vec<DeliveryId> = sqlx::query_scalar(
        "insert into delivery (id, event, body, body_size, body_hash, outcome, done_at, source, repo, signed_scope)
         select id, event, body, size, hash, outcome, case when outcome is not null then now() end, source, repo, scope
         from unnest($1::text[], $2::text[], $3::bytea[], $4::int[], $5::bytea[], $6::text[], $8::delivery_source[],
                 $9::text[], $10::text[])
             as new (id, event, body, size, hash, outcome, source, repo, scope)
         on conflict (id) do update set done_at = null, outcome = null,
             not_before = case when delivery.done_at is null and delivery.not_before > now() + $7
                 then delivery.not_before else now() end,
             tries = case when delivery.done_at is null then delivery.tries else 0 end
         where delivery.done_at is null
             or delivery.last_error is not null and not exists (select from build where delivery_id = delivery.id)
         returning id",
    )
    .bind(ids)
    .bind(events)
    .bind(bodies)
    .bind(sizes)
    .bind(hashes)
    .bind(outcomes)
    .bind(LONGEST_DELAY)
    .bind(sources)
    .bind(repos)
    .bind(scopes)
    .fetch_all(db)
    .await?;
    Ok(new.into_iter().collect())
}

/// Takes the oldest open delivery that no other process holds, counts a try, and schedules the next one after
/// `patience`: if the process crashes in this try, or never learns of it, the delivery is only delayed. A try that left no failure behind was
/// such a crash.
pub async fn take(db: &PgPool, patience: Duration) -> sqlx::Result<Option<Delivery>> {
    let taken: Option<Delivery> = sqlx::query_as(
        "update delivery set tries = tries + 1, not_before = now() + $1,
             last_error = case when tries > 0 then coalesce(last_error, 'the service stopped while it worked on it') end
         where id = (select id from delivery where done_at is null and not_before <= now()
                     order by not_before limit 1 for update skip locked)
         returning id, source, event, body, body_size, tries, last_error,
             (select id from delivery as earlier
              where earlier.body_hash = delivery.body_hash
                and (earlier.received_at, earlier.id) < (delivery.received_at, delivery.id)
              order by earlier.received_at, earlier.id limit 1) as replay_of",
    )
    .bind(patience)
    .fetch_optional(db)
    .await?;
    let Some(mut delivery) = taken else { return Ok(None) };
    delivery.body = Body::unpack(delivery.body, delivery.body_size)?;
    Ok(Some(delivery))
}

/// Holds a delivery for a further `time`, unless another try has taken it, or its try has ended.
pub async fn hold(db: &PgPool, delivery: &Delivery, time: Duration) -> sqlx::Result<()> {
    sqlx::query(
        "update delivery set not_before = now() + $3
         where id = $1 and tries = $2 and done_at is null and not_before > now() + $4",
    )
    .bind(&delivery.id)
    .bind(delivery.tries)
    .bind(time)
    .bind(LONGEST_DELAY)
    .execute(db)
    .await?;
    Ok(())
}

/// Makes every delivery that a dead process was handling due at once. Must only be called while no other process takes
/// deliveries.
pub async fn free_taken(db: &PgPool) -> sqlx::Result<u64> {
    let freed = sqlx::query("update delivery set not_before = now() where done_at is null and not_before > now()")
        .execute(db)
        .await?;
    Ok(freed.rows_affected())
}

/// Records the outcome of a delivery, with the failure of one that was given up. Returns false if an outcome was
/// recorded before.
pub async fn done(tx: &mut PgConnection, id: &DeliveryId, outcome: &str, failure: Option<&str>) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "update delivery set done_at = now(), outcome = $2, last_error = $3 where id = $1 and done_at is null",
    )
    .bind(id)
    .bind(reason(outcome))
    .bind(failure.map(reason))
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Schedules the next try of a delivery after `delay`, and records why this one failed.
pub async fn later(db: &PgPool, id: &DeliveryId, delay: Duration, failure: &str) -> sqlx::Result<()> {
    sqlx::query("update delivery set not_before = now() + $2, last_error = $3 where id = $1 and done_at is null")
        .bind(id)
        .bind(delay)
        .bind(reason(failure))
        .execute(db)
        .await?;
    Ok(())
}

/// Schedules the next try of a delivery after `delay`, for a reason that is not its own: the last try does not count.
pub async fn wait(db: &PgPool, id: &DeliveryId, delay: Duration, reason_of_wait: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update delivery set not_before = now() + $2, last_error = $3,
             tries = case when received_at > now() - $4 then greatest(tries - 1, 1) else tries end
         where id = $1 and done_at is null",
    )
    .bind(id)
    .bind(delay)
    .bind(reason(reason_of_wait))
    .bind(GITHUB_PATIENCE)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns a text that a row may hold, whatever a stranger put into it.
fn reason(text: &str) -> String {
    bounded(pg_text(text), MAX_REASON)
}

/// Returns the latest delivery that was given up in the last day, or that is still open after `stuck` tries or a quarter
/// of an hour.
pub async fn failing(db: &PgPool, stuck: i32) -> sqlx::Result<Option<Failing>> {
    sqlx::query_as(
        "select id, tries, last_error, done_at is not null as given_up, count(*) over () as total from delivery
         where last_error is not null
           and (done_at > now() - interval '1 day' or (done_at is null and (tries >= $1 or received_at < now() - $2)))
         order by done_at desc nulls last, received_at desc limit 1",
    )
    .bind(stuck)
    .bind(STUCK_AGE)
    .fetch_optional(db)
    .await
}
