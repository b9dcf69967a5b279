//! The repository that an address names, with the stored right of the viewer in it. One statement finds both, so that a
//! repository that the viewer may not read takes as long as one that does not exist.

use sqlx::PgPool;

use crate::domain::{BuildId, JobId, PersonId, RepoId, RepoName, Right};

/// A repository, and the viewer's stored right.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Found {
    pub(super) id: RepoId,
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) default_branch: String,
    pub(super) private: bool,
    /// True if there is an answer of GitHub, or a granted right.
    pub(super) is_known: bool,
    pub(super) access: Option<Right>,
    /// Seconds since GitHub's answer; `None` without an answer.
    pub(super) age: Option<f64>,
}

/// Something that an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Repo(RepoName),
    RepoId(RepoId),
    Job(JobId),
    Build(BuildId),
}

/// Makes a query of [`Found`], from the clauses that follow the join.
macro_rules! select_found {
    ($rest:literal) => {
        concat!(
            "select repo.id, owner, repo.name, default_branch, private, person_id is not null as is_known, access,
                 extract(epoch from now() - checked_at)::float8 as age
             from repo left join permission on permission.repo_id = repo.id and person_id = $1 ",
            $rest
        )
    };
}

/// Finds the repository of what an address names.
pub(super) async fn find(db: &PgPool, person: Option<PersonId>, named: &Named) -> sqlx::Result<Option<Found>> {
    let query = match named {
        Named::Repo(name) => {
            sqlx::query_as(select_found!("where lower(owner) = lower($2) and lower(repo.name) = lower($3)"))
                .bind(person)
                .bind(name.owner())
                .bind(name.name())
        }
        Named::RepoId(id) => sqlx::query_as(select_found!("where repo.id = $2")).bind(person).bind(id),
        Named::Job(id) => sqlx::query_as(select_found!("where repo.id = (select repo_id from job where id = $2)"))
            .bind(person)
            .bind(id),
        Named::Build(id) => sqlx::query_as(select_found!("where repo.id = (select repo_id from build where id = $2)"))
            .bind(person)
            .bind(id),
    };
    query.fetch_optional(db).await
}
