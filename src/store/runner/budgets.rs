//! Budgets of GPU hours: how long the attempts of a repository, and those that a person has asked for, may hold GPUs in a
//! day, a week or a month. The database's clock counts, in UTC.
//!
//! The rows of `gpu_use` are written with the leases of GPUs, and outlive the jobs. The budgets themselves are rows, too:
//! so all processes that claim jobs have the same ones.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgExecutor, PgPool};

use crate::domain::{AttemptId, JobId, RepoId};

/// Time for which uses are kept. No period is longer.
const KEPT: Duration = Duration::from_secs(32 * 24 * 3600);

/// A `[[budget]]` of the configuration. Each repository and each person that fits has it alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Repositories, as patterns such as `acme/*`.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Logins, as patterns.
    #[serde(default)]
    pub people: Vec<String>,
    /// GPUs held, times hours.
    pub gpu_hours: f64,
    pub per: Period,
}

/// The time after which a budget begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    /// From Monday on.
    Week,
    Month,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        })
    }
}

impl BudgetConfig {
    /// Rejects a budget that nothing fits, or that nothing can keep.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.gpu_hours > 0.0 && self.gpu_hours.is_finite(),
            "gpu_hours must be more than 0; to give no GPU at all, see gpu.trusted"
        );
        let patterns = || self.repositories.iter().chain(&self.people);
        anyhow::ensure!(patterns().next().is_some(), "it needs repositories or people");
        anyhow::ensure!(patterns().all(|pattern| !pattern.contains('\0')), "a pattern cannot have NUL");
        let stray = self.repositories.iter().find(|pattern| !pattern.contains(['/', '*']));
        anyhow::ensure!(
            stray.is_none(),
            "{:?} is not a repository: write owner/name, or owner/*",
            stray.map_or("", |it| it)
        );
        Ok(())
    }
}

/// Returns the pattern of `like` for a pattern in which `*` stands for any text.
fn like(pattern: &str) -> String {
    let escaped = pattern.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    escaped.replace('*', "%")
}

/// The login of the one who has asked for a build, from the rows of the build and its repository. The name of a token
/// follows the login in parentheses.
macro_rules! person {
    () => {
        "lower(split_part(case when forge = 'github' then sender else forge || ':' || sender end, ' (', 1))"
    };
}
pub(in crate::store) use person;

/// Stores the budgets of the configuration in place of those before.
pub async fn set_budgets(db: &PgPool, budgets: &[BudgetConfig]) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    sqlx::query("delete from budget").execute(&mut *tx).await?;
    for (place, budget) in (0_i32..).zip(budgets) {
        sqlx::query("insert into budget (place, repositories, people, gpu_hours, per) values ($1, $2, $3, $4, $5)")
            .bind(place)
            .bind(budget.repositories.iter().map(|pattern| like(pattern)).collect::<Vec<_>>())
            .bind(budget.people.iter().map(|pattern| like(pattern)).collect::<Vec<_>>())
            .bind(budget.gpu_hours)
            .bind(budget.per)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// The use of a budget in the present period, by a repository or a person.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct BudgetUse {
    /// `None` for a person.
    pub repo: Option<RepoId>,
    /// Name of the repository, or login of the person.
    pub name: String,
    pub gpu_hours: f64,
    pub per: Period,
    /// Hours that were used since the begin of the period.
    pub used: f64,
    /// End of the period.
    pub until: DateTime<Utc>,
}

impl BudgetUse {
    /// Returns true if no further job begins in this period.
    pub fn is_used_up(&self) -> bool {
        self.used >= self.gpu_hours
    }

    /// Returns the hours that are left.
    pub fn left(&self) -> f64 {
        (self.gpu_hours - self.used).max(0.0)
    }

    /// Returns why a job is held.
    fn reason(&self) -> String {
        let Self { name, gpu_hours, per, until, .. } = self;
        let until = until.format("%Y-%m-%d %H:%M UTC");
        format!(
            "held: the GPU budget of {name} ({gpu_hours} hours a {per}) is used up until {until}; an operator may raise it"
        )
    }
}

/// Lists the repositories and people that have a budget and have held GPUs in its period, each with the first budget that
/// fits.
pub async fn budget_uses(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<BudgetUse>> {
    sqlx::query_as(
        "with period as (
             select per, date_trunc(per, now() at time zone 'UTC') at time zone 'UTC' as since,
                 (date_trunc(per, now() at time zone 'UTC') + ('1 ' || per)::interval) at time zone 'UTC' as until
             from (select distinct per from budget) budget
         ), used as (
             select per, until, repo_id, person,
                 sum(gpus * extract(epoch from least(ended_at, now()) - greatest(started_at, since)))::float8 / 3600 as hours
             from period join gpu_use on ended_at > since
             group by grouping sets ((per, until, repo_id), (per, until, person))
         )
         select used.repo_id as repo, coalesce(owner || '/' || repo.name, person) as name, gpu_hours, budget.per,
             hours as used, until
         from used left join repo on repo.id = used.repo_id, lateral (
             select gpu_hours, per from budget
             where case when used.repo_id is null then person like any(people)
                 else lower(owner || '/' || repo.name) like any(repositories) end
             order by place limit 1
         ) budget
         where budget.per = used.per order by used.repo_id is null, name",
    )
    .fetch_all(db)
    .await
}

/// The budgets that are used up.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct UsedUp(Vec<BudgetUse>);

impl UsedUp {
    pub(in crate::store) async fn read(db: impl PgExecutor<'_>) -> sqlx::Result<Self> {
        let mut uses = budget_uses(db).await?;
        uses.retain(BudgetUse::is_used_up);
        Ok(Self(uses))
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::store) fn repos(&self) -> Vec<RepoId> {
        self.0.iter().filter_map(|used| used.repo).collect()
    }

    pub(in crate::store) fn people(&self) -> Vec<&str> {
        self.0.iter().filter(|used| used.repo.is_none()).map(|used| used.name.as_str()).collect()
    }

    /// Returns why a job with GPUs is held that belongs to this repository and was asked for by this person; `None` if it
    /// is not.
    pub(in crate::store) fn reason(&self, repo: RepoId, person: Option<&str>) -> Option<String> {
        let is_its = |used: &&BudgetUse| match used.repo {
            Some(own) => own == repo,
            None => Some(used.name.as_str()) == person,
        };
        self.0.iter().find(is_its).map(BudgetUse::reason)
    }
}

/// Records that an attempt holds GPUs from now on.
pub(in crate::store) async fn begin_use(tx: &mut PgConnection, attempt: AttemptId, gpus: usize) -> sqlx::Result<()> {
    sqlx::query(concat!(
        "insert into gpu_use (job_id, attempt, repo_id, person, gpus)
         select job.id, $2, job.repo_id, ",
        person!(),
        ", $3 from job join build on build.id = build_id join repo on repo.id = job.repo_id where job.id = $1"
    ))
    .bind(attempt.job)
    .bind(attempt.number)
    .bind(i32::try_from(gpus).unwrap_or(i32::MAX))
    .execute(tx)
    .await?;
    Ok(())
}

/// Records that a job holds GPUs no longer.
pub(super) async fn end_use(tx: &mut PgConnection, job: JobId) -> sqlx::Result<()> {
    sqlx::query("update gpu_use set ended_at = now() where job_id = $1 and ended_at = 'infinity'")
        .bind(job)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets up to `most` uses that ended before all periods. Returns their number.
pub async fn forget(db: &PgPool, most: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query(
        "delete from gpu_use where (job_id, attempt) in (
             select job_id, attempt from gpu_use where ended_at < now() - $1 limit $2)",
    )
    .bind(KEPT)
    .bind(most)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_about_names_alone() {
        assert_eq!(like("Acme/*"), "acme/%");
        assert_eq!(like("a_b/100%\\*"), "a\\_b/100\\%\\\\%");
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_refused() {
        let budget = |text: &str| {
            let parsed: Result<BudgetConfig, _> = toml::from_str(text);
            parsed.map_err(anyhow::Error::from).and_then(|budget| budget.check()).map_err(|error| error.to_string())
        };
        assert_eq!(budget("repositories = ['acme/*']\ngpu_hours = 10\nper = 'month'"), Ok(()));
        for (text, told) in [
            ("repositories = ['acme/*']\ngpu_hours = 0\nper = 'month'", "more than 0"),
            ("gpu_hours = 1.5\nper = 'day'", "it needs repositories or people"),
            ("repositories = ['acme']\ngpu_hours = 1\nper = 'day'", "write owner/name"),
            ("people = ['ada']\ngpu_hours = 1\nper = 'year'", "unknown variant"),
        ] {
            let error = budget(text).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_held_job_names_the_budget_its_end_and_the_way_out() {
        let until = "2026-12-01T00:00:00Z".parse().unwrap();
        let used = BudgetUse { repo: None, name: "ada".into(), gpu_hours: 1.5, per: Period::Week, used: 1.6, until };
        let used_up = UsedUp(vec![used]);
        let told = "held: the GPU budget of ada (1.5 hours a week) is used up until 2026-12-01 00:00 UTC; an operator may \
                    raise it";
        assert_eq!(used_up.reason(RepoId(1), Some("ada")).as_deref(), Some(told));
        assert_eq!((used_up.reason(RepoId(1), Some("eve")), used_up.reason(RepoId(1), None)), (None, None));
    }
}
