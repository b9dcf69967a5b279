//! `[auth.oidc]` of the configuration.

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Host, Url};

/// `[auth.oidc]` of the configuration: a provider of OpenID Connect that logs people in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// Name of the provider on the button.
    #[serde(default = "default_name")]
    pub name: String,
    /// Address of the provider, exactly as its discovery document names it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    /// Scopes besides `openid`.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Claim with the name of a person, for people to read.
    #[serde(default = "default_name_claim")]
    pub name_claim: String,
    /// Claim with the groups of a person: a list of texts, or one text.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Groups whose members may log in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Domains whose people may log in, by their verified email.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Groups whose members are operators.
    #[serde(default)]
    pub operator_groups: Vec<String>,
    /// Verified emails of operators.
    #[serde(default)]
    pub operator_emails: Vec<String>,
}

fn default_name() -> String {
    "OpenID Connect".to_owned()
}

fn default_scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}

fn default_name_claim() -> String {
    "preferred_username".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

impl OidcConfig {
    /// Rejects a provider that logs nobody in, or everybody.
    ///
    /// # Errors
    /// Fails with what is wrong, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        let issuer = Url::parse(&self.issuer).context("issuer is not an address")?;
        let is_local = match issuer.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        ensure!(
            issuer.scheme() == "https" || (issuer.scheme() == "http" && is_local),
            "issuer must be an https address"
        );
        ensure!(!self.client_id.is_empty(), "client_id must not be empty");
        let secret = self.client_secret.as_ref().filter(|secret| !secret.expose_secret().is_empty());
        secret.context("it needs a client_secret: set TRAINYARD__AUTH__OIDC__CLIENT_SECRET")?;
        let lists = [&self.groups, &self.domains, &self.operator_groups, &self.operator_emails];
        ensure!(
            lists.iter().any(|list| !list.is_empty()),
            "nobody may log in: name groups or domains whose people may, or operator_groups or operator_emails"
        );
        ensure!(
            lists.iter().all(|list| list.iter().all(|item| !item.trim().is_empty())),
            "an entry of a list is empty"
        );
        for domain in &self.domains {
            ensure!(
                !domain.contains(['@', '*', '/', ' ']),
                "domains: {domain:?} is not the name of a domain, such as example.org"
            );
        }
        for email in &self.operator_emails {
            ensure!(email.split('@').count() == 2, "operator_emails: {email:?} is not an email address");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_would_let_everybody_in_is_refused() {
        let of = |text: &str| {
            let base = "client_id = 'trainyard'\nclient_secret = 'x'\n";
            let config: OidcConfig = toml::from_str(&format!("{base}{text}")).expect("it can be read");
            config.check().map_err(|error| format!("{error:#}"))
        };
        let https = "issuer = 'https://id.example.org'\n";
        for good in ["groups = ['ci']", "domains = ['example.org']", "operator_emails = ['olga@example.org']"] {
            assert_eq!(of(&format!("{https}{good}")), Ok(()), "{good}");
        }
        assert_eq!(of("issuer = 'http://127.0.0.1:8080/realms/a'\ngroups = ['ci']"), Ok(()));
        for (text, said) in [
            (https.to_owned(), "nobody may log in"),
            (format!("{https}domains = ['*']"), "is not the name of a domain"),
            (format!("{https}domains = ['@example.org']"), "is not the name of a domain"),
            (format!("{https}groups = ['']"), "an entry of a list is empty"),
            (format!("{https}operator_emails = ['olga']"), "is not an email address"),
            ("issuer = 'http://id.example.org'\ngroups = ['ci']".to_owned(), "must be an https address"),
        ] {
            let error = of(&text).expect_err(&text);
            assert!(error.contains(said), "{error}");
        }
    }
}
