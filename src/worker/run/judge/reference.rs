//! The numbers with which the gates of a training compare.

use anyhow::Context as _;
use serde::Deserialize as _;
use sqlx::PgPool;

use crate::attempt::{Examined, TrainJob};
use crate::domain::RepoName;
use crate::lora::gates::Reference;
use crate::store::builds::BuildFacts;
use crate::store::output::{earlier, reports};
use crate::worker::fetch::ensure_fetched;
use crate::worker::run::Run;
use crate::worker::run::checkout::find_file;

/// Finds the numbers: in the file that the gates name, or in the last training of the config that has passed on the base
/// branch.
///
/// # Errors
/// Fails when Postgres or git does not answer.
pub(super) async fn find(
    run: &Run,
    train: &TrainJob,
    repo: &RepoName,
    facts: &BuildFacts,
) -> anyhow::Result<Reference> {
    let gates = train.gates();
    if !gates.need_reference() {
        return Ok(Reference::Nothing(String::new()));
    }
    let Some(path) = &gates.reference else { return of_base(&run.handles.db, train, facts).await };
    let mirrors = &run.handles.mirrors;
    ensure_fetched(mirrors, &run.handles.settings.github, repo, facts).await?;
    Ok(Reference::of_file(path, find_file(mirrors, repo, facts, path).await?.as_deref()))
}

async fn of_base(db: &PgPool, train: &TrainJob, facts: &BuildFacts) -> anyhow::Result<Reference> {
    // The branch of a pull request is that of its base.
    let branch = facts.branch.as_ref().filter(|_| facts.pull_request.is_some()).unwrap_or(&facts.default_branch);
    let changes = serde_json::to_value(train.changes())?;
    let Some(found) = earlier::last_passed(db, facts.id, branch, &train.config, &changes).await? else {
        let why = format!("no training of {} has passed on {branch} before build {}", train.config, facts.number);
        return Ok(Reference::Nothing(why));
    };
    let points = reports::loss(db, found.job).await?.unwrap_or_default();
    let report = reports::training(db, found.job).await?;
    let saved = report.map(Examined::deserialize).transpose().context("a report of a training")?;
    let saved = saved.map(|examined| examined.saved).unwrap_or_default();
    let place = format!("build {} of {branch}", found.build);
    Ok(Reference::of_training(place, &points, train.gates().window(), &saved))
}
