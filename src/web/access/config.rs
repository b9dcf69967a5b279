//! `[auth]` of the configuration.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::oidc::OidcConfig;
use crate::store::people::persons::Person;

/// `[auth]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// True when everyone who reaches the service may read everything.
    pub open: bool,
    /// Logins or numbers of people of GitHub who are operators.
    pub admins: Vec<String>,
    /// Tokens of operators by their names. The names appear in logs.
    pub tokens: BTreeMap<String, SecretString>,
    /// Provider of OpenID Connect that logs people in.
    pub oidc: Option<OidcConfig>,
}

/// Minimum length of a token, in characters: shorter ones can be guessed.
pub const SHORTEST: usize = 20;

impl AuthConfig {
    /// Returns the name of the owner of a token.
    pub(super) fn owner(&self, token: &str) -> Option<&str> {
        // Digests have equal lengths, and the time of comparing two of them reveals nothing about the token.
        let digest = |token: &str| Sha256::digest(token.as_bytes());
        let given = digest(token);
        let known = self.tokens.iter().find(|(_, token)| digest(token.expose_secret()) == given);
        known.map(|(name, _)| name.as_str())
    }

    /// Returns true if a person may still be here: one whom a provider has named is nobody without that provider.
    pub(super) fn knows(&self, person: &Person) -> bool {
        let issuer = self.oidc.as_ref().map(|provider| &provider.issuer);
        person.issuer.is_none() || person.issuer.as_ref() == issuer
    }

    /// Returns true if a person of GitHub is an operator.
    pub(super) fn is_admin(&self, github_id: i64, login: &str) -> bool {
        let number = github_id.to_string();
        self.admins.iter().any(|admin| admin.eq_ignore_ascii_case(login) || *admin == number)
    }
}
