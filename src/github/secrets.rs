//! Secrets of webhooks, and the repositories for which each is good.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::signature::Signature;
use crate::domain::RepoName;

/// Repositories whose deliveries a secret signs: all, those of one owner, or a single one. GitHub does not distinguish
/// the case of letters in names, so all are lower-case here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    All,
    Owner(String),
    Repo(String),
}

impl Scope {
    /// Lists the scopes that contain a repository, the narrowest first.
    pub fn around(repo: &RepoName) -> [Self; 3] {
        let owner = repo.owner().to_ascii_lowercase();
        [Self::Repo(repo.to_string().to_ascii_lowercase()), Self::Owner(owner), Self::All]
    }

    /// Returns the key under which the scope's secrets are stored.
    pub fn key(&self) -> &str {
        match self {
            Self::All => "",
            Self::Owner(name) | Self::Repo(name) => name,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all repositories"),
            Self::Owner(name) | Self::Repo(name) => f.write_str(name),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    /// Reads `owner` or `owner/name`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_repo = text.contains('/');
        // An owner's name has the rules of a repository's.
        let whole = if is_repo { text.to_owned() } else { format!("{text}/any") };
        whole.parse::<RepoName>().map_err(|error| error.to_string())?;
        let name = text.to_ascii_lowercase();
        Ok(if is_repo { Self::Repo(name) } else { Self::Owner(name) })
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| D::Error::custom(format!("{text:?} is not an owner or owner/name: {why}")))
    }
}

/// Secrets of one scope: none, one, or two while the secret changes. Each of them is good.
#[derive(Debug, Clone, Default)]
pub struct WebhookSecrets(Vec<SecretString>);

/// Number of secrets that are good at once, so that a webhook on GitHub can change from one to the next.
const AT_ONCE: usize = 2;

impl WebhookSecrets {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the length of the shortest secret, in bytes.
    pub fn shortest(&self) -> Option<usize> {
        self.0.iter().map(|secret| secret.expose_secret().len()).min()
    }

    /// Returns true if one of the secrets signs `body`.
    pub fn sign(&self, body: &[u8], signature: Signature) -> bool {
        self.0.iter().any(|secret| signature.is_of(secret.expose_secret().as_bytes(), body))
    }
}

impl<'de> Deserialize<'de> for WebhookSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a secret, or a list of two while it changes: [\"new\", \"old\"]")]
        enum Written {
            One(SecretString),
            Several(Vec<SecretString>),
        }
        let secrets = match Written::deserialize(deserializer)? {
            // The environment has only text. What is refused as text is read as TOML.
            Written::One(text) if ["[\"", "['"].iter().any(|head| text.expose_secret().starts_with(head)) => {
                return Err(D::Error::custom("it begins like a list of secrets, and is none"));
            }
            Written::One(secret) => vec![secret],
            Written::Several(secrets) => secrets,
        };
        if secrets.len() > AT_ONCE {
            return Err(D::Error::custom("at most two secrets are good at once: the new one and the old one"));
        }
        // An empty secret would let everyone sign.
        Ok(Self(secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_in_its_own_scope_its_owners_and_that_of_all() {
        let around = Scope::around(&"Acme/Styles".parse().unwrap());
        assert_eq!(around, [Scope::Repo("acme/styles".to_owned()), Scope::Owner("acme".to_owned()), Scope::All]);
        assert_eq!("ACME".parse(), Ok(Scope::Owner("acme".to_owned())));
        assert_eq!("Acme/styles".parse(), Ok(Scope::Repo("acme/styles".to_owned())));
        for wrong in ["", "a/b/c", "-a", "..", "a b", "*"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_one_or_two() {
        let read = |text: &str| toml::from_str::<std::collections::BTreeMap<String, WebhookSecrets>>(text);
        for (text, count) in [("s = 'a'", 1), ("s = ['new', 'old']", 2), ("s = ''", 0), ("s = []", 0)] {
            assert_eq!(read(text).unwrap()["s"].0.len(), count, "{text}");
        }
        for (text, told) in [
            ("s = ['a', 'b', 'c']", "at most two"),
            ("s = 1", "a secret, or a list of two"),
            ("s = '[\"new\", \"old'", "begins like a list"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
