//! Checks for pushes and pull requests whose webhook never came, as during an outage: branches, tags and open pull
//! requests are compared with those of the last check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::info;

use super::Intake;
use super::proof::{Current, Unproven};
use crate::domain::RepoId;
use crate::git::Remote;
use crate::github::GITHUB;
use crate::store::missed::heads;
use crate::store::repos::{self, RepoFacts};

/// Time between two checks of a repository.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// Number of repositories that are asked at once.
const AT_ONCE: usize = 8;
/// Number of heads of a repository that are compared. A repository with more is left out.
const MAX_HEADS: usize = 5_000;

impl Intake {
    /// Checks all repositories whose last check was longer ago than `interval`. Returns the number of builds that were
    /// requested.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn check_heads(&self, interval: Duration) -> anyhow::Result<usize> {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        // GitHub has asked to wait. The next round continues.
        let is_limited = Arc::new(AtomicBool::new(false));
        let mut checks = JoinSet::new();
        for repo in heads::due(&self.db, interval).await? {
            let (intake, at_once, is_limited) = (self.clone(), Arc::clone(&at_once), Arc::clone(&is_limited));
            checks.spawn(async move {
                let _slot = at_once.acquire_owned().await;
                if is_limited.load(Ordering::Relaxed) { Ok(0) } else { intake.check(repo, &is_limited).await }
            });
        }
        let mut requested = 0;
        while let Some(check) = checks.join_next().await {
            requested += check??;
        }
        if requested > 0 {
            info!("{requested} pushes and pull requests were found whose webhook never came");
            self.bells.intake.ring();
        }
        Ok(requested)
    }

    /// Checks a repository, and records that. Sets `is_limited` when GitHub asks to wait.
    async fn check(&self, repo: RepoId, is_limited: &AtomicBool) -> anyhow::Result<usize> {
        let Some(stored) = repos::facts(&self.db, repo).await? else { return Ok(0) };
        let name = stored.name.clone();
        let checked = async {
            let Current { facts, is_archived } = self.current(&stored).await?;
            if is_archived {
                return Ok(0);
            }
            let pushes = self.check_heads_of(repo, &facts).await?;
            let pulls = self.check_pulls_of(repo, &facts).await.unwrap_or_else(|error| {
                info!("the open pull requests of {name} cannot be checked: {error:#}");
                0
            });
            anyhow::Ok(pushes + pulls)
        };
        let requested = checked.await.or_else(|error| {
            // As of a repository that was deleted.
            info!("{name} cannot be checked: {error:#}");
            match error.downcast_ref() {
                Some(Unproven::Unanswered(wait, _)) => {
                    let is_github = self.github.forge_of(&name) == GITHUB;
                    is_limited.fetch_or(is_github && !wait.is_zero(), Ordering::Relaxed);
                    Err(())
                }
                _ => Ok(0),
            }
        });
        // If GitHub answers nothing at the moment, the next round asks again.
        let Ok(requested) = requested else { return Ok(0) };
        heads::record_check(&self.db, repo).await?;
        Ok(requested)
    }

    async fn check_heads_of(&self, repo: RepoId, facts: &RepoFacts) -> anyhow::Result<usize> {
        let url = self.github.clone_url(&facts.name);
        let credentials = self.credentials(&facts.name).await?;
        let remote = Remote { repo: &facts.name, url: &url, credentials: credentials.as_ref() };
        let found = self.mirrors.heads(&remote).await?;
        if found.len() > MAX_HEADS {
            info!("{} has {} heads, which are too many to be checked", facts.name, found.len());
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        let requested = heads::compare(&mut tx, repo, &found).await?;
        tx.commit().await?;
        Ok(requested)
    }
}
