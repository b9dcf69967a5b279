//! Deliveries, builds and jobs that have ended since the start of this process.

use chrono::{DateTime, Utc};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sqlx::PgPool;

use super::Labels;

/// Bounds of waits and runs, in seconds: from a ready container to a training of a day.
const SECONDS: [f64; 14] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// The numbers, and the time up to which rows are counted.
#[derive(Debug)]
pub(super) struct Ended {
    /// By the clock of Postgres; `None` before the first count.
    until: Option<DateTime<Utc>>,
    deliveries: Family<Labels, Counter>,
    builds: Family<Labels, Counter>,
    jobs: Family<Labels, Counter>,
    waits: Family<Labels, Histogram, fn() -> Histogram>,
    runs: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Ended {
    fn default() -> Self {
        Self {
            until: None,
            deliveries: Family::default(),
            builds: Family::default(),
            jobs: Family::default(),
            waits: Family::new_with_constructor(seconds),
            runs: Family::new_with_constructor(seconds),
        }
    }
}

impl Ended {
    /// Counts the rows that have ended since the last count. The last seconds are left for the next one: a transaction
    /// may end later than the time that it has written.
    pub(super) async fn count(&mut self, db: &PgPool) -> anyhow::Result<()> {
        let now: DateTime<Utc> = sqlx::query_scalar("select now() - interval '5 seconds'").fetch_one(db).await?;
        let Some(since) = self.until.filter(|until| *until <= now) else {
            // At the start, and after a clock that was ahead.
            self.until = Some(now);
            return Ok(());
        };
        let deliveries: Vec<(String, String, i64)> = sqlx::query_as(
            "select source::text,
                 case when exists (select from build where delivery_id = delivery.id) then 'build'
                     when starts_with(outcome, 'refused') then 'refused'
                     when last_error is not null then 'given up'
                     else 'none' end as result,
                 count(*)
             from delivery where done_at > $1 and done_at <= $2 group by 1, 2",
        )
        .bind(since)
        .bind(now)
        .fetch_all(db)
        .await?;
        let builds: Vec<(String, String, i64)> = sqlx::query_as(
            "select kind::text, state::text, count(*) from build where finished_at > $1 and finished_at <= $2 group by 1, 2",
        )
        .bind(since)
        .bind(now)
        .fetch_all(db)
        .await?;
        let jobs: Vec<(String, String, Option<f64>, Option<f64>)> = sqlx::query_as(
            "select job.kind::text, verdict::text, extract(epoch from job.started_at - job.created_at)::float8,
                 extract(epoch from job.finished_at - job.started_at)::float8
             from build join job on job.build_id = build.id
             where build.finished_at > $1 and build.finished_at <= $2 and verdict is not null",
        )
        .bind(since)
        .bind(now)
        .fetch_all(db)
        .await?;
        // Nothing is counted before all rows are read: after an error, they are counted the next time.
        for (source, result, count) in deliveries {
            self.deliveries.get_or_create(&vec![("source", source), ("result", result)]).inc_by(count.unsigned_abs());
        }
        for (kind, state, count) in builds {
            self.builds.get_or_create(&vec![("kind", kind), ("state", state)]).inc_by(count.unsigned_abs());
        }
        for (kind, verdict, waited, ran) in jobs {
            let of_kind = vec![("kind", kind.clone())];
            self.jobs.get_or_create(&vec![("kind", kind), ("verdict", verdict)]).inc();
            if let Some(waited) = waited {
                self.waits.get_or_create(&of_kind).observe(waited.max(0.0));
            }
            if let Some(ran) = ran {
                self.runs.get_or_create(&of_kind).observe(ran.max(0.0));
            }
        }
        self.until = Some(now);
        Ok(())
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "deliveries_done",
            "Deliveries that were worked on, by what came of them",
            self.deliveries.clone(),
        );
        registry.register("builds_finished", "Builds that have ended", self.builds.clone());
        registry.register("jobs_finished", "Jobs of builds that have ended", self.jobs.clone());
        let help = "Time from the insertion of a job to its start";
        registry.register_with_unit("job_wait", help, Unit::Seconds, self.waits.clone());
        registry.register_with_unit(
            "job_run",
            "Time from the start of a job to its end",
            Unit::Seconds,
            self.runs.clone(),
        );
    }
}
