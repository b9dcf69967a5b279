//! The branches and tags of a remote, without its mirror.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

use super::command::{over_network, run};
use super::{LS_REMOTE_LIMIT, Mirrors, Remote};
use crate::domain::Sha;

impl Mirrors {
    /// Returns the full names of all branches and tags of the remote, with their commits.
    ///
    /// # Errors
    /// Fails when the remote is unreachable or rejects the request.
    pub async fn heads(&self, remote: &Remote<'_>) -> anyhow::Result<Vec<(String, Sha)>> {
        let mut git = over_network(Path::new("/"), remote.url, remote.credentials)?;
        git.args(["ls-remote", "--quiet", "--heads", "--tags", "--", remote.url.as_str()]);
        let listed = run(git, LS_REMOTE_LIMIT, None).await;
        let listed = listed.with_context(|| format!("asking {} for the heads of {}", remote.url, remote.repo))?;
        let mut heads = BTreeMap::new();
        for line in String::from_utf8_lossy(&listed).lines() {
            let Some((object, name)) = line.split_once('\t') else { continue };
            // The commit of an annotated tag has a line of its own, after that of the tag.
            let name = name.strip_suffix("^{}").unwrap_or(name);
            heads.insert(name.to_owned(), object.parse()?);
        }
        Ok(heads.into_iter().collect())
    }
}
