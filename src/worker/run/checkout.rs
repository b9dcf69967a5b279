//! The checkout of a job, made from the mirror of its repository.

use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::attempt::SmokeJob;
use crate::domain::{Checkout, RepoName};
use crate::executor::ExecError;
use crate::git::{Mirrors, NewHistory};
use crate::lora::smoke::Smoke;
use crate::plan::{Commit, Sources};
use crate::store::builds::BuildFacts;
use crate::travis::script::Files;
use crate::worker::fetch::ensure_fetched;

/// Makes a checkout in a new folder in `scratch`. It has no files when the job takes them from the history with its own
/// git, so that the job's processors do that work. Otherwise git writes the files here, which is faster than the copy
/// through an engine.
pub(super) async fn put_together(
    mirrors: &Mirrors,
    scratch: &Path,
    repo: &RepoName,
    facts: &BuildFacts,
    wanted: &Checkout,
    files: &Files,
) -> anyhow::Result<TempDir> {
    tokio::fs::create_dir_all(scratch).await.context("making the scratch folder")?;
    let attempt = async || {
        let folder = tempfile::tempdir_in(scratch).context("making a scratch folder")?;
        if wanted.clone {
            let (sha, origin) = (&facts.built_sha, &facts.clone_url);
            let base = if let Files::OfCheckoutImage(base) = files { Some(base) } else { None };
            mirrors.history(repo, NewHistory { sha, base, wanted, origin }, folder.path()).await?;
            if *files == Files::InPlace {
                mirrors.check_out(sha, folder.path()).await?;
            }
        }
        anyhow::Ok(folder)
    };
    let error = match attempt().await {
        Ok(folder) => return Ok(folder),
        Err(error) => error,
    };
    ensure_fetched(mirrors, repo, facts).await.context(error.to_string())?;
    attempt().await
}

/// Derives the training of a smoke job again, as the plan did: the job's row holds the order, not the files.
///
/// # Errors
/// Returns [`ExecError::Job`] when the config cannot be tried, although it could when it was planned.
pub(super) async fn derive_training(
    mirrors: &Mirrors,
    order: &SmokeJob,
    repo: &RepoName,
    facts: &BuildFacts,
) -> Result<Smoke, ExecError> {
    ensure_fetched(mirrors, repo, facts).await?;
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
