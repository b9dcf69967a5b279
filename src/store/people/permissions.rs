//! Rights of people in repositories: as GitHub has told, or as an operator has granted them to others.

use std::time::Duration;

use sqlx::PgPool;

use crate::domain::{PersonId, RepoId, RepoName, Right};

/// Time for which an answer of GitHub counts without another question.
pub const FRESH: Duration = Duration::from_secs(5 * 60);
/// Time for which an answer of GitHub counts at all.
pub const KEPT: Duration = Duration::from_secs(3600);
/// Age at which the right of a person who is here is asked for again, before it ends.
const RENEW_AFTER: Duration = Duration::from_secs(30 * 60);
/// Time since the last request in which a person counts as being here.
const HERE: Duration = Duration::from_secs(10 * 60);

/// A question to GitHub: the right of a person in a repository.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Question {
    pub person: PersonId,
    pub github_id: i64,
    pub login: String,
    pub repo: RepoId,
    /// GitHub's number of the repository.
    pub repo_number: i64,
    pub owner: String,
    pub name: String,
}

/// Stores GitHub's answer; `None` for no right.
pub async fn put(db: &PgPool, person: PersonId, repo: RepoId, access: Option<Right>) -> sqlx::Result<()> {
    sqlx::query(
        "insert into permission (person_id, repo_id, access, checked_at) values ($1, $2, $3, now())
         on conflict (person_id, repo_id) do update set access = excluded.access, checked_at = now()",
    )
    .bind(person)
    .bind(repo)
    .bind(access)
    .execute(db)
    .await?;
    Ok(())
}

/// Grants a person a right in a repository, or none.
pub async fn grant(db: &PgPool, person: PersonId, repo: RepoId, access: Option<Right>) -> sqlx::Result<()> {
    match access {
        Some(access) => {
            sqlx::query(
                "insert into permission (person_id, repo_id, access) values ($1, $2, $3)
             on conflict (person_id, repo_id) do update set access = excluded.access, checked_at = null",
            )
            .bind(person)
            .bind(repo)
            .bind(access)
            .execute(db)
            .await?
        }
        None => {
            sqlx::query("delete from permission where person_id = $1 and repo_id = $2")
                .bind(person)
                .bind(repo)
                .execute(db)
                .await?
        }
    };
    Ok(())
}

/// Lists the questions about repositories for a person of GitHub: private ones and unknown answers first.
pub async fn questions(db: &PgPool, person: PersonId, most: i64) -> sqlx::Result<Vec<Question>> {
    sqlx::query_as(
        "select person.id as person, person.github_id, person.name as login, repo.id as repo,
             repo.github_id as repo_number, owner, repo.name
         from person cross join repo
             left join permission on permission.person_id = person.id and permission.repo_id = repo.id
         where person.id = $1 and person.github_id is not null
             and (checked_at is null or checked_at < now() - $2::interval)
         order by repo.private desc, checked_at nulls first, repo.id limit $3",
    )
    .bind(person)
    .bind(FRESH)
    .bind(most)
    .fetch_all(db)
    .await
}

/// Returns the question about one repository for a person of GitHub.
pub async fn question(db: &PgPool, person: PersonId, repo: RepoId) -> sqlx::Result<Option<Question>> {
    sqlx::query_as(
        "select person.id as person, person.github_id, person.name as login, repo.id as repo,
             repo.github_id as repo_number, owner, repo.name
         from person, repo where person.id = $1 and repo.id = $2 and person.github_id is not null",
    )
    .bind(person)
    .bind(repo)
    .fetch_optional(db)
    .await
}

/// Lists the questions that are due for people of GitHub who are here: about rights that are not known, and in private
/// repositories about those that end soon, or that GitHub has denied a while ago.
pub async fn due(db: &PgPool, most: i64) -> sqlx::Result<Vec<Question>> {
    sqlx::query_as(
        "select person.id as person, person.github_id, person.name as login, repo.id as repo,
             repo.github_id as repo_number, owner, repo.name
         from person cross join repo
             left join permission on permission.person_id = person.id and permission.repo_id = repo.id
         where person.github_id is not null
             and (exists (select from session where person_id = person.id and seen_at > now() - $1::interval)
                 or exists (select from api_token where person_id = person.id and used_at > now() - $1::interval))
             and (checked_at is null
                 or (private and checked_at < now() - case when access is null then $2::interval else $3 end))
         order by private desc, checked_at nulls first limit $4",
    )
    .bind(HERE)
    .bind(FRESH)
    .bind(RENEW_AFTER)
    .bind(most)
    .fetch_all(db)
    .await
}

/// Returns true if a person has a right in a repository that not everyone has: one to write, or one in a private one.
pub async fn has_any(db: &PgPool, person: PersonId) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select exists (
             select from permission join repo on repo.id = repo_id
             where person_id = $1 and (access >= 'write' or (access >= 'read' and private))
                 and (checked_at is null or checked_at > now() - $2::interval))",
    )
    .bind(person)
    .bind(KEPT)
    .fetch_one(db)
    .await
}

/// Lists the private repositories that a person may read.
pub async fn readable(db: &PgPool, person: PersonId) -> sqlx::Result<Vec<RepoId>> {
    sqlx::query_scalar(
        "select repo_id from permission join repo on repo.id = repo_id
         where person_id = $1 and access is not null and private
             and (checked_at is null or checked_at > now() - $2::interval)",
    )
    .bind(person)
    .bind(KEPT)
    .fetch_all(db)
    .await
}

impl Question {
    /// Returns the repository's name; `None` for one that a name cannot have.
    pub fn repo_name(&self) -> Option<RepoName> {
        format!("{}/{}", self.owner, self.name).parse().ok()
    }
}
