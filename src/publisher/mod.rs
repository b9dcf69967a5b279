//! The step from a training that has passed to a commit on the Hugging Face Hub.
//!
//! **Invariant:** a publication makes one commit at most. A try first reads the repository's last commit, then looks
//! whether its own commit or its files are there already, and commits only on top of the commit that it has read. So a
//! commit whose answer was lost is found by the next try, and of two tries at once, the Hub refuses the later one.

mod card;
mod files;

use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use self::files::Files;
use crate::hub::{Change, Hub, HubError, PublishConfig, State};
use crate::lora::Publish;
use crate::storage::Objects;
use crate::store::publications::{self, Due, JobFacts};

/// Time for which a step has a publication to itself. It is extended while the step works.
const HOLD: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_secs(15);
/// Shortest and longest pause between two tries. In between, a pause is half of the publication's age.
const MIN_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(1800);
/// Age at which a publication that has not succeeded ends.
pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Publisher of weights. Several steps may run at once: each of them holds another publication.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub db: PgPool,
    pub objects: Objects,
    /// The places to which repositories may publish.
    pub permissions: PublishConfig,
    /// Id of this installation.
    pub instance: String,
    /// Address under which people reach the service.
    pub public_url: Url,
}

/// A publication that has succeeded.
struct Published {
    commit: String,
    url: String,
}

/// Reason why a try has failed.
enum Failure {
    /// Another try may succeed, after this time if it is known.
    Later(String, Option<Duration>),
    /// No other try can succeed.
    Never(String),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Limited(wait) => Self::Later(error.to_string(), Some(wait)),
            error if error.is_permanent() => Self::Never(error.to_string()),
            error => Self::Later(error.to_string(), None),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(format!("{error:#}"), None)
    }
}

impl Publisher {
    /// Tries the next due publication once. Returns false if none is due. A refusal of the Hub is not an error of this
    /// step: it is recorded with the publication.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let Some(due) = publications::take(&self.db, HOLD).await.context("reading the publications")? else {
            return Ok(false);
        };
        let job = due.job_id;
        let outcome = tokio::select! {
            outcome = self.publish(&due) => outcome,
            () = self.keep(&due) => return Ok(true),
        };
        match outcome {
            Ok(Published { commit, url }) => {
                info!(%job, "the weights of job {job} are published: {url}");
                publications::done(&self.db, &due, &commit, &url).await?;
            }
            Err(Failure::Later(why, wait)) if due.is_younger_than(PATIENCE) => {
                warn!(%job, "the weights of job {job} are not published yet: {why}");
                publications::later(&self.db, &due, wait.unwrap_or_else(|| pause(&due)), &why).await?;
            }
            Err(Failure::Later(why, _) | Failure::Never(why)) => {
                warn!(%job, "the weights of job {job} are not published: {why}");
                publications::fail(&self.db, &due, &why).await?;
            }
        }
        Ok(true)
    }

    /// Keeps the hold on a publication. Returns when another step has it.
    async fn keep(&self, due: &Due) {
        loop {
            tokio::time::sleep(BEAT).await;
            match publications::hold(&self.db, due, HOLD).await {
                Ok(true) => {}
                Ok(false) => return,
                // Should the hold run out meanwhile, the Hub refuses the later commit of the two.
                Err(error) => warn!("cannot hold the publication of job {}: {error}", due.job_id),
            }
        }
    }

    async fn publish(&self, due: &Due) -> Result<Published, Failure> {
        let facts = publications::facts(&self.db, due.job_id).await.map_err(anyhow::Error::from)?;
        let order = facts.train["publish"].clone();
        let Ok(publish) = serde_json::from_value::<Publish>(order) else {
            return Err(Failure::Never("the job's order is not one of this version".to_owned()));
        };
        let repo = format!("{}/{}", facts.owner, facts.name).parse().context("a stored repository's name")?;
        let target = publish.huggingface.as_str();
        let Some(permission) = self.permissions.find(&repo, target) else {
            let why = format!(
                "{repo} may not publish to {target} any more: config.toml has no [[publish.huggingface]] for it"
            );
            return Err(Failure::Never(why));
        };
        let hub = Hub::new(permission)?;
        let tag = publish.tag_of(facts.build);
        let state = repository(&hub, &publish).await?;
        let gathering = Files { db: &self.db, objects: &self.objects, public_url: &self.public_url };
        let files = gathering.of(due, &facts, &publish, &tag).await?;
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
                let (summary, description) = self.message(&facts, &publish, &marker);
                let change =
                    Change { parent: &state.sha, summary: &summary, description: &description, files: uploaded };
                hub.commit(target, change).await?
            }
        };
        hub.tag(target, &commit, &tag).await?;
        let url = hub.page(target, &tag);
        Ok(Published { commit, url })
    }

    /// Returns the text by which the commit of a publication is known. It tells nothing to others.
    fn marker(&self, due: &Due) -> String {
        let id = Sha256::digest(format!("{} {}", self.instance, due.attempt_id()));
        format!("Trainyard-Publication: {}", hex::encode(&id[..16]))
    }

    /// Returns the first line of the commit's message, and the rest.
    fn message(&self, facts: &JobFacts, publish: &Publish, marker: &str) -> (String, String) {
        let JobFacts { owner, name, build, number, sha, .. } = facts;
        if is_secret(facts, publish) {
            return (format!("Weights of build {build}, job {number}"), marker.to_owned());
        }
        let page = page(&self.public_url, facts);
        (
            format!("Weights of {owner}/{name} build {build}, job {number}"),
            format!("Commit: {sha}\nJob: {page}\n{marker}"),
        )
    }
}

/// Returns the address of the job's page.
fn page(public_url: &Url, JobFacts { owner, name, build, number, .. }: &JobFacts) -> String {
    format!("{}/{owner}/{name}/builds/{build}/jobs/{number}", public_url.as_str().trim_end_matches('/'))
}

/// Returns true if the place is public and the repository is not: then nothing tells where the weights come from.
fn is_secret(facts: &JobFacts, publish: &Publish) -> bool {
    facts.private && !publish.private
}

/// Returns the state of the repository on the Hub, which is made if there is none.
async fn repository(hub: &Hub, publish: &Publish) -> Result<State, Failure> {
    let target = &publish.huggingface;
    let state = match hub.state(target).await {
        Err(HubError::Missing(_)) => {
            hub.create(target, publish.private).await?;
            hub.state(target).await?
        }
        state => state?,
    };
    if publish.private && !state.private {
        let why = format!("{target} is public: write `private: false` below lora.train.publish if that is wanted");
        return Err(Failure::Never(why));
    }
    Ok(state)
}

/// Returns the pause before the next try. It grows with the age of the publication.
fn pause(due: &Due) -> Duration {
    Duration::from_secs(due.age.unsigned_abs() / 2).clamp(MIN_PAUSE, MAX_PAUSE)
}
