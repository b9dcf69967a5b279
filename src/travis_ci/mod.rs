//! The interface to Travis CI: its webhooks, and their signatures.

pub mod event;
mod keys;
pub mod signature;

pub use keys::{KeyError, TravisKeys};

use serde::Deserialize;
use url::Url;

/// `[travis]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TravisConfig {
    /// True if a newer build of the same branch or pull request also cancels a running one.
    pub cancel_running: bool,
    /// The jobs that a passed build of Travis requests.
    pub on_passed: OnPassed,
    /// Address that serves the public key of Travis's webhooks.
    pub config_url: Url,
    /// The public key itself, as PEM. Then nothing is fetched.
    pub public_key: Option<String>,
}

/// The request of a passed build of Travis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPassed {
    /// Nothing: Travis's webhooks are refused.
    None,
    /// A lint and the smoke jobs of its commit.
    Smoke,
}

impl Default for TravisConfig {
    fn default() -> Self {
        let config_url = Url::parse("https://api.travis-ci.com/config");
        Self {
            cancel_running: false,
            on_passed: OnPassed::None,
            config_url: config_url.unwrap_or_else(|_| unreachable!("a constant that parses")),
            public_key: None,
        }
    }
}

impl TravisConfig {
    /// Rejects a key that signs nothing, and an address on whose way others could replace the key.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(pem) = &self.public_key {
            anyhow::ensure!(
                signature::PublicKey::from_pem(pem).is_some(),
                "travis.public_key is not an RSA key that begins with -----BEGIN PUBLIC KEY-----"
            );
        }
        let is_local = match self.config_url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        anyhow::ensure!(
            self.config_url.scheme() == "https" || (self.config_url.scheme() == "http" && is_local),
            "travis.config_url must be an https address: a key that came unprotected proves nothing"
        );
        Ok(())
    }
}
