//! Changes by a commit.

use std::collections::BTreeSet;

use super::{Mirrors, Remote};
use crate::domain::{RepoName, Sha};

impl Mirrors {
    /// Returns the paths that differ between two commits of the mirror. Paths that are not UTF-8 are left out, as in
    /// [`Mirrors::files`].
    ///
    /// # Errors
    /// Fails when the mirror lacks one of the commits.
    pub async fn changed(&self, repo: &RepoName, from: &Sha, to: &Sha) -> anyhow::Result<BTreeSet<String>> {
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", from.as_str(), to.as_str()];
        let listing = self.local(repo, &args).await?;
        let paths = listing.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.filter_map(|path| std::str::from_utf8(path).ok().map(str::to_owned)).collect())
    }

    /// Returns the last commit that a commit of the mirror shares with the current state of a branch, or `None` if
    /// there is none.
    ///
    /// # Errors
    /// Fails when the remote is unreachable, rejects the request, or has no such branch.
    pub async fn branch_point(&self, remote: &Remote<'_>, branch: &str, sha: &Sha) -> anyhow::Result<Option<Sha>> {
        // A fixed name of our own: a branch's name may clash with that of a deleted branch, as `a` does with `a/b`.
        let tip = "refs/trainyard/default";
        self.fetch(remote, &[format!("+refs/heads/{branch}:{tip}")]).await?;
        // If there is none, git exits with status 1 and no output.
        match self.local(remote.repo, &["merge-base", tip, sha.as_str()]).await {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim().parse()?)),
            Err(_) => Ok(None),
        }
    }
}
