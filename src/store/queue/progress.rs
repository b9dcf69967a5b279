//! How far running trainings are: their last step and loss, and the time that is left, as their logs say.
//!
//! A worker stores the place of its training every few seconds, in a row of its own: the job's row is not written for it.
//! The build's status tells of it, too (`rollup::tell_progress`).

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};

use crate::domain::{AttemptId, BuildId, JobId, roughly};
use crate::lora::series::{Point, counted, number};

/// The place of a training in its steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub step: u64,
    /// Total number of steps, if it is known.
    pub steps: Option<u64>,
    /// The last loss.
    pub loss: Option<Point>,
    /// Time that a step of this attempt takes, if that is known.
    pub per_step: Option<Duration>,
}

/// The place of a running training, as its row says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    pub step: u64,
    /// Total number of steps, if it is known.
    pub steps: Option<u64>,
    /// The last loss.
    pub loss: Option<Point>,
    /// Time until the last step, if it is known.
    pub left: Option<Duration>,
}

#[derive(sqlx::FromRow)]
struct Row {
    job_id: JobId,
    step: i64,
    steps: Option<i64>,
    loss: Option<f64>,
    loss_step: Option<i64>,
    left: Option<f64>,
}

impl From<Row> for Progress {
    fn from(Row { step, steps, loss, loss_step, left, .. }: Row) -> Self {
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Self {
            step: count(step),
            steps: steps.map(count),
            loss: loss.zip(loss_step).map(|(value, step)| Point { step: count(step), value }),
            left: left.and_then(|left| Duration::try_from_secs_f64(left).ok()),
        }
    }
}

impl Progress {
    /// Returns the progress for people: `step 120 of 400, loss 0.08, 6 min left`.
    pub fn in_words(&self) -> String {
        let of = self.steps.map(|steps| format!(" of {}", counted(steps))).unwrap_or_default();
        let loss = self.loss.map(|loss| format!(", loss {}", number(loss.value))).unwrap_or_default();
        let left = self.left.map(|left| format!(", {} left", roughly(left))).unwrap_or_default();
        format!("step {}{of}{loss}{left}", counted(self.step))
    }
}

/// Stores the place of a running training. Returns false, without writing anything, when the attempt is no longer the
/// job's running one.
pub async fn record_progress(db: &PgPool, attempt: AttemptId, place: &Place) -> sqlx::Result<bool> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let stored = sqlx::query(
        "insert into progress (job_id, attempt, step, steps, loss, loss_step, seconds_per_step)
         select id, attempt, $3, $4, $5, $6, $7 from job
         where id = $1 and attempt = $2 and state = 'running' for share
         on conflict (job_id) do update set attempt = excluded.attempt, step = excluded.step, steps = excluded.steps,
             loss = excluded.loss, loss_step = excluded.loss_step, seconds_per_step = excluded.seconds_per_step, at = now()",
    )
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(number(place.step))
    .bind(place.steps.map(number))
    .bind(place.loss.map(|loss| loss.value))
    .bind(place.loss.map(|loss| number(loss.step)))
    .bind(place.per_step.map(|time| time.as_secs_f64()))
    .execute(db)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Time until the last step of a training, in seconds, from its row; null if it is not known. A step that takes longer than
/// usual takes nothing from the time of those after it.
macro_rules! seconds_left {
    () => {
        "(steps - step) * seconds_per_step - least(
             extract(epoch from now() - progress.at)::float8, seconds_per_step, (steps - step) * seconds_per_step)"
    };
}
pub(super) use seconds_left;

/// Returns the progress of the running trainings of a build.
pub async fn progress_of(db: &mut PgConnection, build: BuildId) -> sqlx::Result<HashMap<JobId, Progress>> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "select job_id, step, steps, loss, loss_step, ",
        seconds_left!(),
        " as left
         from progress join job on job.id = job_id and job.attempt = progress.attempt
         where build_id = $1 and job.state = 'running'",
    ))
    .bind(build)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.job_id, row.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_is_told_as_far_as_it_is_known() {
        let whole = Progress {
            step: 120,
            steps: Some(1400),
            loss: Some(Point { step: 119, value: 0.08 }),
            left: Some(Duration::from_secs(372)),
        };
        assert_eq!(whole.in_words(), "step 120 of 1,400, loss 0.08, 6 min left");
        assert_eq!(Progress { steps: None, loss: None, left: None, ..whole }.in_words(), "step 120");
        let last = Progress { left: Some(Duration::ZERO), ..whole };
        assert_eq!(last.in_words(), "step 120 of 1,400, loss 0.08, less than a minute left");
    }
}
