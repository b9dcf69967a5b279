//! The present state: open deliveries, the queue, statuses that are owed, runners, GPUs and alerts.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sqlx::PgPool;

use super::Labels;
use crate::store::publications;
use crate::store::runner::budgets::{self, BudgetUse};

/// The numbers at one moment.
#[derive(Debug)]
pub(super) struct Present {
    deliveries: Deliveries,
    /// Kind, state and number of jobs.
    jobs: Vec<(String, String, i64)>,
    /// Age of the job that waits for the longest time, in seconds.
    oldest_job: i64,
    statuses_owed: i64,
    statuses_failing: i64,
    notifications_open: i64,
    publications_failed: i64,
    /// State and number of publications that have not ended.
    publications: Vec<(String, i64)>,
    runners: Vec<Runner>,
    /// Runner, class, state and number of GPUs.
    gpus: Vec<(String, String, String, i64)>,
    alerts: i64,
    budgets: Vec<BudgetUse>,
}

#[derive(Debug, sqlx::FromRow)]
struct Deliveries {
    open: i64,
    failing: i64,
    /// Age of the oldest open one, in seconds.
    oldest: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct Runner {
    name: String,
    slots: i32,
    /// Number of its running jobs.
    running: i64,
    /// Time since a process has served it, in seconds.
    silent: i64,
}

impl Present {
    /// Reads the numbers.
    pub(super) async fn read(db: &PgPool) -> sqlx::Result<Self> {
        let deliveries = sqlx::query_as(
            "select count(*) as open, count(*) filter (where last_error is not null) as failing,
                 coalesce(extract(epoch from now() - min(received_at)), 0)::bigint as oldest
             from delivery where done_at is null",
        )
        .fetch_one(db)
        .await?;
        // Each part has the condition of one of the queue's indexes.
        let jobs = sqlx::query_as(
            "select kind::text, state::text, count(*) from (
                 select kind, state from job where state = 'queued' and not has_requirements
                 union all select kind, state from job where state = 'queued' and has_requirements
                 union all select kind, state from job where state = 'running'
             ) as live group by 1, 2 order by 1, 2",
        )
        .fetch_all(db)
        .await?;
        let oldest_job = sqlx::query_scalar(
            "select coalesce(extract(epoch from now() - min(created_at)), 0)::bigint from (
                 select created_at from job where state = 'queued' and not has_requirements
                 union all select created_at from job where state = 'queued' and has_requirements
             ) as queued",
        )
        .fetch_one(db)
        .await?;
        let (statuses_owed, statuses_failing) = sqlx::query_as(
            "select count(*), count(*) filter (where tried_seq = wanted_seq)
             from wish where sent_seq < wanted_seq and given_up_seq < wanted_seq",
        )
        .fetch_one(db)
        .await?;
        let notifications_open =
            sqlx::query_scalar("select count(*) from notification where done_at is null").fetch_one(db).await?;
        let publications_failed = publications::failed(db).await?.map_or(0, |failed| failed.count);
        let publications = sqlx::query_as(
            "select state::text, count(*) from publication where state in ('waiting', 'unapproved') group by 1 order by 1",
        )
        .fetch_all(db)
        .await?;
        let runners = sqlx::query_as(
            "select name, slots, greatest(extract(epoch from now() - seen_at), 0)::bigint as silent,
                 (select count(*) from job where state = 'running' and job.runner = runner.name) as running
             from runner order by name",
        )
        .fetch_all(db)
        .await?;
        let gpus =
            sqlx::query_as("select runner, class, state::text, count(*) from gpu group by 1, 2, 3 order by 1, 2, 3")
                .fetch_all(db)
                .await?;
        let alerts = sqlx::query_scalar("select count(*) from alert").fetch_one(db).await?;
        let budgets = budgets::budget_uses(db).await?;
        Ok(Self {
            deliveries,
            jobs,
            oldest_job,
            statuses_owed,
            statuses_failing,
            notifications_open,
            publications_failed,
            publications,
            runners,
            gpus,
            alerts,
            budgets,
        })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { deliveries, runners, .. } = self;
        let mut one = |name: &str, help: &str, value: i64| registry.register(name, help, gauge(value));
        one("deliveries_open", "Deliveries that wait for intake", deliveries.open);
        one("deliveries_failing", "Open deliveries whose last try has failed", deliveries.failing);
        one("statuses_owed", "Statuses that a server does not show yet", self.statuses_owed);
        one("statuses_failing", "Owed statuses whose last try has failed", self.statuses_failing);
        one("notifications_open", "Notifications that are not sent yet", self.notifications_open);
        one("publications_failed", "Publications that have failed for good in the last week", self.publications_failed);
        one("alerts", "Alerts, as /readyz lists them", self.alerts);
        let mut age = |name: &str, help: &str, value: i64| {
            registry.register_with_unit(name, help, Unit::Seconds, gauge(value));
        };
        age("delivery_oldest", "Age of the oldest open delivery", deliveries.oldest);
        age("job_oldest", "Age of the oldest job in the queue", self.oldest_job);
        let jobs = self
            .jobs
            .iter()
            .map(|(kind, state, count)| (vec![("kind", kind.clone()), ("state", state.clone())], *count));
        registry.register("jobs", "Jobs that are queued or running", family(jobs));
        let publications = self.publications.iter().map(|(state, count)| (vec![("state", state.clone())], *count));
        registry.register(
            "publications",
            "Publications on their way, or waiting for an approval",
            family(publications),
        );
        let of = |value: fn(&Runner) -> i64| {
            family(runners.iter().map(move |runner| (vec![("runner", runner.name.clone())], value(runner))))
        };
        registry.register("runner_slots", "Slots of a runner", of(|runner| runner.slots.into()));
        registry.register("runner_jobs", "Running jobs of a runner", of(|runner| runner.running));
        let help = "Time since a process has served a runner";
        registry.register_with_unit("runner_silent", help, Unit::Seconds, of(|runner| runner.silent));
        let gpus = self.gpus.iter().map(|(runner, class, state, count)| {
            (vec![("runner", runner.clone()), ("class", class.clone()), ("state", state.clone())], *count)
        });
        registry.register("gpus", "GPUs of a runner: free, held by a job, or not yet seen empty", family(gpus));
        let budgets = |hours: fn(&BudgetUse) -> f64| {
            family(self.budgets.iter().map(move |budget| {
                let of = if budget.repo.is_some() { "repository" } else { "person" };
                let per = budget.per.to_string();
                (vec![("of", of.to_owned()), ("name", budget.name.clone()), ("per", per)], seconds(hours(budget)))
            }))
        };
        let help = "GPU time of a budget, of which some is used";
        registry.register_with_unit("gpu_budget", help, Unit::Seconds, budgets(|budget| budget.gpu_hours));
        let help = "GPU time of a budget that is used in its present period";
        registry.register_with_unit("gpu_budget_used", help, Unit::Seconds, budgets(|budget| budget.used));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a number for people")]
fn seconds(hours: f64) -> i64 {
    (hours * 3600.0).round() as i64
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn family(values: impl Iterator<Item = (Labels, i64)>) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    family
}
