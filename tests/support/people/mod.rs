//! People with sessions, tokens and rights, in the rows of a service.

pub mod proposal;
pub mod visitor;

use chrono::{TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use trainyard::domain::{PersonId, RepoId, Right};
use trainyard::store::people::persons::Person;
use trainyard::store::people::{api_tokens, permissions, persons, sessions};

/// Text that the pages of each session here send back.
pub const CSRF: &str = "the text of the session";

fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// Makes a person of GitHub.
pub async fn person(db: &PgPool, github_id: i64, login: &str) -> Person {
    persons::of_github(db, github_id, login).await.unwrap()
}

/// Makes an operator.
pub async fn operator(db: &PgPool, github_id: i64, login: &str) -> Person {
    let person = person(db, github_id, login).await;
    sqlx::query("update person set is_operator = true where id = $1").bind(person.id).execute(db).await.unwrap();
    Person { is_operator: true, ..person }
}

/// Stores GitHub's answer about a right, as of now.
pub async fn allow(db: &PgPool, person: PersonId, repo: RepoId, right: Option<Right>) {
    permissions::put(db, person, repo, right).await.unwrap();
}

/// Makes a session. Returns the value of its cookie.
pub async fn session(db: &PgPool, person: PersonId) -> String {
    let value = format!("session-of-{person}");
    sessions::insert(db, person, &digest(&value), CSRF).await.unwrap();
    value
}

/// Makes a token, which expires in an hour.
pub async fn token(db: &PgPool, person: PersonId, name: &str, scope: Right, repos: Option<&[RepoId]>) -> String {
    let token = format!("token-{name}-of-{person}");
    let (digest, expires_at) = (digest(&token), Utc::now() + TimeDelta::hours(1));
    let new = api_tokens::New { person, name, digest: &digest, scope, repos, expires_at };
    assert!(api_tokens::insert(db, &new).await.unwrap());
    token
}
