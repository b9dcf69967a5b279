//! Wake-ups. A bell carries no data: a step that hears it reads the rows, and a step that misses it finds them at its
//! next check. Rings of this process are heard in it at once; [`super::bell_notify`] exchanges them with other
//! processes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use crate::domain::JobId;

/// Wakes one sleeper of one kind of step.
#[derive(Debug, Clone)]
pub struct Bell {
    sleeper: Arc<Notify>,
    kind: Kind,
    rung: Arc<Rung>,
    change: Arc<Notify>,
}

/// Kind of step that a bell wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Intake,
    Worker,
    Outbox,
}

/// Rings of this process that were not yet sent to other processes.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// `None` while no task sends them.
    heard: Mutex<Option<Heard>>,
    news: Notify,
}

/// Bells that were rung.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Heard {
    pub(super) steps: BTreeSet<Kind>,
    pub(super) logs: BTreeSet<JobId>,
}

impl Rung {
    fn note(&self, note: impl FnOnce(&mut Heard)) {
        if let Some(heard) = &mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner) {
            note(heard);
            self.news.notify_one();
        }
    }

    /// Records rings from now on.
    pub(super) fn listen(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Waits until a bell was rung, and takes all rings.
    pub(super) async fn take(&self) -> Heard {
        loop {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).replace(Heard::default());
            if let Some(heard) = heard.filter(|heard| *heard != Heard::default()) {
                return heard;
            }
            self.news.notified().await;
        }
    }
}

impl Bell {
    fn new(kind: Kind, rung: &Arc<Rung>, change: &Arc<Notify>) -> Self {
        Self { sleeper: Arc::default(), kind, rung: Arc::clone(rung), change: Arc::clone(change) }
    }

    /// Wakes the step, or lets its next sleep return at once.
    pub fn ring(&self) {
        self.ring_here();
        self.rung.note(|heard| {
            heard.steps.insert(self.kind);
        });
    }

    /// Wakes the step in this process alone. Jobs and builds change their states when a step rings.
    fn ring_here(&self) {
        self.sleeper.notify_one();
        self.change.notify_one();
    }

    /// Sleeps until the bell rings, at most `longest`.
    pub async fn wait(&self, longest: Duration) {
        // Either end of the wait is fine: the caller reads the rows in both cases.
        let _ = tokio::time::timeout(longest, self.sleeper.notified()).await;
    }
}

/// The bells of a process, each for one kind of step.
#[derive(Debug, Clone)]
pub struct Bells {
    /// Rung when a delivery was stored.
    pub intake: Bell,
    /// Rung when a job was queued or a slot became free.
    pub worker: Bell,
    /// Rung when a status was wished.
    pub outbox: Bell,
    logs: broadcast::Sender<JobId>,
    change: Arc<Notify>,
    pub(super) rung: Arc<Rung>,
}

impl Bells {
    /// Returns bells without listeners.
    pub fn new() -> Self {
        let (rung, change) = (Arc::default(), Arc::default());
        Self {
            intake: Bell::new(Kind::Intake, &rung, &change),
            worker: Bell::new(Kind::Worker, &rung, &change),
            outbox: Bell::new(Kind::Outbox, &rung, &change),
            logs: broadcast::channel(1024).0,
            change,
            rung,
        }
    }

    /// Notifies the readers of live logs that this job's log or state has changed.
    pub fn ring_log(&self, job: JobId) {
        // An error means that there are no readers.
        let _ = self.logs.send(job);
        self.rung.note(|heard| {
            heard.logs.insert(job);
        });
    }

    /// Rings the bells that were rung in another process, without sending the rings on.
    pub(super) fn ring_here(&self, heard: &Heard) {
        for kind in &heard.steps {
            match kind {
                Kind::Intake => self.intake.ring_here(),
                Kind::Worker => self.worker.ring_here(),
                Kind::Outbox => self.outbox.ring_here(),
            }
        }
        for job in &heard.logs {
            let _ = self.logs.send(*job);
        }
    }

    /// Sleeps until a job or a build may have changed its state, at most `longest`. There is one sleeper in a process.
    pub async fn wait_for_change(&self, longest: Duration) {
        // Either end of the wait is fine: the caller reads the rows in both cases.
        let _ = tokio::time::timeout(longest, self.change.notified()).await;
    }

    /// Returns a receiver of every later [`Bells::ring_log`], also of other processes.
    pub fn log_changes(&self) -> broadcast::Receiver<JobId> {
        self.logs.subscribe()
    }
}

impl Default for Bells {
    fn default() -> Self {
        Self::new()
    }
}
