//! `[[notifications.webhook]]` of the configuration: programs of the operator that are told of builds in Trainyard's own
//! form, with a signature of Standard Webhooks (<https://www.standardwebhooks.com>).

use anyhow::{Context as _, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use url::Url;

use crate::chat::{Audience, ChatConfig, Frequency, Occasions, OnPublish};
use crate::domain::{BuildState, RepoName};
use crate::travis::notifications::Event;

/// Beginning of a secret, as the standard has it.
const PREFIX: &str = "whsec_";
/// Lengths of a key, in bytes.
const KEY: std::ops::RangeInclusive<usize> = 24..=64;

/// A receiver of signed webhooks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// Name of the receiver, for pages and for the environment.
    pub name: String,
    /// Address, which may be a secret.
    pub url: Option<SecretString>,
    /// Secret that signs: `whsec_` and base64.
    pub secret: Option<SecretString>,
    /// Patterns of repositories, such as `acme/*`.
    #[serde(default = "everything")]
    pub repos: Vec<String>,
    /// Patterns of branches. A pull request has that of its base.
    #[serde(default = "everything")]
    pub branches: Vec<String>,
    #[serde(default = "always")]
    pub on_success: Frequency,
    #[serde(default = "always")]
    pub on_failure: Frequency,
    #[serde(default = "always")]
    pub on_start: Frequency,
    #[serde(default = "always")]
    pub on_cancel: Frequency,
    #[serde(default = "always")]
    pub on_error: Frequency,
    /// `always` or `never`. Without it, publications follow `on_success` and `on_failure`.
    pub on_publish: Option<OnPublish>,
}

fn everything() -> Vec<String> {
    vec!["**".to_owned()]
}

fn always() -> Frequency {
    Frequency::Always
}

/// Beginning of the name under which a build has such a receiver, next to those of chats.
pub const NAME_PREFIX: &str = "webhook:";

/// The receivers of the operator.
#[derive(Debug, Clone, Default)]
pub struct Receivers {
    pub chats: Vec<ChatConfig>,
    pub hooks: Vec<HookConfig>,
}

impl Receivers {
    /// Returns the names of those that are told of builds of this repository and branch.
    pub fn listening(&self, repo: &RepoName, branch: Option<&str>) -> Vec<String> {
        let chats = self.chats.iter().filter(|chat| chat.hears_of(repo, branch)).map(|chat| chat.name.clone());
        let hooks = self.hooks.iter().filter(|hook| hook.hears_of(repo, branch));
        chats.chain(hooks.map(|hook| format!("{NAME_PREFIX}{}", hook.name))).collect()
    }
}

/// The headers of a signed webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Id of the event, which each try of it has.
    pub id: String,
    /// Time of this try, in seconds since 1970.
    pub timestamp: i64,
    pub signature: String,
}

impl HookConfig {
    /// Rejects a receiver that no webhook can reach, or whose signature proves nothing.
    ///
    /// # Errors
    /// Fails with what is wrong, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let has_name = (1..=40).contains(&self.name.len()) && self.name.chars().all(is_plain);
        ensure!(has_name, "its name must be of a-z, 0-9 and -, at most 40 characters");
        let of_key = |key: &str| {
            let name = self.name.to_uppercase().replace('-', "_");
            format!("TRAINYARD__NOTIFICATIONS__WEBHOOK__{name}__{key}")
        };
        let url = self.url.as_ref().map(|url| url.expose_secret().trim()).filter(|url| !url.is_empty());
        let url = url.with_context(|| format!("it needs a url: set {}", of_key("URL")))?;
        // The message must not contain the address.
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        ensure!(url.is_some(), "its url does not begin with https://");
        ensure!(self.secret.is_some(), "it needs a secret: set {}", of_key("SECRET"));
        ensure!(
            self.key().is_some(),
            "its secret is not whsec_ and the base64 of 24 to 64 bytes: make one with \
             `echo whsec_$(openssl rand -base64 32)`"
        );
        self.audience().check()
    }

    /// Returns the repositories and branches whose builds the receiver is told of.
    fn audience(&self) -> Audience<'_> {
        Audience { repos: &self.repos, branches: &self.branches }
    }

    /// Returns true if the receiver is told of builds of this repository and branch.
    pub fn hears_of(&self, repo: &RepoName, branch: Option<&str>) -> bool {
        self.audience().has(repo, branch)
    }

    /// Returns true if the receiver is told of this event.
    pub fn asks(&self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        let occasions = Occasions {
            on_success: self.on_success,
            on_failure: self.on_failure,
            on_start: self.on_start,
            on_cancel: self.on_cancel,
            on_error: self.on_error,
            on_publish: self.on_publish,
        };
        occasions.ask(event, state, previous)
    }

    fn key(&self) -> Option<Vec<u8>> {
        let text = self.secret.as_ref()?.expose_secret().trim();
        let key = BASE64_STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        KEY.contains(&key.len()).then_some(key)
    }

    /// Signs a body, for a try at this time.
    pub fn sign(&self, id: String, timestamp: i64, body: &str) -> Signed {
        let key = self.key().unwrap_or_default();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        Signed { id, timestamp, signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(text: &str) -> HookConfig {
        toml::from_str(&format!("name = 'deploy'\n{text}")).expect("a receiver")
    }

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the standard's own libraries.
        let hook = hook("url = 'https://a'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'");
        assert!(hook.check().is_ok());
        let body = "{\"test\": 2432232314}";
        let signed = hook.sign("msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(), 1_614_265_330, body);
        assert_eq!(signed.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_receiver_that_could_not_check_anything_is_refused() {
        let good = "secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'";
        for (text, said) in [
            (good.to_owned(), "set TRAINYARD__NOTIFICATIONS__WEBHOOK__DEPLOY__URL"),
            ("url = 'https://a'".to_owned(), "set TRAINYARD__NOTIFICATIONS__WEBHOOK__DEPLOY__SECRET"),
            (format!("url = 'file:///key'\n{good}"), "does not begin with https://"),
            ("url = 'https://a'\nsecret = 'whsec_AAAA'".to_owned(), "is not whsec_ and the base64"),
            ("url = 'https://a'\nsecret = 'a long text that is no base64'".to_owned(), "is not whsec_"),
            (format!("url = 'https://a'\n{good}\nrepos = ['a[']"), "is not a pattern"),
        ] {
            let error = format!("{:#}", hook(&text).check().expect_err(&text));
            assert!(error.contains(said) && !error.contains("key"), "{error}");
        }
    }

    #[test]
    fn a_receiver_is_told_of_everything_unless_it_asks_for_less() {
        let all = hook("");
        for (event, state) in [
            (Event::Started, BuildState::Running),
            (Event::Finished, BuildState::Passed),
            (Event::Canceled, BuildState::Canceled),
            (Event::Errored, BuildState::Errored),
        ] {
            assert!(all.asks(event, state, Some(BuildState::Passed)), "{event:?}");
        }
        let less = hook("on_start = 'never'\non_success = 'change'\nbranches = ['main']");
        assert!(!less.asks(Event::Started, BuildState::Running, None));
        assert!(!less.asks(Event::Finished, BuildState::Passed, Some(BuildState::Passed)));
        let repo = "acme/styles".parse().expect("a name");
        assert!(less.hears_of(&repo, Some("main")) && !less.hears_of(&repo, Some("other")));
    }
}
