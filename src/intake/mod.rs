//! From a delivery to a build: parse, mirror, plan, and one transaction.
//!
//! Nothing is written before that transaction, so a crash anywhere repeats the step and nothing else.

mod imports;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use crate::domain::{BuildState, DeliveryId, Problem, Severity, Sha, Trigger, TriggerKind};
use crate::git::{Mirrors, Remote, TooMuch};
use crate::github::event::{self, Event, Repository};
use crate::gpu::{self, Asking};
use crate::plan::{self, Plan};
use crate::store::builds::{self, NewBuild};
use crate::store::deliveries::{self, Delivery};
use crate::store::queue::NewJob;
use crate::store::queue::superseded::{self, Cancels};
use crate::store::repos::{self, RepoFacts};
use crate::store::wakeup::bell::Bells;
use crate::travis::extensions::is_preemptible;

/// A try that takes longer than this counts as crashed; longer than git's own limit on a fetch.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(700);
/// Tries before a repository that cannot be fetched gives an errored build that says so. With the delays between them
/// that is about a minute: long enough for GitHub's hiccups and for its merge commits, short enough for an author.
const TRIES: i32 = 6;

/// Turns deliveries into builds.
#[derive(Debug, Clone)]
pub struct Intake {
    db: PgPool,
    bells: Bells,
    mirrors: Mirrors,
    cancels: Cancels,
    gpu: gpu::Settings,
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
    pub fn new(db: PgPool, bells: Bells, mirrors: Mirrors, cancels: Cancels, gpu: gpu::Settings) -> Self {
        Self { db, bells, mirrors, cancels, gpu }
    }

    /// Handles the oldest open delivery; false when there is none.
    ///
    /// # Errors
    /// When Postgres cannot be asked. The delivery stays open then.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let Some(delivery) = deliveries::take(&self.db, DELIVERY_TIMEOUT).await.context("looking for deliveries")?
        else {
            return Ok(false);
        };
        let built = match event::parse(&delivery.event, &delivery.body) {
            Ok(Event::Build(repository, trigger)) => self.build(&delivery, &repository, *trigger).await,
            Ok(Event::Ignored(reason)) => Err(NotYet::Never(reason)),
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
        let (built_sha, plan) = match self.look(&remote, &repository.default_branch, &mut trigger).await {
            Ok(looked) => looked,
            // Of what is too much there will not be less.
            Err(error) if delivery.tries < TRIES && !error.is::<TooMuch>() => return Err(error.into()),
            Err(error) => (trigger.sha.clone(), could_not_fetch(&error)),
        };
        self.insert(&delivery.id, repository, &trigger, &built_sha, plan).await?;
        Ok(())
    }

    /// Fetches the commit that is to be built and plans it. Fills in what a pull request's payload does not say.
    async fn look(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &mut Trigger,
    ) -> anyhow::Result<(Sha, Plan)> {
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
        let sources = plan::Sources::of(&tree, |file| (&file.path, file.size));
        let texts = self.mirrors.read(remote.repo, &sources.readable).await?;
        let sources = sources.with_texts(texts, |file| file.path.clone());
        let settings = plan::Settings::default();
        let imports = self.imports(&imports::Commit { remote, trigger, tree: &tree }, &sources, &settings).await?;
        let has_more = sources.iter().any(|file| file.path != plan::CONFIG);
        let changed = if has_more { self.changed(remote, default_branch, trigger, &built).await } else { Ok(None) };
        let changed = changed.unwrap_or_else(|error| {
            info!("what {} of {} changes is not known, so everything counts: {error:#}", built.short(), trigger.repo);
            None
        });
        let paths: Vec<String> = tree.into_iter().map(|file| file.path).collect();
        let commit = plan::Commit { files: &sources, paths: &paths, changed: changed.as_ref(), only_smoke: None };
        Ok((built, plan::plan(commit, &imports, trigger, &settings)))
    }

    /// The paths that a push or pull request changes; none when there is nothing to compare with.
    async fn changed(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &Trigger,
        built: &Sha,
    ) -> anyhow::Result<Option<BTreeSet<String>>> {
        let from = match (&trigger.pull_request, &trigger.before) {
            // The merge commit's first parent is the base as it was merged with.
            (Some(_), _) => self.mirrors.commit(remote.repo, built).await?.parents.into_iter().next(),
            (None, Some(before)) => {
                self.mirrors.fetch_commit(remote, before).await?;
                Some(before.clone())
            }
            (None, None) if trigger.kind == TriggerKind::Push && trigger.branch.as_deref() != Some(default_branch) => {
                self.mirrors.branch_point(remote, default_branch, built).await?
            }
            (None, None) => None,
        };
        match from {
            Some(from) => Ok(Some(self.mirrors.changed(remote.repo, &from, built).await?)),
            None => Ok(None),
        }
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
                let repo = repos::upsert(&mut tx, &facts).await?;
                let jobs: Vec<NewJob> = plan.jobs.iter().map(|job| self.new_job(job, trigger)).collect();
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
                superseded::cancel(&mut tx, repo, created.number, trigger, self.cancels).await?;
                format!("{}#{}", trigger.repo, created.number)
            }
        };
        // Another process may have been quicker, when this one took too long: then its build counts.
        if deliveries::done(&mut tx, delivery, &outcome).await? {
            tx.commit().await?;
            info!(%delivery, "delivery {delivery} ({}) gives {outcome}", trigger.kind);
        }
        Ok(())
    }

    fn new_job(&self, job: &plan::PlannedJob, trigger: &Trigger) -> NewJob {
        let head = trigger.pull_request.as_ref().map(|pull| pull.head_repo.as_ref().map(ToString::to_string));
        let asking = Asking { repo: &trigger.repo, head: head.as_ref().map(Option::as_deref) };
        NewJob {
            kind: job.kind,
            stage: job.stage.clone(),
            name: job.name.clone(),
            allow_failure: job.allow_failure,
            config: job.config.clone(),
            requirements: self.gpu.requirements(job.kind, &job.config, asking, is_preemptible(&job.config)),
        }
    }
}

fn retry_delay(tries: i32) -> Duration {
    Duration::from_secs(1 << tries.clamp(0, 5))
}

/// The state of a build that has nothing to run.
fn decided(plan: &Plan) -> Option<BuildState> {
    if plan.is_fatal() {
        Some(BuildState::Errored)
    } else if plan.has_lint_errors() {
        // The lint's errors: a training that cannot work does not take a slot.
        Some(BuildState::Failed)
    } else if plan.jobs.is_empty() {
        // A repository of training configs, none of which is to be tried.
        Some(BuildState::Passed)
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
