//! The tasks that ask the server, and send what it says to the view.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::{JoinError, JoinSet};

use super::state::{Followed, Message};
use crate::cli::problems::number_of;
use crate::cli::remote::client::Error;
use crate::cli::remote::events::{BuildChanges, LogEvent, LogFollower};
use crate::cli::remote::session::Session;
use crate::lora::series::Series;

/// Time after which a job that has ended is looked at again. Somebody may restart it.
const SLOW_POLL: Duration = Duration::from_secs(10);
/// Time between two questions about the losses.
const LOSS_POLL: Duration = Duration::from_secs(3);

/// The tasks. They end with this value.
pub(super) struct Feed {
    session: Session,
    number: i64,
    sender: Sender<Message>,
    /// The tasks for the build, and for changes of it.
    of_build: JoinSet<()>,
    /// The tasks for the chosen job.
    of_job: JoinSet<()>,
}

impl Feed {
    pub(super) fn start(session: Session, number: i64, sender: Sender<Message>) -> Self {
        let mut of_build = JoinSet::new();
        of_build.spawn(ask_for_build(session.clone(), number, sender.clone()));
        Self { session, number, sender, of_build, of_job: JoinSet::new() }
    }

    /// Follows the log and the losses of a job, instead of those of the job before.
    pub(super) fn follow(&mut self, job: Followed) {
        self.of_job = JoinSet::new();
        self.of_job.spawn(follow_log(self.session.clone(), job, self.sender.clone()));
        self.of_job.spawn(ask_for_losses(self.session.clone(), job.id, self.sender.clone()));
    }

    /// Waits until a task has panicked. The terminal is no longer the view's then.
    pub(super) async fn panicked(&mut self) -> JoinError {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.of_build.join_next() => ended,
                Some(ended) = self.of_job.join_next() => ended,
                else => std::future::pending().await,
            };
            if let Err(error) = ended
                && error.is_panic()
            {
                return error;
            }
        }
    }

    /// Changes the build, or one of its jobs.
    pub(super) fn change(&mut self, job: Option<i64>, verb: &'static str) {
        let (session, number, sender) = (self.session.clone(), self.number, self.sender.clone());
        self.of_build.spawn(async move {
            let words = match session.change(number, job, verb).await {
                Ok(answer) => {
                    let count = ["canceled", "restarted"].iter().find_map(|done| answer.get(done)?.as_u64());
                    let count = count.map(|count| number_of(usize::try_from(count).unwrap_or(0), "job"));
                    format!("{verb}: {}", count.unwrap_or_else(|| "done".to_owned()))
                }
                Err(error) => format!("{verb}: {error}"),
            };
            let _ = sender.send(Message::Done(words)).await;
            if let Ok(build) = session.build(number).await {
                let _ = sender.send(Message::Build(Box::new(build))).await;
            }
        });
    }
}

async fn ask_for_build(session: Session, number: i64, sender: Sender<Message>) {
    let mut changes = BuildChanges::of(&session, number);
    loop {
        let message = match session.build(number).await {
            Ok(build) => Message::Build(Box::new(build)),
            Err(error) => Message::Trouble(error.to_string()),
        };
        if sender.send(message).await.is_err() {
            return;
        }
        changes.next().await;
    }
}

async fn follow_log(session: Session, job: Followed, sender: Sender<Message>) {
    let mut follower = LogFollower::new(session.client.clone(), job.id, job.from);
    loop {
        let event = match follower.next().await {
            Ok(event) => event,
            // The log of a job that has not started yet, or whose log was removed.
            Err(Error::Missing { .. }) => return,
            Err(error) => {
                let _ = sender.send(Message::Trouble(error.to_string())).await;
                return;
            }
        };
        let ended = matches!(event, LogEvent::Ended { .. });
        if sender.send(Message::Log(job.id, event)).await.is_err() {
            return;
        }
        if ended {
            // A restart begins the log again, which the next connection tells.
            tokio::time::sleep(SLOW_POLL).await;
        }
    }
}

async fn ask_for_losses(session: Session, job: i64, sender: Sender<Message>) {
    let id = job.to_string();
    let mut last = None;
    loop {
        let answer = session.client.get(&["jobs", &id, "series"], &[]).await;
        let series: Option<Series> = answer.ok().and_then(|answer| session.typed(answer).ok());
        let step = series.as_ref().map(|series| series.steps_seen);
        if let Some(series) = series
            && sender.send(Message::Series(job, Box::new(series))).await.is_err()
        {
            return;
        }
        tokio::time::sleep(if step == last { SLOW_POLL } else { LOSS_POLL }).await;
        last = step;
    }
}
