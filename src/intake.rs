//! From a delivery to a build: parse, mirror, plan, and one transaction.
//!
//! Nothing is written before that transaction, so a crash anywhere repeats the step and nothing else.

mod imports;

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use crate::domain::{BuildState, DeliveryId, Problem, Severity, Sha, Trigger, TriggerKind};
use crate::git::{Mirrors, Remote, TreeFile};
use crate::github::event::{self, Asked, Repository};
use crate::plan::{self, Plan, SourceFile};
use crate::store::bell::Bells;
use crate::store::builds::{self, NewBuild, NewJob};
use crate::store::deliveries::{self, Delivery};
use crate::store::repos::{self, RepoFacts};
use crate::store::superseded::{self, Cancels};

/// A try that takes longer than this counts as crashed; longer than git's own limit on a fetch.
const PATIENCE: Duration = Duration::from_secs(700);
/// Tries before a repository that cannot be fetched gives an errored build that says so. With the delays between them
/// that is about a minute: long enough for GitHub's hiccups and for its merge commits, short enough for an author.
const TRIES: i32 = 6;

/// Files that are looked at for training configs, and their bytes together.
const MOST_FILES: usize = 2000;
const MOST_BYTES: u64 = 32 << 20;

/// Turns deliveries into builds.
#[derive(Debug, Clone)]
pub struct Intake {
    db: PgPool,
    bells: Bells,
    mirrors: Mirrors,
    cancels: Cancels,
}

/// Why a delivery gives no build yet.
enum NotYet {
    /// It may work in a while.
    Later(anyhow::Error),
    /// It never will.
    Never(String),
}

impl From<anyhow::Error> for NotYet {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

impl Intake {
    /// An intake that reads from these mirrors.
    pub fn new(db: PgPool, bells: Bells, mirrors: Mirrors, cancels: Cancels) -> Self {
        Self { db, bells, mirrors, cancels }
    }

    /// Handles the oldest open delivery; false when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked. The delivery stays open then.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let Some(delivery) = deliveries::take(&self.db, PATIENCE).await.context("looking for deliveries")? else {
            return Ok(false);
        };
        let built = match event::parse(&delivery.event, &delivery.body) {
            Ok(Asked::Build(repository, trigger)) => self.build(&delivery, &repository, *trigger).await,
            Ok(Asked::Nothing(reason)) => Err(NotYet::Never(reason)),
            Err(error) => Err(NotYet::Never(format!("{error:#}"))),
        };
        match built {
            Ok(()) => {
                self.bells.worker.ring();
                self.bells.outbox.ring();
            }
            Err(NotYet::Never(reason)) => {
                info!(delivery = %delivery.id, "delivery {} gives no build: {reason}", delivery.id);
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &reason).await?;
            }
            Err(NotYet::Later(error)) => {
                warn!(delivery = %delivery.id, "delivery {} is tried again: {error:#}", delivery.id);
                deliveries::later(&self.db, &delivery.id, retry_delay(delivery.tries)).await?;
            }
        }
        Ok(true)
    }

    async fn build(&self, delivery: &Delivery, repository: &Repository, mut trigger: Trigger) -> Result<(), NotYet> {
        let url = Url::parse(&repository.clone_url)
            .map_err(|error| NotYet::Never(format!("the payload's clone_url is not a URL: {error}")))?;
        let remote = Remote { repo: &repository.name, url: &url };
        let (built_sha, plan) = match self.look(&remote, &mut trigger).await {
            Ok(looked) => looked,
            Err(error) if delivery.tries < TRIES => return Err(error.into()),
            Err(error) => (trigger.sha.clone(), could_not_fetch(&error)),
        };
        self.insert(&delivery.id, repository, &trigger, &built_sha, plan).await?;
        Ok(())
    }

    /// Fetches the commit that is to be built and plans it. Fills in what a pull request's payload does not say.
    async fn look(&self, remote: &Remote<'_>, trigger: &mut Trigger) -> anyhow::Result<(Sha, Plan)> {
        let built = match &trigger.pull_request {
            None => {
                self.mirrors.fetch_commit(remote, &trigger.sha).await?;
                trigger.sha.clone()
            }
            Some(pull) => self.merge_commit(remote, pull.number, &trigger.sha).await?,
        };
        if trigger.message.is_none() {
            // Skip words and conditions look at the author's commit, not at the merge that GitHub made of it.
            trigger.message = Some(self.mirrors.commit(remote.repo, &trigger.sha).await?.message);
        }
        let tree = self.mirrors.files(remote.repo, &built).await?;
        let files = wanted(&tree);
        let (readable, too_large): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.size < plan::READ_AT_MOST as u64);
        let texts = self.mirrors.read(remote.repo, &readable).await?;
        let mut sources: Vec<SourceFile> =
            readable.into_iter().zip(texts).map(|(file, text)| SourceFile { path: file.path, text }).collect();
        // What is too large is not read: its length alone tells the plan what to say.
        let unread = |file: TreeFile| SourceFile { path: file.path, text: vec![b' '; plan::READ_AT_MOST] };
        sources.extend(too_large.into_iter().map(unread));
        let settings = plan::Settings::default();
        let imports = self.imports(&imports::Commit { remote, trigger, tree: &tree }, &sources, &settings).await?;
        Ok((built, plan::plan(&sources, &imports, trigger, &settings)))
    }

    /// The merge commit of a pull request's head into its base, once GitHub has made it.
    async fn merge_commit(&self, remote: &Remote<'_>, number: i64, head: &Sha) -> anyhow::Result<Sha> {
        let merge = self.mirrors.fetch_merge(remote, number).await?.with_context(|| {
            format!("GitHub has no merge commit of pull request #{number}: resolve its conflicts and push again")
        })?;
        let parents = self.mirrors.commit(remote.repo, &merge).await?.parents;
        anyhow::ensure!(
            parents.last() == Some(head),
            "GitHub's merge commit of pull request #{number} is not of {}: resolve its conflicts and push again",
            head.short()
        );
        Ok(merge)
    }

    async fn insert(
        &self,
        delivery: &DeliveryId,
        repository: &Repository,
        trigger: &Trigger,
        built_sha: &Sha,
        plan: Plan,
    ) -> anyhow::Result<()> {
        let mut tx = self.db.begin().await?;
        let outcome = match &plan.skip {
            Some(reason) => format!("no build: {reason}"),
            None => {
                let facts = RepoFacts {
                    github_id: repository.id,
                    name: repository.name.clone(),
                    private: repository.private,
                    default_branch: repository.default_branch.clone(),
                    clone_url: repository.clone_url.clone(),
                };
                let repo = repos::know(&mut tx, &facts).await?;
                let jobs: Vec<NewJob> = plan.jobs.iter().map(new_job).collect();
                let new = NewBuild {
                    delivery: Some(delivery),
                    repo,
                    trigger,
                    built_sha,
                    jobs: &jobs,
                    problems: &plan.problems,
                    decided: decided(&plan),
                    fast_finish: plan.fast_finish,
                    linted: plan.linted > 0,
                };
                let created = builds::create(&mut tx, &new).await?;
                superseded::cancel(&mut tx, repo, created, trigger, self.cancels).await?;
                format!("{}#{}", trigger.repo, created.number)
            }
        };
        // Another process may have been quicker, when this one took too long: then its build counts.
        if deliveries::done(&mut tx, delivery, &outcome).await? {
            tx.commit().await?;
            info!(%delivery, "delivery {delivery} ({}) gives {outcome}", kind_in_words(trigger.kind));
        }
        Ok(())
    }
}

/// The files that the plan wants to see, bounded in number and size: a repository may have millions.
fn wanted(files: &[TreeFile]) -> Vec<TreeFile> {
    let mut bytes = 0;
    let mut chosen: Vec<TreeFile> = files.iter().filter(|file| plan::wants(&file.path, file.size)).cloned().collect();
    // The file that decides everything is never among those that are left out.
    chosen.sort_by_key(|file| file.path != plan::CONFIG);
    chosen.truncate(MOST_FILES);
    chosen.retain(|file| {
        bytes += file.size.min(plan::READ_AT_MOST as u64);
        bytes <= MOST_BYTES
    });
    chosen
}

fn retry_delay(tries: i32) -> Duration {
    Duration::from_secs(1 << tries.clamp(0, 5))
}

fn new_job(job: &plan::PlannedJob) -> NewJob {
    NewJob {
        kind: job.kind,
        stage: job.stage.clone(),
        name: job.name.clone(),
        allow_failure: job.allow_failure,
        config: job.config.clone(),
    }
}

/// The state of a build that has nothing to run.
fn decided(plan: &Plan) -> Option<BuildState> {
    if plan.is_fatal() {
        Some(BuildState::Errored)
    } else if plan.has_lint_errors() {
        // The lint's errors: a training that cannot work does not take a slot.
        Some(BuildState::Failed)
    } else {
        None
    }
}

fn could_not_fetch(error: &anyhow::Error) -> Plan {
    let problem = Problem {
        severity: Severity::Error,
        rule: "not-fetched".to_owned(),
        message: format!("the commit, or a file that it imports, could not be had: {error:#}"),
        file: None,
        line: None,
        column: None,
        key: None,
    };
    Plan { problems: vec![problem], ..Plan::default() }
}

fn kind_in_words(kind: TriggerKind) -> &'static str {
    match kind {
        TriggerKind::Push => "push",
        TriggerKind::PullRequest => "pull request",
        TriggerKind::Tag => "tag",
        TriggerKind::Cron => "cron",
        TriggerKind::Api => "API",
        TriggerKind::Travis => "Travis",
    }
}
