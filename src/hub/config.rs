//! `[[publish.huggingface]]` of the configuration: a permission to publish on the Hub, with its token.

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Host, Url};

/// A permission to publish on the Hugging Face Hub.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuggingFaceConfig {
    /// Name of the permission, for the environment.
    pub name: String,
    /// Patterns of the repositories that may publish, such as `acme/*`.
    pub repos: Vec<String>,
    /// Patterns of the repositories on the Hub, such as `acme/*`.
    pub to: Vec<String>,
    /// Token that may write there.
    pub token: Option<SecretString>,
    /// Address of the Hub.
    #[serde(default = "huggingface")]
    pub endpoint: Url,
}

fn huggingface() -> Url {
    Url::parse("https://huggingface.co").unwrap_or_else(|_| unreachable!("a constant that parses"))
}

impl HuggingFaceConfig {
    /// Rejects a token or an address that cannot work, or that would give the token away.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        let variable =
            format!("TRAINYARD__PUBLISH__HUGGINGFACE__{}__TOKEN", self.name.to_uppercase().replace('-', "_"));
        let token = self.token.as_ref().map(|token| token.expose_secret().trim()).filter(|token| !token.is_empty());
        let token = token.with_context(|| format!("it needs a token: set {variable}"))?;
        ensure!(
            token.bytes().all(|byte| byte.is_ascii_graphic()),
            "its token has characters that no request can carry"
        );
        ensure!(
            keeps_secrets(&self.endpoint),
            "its endpoint must be an https address, or the token could be read on the way"
        );
        Ok(())
    }
}

/// Returns true if nobody on the way to an address can read what is sent there.
pub fn keeps_secrets(address: &Url) -> bool {
    let is_local = match address.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    address.scheme() == "https" || (address.scheme() == "http" && is_local)
}
