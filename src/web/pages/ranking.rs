//! The whole trainings of a build side by side, the best first: those of a matrix differ in a few keys.

use sqlx::PgPool;

use crate::domain::{BuildId, JobState, Verdict};
use crate::lora::gates::{WINDOW, last_mean};
use crate::lora::series::Point;
use crate::web::show::Mark;

/// A whole training that has ended.
pub(super) struct Trained {
    pub(super) number: i32,
    pub(super) name: String,
    pub(super) mark: Mark,
    /// The last step.
    pub(super) steps: Option<u64>,
    /// The mean of the last losses.
    pub(super) loss: Option<f64>,
    has_passed: bool,
}

impl Trained {
    /// Returns the loss for people.
    pub(super) fn shown_loss(&self) -> String {
        self.loss.map_or_else(|| "–".to_owned(), |loss| format!("{loss:.4}"))
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    number: i32,
    name: Option<String>,
    verdict: Verdict,
    window: Option<i64>,
    steps: Vec<i64>,
    points: Vec<f64>,
}

/// Ranks the trainings of a build that have ended: those that have passed by their loss, then the others. Returns nothing
/// for a single training.
pub(super) async fn ranking(db: &PgPool, build: BuildId) -> sqlx::Result<Vec<Trained>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select number, job.name, verdict, (config #>> '{train,gates,loss,window}')::bigint as window,
             coalesce(steps, '{}') as steps, coalesce(points, '{}') as points
         from job left join series on series.job_id = job.id and series.name = 'loss'
         where build_id = $1 and kind = 'train' and verdict is not null order by number",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    if rows.len() < 2 {
        return Ok(Vec::new());
    }
    let mut ranking: Vec<Trained> = rows.into_iter().map(Trained::from).collect();
    ranking.sort_by(|a, b| {
        let losses = a.loss.unwrap_or(f64::INFINITY).total_cmp(&b.loss.unwrap_or(f64::INFINITY));
        b.has_passed.cmp(&a.has_passed).then(losses)
    });
    Ok(ranking)
}

impl From<Row> for Trained {
    fn from(Row { number, name, verdict, window, steps, points }: Row) -> Self {
        let step = |step: i64| u64::try_from(step).unwrap_or_default();
        let points: Vec<Point> =
            steps.into_iter().zip(points).map(|(at, value)| Point { step: step(at), value }).collect();
        Self {
            number,
            name: name.unwrap_or_default(),
            mark: (JobState::Finished, Some(verdict)).into(),
            steps: points.last().map(|point| point.step),
            loss: last_mean(&points, window.map_or(WINDOW, step)),
            has_passed: verdict == Verdict::Passed,
        }
    }
}
