//! The way from a delivery to a build: parse, mirror, plan, and one transaction.
//!
//! Nothing is written before that transaction, so a crash at any point only means that the step is repeated.

mod imports;
mod proof;
mod unbuilt;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::proof::Unproven;
use crate::domain::{BuildState, Sha, Trigger, TriggerKind};
use crate::git::{Mirrors, Permanent, Remote};
use crate::github::Client;
use crate::github::event::{self, Event, Repository};
use crate::gpu::{self, Asking};
use crate::plan::{self, Plan};
use crate::planner::{Answer, PlanError, Planner, Request};
use crate::store::builds::{self, NewBuild};
use crate::store::deliveries::{self, Delivery};
use crate::store::queue::NewJob;
use crate::store::queue::superseded::Cancels;
use crate::store::repos::{self, RepoFacts};
use crate::store::wakeup::bell::Bells;
use crate::travis::extensions::is_preemptible;
use crate::travis::import::Imports;

/// Time after which a try counts as crashed, and another intake takes the delivery.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(700);
/// Time limit for one try. It is longer than git's own limit for a fetch.
const TRY_LIMIT: Duration = Duration::from_secs(680);
/// Number of tries before a repository that cannot be fetched results in an errored build with that message. With the
/// delays between them, the tries take about a minute: long enough for short failures of GitHub and for its merge
/// commits, and short enough for an author.
const FETCH_TRIES: i32 = 6;
/// Number of tries, of any outcome, after which a delivery is given up. A try counts when it begins, so a delivery that
/// crashes the process cannot do so without end.
const MAX_TRIES: i32 = 8;

/// Turns deliveries into builds.
#[derive(Debug, Clone)]
pub struct Intake {
    pub db: PgPool,
    pub bells: Bells,
    /// GitHub that proves the deliveries.
    pub github: Client,
    /// Clones that files and commits are read from.
    pub mirrors: Mirrors,
    pub planner: Planner,
    /// Older builds that a new one cancels.
    pub cancels: Cancels,
    pub gpu: gpu::GpuConfig,
}

/// Reason why a delivery has not resulted in a build.
enum NotYet {
    /// A retry may succeed.
    Later(anyhow::Error),
    /// GitHub does not answer for this time at least. That is not the delivery's fault, so the try does not count.
    Unanswered(Duration, String),
    /// No retry can succeed.
    Never(String),
    /// All tries failed, and no build can show that.
    GivenUp(String),
    /// The delivery is not what it claims to be.
    Refused(String),
}

impl From<anyhow::Error> for NotYet {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

impl Intake {
    /// Handles the oldest open delivery. Returns false if there is none, or no room for what it would fetch: then it
    /// waits. The janitor reports the lack of room.
    ///
    /// # Errors
    /// Fails when Postgres is not reachable. The delivery then stays open.
    pub async fn step(&self) -> anyhow::Result<bool> {
        if self.mirrors.wanting_room()?.is_some() {
            return Ok(false);
        }
        let Some(delivery) = deliveries::take(&self.db, DELIVERY_TIMEOUT).await.context("reading the deliveries")?
        else {
            return Ok(false);
        };
        let tried = tokio::time::timeout(TRY_LIMIT, self.try_once(&delivery)).await;
        let built =
            tried.unwrap_or_else(|_| Err(NotYet::Later(anyhow::anyhow!("the try took longer than {TRY_LIMIT:?}"))));
        self.record(&delivery, built).await?;
        Ok(true)
    }

    async fn try_once(&self, delivery: &Delivery) -> Result<(), NotYet> {
        match event::parse(&delivery.event, &delivery.body) {
            Ok(Event::Build(repository, trigger)) if delivery.tries > MAX_TRIES => {
                self.give_up(delivery, &repository, &trigger).await
            }
            Ok(Event::Build(repository, trigger)) => self.build(delivery, &repository, *trigger).await,
            Ok(Event::Ignored(reason)) => Err(NotYet::Never(reason)),
            Err(error) => Err(NotYet::Never(format!("{error:#}"))),
        }
    }

    /// Records what a try has come to.
    async fn record(&self, delivery: &Delivery, tried: Result<(), NotYet>) -> anyhow::Result<()> {
        match tried {
            Ok(()) => {
                self.bells.worker.ring();
                self.bells.outbox.ring();
            }
            Err(NotYet::Never(reason)) => {
                info!(delivery = %delivery.id, "delivery {} results in no build: {reason}", delivery.id);
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &reason, None).await?;
            }
            Err(NotYet::GivenUp(reason)) => {
                let outcome = format!("no build: {reason}");
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &outcome, Some(&reason)).await?;
            }
            Err(NotYet::Refused(reason)) => {
                warn!(delivery = %delivery.id, "delivery {} is refused: {reason}", delivery.id);
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &format!("refused: {reason}"), None)
                    .await?;
            }
            Err(NotYet::Later(error)) => {
                warn!(delivery = %delivery.id, "delivery {} will be tried again: {error:#}", delivery.id);
                let (delay, failure) = (retry_delay(delivery.tries), format!("{error:#}"));
                deliveries::later(&self.db, &delivery.id, delay, &failure).await?;
            }
            Err(NotYet::Unanswered(wait, why)) => {
                warn!(delivery = %delivery.id, "delivery {} waits for GitHub: {why}", delivery.id);
                let delay = wait.clamp(deliveries::LONGEST_DELAY, DELIVERY_TIMEOUT);
                deliveries::wait(&self.db, &delivery.id, delay, &why).await?;
            }
        }
        Ok(())
    }

    async fn build(&self, delivery: &Delivery, repository: &Repository, mut trigger: Trigger) -> Result<(), NotYet> {
        if let Some(original) = &delivery.replay_of {
            return Err(NotYet::Refused(format!("it repeats the body of the delivery {original}")));
        }
        let looked = async {
            let url = self.address(repository).await?;
            let remote = Remote { repo: &repository.name, url: &url };
            let (built, plan) = self.look(&remote, &repository.default_branch, &mut trigger).await?;
            anyhow::Ok((built, plan))
        };
        let (built_sha, plan) = match looked.await {
            Ok(looked) => looked,
            Err(error) => match error.downcast_ref() {
                Some(Unproven::Contradicted(_)) => return Err(NotYet::Refused(error.to_string())),
                Some(Unproven::Unanswered(wait, why)) if !wait.is_zero() || delivery.tries >= FETCH_TRIES => {
                    return Err(NotYet::Unanswered(*wait, why.clone()));
                }
                _ if delivery.tries < FETCH_TRIES && !error.is::<Permanent>() => return Err(error.into()),
                Some(Unproven::Unanswered(..)) => return Err(error.into()),
                Some(Unproven::Unconfirmed(_)) => return Err(NotYet::Refused(error.to_string())),
                Some(Unproven::Hidden(_)) => return Err(NotYet::GivenUp(error.to_string())),
                None => (trigger.sha.clone(), unbuilt::not_prepared(&error)),
            },
        };
        self.insert(delivery, repository, &trigger, &built_sha, plan, None).await?;
        Ok(())
    }

    /// Ends a delivery that was tried too often, with an errored build if one can be inserted.
    async fn give_up(&self, delivery: &Delivery, repository: &Repository, trigger: &Trigger) -> Result<(), NotYet> {
        let cause = delivery.last_error.as_deref().unwrap_or("the reason is not known");
        let reason = format!("{MAX_TRIES} tries to work on this delivery failed, the last one because: {cause}");
        error!(delivery = %delivery.id, "delivery {} is given up: {reason}", delivery.id);
        let inserted = async {
            // A build of a repository that GitHub does not confirm would store that repository.
            self.address(repository).await?;
            let plan = unbuilt::given_up(&reason);
            self.insert(delivery, repository, trigger, &trigger.sha, plan, Some(&reason)).await
        };
        inserted.await.map_err(|error| {
            warn!(delivery = %delivery.id, "delivery {} gets no build: {error:#}", delivery.id);
            NotYet::GivenUp(reason)
        })
    }

    /// Fetches and plans the commit that is to be built. Fills in the facts that a pull request's payload lacks.
    async fn look(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &mut Trigger,
    ) -> anyhow::Result<(Sha, Plan)> {
        let built = match &trigger.pull_request {
            None => {
                self.pushed_commit(remote, trigger).await?;
                trigger.sha.clone()
            }
            Some(pull) => self.proposed_commit(remote, pull, &trigger.sha).await?,
        };
        if trigger.message.is_none() {
            // Skip words and conditions apply to the author's commit, not to GitHub's merge commit.
            trigger.message = Some(self.mirrors.commit(remote.repo, &trigger.sha).await?.message);
        }
        let tree = self.mirrors.files(remote.repo, &built).await?;
        let sources = plan::Sources::of(&tree, |file| (&file.path, file.size));
        let texts = self.mirrors.read(remote.repo, &sources.readable).await?;
        let sources = sources.with_texts(texts, |file| file.path.clone());
        let has_more = sources.iter().any(|file| file.path != plan::CONFIG);
        let changed = if has_more { self.changed(remote, default_branch, trigger, &built).await } else { Ok(None) };
        let changed = changed.unwrap_or_else(|error| {
            info!("cannot list what {} of {} changes, so everything counts: {error:#}", built.short(), trigger.repo);
            None
        });
        let paths: Vec<&str> = tree.iter().map(|file| file.path.as_str()).collect();
        let settings = plan::Settings::default();
        let request = Request {
            trigger,
            settings: &settings,
            files: &sources,
            paths: &paths,
            changed: changed.as_ref(),
            imports: Imports::new(),
        };
        let plan = self.plan(&imports::Commit { remote, trigger, tree: &tree }, request).await?;
        Ok((built, plan))
    }

    /// Plans a commit with all files that it imports.
    async fn plan(&self, commit: &imports::Commit<'_>, mut request: Request<'_>) -> anyhow::Result<Plan> {
        let mut planning = self.planner.begin();
        let deadline = Instant::now() + imports::LIMIT;
        loop {
            match planning.ask(&request).await {
                Ok(Answer::Planned(plan)) => return Ok(*plan),
                Ok(Answer::Wanted(wanted)) => {
                    self.fetch_imports(commit, wanted, deadline, &mut request.imports).await?
                }
                Err(PlanError::Commit(reason)) => return Ok(unbuilt::not_planned(reason)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the paths that a push or pull request changes, or `None` when there is nothing to compare with.
    async fn changed(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &Trigger,
        built: &Sha,
    ) -> anyhow::Result<Option<BTreeSet<String>>> {
        let from = match (&trigger.pull_request, &trigger.before) {
            // The first parent of the merge commit is the base that was merged with.
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

    /// Fetches the merge commit of a pull request's head into its base, once GitHub has made it.
    async fn merge_commit(&self, remote: &Remote<'_>, number: i64, head: &Sha) -> anyhow::Result<Sha> {
        let merge = self.mirrors.fetch_merge(remote, number).await?.with_context(|| {
            format!(
                "GitHub has no merge commit of pull request #{number}: if it has conflicts, resolve them and push again"
            )
        })?;
        let parents = self.mirrors.commit(remote.repo, &merge).await?.parents;
        anyhow::ensure!(
            parents.last() == Some(head),
            "GitHub's merge commit of pull request #{number} does not merge {}: the pull request has another head by now, \
             or it has conflicts; then resolve them and push again",
            head.short()
        );
        Ok(merge)
    }

    /// Inserts the build with everything that belongs to it, and ends the delivery: with `failure`, if it was given up.
    async fn insert(
        &self,
        delivery: &Delivery,
        repository: &Repository,
        trigger: &Trigger,
        built_sha: &Sha,
        plan: Plan,
        failure: Option<&str>,
    ) -> anyhow::Result<()> {
        let delivery = &delivery.id;
        let mut tx = self.db.begin().await?;
        let outcome = match &plan.skip {
            Some(reason) => format!("no build: {reason}"),
            None => {
                let facts = RepoFacts {
                    github_id: repository.id,
                    name: repository.name.clone(),
                    private: repository.private,
                    default_branch: repository.default_branch.clone(),
                    clone_url: self.github.clone_url(&repository.name).into(),
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
                    cancels: Some(self.cancels),
                };
                let created = builds::create(&mut tx, &new).await?;
                format!("{}#{}", trigger.repo, created.number)
            }
        };
        // If this process took too long, another one may have handled the delivery meanwhile; then the other build
        // counts.
        if deliveries::done(&mut tx, delivery, &outcome, failure).await? {
            tx.commit().await?;
            info!(%delivery, "delivery {delivery} ({}) results in {outcome}", trigger.kind);
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
    Duration::from_secs(1 << tries.clamp(0, 7)).min(deliveries::LONGEST_DELAY)
}

/// Returns the state of a build that has nothing to run.
fn decided(plan: &Plan) -> Option<BuildState> {
    if plan.is_fatal() {
        Some(BuildState::Errored)
    } else if plan.has_lint_errors() {
        // Errors of the lint: a training that cannot work must not take a slot.
        Some(BuildState::Failed)
    } else if plan.jobs.is_empty() {
        // A repository of training configs, none of which needs a smoke job.
        Some(BuildState::Passed)
    } else {
        None
    }
}
