//! The step from a training that has passed to its places: a commit on the Hugging Face Hub, a release at GitHub, and a
//! folder in a bucket.
//!
//! **Invariant:** a publication takes effect once at most. Each try first looks what an earlier one has left at the place,
//! known by its marker, and goes on from there.

mod bucket;
mod card;
mod files;
mod hub;
mod release;

use std::time::Duration;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use self::files::Files;
use crate::domain::RepoName;
use crate::github::{Client, SendError};
use crate::hub::HubError;
use crate::lora::Publish;
use crate::permits::PublishConfig;
use crate::storage::{FolderError, Objects};
use crate::store::publications::{self, Due, JobFacts, Place};

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
    pub github: Client,
    /// Id of this installation.
    pub instance: String,
    /// Address under which people reach the service.
    pub public_url: Url,
}

/// A publication that has succeeded.
struct Published {
    /// The commit on the Hub.
    commit: Option<String>,
    url: String,
}

/// A publication to make.
struct Task<'a> {
    due: &'a Due,
    facts: JobFacts,
    publish: Publish,
    repo: RepoName,
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

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::RateLimited { wait, .. } => Self::Later(error.to_string(), Some(wait)),
            SendError::Broken(_) => Self::Later(error.to_string(), None),
            error => Self::Never(error.to_string()),
        }
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Denied(_) | FolderError::Other(_) => Self::Never(error.to_string()),
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
                publications::done(&self.db, &due, commit.as_deref(), &url).await?;
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
                // Should the hold run out meanwhile, two tries are under way, and one of them finds the other's work.
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
        let repo: RepoName = format!("{}/{}", facts.owner, facts.name).parse().context("a stored repository's name")?;
        self.check_environment(due, &repo)?;
        let task = Task { due, facts, publish, repo };
        match due.place {
            Place::HuggingFace => self.to_hub(&task).await,
            Place::Release => self.to_release(&task).await,
            Place::S3 => self.to_bucket(&task).await,
        }
    }

    /// Refuses a publication whose repository has got an environment since that is required.
    fn check_environment(&self, due: &Due, repo: &RepoName) -> Result<(), Failure> {
        match self.permissions.required(repo) {
            Some(required) if due.environment.as_deref() != Some(required) => Err(Failure::Never(format!(
                "it needs the approval of the environment {required} by now: publish it again, and let it be approved"
            ))),
            _ => Ok(()),
        }
    }

    fn files(&self) -> Files<'_> {
        Files { db: &self.db, objects: &self.objects, public_url: &self.public_url }
    }

    /// Returns the text by which a publication is known at its place. It tells nothing to others.
    fn marker(&self, due: &Due) -> String {
        marker(&format!("{} {}", self.instance, due.attempt_id()))
    }

    /// Returns the text by which a publication of any attempt of the job is known.
    fn marker_of_job(&self, due: &Due) -> String {
        marker(&format!("{} {}", self.instance, due.job_id))
    }
}

fn marker(id: &str) -> String {
    format!("Trainyard-Publication: {}", hex::encode(&Sha256::digest(id)[..16]))
}

/// Returns the address of the job's page.
fn page(public_url: &Url, JobFacts { owner, name, build, number, .. }: &JobFacts) -> String {
    format!("{}/{owner}/{name}/builds/{build}/jobs/{number}", public_url.as_str().trim_end_matches('/'))
}

/// Returns the pause before the next try. It grows with the age of the publication.
fn pause(due: &Due) -> Duration {
    Duration::from_secs(due.age.unsigned_abs() / 2).clamp(MIN_PAUSE, MAX_PAUSE)
}
