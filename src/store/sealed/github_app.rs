//! The GitHub App that a person has registered from here: its number and its private keys, under the server's seal.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

use crate::repo_keys::Seal;

/// The stored App.
#[derive(Debug, Clone)]
pub struct StoredApp {
    db: PgPool,
    seal: Arc<Seal>,
}

/// An App with its private keys as PEM texts, the newest first: one, or two while the key changes.
#[derive(Debug)]
pub struct App {
    pub id: i64,
    pub keys: Vec<SecretString>,
    /// Id and secret with which the App logs people in. An App that was stored by an older version has none.
    pub login: Option<(String, SecretString)>,
}

/// An App that is to be stored.
#[derive(Debug)]
pub struct NewStoredApp<'a> {
    pub id: i64,
    /// Private key as a PEM text.
    pub key: &'a SecretString,
    /// Id and secret with which the App logs people in.
    pub login: Option<(&'a str, &'a SecretString)>,
}

impl StoredApp {
    /// Returns the App in this database, under this seal.
    pub fn new(db: PgPool, seal: Arc<Seal>) -> Self {
        Self { db, seal }
    }

    /// Returns the time of the last change; `None` if there is no App.
    pub async fn changed_at(&self) -> sqlx::Result<Option<DateTime<Utc>>> {
        sqlx::query_scalar("select changed_at from github_app").fetch_optional(&self.db).await
    }

    /// Returns the number of the App; `None` if there is no App.
    pub async fn id(&self) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar("select app_id from github_app").fetch_optional(&self.db).await
    }

    /// Reads the App.
    ///
    /// # Errors
    /// Fails when it was sealed with another key, and when Postgres does not answer.
    pub async fn read(&self) -> anyhow::Result<Option<App>> {
        type Row = (i64, Vec<u8>, Option<Vec<u8>>, Option<String>, Option<Vec<u8>>);
        let row: Option<Row> =
            sqlx::query_as("select app_id, private_key, previous_key, client_id, client_secret from github_app")
                .fetch_optional(&self.db)
                .await
                .context("reading the GitHub App")?;
        let Some((id, key, previous, client_id, client_secret)) = row else { return Ok(None) };
        let open = |name: &str, sealed: &[u8]| -> anyhow::Result<SecretString> {
            let clear = self.seal.open(name, sealed).context(
                "the stored key of the GitHub App: is the file `seal.key` in the data folder the one it was made with?",
            )?;
            Ok(std::str::from_utf8(&clear).context("the stored key of the GitHub App")?.into())
        };
        let keys = [Some(key), previous].into_iter().flatten().map(|sealed| open(&name(id), &sealed));
        let keys = keys.collect::<Result<_, _>>()?;
        let login = client_id.zip(client_secret).map(|(client_id, sealed)| {
            let secret = open(&client_name(id), &sealed)?;
            anyhow::Ok((client_id, secret))
        });
        Ok(Some(App { id, keys, login: login.transpose()? }))
    }

    /// Stores a new App. Returns false, and changes nothing, if there is one already.
    pub async fn insert(&self, new: &NewStoredApp<'_>) -> anyhow::Result<bool> {
        let inserted = sqlx::query(
            "insert into github_app (app_id, private_key, client_id, client_secret) values ($1, $2, $3, $4)
             on conflict do nothing",
        )
        .bind(new.id)
        .bind(self.seal_key(new)?)
        .bind(new.login.map(|(client_id, _)| client_id))
        .bind(self.seal_login(new)?)
        .execute(&self.db)
        .await
        .context("storing the GitHub App")?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Puts a new App in the place of the one of the number `old`. Returns false, and changes nothing, if that is not the
    /// stored one.
    pub async fn replace(&self, old: i64, new: &NewStoredApp<'_>) -> anyhow::Result<bool> {
        let replaced = sqlx::query(
            "update github_app set app_id = $1, private_key = $2, previous_key = null, client_id = $3,
                 client_secret = $4, changed_at = now()
             where app_id = $5",
        )
        .bind(new.id)
        .bind(self.seal_key(new)?)
        .bind(new.login.map(|(client_id, _)| client_id))
        .bind(self.seal_login(new)?)
        .bind(old)
        .execute(&self.db)
        .await
        .context("storing the GitHub App")?;
        Ok(replaced.rows_affected() == 1)
    }

    fn seal_key(&self, new: &NewStoredApp<'_>) -> anyhow::Result<Vec<u8>> {
        Ok(self.seal.seal(&name(new.id), new.key.expose_secret().as_bytes())?)
    }

    fn seal_login(&self, new: &NewStoredApp<'_>) -> anyhow::Result<Option<Vec<u8>>> {
        let seal = |(_, secret): (&str, &SecretString)| {
            self.seal.seal(&client_name(new.id), secret.expose_secret().as_bytes())
        };
        Ok(new.login.map(seal).transpose()?)
    }

    /// Stores a further key of the App. The one before it stays good. Returns false, and changes nothing, while two are
    /// good already, or if there is no App of this number.
    pub async fn add_key(&self, id: i64, key: &SecretString) -> anyhow::Result<bool> {
        let changed = sqlx::query(
            "update github_app set previous_key = private_key, private_key = $2, changed_at = now()
             where app_id = $1 and previous_key is null",
        )
        .bind(id)
        .bind(self.seal.seal(&name(id), key.expose_secret().as_bytes())?)
        .execute(&self.db)
        .await
        .context("storing a key of the GitHub App")?;
        Ok(changed.rows_affected() == 1)
    }

    /// Forgets the previous key. Returns false if there is none.
    pub async fn end_previous(&self) -> sqlx::Result<bool> {
        let ended =
            sqlx::query("update github_app set previous_key = null, changed_at = now() where previous_key is not null")
                .execute(&self.db)
                .await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Forgets the App. Returns false if there is none.
    pub async fn remove(&self) -> sqlx::Result<bool> {
        Ok(sqlx::query("delete from github_app").execute(&self.db).await?.rows_affected() == 1)
    }
}

/// Returns the name under which an App's keys are sealed.
fn name(id: i64) -> String {
    format!("private key of GitHub App {id}")
}

/// Returns the name under which the secret of an App's logins is sealed.
fn client_name(id: i64) -> String {
    format!("client secret of GitHub App {id}")
}
