//! The log of one attempt on its way into the store: fenced, in order, each byte once.

use std::time::Duration;

use sqlx::PgPool;
use tracing::warn;

use super::mask::{Mask, Masked};
use crate::attempt::{Output, Tail};
use crate::domain::AttemptId;
use crate::store::output::logs;
use crate::store::queue;
use crate::store::queue::Claimed;
use crate::store::wakeup::bell::Bells;

/// The pause before the next try when the log could not be stored.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// The attempt lost its lease: nothing may be written any more.
#[derive(Debug, thiserror::Error)]
#[error("the lease is lost")]
pub(super) struct Lost;

/// The writing end of an attempt's log.
#[derive(Debug)]
pub(super) struct Log {
    db: PgPool,
    bells: Bells,
    attempt: AttemptId,
    /// Number of bytes of the log that are stored.
    stored: i64,
    /// Number of bytes of the container's output that the stored bytes stand for.
    read: i64,
    mask: Mask,
    /// Largest number of bytes of the log.
    limit: i64,
    tail: Tail,
}

impl Log {
    /// Opens the log of a claimed or adopted job, at its stored end.
    pub(super) fn new(db: PgPool, bells: Bells, job: &Claimed, limit: u64) -> Self {
        Self {
            db,
            bells,
            attempt: job.attempt_id(),
            stored: job.log_length,
            read: job.output_read,
            mask: Mask::default(),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            tail: Tail::default(),
        }
    }

    /// Sets the secrets that the log must hide.
    pub(super) fn hide(&mut self, mask: Mask) {
        self.mask = mask;
    }

    /// Returns the number of stored bytes.
    pub(super) fn stored(&self) -> i64 {
        self.stored
    }

    async fn store(&mut self, Masked { bytes, read }: Masked) -> Result<(), Lost> {
        let room = usize::try_from(self.limit - self.stored).unwrap_or(0);
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return Ok(());
        }
        let after = self.stored + i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        loop {
            match self.try_store(bytes, read, after).await {
                Ok(true) => break,
                Ok(false) => return Err(Lost),
                Err(error) => {
                    warn!(job = %self.attempt.job, "cannot store the log: {error:#}");
                    tokio::time::sleep(STORE_RETRY_DELAY).await;
                }
            }
        }
        self.stored = after;
        self.read += i64::try_from(read).unwrap_or(i64::MAX);
        self.remember(bytes);
        self.bells.ring_log(self.attempt.job);
        Ok(())
    }

    async fn try_store(&self, bytes: &[u8], read: usize, after: i64) -> anyhow::Result<bool> {
        let mut connection = self.db.acquire().await?;
        if logs::append(&mut connection, self.attempt, self.stored, bytes, read).await? {
            return Ok(true);
        }
        // An earlier try may have been stored although its answer was lost with the connection.
        Ok(queue::log_length(&mut connection, self.attempt).await? == Some(after))
    }

    /// Adds a text of the service, before the container has any output.
    pub(super) async fn say(&mut self, text: &str) -> Result<(), Lost> {
        self.store(Masked { bytes: text.as_bytes().to_vec(), read: 0 }).await
    }

    /// Adds bytes to the tail that are stored already, or that are stored together with the verdict.
    pub(super) fn remember(&mut self, bytes: &[u8]) {
        self.tail.remember(bytes);
    }

    /// Returns the last lines, for the reason of a failure.
    pub(super) fn tail(&self) -> String {
        self.tail.text()
    }
}

impl Output for Log {
    type Error = Lost;

    fn read_on_from(&mut self) -> u64 {
        self.mask.rewind();
        u64::try_from(self.read).unwrap_or(0)
    }

    /// Stores output, with secrets hidden, up to the limit. Tries until Postgres has stored it.
    async fn append(&mut self, output: &[u8]) -> Result<(), Lost> {
        let masked = self.mask.push(output);
        self.store(masked).await
    }

    /// Returns true when the log has reached its limit; further output is dropped.
    fn is_full(&self) -> bool {
        self.stored >= self.limit
    }

    /// Stores the bytes that were held back as a possible start of a secret, since no more output comes.
    async fn end(&mut self) -> Result<(), Lost> {
        let masked = self.mask.end();
        self.store(masked).await
    }
}
