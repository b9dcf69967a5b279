//! Results of a job that outlive it: facts from its log and its outputs, and series of numbers.

use serde_json::Value as Json;
use sqlx::{PgConnection, PgPool};

use super::artifacts::{self, NewArtifact};
use crate::domain::{JobId, Resource, Resources, pg_text};
use crate::lora::series::{Measure, Point, Series};

/// Results of an attempt, which are stored with its verdict.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Result of a training; null for other jobs.
    pub training: Json,
    /// Series of a training.
    pub loss: Series,
    /// True if the tracker of the operator gets the training.
    pub is_tracked: bool,
    /// Resources that the job used; `None` if it ended before a sample was taken.
    pub resources: Option<Resources>,
    /// Files that the job left. Their objects are stored already.
    pub artifacts: Vec<NewArtifact>,
}

/// Name of the series of a training's loss.
const LOSS: &str = "loss";

/// Returns the name of the series of another value.
fn name_of(measure: Measure) -> &'static str {
    match measure {
        Measure::EvalLoss => "eval_loss",
        Measure::LearningRate => "learning_rate",
        Measure::GradientNorm => "gradient_norm",
    }
}

/// Stores the reports of a job that has none yet.
pub(in crate::store) async fn insert(tx: &mut PgConnection, job: JobId, reports: &Reports) -> sqlx::Result<()> {
    if !reports.training.is_null() {
        sqlx::query("insert into report (job_id, kind, body) values ($1, 'training', $2)")
            .bind(job)
            .bind(storable(reports.training.clone()))
            .execute(&mut *tx)
            .await?;
    }
    if !reports.loss.points.is_empty() {
        let points = reports.loss.points.iter().map(|point| (point.step, point.value));
        insert_series(&mut *tx, job, LOSS, points).await?;
    }
    for (measure, points) in &reports.loss.others {
        let points = points.iter().map(|point| (point.step, point.value));
        insert_series(&mut *tx, job, name_of(*measure), points).await?;
    }
    if let Some(resources) = &reports.resources {
        sqlx::query("insert into report (job_id, kind, body) values ($1, 'resources', $2)")
            .bind(job)
            .bind(sqlx::types::Json(resources))
            .execute(&mut *tx)
            .await?;
        for (resource, times) in &resources.series {
            insert_series(&mut *tx, job, resource.name(), times.iter().copied()).await?;
        }
    }
    artifacts::insert(tx, job, &reports.artifacts).await
}

async fn insert_series(
    tx: &mut PgConnection,
    job: JobId,
    name: &str,
    points: impl Iterator<Item = (u64, f64)>,
) -> sqlx::Result<()> {
    let (steps, values): (Vec<i64>, Vec<f64>) =
        points.map(|(step, value)| (i64::try_from(step).unwrap_or(i64::MAX), value)).unzip();
    sqlx::query("insert into series (job_id, name, steps, points) values ($1, $2, $3, $4)")
        .bind(job)
        .bind(name)
        .bind(steps)
        .bind(values)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Removes NUL from texts: Postgres does not allow it, and a training's output may have it.
fn storable(json: Json) -> Json {
    match json {
        Json::String(text) => Json::String(pg_text(&text)),
        Json::Array(items) => items.into_iter().map(storable).collect(),
        Json::Object(entries) => {
            Json::Object(entries.into_iter().map(|(key, value)| (pg_text(&key), storable(value))).collect())
        }
        other => other,
    }
}

/// Reads the report of a training, once the job has ended.
pub async fn training(db: &PgPool, job: JobId) -> sqlx::Result<Option<Json>> {
    sqlx::query_scalar("select body from report where job_id = $1 and kind = 'training'")
        .bind(job)
        .fetch_optional(db)
        .await
}

/// Reads the stored loss of a job. Returns `None` for a job that has not ended, or that trains nothing.
pub async fn loss(db: &PgPool, job: JobId) -> sqlx::Result<Option<Vec<Point>>> {
    let row: Option<(Vec<i64>, Vec<f64>)> =
        sqlx::query_as("select steps, points from series where job_id = $1 and name = $2")
            .bind(job)
            .bind(LOSS)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(steps, values)| points(steps, values)))
}

/// Reads all stored series of a training; they are empty for a job that trains nothing.
pub async fn series(db: &PgPool, job: JobId) -> sqlx::Result<Series> {
    let names: Vec<&str> = std::iter::once(LOSS).chain(Measure::ALL.map(name_of)).collect();
    let rows: Vec<(String, Vec<i64>, Vec<f64>)> =
        sqlx::query_as("select name, steps, points from series where job_id = $1 and name = any($2)")
            .bind(job)
            .bind(names)
            .fetch_all(db)
            .await?;
    let mut series = Series::default();
    for (name, steps, values) in rows {
        let points = points(steps, values);
        match Measure::ALL.into_iter().find(|measure| name_of(*measure) == name) {
            Some(measure) => drop(series.others.insert(measure, points)),
            None => series.points = points,
        }
    }
    Ok(series)
}

fn points(steps: Vec<i64>, values: Vec<f64>) -> Vec<Point> {
    let steps = steps.into_iter().map(|step| u64::try_from(step).unwrap_or(0));
    steps.zip(values).map(|(step, value)| Point { step, value }).collect()
}

/// Reads the resources that a job used, with the series that have points. Returns `None` for a job that has not ended,
/// or of which no sample was taken.
pub async fn resources(db: &PgPool, job: JobId) -> sqlx::Result<Option<Resources>> {
    let body: Option<sqlx::types::Json<Resources>> =
        sqlx::query_scalar("select body from report where job_id = $1 and kind = 'resources'")
            .bind(job)
            .fetch_optional(db)
            .await?;
    let Some(sqlx::types::Json(mut resources)) = body else { return Ok(None) };
    let rows: Vec<(String, Vec<i64>, Vec<f64>)> =
        sqlx::query_as("select name, steps, points from series where job_id = $1 and name = any($2)")
            .bind(job)
            .bind(Resource::ALL.map(Resource::name))
            .fetch_all(db)
            .await?;
    let of = |resource: Resource| {
        let (_, steps, values) = rows.iter().find(|(name, ..)| name == resource.name())?;
        let steps = steps.iter().map(|step| u64::try_from(*step).unwrap_or(0));
        Some((resource, steps.zip(values.iter().copied()).collect()))
    };
    resources.series = Resource::ALL.into_iter().filter_map(of).collect();
    Ok(Some(resources))
}
