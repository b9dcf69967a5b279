//! The registration of the GitHub App: a code of GitHub in, sealed credentials out. The command and the page of the
//! running service share it.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use url::Url;

use crate::github::{AppKey, Client, InstallationFacts, NewApp, Scope, SendError};
use crate::repo_keys::Seal;
use crate::store::sealed::github_app::{NewStoredApp, StoredApp};
use crate::store::sealed::webhook_secrets::StoredSecrets;

/// The credentials for GitHub in the database of a service.
#[derive(Debug, Clone)]
pub struct Stored {
    pub secrets: StoredSecrets,
    pub app: StoredApp,
    pub client: Client,
}

impl Stored {
    /// Returns the credentials in this database, under this seal. `client` is asked with them.
    pub fn new(db: &PgPool, seal: &Arc<Seal>, client: Client) -> Self {
        let secrets = StoredSecrets::new(db.clone(), Arc::clone(seal));
        Self { secrets, app: StoredApp::new(db.clone(), Arc::clone(seal)), client }
    }

    /// Returns the reason why no App can be registered now; `None` if one can. An App that is stored is an obstacle,
    /// unless it is to be replaced.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn obstacle(&self, is_replacement: bool) -> anyhow::Result<Option<&'static str>> {
        if !is_replacement && self.app.changed_at().await.context("reading the GitHub App")?.is_some() {
            return Ok(Some("an App was registered already"));
        }
        let secrets = self.secrets.all().await?;
        let has_two = secrets.get(Scope::All.key()).is_some_and(|secrets| secrets.len() > 1);
        Ok(has_two.then_some(
            "two secrets of webhooks are good already, and the App would bring a third: run trainyard webhook-secret \
             --end-previous first",
        ))
    }

    /// Exchanges a code for the new App, stores its credentials, and uses them. It takes the place of the App of the
    /// number `replaces`.
    ///
    /// # Errors
    /// Fails when GitHub does not know the code, when another App is stored, and when Postgres does not answer.
    pub async fn register(&self, code: &str, replaces: Option<i64>) -> anyhow::Result<NewApp> {
        let app = self.client.convert_manifest(code).await?;
        let key = AppKey::from_pem(app.id, app.pem.expose_secret()).context("the key that GitHub has made")?;
        let login = app.client_id.as_deref().zip(app.client_secret.as_ref());
        let new = NewStoredApp { id: app.id.cast_signed(), key: &app.pem, login };
        let is_stored = match replaces {
            None => self.app.insert(&new).await?,
            Some(old) => self.app.replace(old, &new).await?,
        };
        if !is_stored {
            bail!("another App was registered meanwhile; delete {} at GitHub", app.name);
        }
        if let Some(secret) = &app.webhook_secret {
            ensure!(
                self.secrets.change(Scope::All.key(), secret.expose_secret()).await?,
                "the App is stored, but not its webhook's secret, as two are good already: run trainyard webhook-secret \
                 --end-previous, then make a new one, and set it on the App's page at GitHub"
            );
        }
        self.client.set_app(vec![key]);
        Ok(app)
    }
}

/// Returns the page at GitHub where an App is installed, from the App's page there.
///
/// # Errors
/// Fails when the address is not one of the web.
pub fn install_url(app: &Url) -> anyhow::Result<Url> {
    ensure!(matches!(app.scheme(), "http" | "https"), "GitHub's address of the App cannot be used");
    Ok(format!("{}/installations/new", app.as_str().trim_end_matches('/')).parse()?)
}

/// A permission that was tried at an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub name: &'static str,
    pub level: &'static str,
    pub is_given: bool,
    /// The result for people: GitHub's reason, if it does not give the permission.
    pub words: String,
}

/// Tries each permission of the App at an installation. `releases` is true if the App is to write them.
///
/// # Errors
/// Fails when GitHub did not answer, and when the installation has no repository.
pub async fn try_permissions(
    client: &Client,
    installation: &InstallationFacts,
    releases: bool,
) -> Result<Vec<Tried>, SendError> {
    let tried = client.try_permissions(installation, releases).await?;
    let owner = &installation.account.login;
    let tried = tried.into_iter().map(|((name, level), reason)| Tried {
        name,
        level,
        is_given: reason.is_none(),
        words: reason.unwrap_or_else(|| format!("GitHub gives it for {owner}")),
    });
    Ok(tried.collect())
}
