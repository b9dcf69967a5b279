//! Variables of a repository's settings, which its jobs see. Their values are stored sealed.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use zeroize::Zeroizing;

use crate::domain::RepoId;
use crate::repo_keys::Seal;

/// The most variables of one repository.
pub const MAX_NUMBER: i64 = 100;
/// The longest value, in bytes. Linux accepts 128 KiB for one variable.
pub const MAX_LENGTH: usize = 64 * 1024;

/// The variables of all repositories.
#[derive(Debug, Clone)]
pub struct Variables {
    db: PgPool,
    seal: Arc<Seal>,
}

/// A variable without its value.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Variable {
    pub name: String,
    /// The only branch whose jobs see it; empty for all branches.
    pub branch: String,
    pub is_public: bool,
    pub changed_at: DateTime<Utc>,
}

/// A variable that a job sees.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: String,
    pub value: Zeroizing<String>,
    pub is_public: bool,
}

impl Variables {
    /// Returns the variables in this database, under this seal.
    pub fn new(db: PgPool, seal: Arc<Seal>) -> Self {
        Self { db, seal }
    }

    /// Lists the variables of a repository, by name and branch.
    pub async fn list(&self, repo: RepoId) -> sqlx::Result<Vec<Variable>> {
        sqlx::query_as(
            "select name, branch, is_public, changed_at from variable where repo_id = $1 order by name, branch",
        )
        .bind(repo)
        .fetch_all(&self.db)
        .await
    }

    /// Sets a variable for a branch, or for all with an empty `branch`.
    ///
    /// # Errors
    /// Fails when the value is too long or contains NUL, and when the repository has too many variables.
    pub async fn set(
        &self,
        repo: RepoId,
        name: &str,
        branch: &str,
        value: &str,
        is_public: bool,
    ) -> anyhow::Result<()> {
        ensure!(!value.contains('\0'), "the value contains NUL, which no environment variable can");
        ensure!(
            value.len() <= MAX_LENGTH,
            "the value has {} bytes, and {MAX_LENGTH} at most are possible: put it into a file of the repository, \
             encrypted, and set its key here",
            value.len()
        );
        let set = sqlx::query(
            "insert into variable (repo_id, name, branch, value, is_public)
             select $1, $2, $3, $4, $5
             where exists (select from variable where repo_id = $1 and name = $2 and branch = $3)
                or (select count(*) from variable where repo_id = $1) < $6
             on conflict (repo_id, name, branch) do update
             set value = excluded.value, is_public = excluded.is_public, changed_at = now()",
        )
        .bind(repo)
        .bind(name)
        .bind(branch)
        .bind(self.seal.seal(&sealed_as(repo, name, branch), value.as_bytes())?)
        .bind(is_public)
        .bind(MAX_NUMBER)
        .execute(&self.db)
        .await
        .context("storing the variable")?;
        ensure!(set.rows_affected() == 1, "the repository has {MAX_NUMBER} variables already: remove one first");
        Ok(())
    }

    /// Removes a variable of a branch, or the one of all branches. Returns false if there is none.
    pub async fn remove(&self, repo: RepoId, name: &str, branch: &str) -> sqlx::Result<bool> {
        let removed = sqlx::query("delete from variable where repo_id = $1 and name = $2 and branch = $3")
            .bind(repo)
            .bind(name)
            .bind(branch)
            .execute(&self.db)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Returns the variables that a job sees on `branch`, those of the branch last. Only with `is_trusted`, that is
    /// without the code of a fork, it sees the values that are not public.
    ///
    /// # Errors
    /// Fails when a value was sealed by another server, and when Postgres does not answer.
    pub async fn seen(&self, repo: RepoId, branch: Option<&str>, is_trusted: bool) -> anyhow::Result<Vec<Seen>> {
        let rows: Vec<(String, String, Vec<u8>, bool)> = sqlx::query_as(
            "select name, branch, value, is_public from variable
             where repo_id = $1 and branch in ('', coalesce($2, '')) and (is_public or $3)
             order by branch <> '', name",
        )
        .bind(repo)
        .bind(branch)
        .bind(is_trusted)
        .fetch_all(&self.db)
        .await
        .context("reading the repository's variables")?;
        let open = |(name, branch, sealed, is_public): (String, String, Vec<u8>, bool)| -> anyhow::Result<Seen> {
            let clear = self.seal.open(&sealed_as(repo, &name, &branch), &sealed).with_context(|| {
                format!("the variable {name}: is the file `seal.key` in the data folder the one it was made with?")
            })?;
            let value = Zeroizing::new(std::str::from_utf8(&clear).context("a stored variable")?.to_owned());
            Ok(Seen { name, value, is_public })
        };
        rows.into_iter().map(open).collect()
    }
}

/// Returns the name under which a value is sealed: a row that is moved to another repository or branch does not open.
fn sealed_as(repo: RepoId, name: &str, branch: &str) -> String {
    format!("variable {name} of repository {} for {branch:?}", repo.0)
}
