//! The commits of jobs in this machine's mirrors.

use anyhow::{Context as _, ensure};
use url::Url;

use crate::domain::{RepoName, Sha};
use crate::git::{Mirrors, Proposal, Remote, is_unauthorized};
use crate::github::{Client, GITHUB};
use crate::store::builds::BuildFacts;

/// Makes sure that this machine's mirror has the commit: the intake of another machine may have taken the delivery.
pub(super) async fn ensure_fetched(
    mirrors: &Mirrors,
    github: &Client,
    repo: &RepoName,
    facts: &BuildFacts,
) -> anyhow::Result<()> {
    if mirrors.has_commit(repo, &facts.built_sha).await {
        return Ok(());
    }
    let url = Url::parse(&facts.clone_url).context("the repository's address")?;
    let credentials = github.git_credentials(repo).await?;
    let remote = Remote { repo, url: &url, credentials: credentials.as_ref() };
    let fetched = match (&facts.before_sha, facts.pull_request) {
        // Only GitHub makes the merge commits of pull requests. Others are made again, from the same commits.
        (Some(base), Some(number)) if github.forge_of(repo) != GITHUB => {
            let proposal = Proposal { number: number.into(), base, head: &facts.sha };
            merge_again(mirrors, &remote, proposal, &facts.built_sha).await
        }
        _ => mirrors.fetch_commit(&remote, &facts.built_sha).await,
    };
    if let (Err(error), Some(credentials)) = (&fetched, &credentials)
        && is_unauthorized(error)
    {
        github.git_credentials_refused(repo, credentials).await;
    }
    fetched
}

async fn merge_again(
    mirrors: &Mirrors,
    remote: &Remote<'_>,
    proposal: Proposal<'_>,
    wanted: &Sha,
) -> anyhow::Result<()> {
    let merged = mirrors.merge(remote, proposal).await?;
    ensure!(merged.as_ref() == Some(wanted), "the merge commit {} cannot be made again", wanted.short());
    Ok(())
}
