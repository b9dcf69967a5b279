//! What a commit changes.

use std::collections::BTreeSet;

use super::{Mirrors, Remote};
use crate::domain::{RepoName, Sha};

impl Mirrors {
    /// The paths that are not the same in two commits of the mirror. Paths that are not UTF-8 are left out, as in
    /// [`Mirrors::files`].
    ///
    /// # Errors
    /// When the mirror lacks one of them.
    pub async fn changed(&self, repo: &RepoName, from: &Sha, to: &Sha) -> anyhow::Result<BTreeSet<String>> {
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", from.as_str(), to.as_str()];
        let listing = self.local(repo, &args).await?;
        let paths = listing.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.filter_map(|path| std::str::from_utf8(path).ok().map(str::to_owned)).collect())
    }

    /// The last commit that a commit of the mirror shares with a branch, as that is now; none when it shares none.
    ///
    /// # Errors
    /// When the remote cannot be reached, refuses, or has no such branch.
    pub async fn branch_point(&self, remote: &Remote<'_>, branch: &str, sha: &Sha) -> anyhow::Result<Option<Sha>> {
        // Under a name of our own: a branch's may clash with another's that was deleted, as `a` does with `a/b`.
        let tip = "refs/trainyard/default";
        self.fetch(remote, &[format!("+refs/heads/{branch}:{tip}")]).await?;
        // git ends with 1, and says nothing, when there is none.
        match self.local(remote.repo, &["merge-base", tip, sha.as_str()]).await {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim().parse()?)),
            Err(_) => Ok(None),
        }
    }
}
