//! The commits of jobs in this machine's mirrors.

use anyhow::Context as _;
use url::Url;

use crate::domain::RepoName;
use crate::git::{Mirrors, Remote, is_unauthorized};
use crate::github::Client;
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
    let fetched = mirrors.fetch_commit(&remote, &facts.built_sha).await;
    if let (Err(error), Some(credentials)) = (&fetched, &credentials)
        && is_unauthorized(error)
    {
        github.git_credentials_refused(repo, credentials).await;
    }
    fetched
}
