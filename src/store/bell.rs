//! Wake-ups inside this process. A bell carries no data: whoever hears it looks at the rows, and whoever misses it
//! finds them at the next look.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::domain::JobId;

/// Wakes one sleeper of one kind of step.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Wakes the step, or lets its next sleep return at once.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Sleeps until the bell rings, at most `longest`.
    pub async fn wait(&self, longest: Duration) {
        // Both ends of the wait are fine: the caller looks at the rows in either case.
        let _ = tokio::time::timeout(longest, self.0.notified()).await;
    }
}

/// One bell per kind of step.
#[derive(Debug, Clone)]
pub struct Bells {
    /// A delivery was stored.
    pub intake: Bell,
    /// A job was queued or a slot became free.
    pub worker: Bell,
    /// A status was wished.
    pub outbox: Bell,
    logs: broadcast::Sender<JobId>,
}

impl Bells {
    /// Bells that nobody listens to yet.
    pub fn new() -> Self {
        Self {
            intake: Bell::default(),
            worker: Bell::default(),
            outbox: Bell::default(),
            logs: broadcast::channel(1024).0,
        }
    }

    /// Tells the readers of live logs that this job's log or state has changed.
    pub fn ring_log(&self, job: JobId) {
        // No receiver means that nobody watches.
        let _ = self.logs.send(job);
    }

    /// Hears every [`Bells::ring_log`] from now on.
    pub fn log_changes(&self) -> broadcast::Receiver<JobId> {
        self.logs.subscribe()
    }
}

impl Default for Bells {
    fn default() -> Self {
        Self::new()
    }
}
