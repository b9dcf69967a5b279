//! The way from a person's request to its effect and its answer: a comment, a label, or a button of a check run.
//!
//! The signature of a webhook proves nothing here. GitHub has to confirm the request, its author by number, and their
//! right to push, each as it is now. The effect, the answer and the end of the delivery are one transaction.

mod acts;
mod checks;

use anyhow::{Context as _, anyhow};
use chrono::{TimeDelta, Utc};
use tracing::info;

use self::acts::{Approval, Done};
use super::Intake;
use super::proof::Unproven;
use super::tries::{MAX_TRIES, NotYet};
use crate::domain::{Command, RepoId, Sha};
use crate::github::event::{Ask, Asked, Person, Repository};
use crate::github::{Comment, SendError, Target};
use crate::store::deliveries::{self, Delivery};
use crate::store::pulls::{self, Known};
use crate::store::requests::commands::{self, Earlier};
use crate::store::wishes::{self, Answer};
use crate::store::{repos, wishes::Kind};

/// Number of requests of a repository in an hour. Then only those of people count whose requests were allowed lately: so
/// strangers do not use up what the others need.
const MAX_OF_REPOSITORY: i64 = 60;
/// Number of requests of a person in a repository in an hour. More are ignored.
const MAX_OF_PERSON: i64 = 10;
/// Age of a comment from which it is not carried out any more: its author has long looked elsewhere.
const MAX_AGE: TimeDelta = TimeDelta::days(1);

/// A request, and the repository that it is about.
#[derive(Clone, Copy)]
struct Case<'a> {
    delivery: &'a Delivery,
    repo: RepoId,
    repository: &'a Repository,
    by: &'a Person,
    comment: Option<i64>,
    pull_request: Option<i64>,
    /// True when the person was told before that they may not do this.
    was_refused: bool,
}

impl<'a> Case<'a> {
    fn target(&self) -> Target<'a> {
        Target { repo: &self.repository.name, number: Some(self.repository.id) }
    }

    fn command(&self) -> commands::Command<'_> {
        commands::Command {
            delivery: &self.delivery.id,
            repo: self.repo,
            comment: self.comment,
            pull_request: self.pull_request,
            person: self.by.id,
        }
    }
}

/// Returns the consequence for a delivery of an answer that GitHub did not give.
fn unanswered(error: &SendError, what: &str) -> NotYet {
    let why = format!("{what}: {error}");
    match error {
        SendError::RateLimited { wait, .. } => NotYet::Unanswered(*wait, why),
        SendError::Broken(_) => NotYet::Later(anyhow!(why)),
        _ => NotYet::Refused(why),
    }
}

impl Intake {
    /// Does what a person asks for, if GitHub confirms it.
    pub(in crate::intake) async fn obey(
        &self,
        delivery: &Delivery,
        repository: &Repository,
        ask: Ask,
    ) -> Result<(), NotYet> {
        if let Asked::Label { name, .. } = &ask.what
            && !self.forks.is_approval(name)
        {
            return Err(NotYet::Never("pull request labeled".to_owned()));
        }
        if let Some(original) = &delivery.replay_of {
            return Err(NotYet::Refused(format!("it repeats the body of the delivery {original}")));
        }
        if delivery.tries > MAX_TRIES {
            let cause = delivery.last_error.as_deref().unwrap_or("the reason is not known");
            return Err(NotYet::GivenUp(format!("{MAX_TRIES} tries failed, the last one because: {cause}")));
        }
        let repo = repos::numbered(&self.db, repository.id).await.context("looking for the repository")?;
        let repo = repo.ok_or_else(|| NotYet::Never(format!("{} is not known here", repository.name)))?;
        let Ask { by, what } = ask;
        let (comment, pull_request) = match &what {
            Asked::Comment { id, pull_request, .. } => (Some(*id), Some(*pull_request)),
            Asked::Train { pull_request } | Asked::Label { pull_request, .. } => (None, Some(*pull_request)),
            Asked::CheckRun { .. } | Asked::CheckSuite { .. } => (None, None),
        };
        let mut case = Case { delivery, repo, repository, by: &by, comment, pull_request, was_refused: false };
        case.was_refused = self.look_back(&case).await?.was_refused;
        self.address(repository).await.map_err(unconfirmed)?;
        let obeyed = match what {
            Asked::Comment { id, pull_request, body } => self.obey_comment(&case, id, pull_request, &body).await,
            Asked::Train { pull_request } => self.obey_label(&case, pull_request).await,
            Asked::Label { pull_request, name, sha } => self.obey_approval(&case, pull_request, &name, &sha).await,
            Asked::CheckRun { id, sha, command } => self.obey_check_run(&case, id, &sha, command).await,
            Asked::CheckSuite { id, sha } => self.obey_check_suite(&case, id, &sha).await,
        };
        if matches!(obeyed, Err(NotYet::Refused(_))) {
            // It has cost requests, too. The comment that it names may be somebody else's, who has not been heard yet.
            let command = commands::Command { comment: None, pull_request: None, ..case.command() };
            let mut connection = self.db.acquire().await.context("recording a request")?;
            commands::record(&mut connection, &command, true).await.context("recording a request")?;
        }
        obeyed
    }

    /// Looks at earlier requests: a repetition, and one of too many, costs nothing more.
    async fn look_back(&self, case: &Case<'_>) -> Result<Earlier, NotYet> {
        let earlier = commands::earlier(&self.db, &case.command()).await.context("reading earlier requests")?;
        let Earlier { of_repo, of_person, is_known, was_allowed, .. } = earlier;
        if is_known {
            return Err(NotYet::Never("the comment was dealt with before".to_owned()));
        }
        if of_person >= MAX_OF_PERSON {
            let login = &case.by.login;
            return Err(NotYet::Never(format!("ignored: {of_person} requests of {login} within an hour")));
        }
        if of_repo >= MAX_OF_REPOSITORY && !was_allowed {
            let name = &case.repository.name;
            return Err(NotYet::Never(format!("ignored: {of_repo} requests about {name} within an hour")));
        }
        Ok(earlier)
    }

    async fn newest(&self, case: &Case<'_>, pull_request: i64) -> Result<Known, NotYet> {
        let newest = pulls::newest(&self.db, case.repo, pull_request).await.context("reading the builds")?;
        newest.ok_or_else(|| NotYet::Never(format!("pull request #{pull_request} has no build here")))
    }

    async fn obey_comment(&self, case: &Case<'_>, id: i64, pull_request: i64, body: &str) -> Result<(), NotYet> {
        let newest = self.newest(case, pull_request).await?;
        let comment = self.github.comment(case.target(), id).await;
        let comment = comment.map_err(|error| unanswered(&error, "GitHub does not confirm the comment"))?;
        let comment = comment.ok_or_else(|| NotYet::Refused("the comment is gone".to_owned()))?;
        let by = confirmed(case, &comment, pull_request)?;
        // The number is the payload's; the login is GitHub's.
        let case = &Case { by, ..*case };
        let read = Command::of_comment(&comment.body);
        if !self.may_write(case, by).await? {
            let told = format!("{} may not push to {}, so this has no effect.", by.login, case.repository.name);
            return self.refuse(case, &newest, &told).await;
        }
        let command = match read {
            _ if comment.is_edited || comment.body != body => {
                Err("The comment was changed after it was written. Write a new one.".to_owned())
            }
            None => return Err(NotYet::Never("a comment without a command".to_owned())),
            Some(read) => read,
        };
        let done = match command {
            Err(told) => Done::impossible(told),
            Ok(command) => return self.carry_out(case, &newest, &comment, command).await,
        };
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, false).await?;
        self.conclude(tx, case, Some(&newest), &done).await
    }

    async fn obey_label(&self, case: &Case<'_>, pull_request: i64) -> Result<(), NotYet> {
        let newest = self.newest(case, pull_request).await?;
        let may_write = self.may_write(case, case.by).await?;
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, !may_write).await?;
        match may_write {
            true => self.conclude(tx, case, Some(&newest), &acts::train()).await,
            false => self.conclude(tx, case, None, &Done::impossible(no_right(case))).await,
        }
    }

    /// Approves the head of a pull request by a label. The payload says that it was set; GitHub has to say who has set it,
    /// and when. Who may triage can set labels, so the right to push counts here as well.
    async fn obey_approval(&self, case: &Case<'_>, number: i64, label: &str, sha: &Sha) -> Result<(), NotYet> {
        let newest = self.newest(case, number).await?;
        let set = self.github.label_set(case.target(), number, label).await;
        let set = set.map_err(|error| unanswered(&error, "GitHub does not confirm the label"))?;
        let refused = |why: &str| NotYet::Refused(why.to_owned());
        let set = set.ok_or_else(|| refused("the pull request does not have the label"))?;
        if set.at < Utc::now() - MAX_AGE {
            return Err(refused("the label was set more than a day ago"));
        }
        let by = set.by.filter(|by| by.id == case.by.id);
        let by = &by.ok_or_else(|| refused("somebody else, or a program, has set the label"))?;
        let case = &Case { by, ..*case };
        if !self.may_write(case, by).await? {
            let told = format!("{} may not push to {}, so the label has no effect.", by.login, case.repository.name);
            return self.refuse(case, &newest, &told).await;
        }
        let pull = self.github.pull(case.target(), number).await;
        let pull = pull.map_err(|error| unanswered(&error, "GitHub does not show the pull request"))?;
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, false).await?;
        let done = match pull.head == *sha {
            true => acts::approve(&mut tx, case, &newest, &pull, Approval::Label(set.at)).await?,
            false => Done::impossible(format!(
                "The label was set when the pull request was at {}. It is at {} now: look at that, take the label off, and \
                 set it again.",
                sha.short(),
                pull.head.short()
            )),
        };
        self.conclude(tx, case, Some(&newest), &done).await
    }

    async fn may_write(&self, case: &Case<'_>, by: &Person) -> Result<bool, NotYet> {
        let may_write = self.github.may_write(case.target(), by).await;
        may_write.map_err(|error| unanswered(&error, &format!("GitHub does not tell the rights of {}", by.login)))
    }

    /// Records that a person may not do this, and tells them so once on a pull request.
    async fn refuse(&self, case: &Case<'_>, newest: &Known, told: &str) -> Result<(), NotYet> {
        let mut tx = self.db.begin().await.context("opening a transaction")?;
        self.record_request(&mut tx, case, true).await?;
        let shown = (!case.was_refused).then_some(newest);
        self.conclude(tx, case, shown, &Done::impossible(told.to_owned())).await
    }

    async fn record_request(
        &self,
        tx: &mut sqlx::PgConnection,
        case: &Case<'_>,
        is_refused: bool,
    ) -> Result<(), NotYet> {
        match commands::record(tx, &case.command(), is_refused).await.context("recording a request")? {
            true => Ok(()),
            false => Err(NotYet::Never("it was dealt with before".to_owned())),
        }
    }

    /// Ends a request: with the wish for an answer, if a build is given, and with the end of the delivery.
    async fn conclude(
        &self,
        mut tx: sqlx::Transaction<'static, sqlx::Postgres>,
        case: &Case<'_>,
        newest: Option<&Known>,
        done: &Done,
    ) -> Result<(), NotYet> {
        if let (Some(newest), Some(pull_request)) = (newest, case.pull_request) {
            let (kind, text) = match done.reaction.filter(|_| case.comment.is_some()) {
                Some(reaction) => (Kind::Reaction, reaction.name()),
                None => (Kind::Reply, done.told.as_str()),
            };
            let target_path = &format!("/{}/builds/{}", case.repository.name, newest.number);
            let (repo, build, comment) = (case.repo, newest.id, case.comment);
            let answer = Answer { repo, build, comment, pull_request, kind, text, target_path };
            wishes::answer(&mut tx, &answer).await.context("wishing an answer")?;
        }
        let id = &case.delivery.id;
        if deliveries::done(&mut tx, id, &done.told, None).await.context("ending a delivery")? {
            tx.commit().await.context("committing a request")?;
            info!(delivery = %id, "{} asked for something: {}", case.by.login, done.told);
            self.bells.intake.ring();
        }
        Ok(())
    }
}

fn no_right(case: &Case<'_>) -> String {
    format!("{} may not push to {}", case.by.login, case.repository.name)
}

/// Returns the author of a comment, if GitHub has it as the payload says.
fn confirmed<'c>(case: &Case<'_>, comment: &'c Comment, pull_request: i64) -> Result<&'c Person, NotYet> {
    let refused = |why: &str| Err(NotYet::Refused(why.to_owned()));
    if comment.on != Some(pull_request) {
        return refused("GitHub has the comment on another pull request");
    }
    if comment.created_at < Utc::now() - MAX_AGE {
        return refused("the comment is older than a day");
    }
    match &comment.author {
        Some(by) if by.id == case.by.id => Ok(by),
        Some(_) => refused("GitHub has the comment of another author"),
        None => refused("the comment is of a program, or of a deleted account"),
    }
}

/// Returns the consequence for a request of a repository that GitHub does not confirm.
fn unconfirmed(error: anyhow::Error) -> NotYet {
    match error.downcast_ref() {
        Some(Unproven::Unanswered(wait, why)) if !wait.is_zero() => NotYet::Unanswered(*wait, why.clone()),
        Some(Unproven::Unanswered(..)) | None => NotYet::Later(error),
        Some(_) => NotYet::Refused(error.to_string()),
    }
}
