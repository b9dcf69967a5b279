//! Decisions of people about publications.

use sqlx::PgConnection;

use crate::domain::JobId;

/// A person's decision about the publications of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Approve,
    Reject,
}

/// Lets the publications of a job begin again that have failed or were rejected. One that was approved stays so, unless
/// `required` names another environment, whose approval is needed now. Returns their number.
pub async fn retry(tx: &mut PgConnection, job: JobId, required: Option<&str>) -> sqlx::Result<u64> {
    let retried = sqlx::query(
        "with kept as (
             select job_id, place, coalesce($2, environment) as its_environment,
                 state = 'failed' and environment = coalesce($2, environment) as is_approved
             from publication where job_id = $1 and state in ('failed', 'rejected') for update)
         update publication set environment = its_environment,
             state = case when its_environment is null or is_approved then 'waiting' else 'unapproved' end::publication_state,
             decided_by = case when is_approved then decided_by end,
             decided_at = case when is_approved then decided_at end,
             not_before = now(), held_until = now(), created_at = now(), done_at = null, error = null
         from kept where publication.job_id = kept.job_id and publication.place = kept.place",
    )
    .bind(job)
    .bind(required)
    .execute(tx)
    .await?;
    Ok(retried.rows_affected())
}

/// Returns the environment for which a job's publications wait.
pub async fn environment(tx: &mut PgConnection, job: JobId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "select environment from publication where job_id = $1 and state = 'unapproved' order by place limit 1",
    )
    .bind(job)
    .fetch_optional(tx)
    .await
}

/// Decides on the publications of a job that wait for the people of an environment. Returns their number.
pub async fn decide(
    tx: &mut PgConnection,
    job: JobId,
    environment: &str,
    (who, decision): (&str, Decision),
) -> sqlx::Result<u64> {
    let decided = match decision {
        Decision::Approve => {
            sqlx::query(
                "update publication set state = 'waiting', decided_by = $3, decided_at = now(), not_before = now(),
                     created_at = now()
                 where job_id = $1 and state = 'unapproved' and environment = $2",
            )
            .bind(job)
            .bind(environment)
            .bind(who)
            .execute(tx)
            .await?
        }
        Decision::Reject => {
            sqlx::query(
                "update publication set state = 'rejected', decided_by = $3, decided_at = now(), done_at = now(),
                     error = 'rejected by ' || $3
                 where job_id = $1 and state = 'unapproved' and environment = $2",
            )
            .bind(job)
            .bind(environment)
            .bind(who)
            .execute(tx)
            .await?
        }
    };
    Ok(decided.rows_affected())
}
