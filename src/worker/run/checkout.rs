//! The checkout of a job, made from the mirror of its repository.

use anyhow::Context as _;
use tempfile::TempDir;

use crate::attempt::SmokeJob;
use crate::domain::{Checkout, RepoName};
use crate::executor::ExecError;
use crate::git::{Mirrors, NewHistory, Permanent};
use crate::github::Client;
use crate::lora::smoke::Smoke;
use crate::plan::{Commit, READ_AT_MOST, Sources};
use crate::store::builds::BuildFacts;
use crate::travis::script::Files;
use crate::worker::Settings;
use crate::worker::fetch::ensure_fetched;

/// Makes a checkout in a new folder in `scratch`. It has no files when the job takes them from the history with its own
/// git, so that the job's processors do that work. Otherwise git writes the files here, which is faster than the copy
/// through an engine.
///
/// # Errors
/// Returns [`ExecError::Job`] when the checkout is larger than the job's disk.
pub(super) async fn put_together(
    mirrors: &Mirrors,
    Settings { scratch, limits, github, .. }: &Settings,
    repo: &RepoName,
    facts: &BuildFacts,
    wanted: &Checkout,
    files: &Files,
) -> Result<TempDir, ExecError> {
    tokio::fs::create_dir_all(scratch).await.context("making the scratch folder")?;
    let attempt = async || {
        let folder = tempfile::tempdir_in(scratch).context("making a scratch folder")?;
        if wanted.clone {
            let (sha, origin) = (&facts.built_sha, &facts.clone_url);
            let base = if let Files::OfCheckoutImage(base) = files { Some(base) } else { None };
            let new = NewHistory { sha, base, wanted, origin, max_size: limits.disk };
            mirrors.history(repo, new, folder.path()).await?;
            if *files == Files::InPlace {
                mirrors.check_out(sha, folder.path(), limits.disk).await?;
            }
        }
        anyhow::Ok(folder)
    };
    let error = match attempt().await.map_err(explain) {
        Err(ExecError::System(error)) => error,
        ended => return ended,
    };
    ensure_fetched(mirrors, github, repo, facts).await.map_err(|fetch| explain(fetch.context(error.to_string())))?;
    attempt().await.map_err(explain)
}

/// Returns the error of the job's author if no other try can succeed.
fn explain(error: anyhow::Error) -> ExecError {
    if error.is::<Permanent>() { ExecError::Job(format!("{error:#}")) } else { ExecError::System(error) }
}

/// Reads a file of a commit, as the commit has it: a job may change its own copy.
///
/// # Errors
/// Fails when the mirror does not have the file.
pub(super) async fn read_file(
    mirrors: &Mirrors,
    repo: &RepoName,
    facts: &BuildFacts,
    path: &str,
) -> anyhow::Result<Vec<u8>> {
    find_file(mirrors, repo, facts, path).await?.with_context(|| format!("{path} is not in the commit"))
}

/// Reads a file of a commit. Returns `None` if there is none, or if it is larger than a config may be.
///
/// # Errors
/// Fails when the mirror does not have the commit.
pub(super) async fn find_file(
    mirrors: &Mirrors,
    repo: &RepoName,
    facts: &BuildFacts,
    path: &str,
) -> anyhow::Result<Option<Vec<u8>>> {
    let tree = mirrors.files(repo, &facts.built_sha).await?;
    let Some(file) = tree.iter().find(|file| file.path == path && file.size < READ_AT_MOST as u64) else {
        return Ok(None);
    };
    let mut texts = mirrors.read(repo, &[file]).await?;
    Ok(texts.pop())
}

/// Derives the training of a smoke job again, as the plan did: the job's row holds the order, not the files.
///
/// # Errors
/// Returns [`ExecError::Job`] when the config cannot be tried, although it could when it was planned.
pub(super) async fn derive_training(
    mirrors: &Mirrors,
    github: &Client,
    order: &SmokeJob,
    repo: &RepoName,
    facts: &BuildFacts,
) -> Result<Smoke, ExecError> {
    ensure_fetched(mirrors, github, repo, facts).await.map_err(explain)?;
    let tree = mirrors.files(repo, &facts.built_sha).await?;
    let sources = Sources::of(&tree, |file| (&file.path, file.size));
    let texts = mirrors.read(repo, &sources.readable).await?;
    let files = sources.with_texts(texts, |file| file.path.clone());
    let (config, ask) = (order.config.clone(), order.ask());
    // Beside the tasks: they renew the leases of other jobs, and a config can take long.
    let derived = tokio::task::spawn_blocking(move || {
        let paths: Vec<&str> = tree.iter().map(|file| file.path.as_str()).collect();
        Commit { files: &files, paths: &paths, ..Commit::default() }.smoke(&config, &ask)
    });
    let derived = derived.await.context("deriving the smoke job")?;
    derived.map_err(|unfit| ExecError::Job(unfit.to_string()))
}
