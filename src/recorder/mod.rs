//! The step from a training that has ended to the experiment tracker of the operator.
//!
//! A row says what is owed. A step takes the one that is due for the longest time, and sends all of it. Each request may be
//! repeated, so a crash at any point costs a repetition and nothing else.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize as _;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use crate::attempt::Examined;
use crate::domain::Verdict;
use crate::lora::tracked::curves;
use crate::store::output::reports;
use crate::store::output::trackings::{self, Due, JobFacts};
use crate::trackers::{Metric, Mlflow, Run, TrackerError};

/// Time for which a step has a training to itself: longer than its requests take.
const HOLD: Duration = Duration::from_secs(600);
/// Shortest and longest pause between two tries. In between, a pause is half of the training's age.
const MIN_PAUSE: Duration = Duration::from_secs(10);
const MAX_PAUSE: Duration = Duration::from_secs(1800);
/// Age at which a training that the tracker has not taken is given up.
pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Recorder of trainings in MLflow.
#[derive(Debug, Clone)]
pub struct Recorder {
    pub db: PgPool,
    pub mlflow: Mlflow,
    /// Name of the experiment; `None` for that of the repository.
    pub experiment: Option<String>,
    /// Id of this installation.
    pub instance: String,
    /// Address under which people reach the service.
    pub public_url: Url,
}

impl Recorder {
    /// Tries the next due training once. Returns false if none is due. A refusal of the tracker is not an error of this
    /// step: it is recorded with the training.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let Some(due) = trackings::take(&self.db, HOLD).await.context("reading the trainings for the tracker")? else {
            return Ok(false);
        };
        let Some(facts) = trackings::facts(&self.db, &due).await? else { return Ok(true) };
        let job = due.job_id;
        match self.record(&due, &facts).await? {
            Ok(url) => {
                info!(%job, "job {job} is in MLflow: {url}");
                trackings::done(&self.db, &due, &url).await?;
            }
            Err(TrackerError::Later(why)) if due.age.unsigned_abs() < PATIENCE.as_secs() => {
                warn!(%job, "job {job} is not in MLflow yet: {why}");
                trackings::later(&self.db, &due, pause(&due), &why).await?;
            }
            Err(TrackerError::Later(why) | TrackerError::Never(why)) => {
                warn!(%job, "job {job} is not in MLflow: {why}");
                trackings::fail(&self.db, &due, &why).await?;
            }
        }
        Ok(true)
    }

    async fn record(&self, due: &Due, facts: &JobFacts) -> anyhow::Result<Result<String, TrackerError>> {
        let JobFacts { owner, name, build, number, .. } = facts;
        let report = reports::training(&self.db, due.job_id).await?;
        let examined = report.map(Examined::deserialize).transpose().context("a report of a training")?;
        let (metrics, parameters) = examined.map(|it| (it.metrics, it.parameters)).unwrap_or_default();
        let series = reports::series(&self.db, due.job_id).await?;
        let last = series.last().map_or(0, |point| point.step);
        let points = curves(&series).flat_map(|(name, points)| {
            points.iter().map(move |point| Metric { name, step: point.step, value: point.value })
        });
        let numbers = metrics.iter().map(|(name, value)| Metric { name, step: last, value: *value });
        let repo = format!("{owner}/{name}");
        let page = format!("{}/{repo}/builds/{build}/jobs/{number}", self.public_url.as_str().trim_end_matches('/'));
        let title = facts.title.as_deref().unwrap_or("training");
        let run = Run {
            experiment: self.experiment.as_deref().unwrap_or(&repo),
            marker: &format!("{}/{}", self.instance, due.attempt_id()),
            name: &format!("{repo} {build}.{number} {title}"),
            began: facts.started_at.timestamp_millis(),
            ended: facts.finished_at.timestamp_millis(),
            has_passed: facts.verdict == Verdict::Passed,
            metrics: points.chain(numbers).collect(),
            parameters: &parameters,
            tags: vec![
                ("trainyard.job", page.clone()),
                ("trainyard.repository", repo.clone()),
                ("mlflow.source.name", page),
                ("mlflow.source.git.commit", facts.sha.to_string()),
                ("mlflow.source.git.branch", facts.branch.clone().unwrap_or_default()),
            ],
        };
        Ok(self.mlflow.store(&run).await)
    }
}

/// Returns the pause before the next try. It grows with the age of the training.
fn pause(due: &Due) -> Duration {
    Duration::from_secs(due.age.unsigned_abs() / 2).clamp(MIN_PAUSE, MAX_PAUSE)
}
