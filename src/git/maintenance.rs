//! What keeps mirrors small and quick: those that nothing was fetched into for long go, and what many fetches left in the
//! others is packed. What is gone is fetched anew when it is asked for again.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{LOCAL_LIMIT, Mirrors, git, run};
use crate::domain::RepoName;

/// Folders of a mirror that change when something is fetched into it.
const CHANGE: [&str; 4] = ["", "refs/trainyard", "refs/trainyard/commit", "refs/trainyard/pull"];

/// The refs that keep the commits of jobs.
const COMMITS: &str = "refs/trainyard/commit";
/// How many of these a mirror keeps, the latest by their own dates. Each makes fetches a little slower.
const MOST_COMMITS: usize = 1000;
/// How long git may pack one mirror.
const PACK_LIMIT: Duration = Duration::from_secs(3600);
/// Above how many objects in files of their own, about, git packs a mirror. A checkout reads those far slower.
const MOST_LOOSE: usize = 1000;

impl Mirrors {
    /// Removes mirrors that nothing was fetched into for `unused`; gives how many.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub async fn prune(&self, now: SystemTime, unused: Duration) -> anyhow::Result<usize> {
        let mut removed = 0;
        for repo in self.repos().await? {
            let is_in_use = || last_change(&self.path(&repo)).is_none_or(|last| last + unused > now);
            if is_in_use() {
                continue;
            }
            let lock = self.lock_of(&repo);
            let _no_fetch_meanwhile = lock.lock().await;
            // Maybe there was one until now.
            if is_in_use() {
                continue;
            }
            tokio::fs::remove_dir_all(self.path(&repo)).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Packs what many fetches left in many files, and lets the oldest commits go of too many. git may do that beside
    /// fetches and checkouts: what no ref leads to goes only when it was fetched more than two weeks ago.
    ///
    /// # Errors
    /// When git cannot do it in one of them; the others are done first.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for repo in self.repos().await? {
            if let Err(error) = self.tidy_one(&repo).await {
                outcome = Err(error.context(format!("tidying up the mirror of {repo}")));
            }
        }
        outcome
    }

    async fn tidy_one(&self, repo: &RepoName) -> anyhow::Result<()> {
        let listed =
            self.local(repo, &["for-each-ref", "--sort=-committerdate", "--format=%(refname)", COMMITS]).await?;
        let old: String =
            std::str::from_utf8(&listed)?.lines().skip(MOST_COMMITS).map(|name| format!("delete {name}\n")).collect();
        if !old.is_empty() {
            let mut forget = git(&self.path(repo));
            forget.args(["update-ref", "--stdin"]);
            run(forget, LOCAL_LIMIT, Some(old.into_bytes())).await?;
        }
        let mut pack = git(&self.path(repo));
        // One thread: jobs have better use for the processors.
        pack.args(["-c", &format!("gc.auto={MOST_LOOSE}"), "-c", "gc.autoDetach=false", "-c", "pack.threads=1"]);
        pack.args(["gc", "--auto", "--quiet"]);
        run(pack, PACK_LIMIT, None).await?;
        Ok(())
    }

    /// Those that there are mirrors of.
    async fn repos(&self) -> std::io::Result<Vec<RepoName>> {
        let mut repos = Vec::new();
        for owner in names(&self.folder).await? {
            let mirrors = names(&self.folder.join(&owner)).await?;
            let name = |mirror: &String| format!("{owner}/{}", mirror.strip_suffix(".git")?).parse().ok();
            repos.extend(mirrors.iter().filter_map(name));
        }
        Ok(repos)
    }
}

fn last_change(mirror: &Path) -> Option<SystemTime> {
    CHANGE.iter().filter_map(|folder| mirror.join(folder).metadata().ok()?.modified().ok()).max()
}

/// What is in a folder; nothing when there is none.
async fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut entries = match tokio::fs::read_dir(folder).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
