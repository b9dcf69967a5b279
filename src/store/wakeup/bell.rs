//! Wake-ups. A bell carries no data: whoever hears it looks at the rows, and whoever misses it finds them at the next
//! look. Rings of this process are heard in it at once; [`super::bell_notify`] takes them to others and brings theirs.

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
}

/// Which step a bell wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Intake,
    Worker,
    Outbox,
}

/// What was rung here and not yet told to other processes.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// None while nobody takes it to others.
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

    /// Notes rings from now on.
    pub(super) fn listen(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Waits until something was rung, and takes all of it.
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
    fn new(kind: Kind, rung: &Arc<Rung>) -> Self {
        Self { sleeper: Arc::default(), kind, rung: Arc::clone(rung) }
    }

    /// Wakes the step, or lets its next sleep return at once.
    pub fn ring(&self) {
        self.sleeper.notify_one();
        self.rung.note(|heard| {
            heard.steps.insert(self.kind);
        });
    }

    /// Sleeps until the bell rings, at most `longest`.
    pub async fn wait(&self, longest: Duration) {
        // Both ends of the wait are fine: the caller looks at the rows in either case.
        let _ = tokio::time::timeout(longest, self.sleeper.notified()).await;
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
    pub(super) rung: Arc<Rung>,
}

impl Bells {
    /// Bells that nobody listens to yet.
    pub fn new() -> Self {
        let rung = Arc::default();
        Self {
            intake: Bell::new(Kind::Intake, &rung),
            worker: Bell::new(Kind::Worker, &rung),
            outbox: Bell::new(Kind::Outbox, &rung),
            logs: broadcast::channel(1024).0,
            rung,
        }
    }

    /// Tells the readers of live logs that this job's log or state has changed.
    pub fn ring_log(&self, job: JobId) {
        // No receiver means that nobody watches.
        let _ = self.logs.send(job);
        self.rung.note(|heard| {
            heard.logs.insert(job);
        });
    }

    /// Rings here what was rung in another process, and does not tell others of it.
    pub(super) fn ring_here(&self, heard: &Heard) {
        for kind in &heard.steps {
            match kind {
                Kind::Intake => self.intake.sleeper.notify_one(),
                Kind::Worker => self.worker.sleeper.notify_one(),
                Kind::Outbox => self.outbox.sleeper.notify_one(),
            }
        }
        for job in &heard.logs {
            let _ = self.logs.send(*job);
        }
    }

    /// Hears every [`Bells::ring_log`] from now on, also of other processes.
    pub fn log_changes(&self) -> broadcast::Receiver<JobId> {
        self.logs.subscribe()
    }
}

impl Default for Bells {
    fn default() -> Self {
        Self::new()
    }
}
