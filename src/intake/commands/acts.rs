//! The effects of commands.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use sqlx::{Acquire as _, PgConnection};

use super::{Case, unanswered};
use crate::domain::{BuildId, BuildRequest, Command, SmokeRequest, TriggerKind};
use crate::github::{Comment, KnownPull, Reaction};
use crate::intake::Intake;
use crate::intake::tries::NotYet;
use crate::store::pulls::{self, Known};
use crate::store::queue;
use crate::store::requests::{self, MAX_OPEN};

/// The outcome of a request.
pub(super) struct Done {
    /// The outcome in words, for its author and for the delivery.
    pub(super) told: String,
    /// The reaction that says the same; `None` when only words do.
    pub(super) reaction: Option<Reaction>,
}

impl Done {
    fn now(told: String) -> Self {
        Self { told, reaction: Some(Reaction::Done) }
    }

    pub(super) fn impossible(told: String) -> Self {
        Self { told, reaction: None }
    }
}

/// Returns the answer to a request for a whole training.
pub(super) fn train() -> Done {
    Done::impossible("Whole trainings are not there yet. /smoke takes a few steps with each config.".to_owned())
}

impl Intake {
    /// Carries out a command of a comment that GitHub has confirmed.
    pub(super) async fn carry_out(
        &self,
        case: &Case<'_>,
        newest: &Known,
        comment: &Comment,
        command: Command,
    ) -> Result<(), NotYet> {
        let pull = match (&command, case.pull_request) {
            (Command::Approve | Command::Smoke(_), Some(number)) => {
                let pull = self.github.pull(case.target(), number).await;
                Some(pull.map_err(|error| unanswered(&error, "GitHub does not show the pull request"))?)
            }
            _ => None,
        };
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, false).await?;
        let who = &case.by.login;
        let done = match (command, &pull) {
            (Command::Retry, _) => retry(&mut tx, newest, who).await?,
            (Command::Cancel, _) => cancel(&mut tx, newest, who).await?,
            (Command::Approve, Some(pull)) => {
                approve(&mut tx, case, newest, pull, Approval::Comment(comment.created_at)).await?
            }
            (Command::Smoke(config), Some(pull)) => smoke(&mut tx, case, pull, config).await?,
            _ => train(),
        };
        self.conclude(tx, case, Some(newest), &done).await
    }
}

/// Runs the jobs of a build again that have ended and have not passed: all of them, or none.
pub(super) async fn retry(tx: &mut PgConnection, build: &Known, who: &str) -> Result<Done, NotYet> {
    let mut attempt = tx.begin().await.context("opening a savepoint")?;
    let restarted = queue::restart_failed(&mut attempt, build.id, who).await.context("restarting jobs")?;
    let number = build.number;
    Ok(match restarted {
        Err(refused) => {
            attempt.rollback().await.context("undoing a restart")?;
            Done::impossible(refused.to_string())
        }
        Ok(0) => Done::impossible(format!("No job of build #{number} has failed.")),
        Ok(count) => {
            attempt.commit().await.context("keeping a restart")?;
            Done::now(format!("Jobs of build #{number} that run again: {count}."))
        }
    })
}

/// Runs all jobs of a build again.
pub(super) async fn restart(tx: &mut PgConnection, build: &Known, who: &str) -> Result<Done, NotYet> {
    let restarted = queue::restart(tx, build.id, None, who).await.context("restarting a build")?;
    Ok(match restarted {
        Err(refused) => Done::impossible(refused.to_string()),
        Ok(count) => Done::now(format!("Jobs of build #{} that run again: {count}.", build.number)),
    })
}

/// Cancels the jobs of a build that have not ended.
pub(super) async fn cancel(tx: &mut PgConnection, build: &Known, who: &str) -> Result<Done, NotYet> {
    let canceled =
        queue::cancel_build(tx, build.id, &format!("canceled by {who}")).await.context("canceling a build")?;
    Ok(match canceled {
        0 => Done::impossible(format!("Build #{} has ended already.", build.number)),
        count => Done::now(format!("Canceled jobs of build #{}: {count}.", build.number)),
    })
}

/// Approves one build.
pub(super) async fn approve_one(tx: &mut PgConnection, build: BuildId, who: &str) -> Result<bool, NotYet> {
    Ok(queue::approve(tx, build, who).await.context("approving a build")?)
}

/// Words or a label by which a person approves a commit.
#[derive(Clone, Copy)]
pub(super) enum Approval {
    /// A comment of this time.
    Comment(DateTime<Utc>),
    /// A label that was set at this time.
    Label(DateTime<Utc>),
}

impl Approval {
    fn word(self) -> &'static str {
        match self {
            Self::Comment(_) => "comment",
            Self::Label(_) => "label",
        }
    }

    /// Returns the time by GitHub's clock.
    fn at(self) -> DateTime<Utc> {
        match self {
            Self::Comment(at) | Self::Label(at) => at,
        }
    }
}

/// Approves the head that a pull request had when the comment was written, or the label was set. Neither names it. So the
/// newest build has to be of the head that GitHub has now, and nothing may have been pushed since: otherwise the person has
/// seen another commit. A label is set with one click, so the build has to have waited before it.
pub(super) async fn approve(
    tx: &mut PgConnection,
    case: &Case<'_>,
    newest: &Known,
    pull: &KnownPull,
    approval: Approval,
) -> Result<Done, NotYet> {
    let (head, number, word) = (pull.head.short(), newest.number, approval.word());
    if pull.head != newest.sha {
        let built = newest.sha.short();
        return Ok(Done::impossible(format!(
            "The pull request is at {head}, but the newest build, #{number}, is of {built}. Look at the new commits when \
             their build is there, and approve again."
        )));
    }
    // Both times are by GitHub's clock, and in whole seconds.
    if pull.pushed_at.is_none_or(|pushed_at| pushed_at >= approval.at()) {
        return Ok(Done::impossible(format!(
            "The repository of this pull request had a push after the {word}, or is gone. Look at {head}, and approve \
             again; the page of the build has a button, too."
        )));
    }
    let before = match approval {
        Approval::Comment(_) => None,
        Approval::Label(at) => Some(at),
    };
    let commit = (pull.pull_request.number, &pull.head);
    let waiting = pulls::unapproved(tx, case.repo, commit, &case.delivery.id, before).await;
    let waiting = waiting.context("reading the builds that wait")?;
    let mut approved = Vec::new();
    for build in waiting {
        if approve_one(tx, build.id, &case.by.login).await? {
            approved.push(format!("#{}", build.number));
        }
    }
    Ok(match (approved.is_empty(), approval) {
        (true, Approval::Comment(_)) => Done::impossible(format!("No build of {head} waits for an approval.")),
        (true, Approval::Label(_)) => {
            Done::impossible(format!("No build of {head} waited for an approval when the label was set."))
        }
        (false, _) => Done::now(format!("Approved builds of {head}: {}.", approved.join(", "))),
    })
}

/// Requests a build of smoke jobs of the pull request's head. A fork's build still needs its approval.
async fn smoke(
    tx: &mut PgConnection,
    case: &Case<'_>,
    pull: &KnownPull,
    config: Option<String>,
) -> Result<Done, NotYet> {
    if !pull.is_open {
        return Ok(Done::impossible("The pull request is not open.".to_owned()));
    }
    let request = BuildRequest {
        repo: case.repo,
        kind: TriggerKind::PullRequest,
        branch: pull.base_branch.clone(),
        sha: Some(pull.head.clone()),
        before: Some(pull.base.clone()),
        message: None,
        requested_by: case.by.login.clone(),
        configs: Vec::new(),
        pull_request: Some(pull.pull_request.clone()),
        smoke: Some(SmokeRequest { config }),
    };
    let requested = requests::insert(tx, &request).await.context("requesting a build")?;
    Ok(match requested {
        None => {
            Done::impossible(format!("{MAX_OPEN} requests of this repository wait for their builds. Try again later."))
        }
        Some(id) => Done { told: format!("Requested a build: {id}."), reaction: Some(Reaction::Seen) },
    })
}
