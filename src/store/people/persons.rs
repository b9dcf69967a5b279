//! The people who may log in: of GitHub, of an OpenID provider, or made here.

use std::time::Duration;

use sqlx::PgPool;

use crate::domain::PersonId;

/// Maximum length of a local user's name, in bytes.
pub const MAX_NAME: usize = 100;
/// Form of a local user's name.
pub const NAME_FORM: &str = "a name has letters, digits and -_.@, at most 100";

/// A person, without the password.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Person {
    pub id: PersonId,
    /// Name, which others may have had before. It is for people to read.
    pub name: String,
    /// GitHub's number of the person, if GitHub has said who it is.
    pub github_id: Option<i64>,
    /// Provider of OpenID Connect, if one has said who it is.
    pub issuer: Option<String>,
    /// True for an operator by the choice of this machine's operator.
    pub is_operator: bool,
}

/// A person with granted rights as `trainyard user list` shows it: a local user, or one of a provider.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Listed {
    /// Name of a local user, or `oidc:SUBJECT`.
    pub name: String,
    /// The name that a provider gives to its person.
    pub called: Option<String>,
    pub is_operator: bool,
    /// Repositories with the right in each, as text.
    pub rights: Vec<String>,
}

/// Stores a person whom GitHub has named, under the present login.
pub async fn of_github(db: &PgPool, github_id: i64, login: &str) -> sqlx::Result<Person> {
    sqlx::query_as(
        "insert into person (github_id, name) values ($1, $2)
         on conflict (github_id) do update set name = excluded.name
         returning id, name, github_id, issuer, is_operator",
    )
    .bind(github_id)
    .bind(login)
    .fetch_one(db)
    .await
}

/// Returns true if a local user can have this name.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(is_plain)
}

/// A person as a provider of OpenID Connect names them.
#[derive(Debug, Clone, Copy)]
pub struct OfProvider<'a> {
    pub issuer: &'a str,
    /// Name that the provider gives to the person alone.
    pub subject: &'a str,
    pub name: &'a str,
    pub is_operator: bool,
}

/// Time after a login for which the word of a provider counts: for the tokens of the person.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Stores a person whom a provider has named. Nobody else becomes that person by a name.
pub async fn of_provider(db: &PgPool, new: &OfProvider<'_>) -> sqlx::Result<Person> {
    sqlx::query_as(
        "insert into person (issuer, subject, name, is_operator, confirmed_at) values ($1, $2, $3, $4, now())
         on conflict (issuer, subject) do update
             set name = excluded.name, is_operator = excluded.is_operator, confirmed_at = now()
         returning id, name, github_id, issuer, is_operator",
    )
    .bind(new.issuer)
    .bind(new.subject)
    .bind(new.name)
    .bind(new.is_operator)
    .fetch_one(db)
    .await
}

/// Makes a local user, and ends the link for a first one. Returns false, and makes nobody, if there is one of that name.
pub async fn insert_local(db: &PgPool, name: &str, password: &str, is_operator: bool) -> sqlx::Result<bool> {
    let inserted = sqlx::query(
        "with ended as (delete from setup_link)
         insert into person (name, password, is_operator) values ($1, $2, $3)
         on conflict (lower(name)) where password is not null do nothing",
    )
    .bind(name)
    .bind(password)
    .bind(is_operator)
    .execute(db)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Finds a local user with the hash of the password.
pub async fn local(db: &PgPool, name: &str) -> sqlx::Result<Option<(Person, String)>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        person: Person,
        password: String,
    }
    let row: Option<Row> = sqlx::query_as(
        "select id, name, github_id, issuer, is_operator, password from person
         where lower(name) = lower($1) and password is not null",
    )
    .bind(name)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.person, row.password)))
}

/// The ways in which people can log in, as far as rows say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredLogins {
    /// True if there is a local user.
    pub local: bool,
    /// True if the stored GitHub App logs people in.
    pub app: bool,
}

impl StoredLogins {
    /// Returns true if there is any way.
    pub fn any(self) -> bool {
        self.local || self.app
    }
}

/// Returns the ways in which people can log in.
pub async fn logins(db: &PgPool) -> sqlx::Result<StoredLogins> {
    sqlx::query_as(
        "select exists (select from person where password is not null) as local,
             exists (select from github_app where client_secret is not null) as app",
    )
    .fetch_one(db)
    .await
}

/// Lists the local users and the people of a provider by name.
pub async fn list(db: &PgPool) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "select coalesce($1 || subject, person.name) as name, case when subject is not null then person.name end as called,
             is_operator, array(
             select owner || '/' || repo.name || ' ' || access from permission join repo on repo.id = repo_id
             where person_id = person.id and access is not null order by owner, repo.name) as rights
         from person where github_id is null order by person.name, subject",
    )
    .bind(SUBJECT)
    .fetch_all(db)
    .await
}

/// Changes the password of a local user, and ends the user's sessions. Returns false if there is none of that name.
pub async fn set_password(db: &PgPool, name: &str, password: &str) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "with changed as (
             update person set password = $2 where lower(name) = lower($1) and password is not null returning id
         ), ended as (delete from session using changed where person_id = changed.id)
         select id from changed",
    )
    .bind(name)
    .bind(password)
    .fetch_optional(db)
    .await?;
    Ok(changed.is_some())
}

/// Beginning of a name that stands for a subject of the provider. A local user's name has no such sign.
const SUBJECT: &str = "oidc:";

/// Finds a person who has granted rights: a local user by name, or one of the provider by `oidc:SUBJECT`.
pub async fn granted(db: &PgPool, name: &str, issuer: Option<&str>) -> sqlx::Result<Option<PersonId>> {
    let query = match name.strip_prefix(SUBJECT) {
        Some(subject) => {
            sqlx::query_scalar("select id from person where issuer = $1 and subject = $2").bind(issuer).bind(subject)
        }
        None => sqlx::query_scalar("select id from person where lower(name) = lower($1) and password is not null")
            .bind(name),
    };
    query.fetch_optional(db).await
}

/// Deletes a person, with the person's sessions, rights and tokens.
pub async fn remove(db: &PgPool, person: PersonId) -> sqlx::Result<bool> {
    let removed = sqlx::query("delete from person where id = $1").bind(person).execute(db).await?;
    Ok(removed.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["anna", "anna.b@example.org", "Zoë"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "a b", "a/b", "<b>", &"x".repeat(101)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
