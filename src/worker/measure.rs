//! What a running job uses, for the record that is stored with its verdict.

use std::time::Duration;

use tracing::debug;

use super::Worker;
use crate::attempt::Shared;
use crate::domain::{JobId, Record};

/// A job that is over sooner is left in peace, and has no record.
const FIRST: Duration = Duration::from_millis(500);
/// How often a job is looked at.
const EVERY: Duration = Duration::from_secs(1);

impl Worker {
    /// Looks at a job's container again and again, beside the halves that do the work: nothing waits for a look. An
    /// attempt that was adopted has a record from then on; what the engine sums up counts since the start even so.
    pub(super) async fn measure(&self, job: JobId, shared: &Shared, record: &mut Record) {
        loop {
            let running = {
                let progress = shared.lock();
                progress.container.clone().zip(progress.started)
            };
            let next = match running {
                Some((container, started)) if started.elapsed() >= FIRST => {
                    match self.docker.usage(&container).await {
                        Ok(Some(usage)) => record.push(started.elapsed(), usage),
                        Ok(None) => {}
                        // Whether the engine is there is found out by the half that follows the container.
                        Err(error) => debug!(%job, "cannot look at job {job}: {error:#}"),
                    }
                    EVERY
                }
                Some((_, started)) => FIRST.saturating_sub(started.elapsed()),
                None => FIRST,
            };
            tokio::time::sleep(next).await;
        }
    }
}
