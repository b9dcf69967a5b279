//! A commit on the Hugging Face Hub.
//!
//! A try reads the repository's last commit, looks whether its own commit or its files are there already, and commits only
//! on top of the commit that it has read. So a commit whose answer was lost is found by the next try, and of two tries at
//! once, the Hub refuses the later one.

use super::files::CARD;
use super::{Failure, Published, Publisher, Task, page};
use crate::hub::{Change, Hub, HubError, State};
use crate::lora::Publish;
use crate::storage::OutgoingFile;
use crate::store::publications::JobFacts;

impl Publisher {
    /// Publishes on the Hub.
    pub(super) async fn to_hub(&self, task: &Task<'_>) -> Result<Published, Failure> {
        let Task { due, facts, publish, repo } = task;
        let target = due.target.as_str();
        let Some(permission) = self.permissions.hub(repo, target) else {
            let why = format!(
                "{repo} may not publish to {target} any more: config.toml has no [[publish.huggingface]] for it"
            );
            return Err(Failure::Never(why));
        };
        let hub = Hub::new(permission)?;
        let tag = publish.tag_of(facts.build);
        let state = repository(&hub, target, publish.private).await?;
        let is_secret = is_secret(facts, publish);
        let gathered = self.files().of(due, is_secret).await?;
        let source = (!is_secret).then(|| self.files().source(facts));
        let card = gathered.card(facts, publish, source, Some((target, &tag))).text();
        let mut files = gathered.files.clone();
        files.push(OutgoingFile::text(CARD, card));
        let marker = self.marker(due);
        // Others may have committed since, or have made one commit out of many.
        let known = match hub.find_commit(target, &marker).await? {
            Some(commit) => Some(commit),
            None if hub.tree(target, &state.sha).await?.has(&files).await? => Some(state.sha.clone()),
            None => None,
        };
        let commit = match known {
            Some(commit) => commit,
            None => {
                let uploaded = hub.upload(target, &files).await?;
                let (summary, description) = self.message(facts, is_secret, &marker);
                let change =
                    Change { parent: &state.sha, summary: &summary, description: &description, files: uploaded };
                hub.commit(target, change).await?
            }
        };
        hub.tag(target, &commit, &tag).await?;
        let url = hub.page(target, &tag);
        Ok(Published { commit: Some(commit), url })
    }

    /// Returns the first line of the commit's message, and the rest.
    fn message(&self, facts: &JobFacts, is_secret: bool, marker: &str) -> (String, String) {
        let JobFacts { owner, name, build, number, sha, .. } = facts;
        if is_secret {
            return (format!("Weights of build {build}, job {number}"), marker.to_owned());
        }
        let page = page(&self.public_url, facts);
        (
            format!("Weights of {owner}/{name} build {build}, job {number}"),
            format!("Commit: {sha}\nJob: {page}\n{marker}"),
        )
    }
}

/// Returns true if the place is public and the repository is not: then nothing tells where the weights come from.
fn is_secret(facts: &JobFacts, publish: &Publish) -> bool {
    facts.private && !publish.private
}

/// Returns the state of the repository on the Hub, which is made if there is none.
async fn repository(hub: &Hub, target: &str, private: bool) -> Result<State, Failure> {
    let state = match hub.state(target).await {
        Err(HubError::Missing(_)) => {
            hub.create(target, private).await?;
            hub.state(target).await?
        }
        state => state?,
    };
    if private && !state.private {
        let why = format!("{target} is public: write `private: false` below lora.train.publish if that is wanted");
        return Err(Failure::Never(why));
    }
    Ok(state)
}
