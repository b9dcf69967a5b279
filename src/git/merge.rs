//! Merge commits of pull requests, for servers that do not make them.

use anyhow::{Context as _, ensure};

use super::command::{git, run};
use super::{LOCAL_LIMIT, Mirrors, Remote};
use crate::domain::Sha;

/// A pull request whose head is to be merged into its base.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    pub number: i64,
    /// Commit of the base branch.
    pub base: &'a Sha,
    /// Commit of the pull request.
    pub head: &'a Sha,
}

impl Mirrors {
    /// Merges a pull request in the mirror. Returns `None` when there are conflicts.
    ///
    /// The same proposal makes the same commit in every mirror: so another machine can make it again for its jobs.
    ///
    /// # Errors
    /// Fails when the remote is unreachable, or when the pull request has another head by now.
    pub async fn merge(&self, remote: &Remote<'_>, proposal: Proposal<'_>) -> anyhow::Result<Option<Sha>> {
        let Proposal { number, base, head } = proposal;
        let (repo, reference) = (remote.repo, format!("refs/trainyard/pull/{number}/head"));
        if !self.has_commit(repo, head).await {
            self.fetch(remote, &[format!("+refs/pull/{number}/head:{reference}")]).await?;
            ensure!(
                self.has_commit(repo, head).await,
                "pull request #{number} does not have {}, or not any more",
                head.short()
            );
        }
        self.fetch_commit(remote, base).await?;
        let merged = self.local(repo, &["merge-tree", "--write-tree", base.as_str(), head.as_str()]).await;
        let tree = match merged {
            Ok(tree) => tree,
            // Of a merge with conflicts git prints the files to its standard output, and exits with status 1.
            Err(error) if format!("{error:#}").ends_with("exit status: 1") => return Ok(None),
            Err(error) => return Err(error.context(format!("merging pull request #{number}"))),
        };
        let tree = String::from_utf8_lossy(&tree).trim().to_owned();
        // The dates of the commit must be those of its parents, and not of this machine.
        let dated = self.local(repo, &["log", "-1", "--format=%ct", head.as_str()]).await?;
        let date = format!("{} +0000", String::from_utf8_lossy(&dated).trim());
        let mut commit = git(&self.path(repo));
        commit.args(["-c", "user.name=Trainyard", "-c", "user.email=trainyard@localhost", "commit-tree", &tree]);
        commit.args(["-p", base.as_str(), "-p", head.as_str(), "-m", &format!("Merge pull request #{number}")]);
        commit.envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)]);
        let made = run(commit, LOCAL_LIMIT, None).await?;
        let made: Sha = String::from_utf8_lossy(&made).trim().parse().context("git commit-tree printed no commit")?;
        // Kept under its own ref, as fetched commits are.
        self.local(repo, &["update-ref", &format!("refs/trainyard/commit/{made}"), made.as_str()]).await?;
        Ok(Some(made))
    }
}
