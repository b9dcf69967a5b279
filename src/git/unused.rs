//! Mirrors that nothing was fetched into for long. What one held is fetched anew when it is asked for again.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Mirrors;
use crate::domain::RepoName;

/// Folders of a mirror that change when something is fetched into it.
const CHANGE: [&str; 4] = ["", "refs/trainyard", "refs/trainyard/commit", "refs/trainyard/pull"];

impl Mirrors {
    /// Removes mirrors that nothing was fetched into for `unused`; gives how many.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub async fn prune(&self, now: SystemTime, unused: Duration) -> anyhow::Result<usize> {
        let mut removed = 0;
        for owner in names(&self.folder).await? {
            for mirror in names(&self.folder.join(&owner)).await? {
                let name = mirror.strip_suffix(".git").and_then(|name| format!("{owner}/{name}").parse().ok());
                let Some(name): Option<RepoName> = name else { continue };
                let is_in_use = || last_change(&self.path(&name)).is_none_or(|last| last + unused > now);
                if is_in_use() {
                    continue;
                }
                let lock = self.lock_of(&name);
                let _no_fetch_meanwhile = lock.lock().await;
                // Maybe there was one until now.
                if is_in_use() {
                    continue;
                }
                tokio::fs::remove_dir_all(self.path(&name)).await?;
                removed += 1;
            }
        }
        Ok(removed)
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
