//! Requests for builds that no push makes: their repository as it is stored, and the commit that they are about.

use anyhow::Context as _;

use super::tries::NotYet;
use super::{Asked, Intake, not_looked, stored};
use crate::domain::{BuildRequest, FoundPull, RepoId, Trigger, TriggerKind};
use crate::git::Remote;
use crate::store::deliveries::Delivery;
use crate::store::repos::{self, RepoFacts};
use crate::store::requests;

impl Intake {
    /// Reads a request, and finds the latest commit of its branch, unless it names one.
    pub(super) async fn requested(&self, delivery: &Delivery) -> Result<Asked, NotYet> {
        if delivery.event == requests::PULL_REQUEST {
            return self.found_pull(delivery).await;
        }
        let request: BuildRequest =
            serde_json::from_slice(&delivery.body).map_err(|error| NotYet::Never(format!("no request: {error}")))?;
        let facts = self.facts_of(request.repo, delivery.tries).await?;
        let BuildRequest { kind, branch, sha, before, message, requested_by, configs, pull_request, trainings, .. } =
            request;
        let sha = match sha {
            Some(sha) => sha,
            None => {
                let url = self.github.clone_url(&facts.name);
                let credentials = self.credentials(&facts.name).await.map_err(anyhow::Error::from)?;
                let remote = Remote { repo: &facts.name, url: &url, credentials: credentials.as_ref() };
                let tip = self.mirrors.tip(&remote, &format!("refs/heads/{branch}")).await?;
                tip.ok_or_else(|| NotYet::Never(format!("no build: {} has no branch {branch}", facts.name)))?
            }
        };
        let push = Trigger::push(facts.name.clone(), &branch, sha);
        let mut trigger = Trigger { kind, before, message, sender: Some(requested_by), pull_request, ..push };
        if kind == TriggerKind::Tag {
            trigger.tag = trigger.branch.take();
        }
        Ok(Asked { repository: stored(facts), trigger: trigger.storable(), configs, trainings })
    }

    /// Reads the request for a build of a pull request that a check has found.
    async fn found_pull(&self, delivery: &Delivery) -> Result<Asked, NotYet> {
        let found: FoundPull =
            serde_json::from_slice(&delivery.body).map_err(|error| NotYet::Never(format!("no request: {error}")))?;
        let facts = self.facts_of(found.repo, delivery.tries).await?;
        // The repository may have another name since.
        let trigger = Trigger { repo: facts.name.clone(), ..found.trigger };
        Ok(Asked::of(stored(facts), trigger.storable()))
    }

    async fn facts_of(&self, repo: RepoId, tries: i32) -> Result<RepoFacts, NotYet> {
        let stored = repos::facts(&self.db, repo).await.context("reading the repository")?;
        let stored = stored.ok_or_else(|| NotYet::Never("the repository was deleted".to_owned()))?;
        self.present(&stored, tries).await
    }

    /// Returns a stored repository as GitHub has it now. Nobody who knows has just told of it, as GitHub does in its
    /// webhooks; and another repository may have the name since.
    pub(super) async fn present(&self, stored: &RepoFacts, tries: i32) -> Result<RepoFacts, NotYet> {
        let current = self.current(stored).await.map_err(|error| not_looked(error, tries))?;
        if current.is_archived {
            let name = current.facts.name;
            return Err(NotYet::Refused(format!("{name} is archived: GitHub accepts no statuses for it")));
        }
        Ok(current.facts)
    }
}
