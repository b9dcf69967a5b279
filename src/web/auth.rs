//! Authorization of changes over HTTP: a request needs a token of `[auth]`. Pages carry no such token, so that no other
//! site can act in a visitor's name.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::Error;

/// `[auth]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Tokens by the names of their owners. The names appear in logs.
    pub tokens: BTreeMap<String, SecretString>,
}

/// Minimum length of a token, in characters: shorter ones can be guessed.
pub const SHORTEST: usize = 20;

impl AuthConfig {
    /// Returns the name of the owner of the token in `Authorization: Bearer TOKEN`.
    pub(super) fn who(&self, headers: &HeaderMap) -> Result<&str, Error> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Error::NoToken)?;
        // Digests have equal lengths, and the time of comparing two of them reveals nothing about the token.
        let digest = |token: &str| Sha256::digest(token.as_bytes());
        let given = digest(given.trim());
        let known = self.tokens.iter().find(|(_, token)| digest(token.expose_secret()) == given);
        known.map(|(name, _)| name.as_str()).ok_or(Error::WrongToken)
    }
}
