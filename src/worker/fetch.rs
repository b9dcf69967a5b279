//! The commits of jobs in this machine's mirrors.

use anyhow::Context as _;
use url::Url;

use crate::domain::RepoName;
use crate::git::{Mirrors, Remote};
use crate::store::builds::BuildFacts;

/// Makes sure that this machine's mirror has the commit: the intake of another machine may have taken the delivery.
pub(super) async fn ensure_fetched(mirrors: &Mirrors, repo: &RepoName, facts: &BuildFacts) -> anyhow::Result<()> {
    let url = Url::parse(&facts.clone_url).context("the repository's address")?;
    mirrors.fetch_commit(&Remote { repo, url: &url }, &facts.built_sha).await
}
