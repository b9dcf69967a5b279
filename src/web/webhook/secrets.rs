//! Secrets that sign deliveries, of the configuration and of the database.
//!
//! The address of a webhook names the scope of its secret: `/webhooks/github`, `/webhooks/github/acme` or
//! `/webhooks/github/acme/styles`. So a delivery costs one HMAC, however many secrets there are, and the secret is known
//! before the body is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::RepoName;
use crate::github::signature::Signature;
use crate::github::{GitHubConfig, Scope, WebhookSecrets};
use crate::store::sealed::webhook_secrets::{Stored, StoredSecrets};

/// All secrets of webhooks.
#[derive(Debug, Clone)]
pub struct Secrets {
    configured: Arc<BTreeMap<Scope, WebhookSecrets>>,
    stored: StoredSecrets,
}

/// The secrets that are good now.
#[derive(Debug, Clone)]
pub(super) struct Current {
    configured: Arc<BTreeMap<Scope, WebhookSecrets>>,
    stored: Arc<Stored>,
}

impl Secrets {
    /// Returns the secrets of the configuration and of the database.
    pub fn new(config: &GitHubConfig, stored: StoredSecrets) -> Self {
        let mut configured = config.webhook_secrets.clone();
        configured.insert(Scope::All, config.webhook_secret.clone());
        configured.retain(|_, secrets| !secrets.is_empty());
        Self { configured: Arc::new(configured), stored }
    }

    /// Returns the secrets that are good now.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub(super) async fn current(&self) -> anyhow::Result<Current> {
        Ok(Current { configured: Arc::clone(&self.configured), stored: self.stored.all().await? })
    }

    /// Returns true if there is any secret, so that a webhook can be verified.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub(in crate::web) async fn any(&self) -> anyhow::Result<bool> {
        Ok(!self.configured.is_empty() || !self.stored.all().await?.is_empty())
    }
}

impl Current {
    /// Returns true if the scope has a secret.
    pub(super) fn has(&self, scope: &Scope) -> bool {
        self.configured.contains_key(scope) || self.stored.contains_key(scope.key())
    }

    /// Returns true if a secret of the scope signs the body.
    pub(super) fn sign(&self, scope: &Scope, body: &[u8], signature: Signature) -> bool {
        let stored = self.stored.get(scope.key());
        let is_stored = |secret: &SecretString| signature.is_of(secret.expose_secret().as_bytes(), body);
        self.configured.get(scope).is_some_and(|secrets| secrets.sign(body, signature))
            || stored.is_some_and(|secrets| secrets.iter().any(is_stored))
    }

    /// Returns the scope whose secrets are good for a repository: the narrowest that has any. A secret of everyone does
    /// not sign for a repository that has its own.
    pub(super) fn scope_of(&self, repo: &RepoName) -> Option<Scope> {
        Scope::around(repo).into_iter().find(|scope| self.has(scope))
    }
}
