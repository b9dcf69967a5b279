//! A folder in a bucket.
//!
//! A small object with the publication's marker is written first, and only if there is none: it says whose the folder is.
//! Files that are there are never replaced. `SHA256SUMS` comes last, so a folder that has it is whole.

use super::files::{CARD, SUMS, sums};
use super::{Failure, Published, Publisher, Task};
use crate::storage::{Folder, OutgoingFile};

/// Name of the object that says whose the folder is.
const OWNER: &str = ".trainyard";

impl Publisher {
    /// Publishes in a bucket.
    pub(super) async fn to_bucket(&self, task: &Task<'_>) -> Result<Published, Failure> {
        let Task { due, facts, publish, repo } = task;
        let address = due.target.as_str();
        let Some(permission) = self.permissions.bucket(repo, address) else {
            let why = format!("{repo} may not publish to {address} any more: config.toml has no [[publish.s3]] for it");
            return Err(Failure::Never(why));
        };
        let folder = Folder::open(permission, address)?;
        let mut gathered = self.files().of(due, false).await?;
        let card = gathered.card(facts, publish, Some(self.files().source(facts)), None).text();
        gathered.files.push(OutgoingFile::text(CARD, card));
        folder.write_once(OWNER, format!("{}\n", self.marker(due)).into()).await?;
        for file in &gathered.files {
            folder.upload(file).await?;
        }
        folder.write_once(SUMS, sums(&gathered.files).into()).await?;
        Ok(Published { commit: None, url: address.to_owned() })
    }
}
