//! The private keys of the GitHub App in the configuration.

use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::key::AppKey;
use crate::github::GitHubConfig;

/// Beginning of a PEM text.
const PEM: &str = "-----BEGIN";

/// Private keys of the App: none, one, or two while the key changes, the newer one first. Each is a PEM text, or the path
/// of a file with one.
#[derive(Debug, Clone, Default)]
pub struct AppKeys(Vec<SecretString>);

impl<'de> Deserialize<'de> for AppKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a PEM file, or a list of two while the key changes: [\"new.pem\", \"old.pem\"]")]
        enum Written {
            One(SecretString),
            Several(Vec<SecretString>),
        }
        let keys = match Written::deserialize(deserializer)? {
            // The environment has only text. A list in it is read as TOML, after this refusal.
            Written::One(text) if text.expose_secret().starts_with('[') => {
                return Err(D::Error::custom("it begins like a list of keys, and is none"));
            }
            Written::One(key) => vec![key],
            Written::Several(keys) => keys,
        };
        if keys.len() > 2 {
            return Err(D::Error::custom("GitHub is asked with at most two keys: the new one and the old one"));
        }
        Ok(Self(keys.into_iter().filter(|key| !key.expose_secret().is_empty()).collect()))
    }
}

impl GitHubConfig {
    /// Returns the keys of the configured App, the newest first. There is none without an App.
    ///
    /// # Errors
    /// Fails when only one of the App's number and its key is set, and when a key cannot be read. The message never has
    /// the value: it may be the key itself.
    pub fn app_keys(&self) -> anyhow::Result<Vec<AppKey>> {
        let keys = &self.app_private_key.0;
        let Some(app) = self.app_id else {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            bail!("github.app_private_key needs github.app_id, the number of the GitHub App");
        };
        if keys.is_empty() {
            bail!("github.app_id needs github.app_private_key, a PEM file that GitHub has made for the App");
        }
        keys.iter().map(|key| read(app, key).context("github.app_private_key")).collect()
    }
}

fn read(app: u64, key: &SecretString) -> anyhow::Result<AppKey> {
    let value = key.expose_secret().trim();
    if value.starts_with(PEM) {
        return Ok(AppKey::from_pem(app, value)?);
    }
    let file = std::fs::read_to_string(value).context("the file that it names cannot be read")?;
    Ok(AppKey::from_pem(app, SecretString::from(file).expose_secret())?)
}
