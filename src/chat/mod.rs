//! Messages to the chats of the operator: Slack, DingTalk, Feishu, WeCom, Telegram, Discord and Teams. This module makes
//! the requests and reads the answers; `notifier` sends them.

mod answer;
mod audience;
mod config;
mod form;
mod publications;
mod text;

use chrono::{DateTime, Utc};

pub use self::answer::{Answer, Refusal};
pub use self::audience::{Audience, Frequency, Occasions, OnPublish};
pub use self::config::{ChatConfig, ChatKind};
pub use self::form::Form;
pub use self::publications::Publications;
use self::text::Text;
use crate::travis::notifications::Build;

/// The words about a build that are not in [`Build`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Words<'a> {
    /// Title of the pull request.
    pub pull_request: Option<&'a str>,
    /// Description of the build's status at its commit.
    pub status: Option<&'a str>,
    /// Address of the chart of a loss, as an image that everybody can fetch.
    pub chart: Option<&'a str>,
}

/// The subject of a message about a build.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    /// The build itself.
    Build(Words<'a>),
    /// The publications of one of its jobs.
    Publications(&'a Publications),
}

impl ChatConfig {
    /// Returns the request with a message about a build, signed at `now`. The template is for builds alone: Travis's
    /// variables say nothing about publications.
    pub fn request(&self, build: &Build, about: About<'_>, now: DateTime<Utc>) -> Form {
        let text = match about {
            About::Publications(publications) => Text::of_publications(self.kind, build, publications),
            About::Build(words) => {
                let text = Text::of(self.kind, build, words);
                match &self.template {
                    Some(template) => text.with_template(self.kind, template, build),
                    None => text,
                }
            }
        };
        Form::of(self, &text, now)
    }

    /// Reads the answer to a request.
    ///
    /// # Errors
    /// Fails with the reason why the chat has not taken the message.
    pub fn read(&self, answer: &Answer) -> Result<(), Refusal> {
        answer::judge(self.kind, answer)
    }
}
