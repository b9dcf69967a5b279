//! `[notifications.email]` of the configuration.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use lettre::Address;
use lettre::message::Mailbox;
use secrecy::SecretString;
use serde::Deserialize;

/// `[notifications.email]` of the configuration: the mail server, and those who may get mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// Name of the mail server.
    pub host: String,
    /// Port; by default the usual one of `tls`.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: MailTls,
    /// PEM file of an authority of the server's certificate, next to those of the system.
    pub ca: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Sender, as `ci@example.org` or `Trainyard <ci@example.org>`.
    pub from: String,
    /// Domains of the addresses that a `.travis.yml` may name.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// Encryption of the way to the mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begins in the clear, and must change to TLS.
    #[default]
    StartTls,
    /// TLS from the beginning.
    Tls,
    /// None, for a server on this machine.
    None,
}

impl EmailConfig {
    /// Rejects a server that no mail can reach, or that would hear the password in the clear.
    ///
    /// # Errors
    /// Fails with what is wrong, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.host.trim().is_empty(), "it needs a host");
        self.sender()?;
        ensure!(
            self.username.is_some() == self.password.is_some(),
            "username and password belong together: set TRAINYARD__NOTIFICATIONS__EMAIL__PASSWORD"
        );
        let is_here = self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        ensure!(self.tls != MailTls::None || is_here, "tls = \"none\" is for a server on this machine alone");
        for domain in &self.domains {
            ensure!(
                !domain.is_empty() && !domain.contains(['@', '*', '/', ' ']),
                "domains: {domain:?} is not the name of a domain, such as example.org"
            );
        }
        Ok(())
    }

    pub(super) fn sender(&self) -> anyhow::Result<Mailbox> {
        self.from.parse().with_context(|| format!("from: {:?} is not an address, such as ci@example.org", self.from))
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            MailTls::StartTls => 587,
            MailTls::Tls => 465,
            MailTls::None => 25,
        })
    }

    /// Returns an address that a `.travis.yml` names.
    ///
    /// # Errors
    /// Fails when it is not one, or when nobody there may be mailed.
    pub fn recipient(&self, text: &str) -> Result<Address, &'static str> {
        let address: Address = text.trim().parse().map_err(|_| "this is not an email address")?;
        let is_allowed = self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(address.domain()));
        if is_allowed { Ok(address) } else { Err("the domain is not among notifications.email.domains") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> EmailConfig {
        toml::from_str(&format!("host = 'mail.example.org'\nfrom = 'CI <ci@example.org>'\n{text}")).expect("a server")
    }

    #[test]
    fn only_people_of_the_named_domains_are_mailed() {
        let some = email("domains = ['Example.org']");
        assert_eq!(some.recipient(" anna@example.ORG ").map(|to| to.to_string()), Ok("anna@example.ORG".to_owned()));
        for other in [
            "anna@evil.example",
            "anna@sub.example.org",
            "anna@evil.example@example.org",
            "anna@example.org, eve@evil.example",
            "anna@example.org\r\nBcc: eve@evil.example",
            "Anna <anna@example.org>",
            "anna",
            "",
        ] {
            assert!(some.recipient(other).is_err(), "{other}");
        }
        assert!(email("").recipient("anna@example.org").is_err(), "nobody without a domain");
    }

    #[test]
    fn a_password_needs_a_way_that_nobody_hears() {
        let of = |text: &str| email(text).check().map_err(|error| format!("{error:#}"));
        assert_eq!(of("username = 'ci'\npassword = 'x'"), Ok(()));
        for (text, said) in [
            ("tls = 'none'", "for a server on this machine alone"),
            ("username = 'ci'", "belong together"),
            ("domains = ['*']", "is not the name of a domain"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.contains(said), "{error}");
        }
        let local: EmailConfig =
            toml::from_str("host = '127.0.0.1'\ntls = 'none'\nfrom = 'ci'").expect("it can be read");
        assert!(format!("{:#}", local.check().expect_err("refused")).contains("is not an address"));
    }
}
