//! The way from a delivery to a build: parse, mirror, plan, and one transaction.
//!
//! Nothing is written before that transaction, so a crash at any point only means that the step is repeated.

mod commands;
mod delivery_logs;
mod forks;
mod heads;
mod imports;
mod look;
mod passed_on_travis;
mod proof;
mod pulls;
mod requested;
mod settings;
mod tries;
mod unbuilt;

use sqlx::PgPool;
use tracing::{error, info, warn};

pub use self::delivery_logs::{DeliveryLogs, HiddenHooks};
pub use self::forks::{ForkPolicy, ForksConfig};
pub use self::heads::CHECK_INTERVAL;
use self::look::Looked;
use self::proof::Unproven;
pub use self::pulls::Said;
pub use self::settings::{RepositoriesConfig, RepositorySettings};
use self::tries::{FETCH_TRIES, LAST_TRY, MAX_TRIES, NotYet};
pub use self::tries::{HOLD, LONGEST_WAIT};
use crate::domain::{BuildState, RequestConfig, Scope, TrainingRequest, Trigger};
use crate::git::{Mirrors, Permanent, Remote, is_unauthorized};
use crate::github::Client;
use crate::github::event::Repository;
use crate::gpu::{self, Asking};
use crate::hooks::Receivers;
use crate::permits::PublishConfig;
use crate::plan::{self, Plan};
use crate::planner::Planner;
use crate::store::builds::{self, NewBuild};
use crate::store::deliveries::{self, Delivery};
use crate::store::missed::FOUND;
use crate::store::queue::NewJob;
use crate::store::queue::superseded::Cancels;
use crate::store::repos::{self, RepoFacts};
use crate::store::wakeup::bell::Bells;
use crate::telemetry::traces;
use crate::travis::extensions::is_preemptible;

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
    /// Treatment of pull requests from forks.
    pub forks: ForksConfig,
    /// Settings of single repositories.
    pub repositories: RepositoriesConfig,
    pub gpu: gpu::GpuConfig,
    /// True if builds have check runs.
    pub checks: bool,
    /// True if pull requests have a comment with the state of their builds.
    pub comment: bool,
    /// Chats and programs of the operator that may be told of builds.
    pub receivers: Receivers,
    /// Places to which trained weights may go.
    pub publish: PublishConfig,
    /// Rights that are missing, as far as the log has said so.
    pub said: Said,
}

/// A build that a delivery asks for.
struct Asked {
    repository: Repository,
    trigger: Trigger,
    /// Configurations of a request.
    configs: Vec<RequestConfig>,
    /// Asks for trainings alone.
    trainings: Option<TrainingRequest>,
}

impl Asked {
    fn of(repository: Repository, trigger: Trigger) -> Self {
        Self { repository, trigger, configs: Vec::new(), trainings: None }
    }
}

impl Intake {
    async fn build(&self, delivery: &Delivery, mut asked: Asked, span: traces::Parent) -> Result<(), NotYet> {
        if let Some(original) = &delivery.replay_of {
            return Err(NotYet::Refused(format!("it repeats the body of the delivery {original}")));
        }
        if self.forks.policy(&asked.trigger, asked.repository.private) == ForkPolicy::Never {
            return Err(NotYet::Never("pull requests from forks are not built (`forks` in config.toml)".to_owned()));
        }
        let looked = async {
            let name = asked.repository.name.clone();
            let url = self.address(&asked.repository).await?;
            let credentials = self.credentials(&name).await?;
            let remote = Remote { repo: &name, url: &url, credentials: credentials.as_ref() };
            let looked = self.look(&remote, &mut asked, span).await;
            if let (Err(error), Some(credentials)) = (&looked, &credentials)
                && is_unauthorized(error)
            {
                self.github.git_credentials_refused(&name, credentials).await;
            }
            looked
        };
        let mut looked = match looked.await {
            Ok(looked) => looked,
            Err(error) if error.is::<Unproven>() || (delivery.tries < FETCH_TRIES && !error.is::<Permanent>()) => {
                return Err(not_looked(error, delivery.tries));
            }
            Err(error) => Looked::without(&asked.trigger.sha, unbuilt::not_prepared(&error)),
        };
        if asked.trigger.sender.as_deref() == Some(FOUND) && looked.plan.skip.is_none() {
            looked.plan.problems.push(unbuilt::found(asked.trigger.kind));
        }
        let writing = span.begin("write");
        self.insert(delivery, &asked, looked, None).await?;
        drop(writing);
        Ok(())
    }

    /// Ends a delivery that was tried too often, with an errored build if one can be inserted.
    async fn give_up(&self, delivery: &Delivery, asked: &Asked) -> Result<(), NotYet> {
        let cause = delivery.last_error.as_deref().unwrap_or("the reason is not known");
        let reason = format!("{MAX_TRIES} tries to work on this delivery failed, the last one because: {cause}");
        error!(delivery = %delivery.id, "delivery {} is given up: {reason}", delivery.id);
        let inserted = async {
            // A build of a repository that GitHub does not confirm would store that repository.
            self.address(&asked.repository).await?;
            let looked = Looked::without(&asked.trigger.sha, unbuilt::given_up(&reason));
            self.insert(delivery, asked, looked, Some(&reason)).await
        };
        inserted.await.map_err(|error| {
            warn!(delivery = %delivery.id, "delivery {} gets no build: {error:#}", delivery.id);
            // Postgres or GitHub may be away just now.
            match delivery.tries < LAST_TRY {
                true => NotYet::Later(anyhow::Error::msg(cause.to_owned())),
                false => NotYet::GivenUp(reason),
            }
        })
    }

    /// Inserts the build with everything that belongs to it, and ends the delivery: with `failure`, if it was given up.
    async fn insert(
        &self,
        delivery: &Delivery,
        asked: &Asked,
        Looked { built_sha, plan, lines, is_latest }: Looked,
        failure: Option<&str>,
    ) -> anyhow::Result<()> {
        let Asked { repository, trigger, trainings, .. } = asked;
        let delivery = &delivery.id;
        let scope = trainings.as_ref().map(TrainingRequest::scope).unwrap_or_default();
        let is_whole = scope == Scope::Commit;
        let mut tx = self.db.begin().await?;
        let outcome = match &plan.skip {
            Some(reason) => format!("no build: {reason}"),
            None => {
                let facts = RepoFacts {
                    forge: self.github.forge_of(&repository.name).to_owned(),
                    github_id: repository.id,
                    name: repository.name.clone(),
                    private: repository.private,
                    default_branch: repository.default_branch.clone(),
                    clone_url: self.github.clone_url(&repository.name).into(),
                };
                let repo = repos::upsert(&mut tx, &facts).await?;
                let settings = self.repositories.of(&repository.name);
                repos::set_slots(&mut tx, repo, settings.slots).await?;
                // A person may ask for the trainings of a commit that was built.
                let built = if is_whole { builds::built(&mut tx, repo, trigger).await? } else { None };
                if let Some(number) = built {
                    let outcome = format!("no build: the commit was built already, as {}#{number}", trigger.repo);
                    deliveries::done(&mut tx, delivery, &outcome, None).await?;
                    return Ok(tx.commit().await?);
                }
                let jobs: Vec<NewJob> = plan.jobs.iter().map(|job| self.new_job(job, trigger)).collect();
                let new = NewBuild {
                    delivery: Some(delivery),
                    repo,
                    trigger,
                    built_sha: &built_sha,
                    jobs: &jobs,
                    problems: &plan.problems,
                    lines: &lines,
                    decided: decided(&plan),
                    fast_finish: plan.fast_finish,
                    webhooks: plan.webhooks.as_ref(),
                    chats: &self.receivers.listening(&trigger.repo, trigger.branch.as_deref()),
                    // The build of all jobs has linted the commit, and in full.
                    linted: plan.linted > 0 && is_whole,
                    needs_approval: self.forks.policy(trigger, repository.private) == ForkPolicy::Approve,
                    scope,
                    // A delivery that comes late must not end the build of a later commit.
                    cancels: settings.cancels(trigger, self.cancels).filter(|_| is_latest && is_whole),
                };
                let created = builds::create(&mut tx, &new).await?;
                let has_comment = self.comment && trigger.pull_request.is_some();
                if self.checks || has_comment {
                    builds::show(&mut tx, created.id, self.checks, has_comment).await?;
                }
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

/// Returns the consequence of a failure that gives no build.
fn not_looked(error: anyhow::Error, tries: i32) -> NotYet {
    let is_last = tries >= FETCH_TRIES;
    match error.downcast_ref() {
        Some(Unproven::Contradicted(_)) => NotYet::Refused(error.to_string()),
        Some(Unproven::Unanswered(wait, why)) if !wait.is_zero() || is_last => NotYet::Unanswered(*wait, why.clone()),
        Some(Unproven::Unconfirmed(_)) if is_last || error.is::<Permanent>() => NotYet::Refused(error.to_string()),
        Some(Unproven::Hidden(_)) if is_last => NotYet::GivenUp(error.to_string()),
        _ => NotYet::Later(error),
    }
}

/// Returns a repository as it is stored, for a delivery that does not describe it.
fn stored(facts: RepoFacts) -> Repository {
    let RepoFacts { github_id: id, name, private, default_branch, clone_url, .. } = facts;
    Repository { id, name, private, default_branch, clone_url }
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
