//! The second phase: the job's container, filled and running.

mod inputs;

use sqlx::PgPool;

use super::log::Log;
use super::prepare::Prepared;
use super::script_facts::{self, Place};
use super::{End, Run, checkout, checkpoints};
use crate::attempt::{Additions, JobImage, NewContainer, Preparation, Started, Training};
use crate::domain::{AttemptId, RepoName};
use crate::executor::{EgressRule, Found, IpNetwork, Mount};
use crate::store::builds::BuildFacts;
use crate::store::queue::{self, Claimed};
use crate::travis::extensions::fails_when_lost;
use crate::travis::script::{self, Facts, Files};
use crate::worker::Handles;
use crate::worker::fetch::ensure_fetched;

/// The part of a stored log that an adopted attempt reads again, to find the command that failed.
const REREAD_BYTES: i64 = 16 * 1024;

/// Takes over the container of an attempt that an earlier process started.
pub(super) async fn adopt(run: &Run, found: Found, log: &mut Log) -> Started {
    let from = (log.stored() - REREAD_BYTES).max(0);
    if let Ok(piece) = run.handles.settings.logs.read(run.attempt, from, usize::MAX).await {
        log.remember(&piece.bytes);
    }
    Started { container: found.container, ended_before: found.ended }
}

/// Makes the container of a claimed job and starts its script.
pub(super) async fn start(run: &Run, prepared: &Prepared, log: &mut Log) -> Result<Started, End> {
    let Handles { db, engine, gpus, checkout_images, mirrors, settings, .. } = &*run.handles;
    let (job, facts, secrets) = (&run.job, &prepared.facts, &prepared.secrets);
    let repo = &facts.repo()?;
    let (mut smoke, mut additions, mut checkpoint, mut inputs) = (None, Additions::default(), None, Vec::new());
    match run.training()? {
        Some(Training::Smoke(order)) => {
            smoke = Some(checkout::derive_training(mirrors, &settings.github, order, repo, facts).await?);
        }
        Some(Training::Train(order)) => {
            ensure_fetched(mirrors, &settings.github, repo, facts).await?;
            let config = checkout::read_file(mirrors, repo, facts, &order.config).await?;
            additions = order.additions(&config, run.attempt).map_err(|unfit| End::CouldNotBegin(unfit.to_string()))?;
            if let Some((found, tar)) = checkpoints::open(run).await? {
                additions.environment.push(("RESUME_FROM".to_owned(), found.path));
                additions.environment.push(("RESUME_ATTEMPT".to_owned(), found.attempt.to_string()));
                let more = order.to_go_on(&config).map_err(|unfit| End::CouldNotBegin(unfit.to_string()))?;
                additions.files.extend(more.files);
                additions.environment.extend(more.environment);
                checkpoint = Some(tar);
            }
            inputs = inputs::provide(run, prepared, order, log).await?;
        }
        None => {}
    }
    let JobImage { name, image, python } = &settings.images.find(engine, &job.config).await?;
    gpus.check_job(job, facts, name).await?;
    if let Some(python) = python
        && !queue::record_warning(db, run.attempt, &python.warning).await.map_err(anyhow::Error::from)?
    {
        return Err(End::Lost);
    }
    let wanted = &script::checkout_of(&job.config);
    let base = checkout_images.find(repo, facts, image, wanted).await;
    let files = &match &base {
        Some(base) => Files::OfCheckoutImage(base.commit.clone()),
        None if image.has_git => Files::InHistory,
        None => Files::InPlace,
    };
    let mounts: Vec<&Mount> = mounts_for(repo, secrets.allowed, &settings.mounts).collect();
    let place = Place { repo, name, image, python: python.as_ref(), files };
    let script_facts = script_facts::collect(settings, job, prepared, &place, smoke.as_ref());
    let new = NewContainer {
        attempt: run.attempt,
        repo,
        trust_domain: trust_domain(facts, secrets.allowed),
        image: base.as_ref().map_or(&image.id, |base| &base.id),
        script: script::compile(&job.config, &script_facts),
        cache: prepared.cache.as_ref().and_then(|cache| cache.found.clone()),
        additions: smoke.map_or(additions, Additions::from),
        limits: &run.limits,
        mounts: &mounts,
        inputs: &inputs,
        egress_only: egress_only(repo, !secrets.allowed, &settings.egress),
        gpus: &job.gpus,
    };
    let preparation = Preparation {
        checkout: checkout::put_together(mirrors, settings, repo, facts, wanted, files),
        checkpoint,
        before: only_once(job, &script_facts).map(|why| record_only_once(db, run.attempt, why)),
    };
    let started = new.start(engine, &settings.images, &run.progress, preparation).await;
    engine.job_began();
    checkout_images.request(repo, facts, image, wanted);
    Ok(started?)
}

/// Returns the folders of the machine that a job may read. A job without secrets runs foreign code, so it gets no
/// folders.
fn mounts_for<'a>(repo: &'a RepoName, is_trusted: bool, mounts: &'a [Mount]) -> impl Iterator<Item = &'a Mount> {
    mounts.iter().filter(move |mount| is_trusted && mount.is_for(repo))
}

/// Returns the only networks that a job reaches, by the first rule that is for it; `None` for all that are not closed.
fn egress_only<'a>(repo: &RepoName, is_fork: bool, rules: &'a [EgressRule]) -> Option<&'a [IpNetwork]> {
    rules.iter().find(|rule| rule.is_for(repo, is_fork)).map(|rule| rule.only.as_slice())
}

/// Returns why a job must not be restarted automatically once its script runs: it publishes, so that a second run could
/// publish twice, or its configuration says so.
fn only_once(job: &Claimed, facts: &Facts) -> Option<&'static str> {
    if script::may_deploy(&job.config, facts) {
        Some("it may have deployed, so it is not run again")
    } else {
        fails_when_lost(&job.config).then_some("it is not run again, because of `lost: fail`")
    }
}

async fn record_only_once(db: &PgPool, attempt: AttemptId, why: &str) -> anyhow::Result<()> {
    let is_ours = queue::run_only_once(db, attempt, Some(why)).await?;
    anyhow::ensure!(is_ours, "the lease was lost before the job began");
    Ok(())
}

/// Returns a name for the people whose code a job runs: those of the repository, or those of a fork. A deleted fork has
/// no name, so each of its builds gets a separate one.
fn trust_domain(facts: &BuildFacts, is_trusted: bool) -> String {
    match (is_trusted, &facts.head_repo) {
        (true, _) => format!("{}", facts.repo_id),
        (false, Some(fork)) => format!("{} by {fork}", facts.repo_id),
        (false, None) => format!("build {}", facts.id.0),
    }
}
