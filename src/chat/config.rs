//! `[[notifications.chat]]` of the configuration: the chats of the operator, and the builds that each is told of.

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::audience::{Audience, Frequency, Occasions, OnPublish};
use crate::domain::{BuildState, RepoName};
use crate::travis::notifications::Event;

/// A chat.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// Name of the chat, for pages and for the environment.
    pub name: String,
    pub kind: ChatKind,
    /// Address of the chat's robot or webhook, which is a secret.
    pub url: Option<SecretString>,
    /// Secret with which messages are signed: DingTalk and Feishu.
    pub secret: Option<SecretString>,
    /// Number or name of the chat: Telegram.
    pub chat_id: Option<String>,
    /// Word that the robot wants in each message: DingTalk and Feishu.
    pub keyword: Option<String>,
    /// Patterns of repositories, such as `acme/*`.
    #[serde(default = "everything")]
    pub repos: Vec<String>,
    /// Patterns of branches. A pull request has that of its base.
    #[serde(default = "everything")]
    pub branches: Vec<String>,
    #[serde(default = "Frequency::change")]
    pub on_success: Frequency,
    #[serde(default = "Frequency::always")]
    pub on_failure: Frequency,
    #[serde(default = "Frequency::never")]
    pub on_start: Frequency,
    #[serde(default = "Frequency::never")]
    pub on_cancel: Frequency,
    #[serde(default = "Frequency::always")]
    pub on_error: Frequency,
    /// `always` or `never`. Without it, publications follow `on_success` and `on_failure`.
    pub on_publish: Option<OnPublish>,
    /// Text in place of the usual one, with the variables of Travis, such as `%{branch}`.
    pub template: Option<String>,
    /// Channel in place of that of the webhook: rooms of Slack that a `.travis.yml` names.
    #[serde(skip)]
    pub channel: Option<String>,
}

/// Service that has a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatKind {
    Slack,
    DingTalk,
    Feishu,
    WeCom,
    Telegram,
    Discord,
    Teams,
}

fn everything() -> Vec<String> {
    vec!["**".to_owned()]
}

impl ChatConfig {
    /// Returns a room of Slack that a `.travis.yml` names. It says itself when it is told.
    pub fn slack(name: String, url: String, channel: Option<String>, template: Option<String>) -> Self {
        Self {
            name,
            kind: ChatKind::Slack,
            url: Some(url.into()),
            secret: None,
            chat_id: None,
            keyword: None,
            repos: everything(),
            branches: everything(),
            on_success: Frequency::Always,
            on_failure: Frequency::Always,
            on_start: Frequency::Never,
            on_cancel: Frequency::Never,
            on_error: Frequency::Never,
            on_publish: None,
            template,
            channel,
        }
    }

    /// Rejects a chat that no message can reach.
    ///
    /// # Errors
    /// Fails with what is wrong, and what to do.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let has_name = (1..=40).contains(&self.name.len()) && self.name.chars().all(is_plain);
        ensure!(has_name, "its name must be of a-z, 0-9 and -, at most 40 characters");
        let variable = format!("TRAINYARD__NOTIFICATIONS__CHAT__{}__URL", self.name.to_uppercase().replace('-', "_"));
        let url = self.url.as_ref().map(|url| url.expose_secret().trim());
        let url = url.filter(|url| !url.is_empty()).with_context(|| format!("it needs a url: set {variable}"))?;
        // The message must not contain the address.
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        ensure!(url.is_some(), "its url does not begin with https://");
        ensure!(self.kind != ChatKind::Telegram || self.chat_id.is_some(), "a chat of Telegram needs a chat_id");
        self.audience().check()
    }

    fn audience(&self) -> Audience<'_> {
        Audience { repos: &self.repos, branches: &self.branches }
    }

    /// Returns true if the chat is told of builds of this repository and branch.
    pub fn hears_of(&self, repo: &RepoName, branch: Option<&str>) -> bool {
        self.audience().has(repo, branch)
    }

    /// Returns true if the chat is told of this event.
    pub(crate) fn asks(&self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(text: &str) -> ChatConfig {
        toml::from_str(&format!(
            "name = 'team'\nkind = 'slack'\nurl = 'https://hooks.slack.com/services/T/B/x'\n{text}"
        ))
        .expect("a chat")
    }

    #[test]
    fn a_chat_hears_of_its_repositories_and_branches() {
        let (styles, other) = ("acme/styles".parse().unwrap(), "other/styles".parse().unwrap());
        let all = chat("");
        assert!(all.hears_of(&styles, Some("feature/a")) && all.hears_of(&other, None));
        let some = chat("repos = ['Acme/*']\nbranches = ['main', 'release-*']");
        assert!(some.hears_of(&styles, Some("main")) && some.hears_of(&styles, Some("release-2")));
        assert!(some.hears_of(&styles, None));
        assert!(!some.hears_of(&styles, Some("feature")) && !some.hears_of(&other, Some("main")));
    }

    #[test]
    fn a_chat_is_told_of_failures_and_of_the_first_success_after_one() {
        let usual = chat("");
        let (passed, failed) = (BuildState::Passed, BuildState::Failed);
        assert!(usual.asks(Event::Finished, failed, Some(failed)));
        assert!(usual.asks(Event::Finished, passed, Some(failed)));
        assert!(!usual.asks(Event::Finished, passed, Some(passed)));
        assert!(!usual.asks(Event::Started, BuildState::Running, None));
        assert!(chat("on_success = 'always'").asks(Event::Finished, passed, Some(passed)));
    }

    #[test]
    fn what_no_message_can_reach_is_refused_without_its_address() {
        for (text, told) in [
            ("name = 'team'\nkind = 'dingtalk'", "set TRAINYARD__NOTIFICATIONS__CHAT__TEAM__URL"),
            ("name = 'The team'\nkind = 'slack'\nurl = 'https://a'", "its name must be"),
            ("name = 'team'\nkind = 'slack'\nurl = 'file:///key'", "does not begin with https://"),
            ("name = 'team'\nkind = 'telegram'\nurl = 'https://a'", "needs a chat_id"),
            ("name = 'team'\nkind = 'slack'\nurl = 'https://a'\nrepos = ['a[']", "is not a pattern"),
        ] {
            let error = format!("{:#}", toml::from_str::<ChatConfig>(text).unwrap().check().expect_err(text));
            assert!(error.contains(told) && !error.contains("key"), "{error}");
        }
    }
}
