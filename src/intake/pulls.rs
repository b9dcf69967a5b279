//! Checks for pull requests whose webhook never came.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::Intake;
use crate::domain::RepoId;
use crate::github::{OpenPulls, SendError};
use crate::store::missed::pulls;
use crate::store::repos::RepoFacts;

/// Things that were said once, and are not said again by this process.
#[derive(Debug, Clone, Default)]
pub struct Said(Arc<Mutex<HashSet<String>>>);

impl Said {
    /// Returns true the first time.
    pub(super) fn is_new(&self, what: String) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what)
    }
}

impl Intake {
    /// Compares the open pull requests of a repository with those of its last check. Returns the number of builds that
    /// were requested.
    pub(super) async fn check_pulls_of(&self, repo: RepoId, facts: &RepoFacts) -> anyhow::Result<usize> {
        let name = &facts.name;
        let known = pulls::etag(&self.db, repo).await?;
        let (listed, etag) = match self.github.open_pulls(name, facts.github_id, known.as_deref()).await {
            Ok(OpenPulls::Listed(listed, etag)) => (listed, etag),
            Ok(OpenPulls::Unchanged) => return Ok(0),
            Err(error @ (SendError::NoAccess(_) | SendError::Refused { .. })) => {
                if self.said.is_new(format!("pulls {name}")) {
                    warn!("pull requests of {name} whose webhook never came are not found: {error}");
                }
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        let mut tx = self.db.begin().await?;
        let requested = pulls::compare(&mut tx, repo, &listed, etag.as_deref()).await?;
        tx.commit().await?;
        Ok(requested)
    }
}
