//! Maintenance of the mirrors, which keeps them small and fast: mirrors without recent fetches and mirrors that have
//! grown too large are removed, as well as half-fetched files, and the results of many fetches are packed. A removed
//! mirror is fetched again when it is needed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anyhow::Context as _;

use super::command::size_of;
use super::{LOCAL_LIMIT, Mirrors, git, run};
use crate::domain::RepoName;

/// Folders of a mirror whose modification times change with a fetch.
const CHANGE: [&str; 4] = ["", "refs/trainyard", "refs/trainyard/commit", "refs/trainyard/pull"];

/// Folder of the refs that keep the commits of jobs.
const COMMITS: &str = "refs/trainyard/commit";
/// Maximum number of these refs in a mirror; the latest by commit date are kept. Each of them makes fetches a little
/// slower.
const MOST_COMMITS: usize = 1000;
/// Time limit for packing a mirror.
const PACK_LIMIT: Duration = Duration::from_secs(3600);
/// Approximate number of loose objects above which git packs a mirror. A checkout reads loose objects far more slowly.
const MOST_LOOSE: usize = 1000;
/// Beginning of the names of files that git has not finished.
const TEMPORARY: &[u8] = b"tmp_";

impl Mirrors {
    /// Removes mirrors without a fetch for `unused`. Returns their number.
    ///
    /// # Errors
    /// Fails when a mirror cannot be removed.
    pub async fn prune(&self, now: SystemTime, unused: Duration) -> anyhow::Result<usize> {
        let mut removed = 0;
        for repo in self.repos().await? {
            let is_in_use = || last_change(&self.path(&repo)).is_none_or(|last| last + unused > now);
            if is_in_use() {
                continue;
            }
            let lock = self.lock_of(&repo);
            let _no_fetch_meanwhile = lock.lock().await;
            // A fetch may have run until now.
            if is_in_use() {
                continue;
            }
            tokio::fs::remove_dir_all(self.path(&repo)).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the mirror of a repository, if there is one.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub async fn remove(&self, repo: &RepoName) -> anyhow::Result<()> {
        let lock = self.lock_of(repo);
        let _no_fetch_meanwhile = lock.lock().await;
        match tokio::fs::remove_dir_all(self.path(repo)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing the mirror {}", self.path(repo).display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes a mirror that has grown too large. It is renamed first: a process that was killed may still write to it
    /// for a moment.
    pub(super) async fn discard(&self, repo: &RepoName) -> anyhow::Result<()> {
        let (mirror, discarded) = (self.path(repo), self.path(repo).with_extension("discarded"));
        let removed = async {
            found(tokio::fs::remove_dir_all(&discarded).await)?;
            tokio::fs::rename(&mirror, &discarded).await?;
            for _ in 0..100 {
                if found(tokio::fs::remove_dir_all(&discarded).await).is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            found(tokio::fs::remove_dir_all(&discarded).await).map(drop)
        };
        removed.await.with_context(|| format!("removing the mirror of {repo}, which has grown too large"))
    }

    /// Removes half-fetched files, packs the results of many fetches, and deletes the oldest refs if there are too many.
    /// A mirror that has grown too large is removed. git may pack during fetches and checkouts: objects without a ref are
    /// deleted only two weeks after they were fetched.
    ///
    /// # Errors
    /// Fails when git fails on a mirror; the other mirrors are still packed.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        // Earlier versions have made the folder readable for other users.
        found(fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)))?;
        let mut outcome = Ok(());
        for repo in self.repos().await? {
            if let Err(error) = self.tidy_one(&repo).await {
                outcome = Err(error.context(format!("tidying up the mirror of {repo}")));
            }
        }
        outcome
    }

    async fn tidy_one(&self, repo: &RepoName) -> anyhow::Result<()> {
        let lock = self.lock_of(repo);
        {
            let _no_fetch_meanwhile = lock.lock().await;
            self.remove_half_fetched(repo).await?;
            if size_of(&self.path(repo)).await? > self.max_mirror().as_u64() {
                tokio::fs::remove_dir_all(self.path(repo)).await?;
                return Ok(());
            }
        }
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
        // One thread: jobs need the processors more.
        pack.args(["-c", &format!("gc.auto={MOST_LOOSE}"), "-c", "gc.autoDetach=false", "-c", "pack.threads=1"]);
        pack.args(["gc", "--auto", "--quiet"]);
        let _packs = self.packing.lock().await;
        run(pack, PACK_LIMIT, None).await?;
        Ok(())
    }

    /// Removes what an interrupted fetch has left in a mirror. No fetch may run meanwhile. While a mirror is packed,
    /// nothing is removed before the next round.
    ///
    /// # Errors
    /// Fails when a file cannot be removed.
    pub(super) async fn remove_half_fetched(&self, repo: &RepoName) -> anyhow::Result<()> {
        let Ok(_no_packing) = self.packing.try_lock() else { return Ok(()) };
        let objects = self.path(repo).join("objects");
        let removed = tokio::task::spawn_blocking(move || remove_temporary(&objects)).await?;
        removed.with_context(|| format!("removing what a fetch has left in the mirror of {repo}"))
    }

    /// Lists the repositories that have mirrors.
    async fn repos(&self) -> io::Result<Vec<RepoName>> {
        let mut repos = Vec::new();
        for owner in names(&self.folder).await? {
            let mirrors = names(&self.folder.join(&owner)).await?;
            let name = |mirror: &String| format!("{owner}/{}", mirror.strip_suffix(".git")?).parse().ok();
            repos.extend(mirrors.iter().filter_map(name));
        }
        Ok(repos)
    }
}

/// Removes the temporary files of git in the folder of a mirror's objects, and in the folders in it.
fn remove_temporary(objects: &Path) -> io::Result<()> {
    let Some(entries) = found(fs::read_dir(objects))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let is_temporary = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY);
        match (entry.file_type()?.is_dir(), is_temporary) {
            (true, true) => drop(found(fs::remove_dir_all(entry.path()))?),
            (true, false) => remove_temporary(&entry.path())?,
            (false, true) => drop(found(fs::remove_file(entry.path()))?),
            (false, false) => {}
        }
    }
    Ok(())
}

/// Returns `None` when there is no such file.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn last_change(mirror: &Path) -> Option<SystemTime> {
    CHANGE.iter().filter_map(|folder| mirror.join(folder).metadata().ok()?.modified().ok()).max()
}

/// Lists the names in a folder; none if the folder does not exist.
async fn names(folder: &Path) -> io::Result<Vec<String>> {
    let Some(mut entries) = found(tokio::fs::read_dir(folder).await)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}
