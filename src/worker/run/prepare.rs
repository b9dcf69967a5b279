//! The first phase: the facts of the build, the secrets that the log must hide, and the cache.

use anyhow::Context as _;
use tracing::warn;

use super::cache::{self, JobCache};
use super::log::Log;
use super::secrets::{self, Secrets};
use super::{End, Run};
use crate::domain::RepoId;
use crate::store::builds::{self, BuildFacts};
use crate::worker::ENGINE_RETRY_DELAY;

/// The origin of a job's code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) repo: RepoId,
    /// True when the code of a fork ran.
    pub(super) is_fork: bool,
}

/// Everything that a job may know before its container is made.
pub(super) struct Prepared {
    pub(super) facts: BuildFacts,
    pub(super) secrets: Secrets,
    pub(super) cache: Option<JobCache>,
    pub(super) origin: Origin,
}

/// Prepares an attempt. Nothing is written to the log before the secrets are known that it must hide.
pub(super) async fn prepare(run: &Run, is_adopted: bool, log: &mut Log) -> Result<Prepared, End> {
    let (facts, secrets) = loop {
        match read(run, log).await {
            Ok(read) => break read,
            // The container of an adopted attempt continues to run, and its output must not be stored unmasked.
            Err(error) if is_adopted => {
                warn!(job = %run.job.id, "cannot read the secrets of job {}: {error:#}", run.job.id);
            }
            Err(error) => return Err(End::GivenBack(error)),
        }
        tokio::time::sleep(ENGINE_RETRY_DELAY).await;
    };
    let caches = &run.handles.settings.caches;
    let cache = cache::find(caches, &run.job, &facts, !secrets.allowed, !is_adopted).await;
    let origin = Origin { repo: facts.repo_id, is_fork: !secrets.allowed };
    Ok(Prepared { facts, secrets, cache, origin })
}

async fn read(run: &Run, log: &mut Log) -> anyhow::Result<(BuildFacts, Secrets)> {
    let mut db = run.handles.db.acquire().await?;
    let facts = builds::facts_of(&mut db, run.job.id).await.context("reading the job's build")?;
    drop(db);
    let secrets = secrets::read(&run.handles.settings, &run.job, &facts).await?;
    log.hide(secrets::mask(&run.job, &secrets)?);
    Ok((facts, secrets))
}
