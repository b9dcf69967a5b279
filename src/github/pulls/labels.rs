//! The labels of a pull request: who has set one, and when.

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::github::access::{Access, Target};
use crate::github::event::Person;
use crate::github::{Client, SendError};

/// Maximum size of GitHub's answers, in bytes: a hundred comments of the largest size.
const MAX_ANSWER: usize = 32 << 20;
/// Number of entries in one answer.
const PAGE: usize = 100;
/// Number of answers that are read. A longer history has no label that counts.
const MAX_PAGES: usize = 10;

/// The setting of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    /// `None` for a program, and for an account that was deleted.
    pub by: Option<Person>,
    pub at: DateTime<Utc>,
}

/// An entry of a pull request's history. Most kinds have other fields.
#[derive(Deserialize)]
struct Entry {
    event: Option<String>,
    actor: Option<Account>,
    created_at: Option<DateTime<Utc>>,
    label: Option<Label>,
    performed_via_github_app: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

#[derive(Deserialize)]
struct Account {
    id: i64,
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Client {
    /// Asks who has set a label that a pull request has now, the last time that it was set; `None` if the pull request
    /// does not have it.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the history is too long to be read.
    pub async fn label_set(
        &self,
        target: Target<'_>,
        pull_request: i64,
        name: &str,
    ) -> Result<Option<LabelSet>, SendError> {
        let mut last = None;
        for page in 1..=MAX_PAGES {
            // The list of issue events needs the right to read issues. This one is content with that for pull requests.
            let path = format!("/repos/{}/issues/{pull_request}/timeline?per_page={PAGE}&page={page}", target.repo);
            let answer = self.ask_about::<()>(target, Access::PullRequests, Method::GET, &path, None).await?;
            let entries: Vec<Entry> = self.read(answer, MAX_ANSWER).await?;
            let is_last = entries.len() < PAGE;
            for entry in entries.into_iter().filter(|it| it.label.as_ref().is_some_and(|label| label.name == name)) {
                match entry.event.as_deref() {
                    Some("labeled") => last = entry.into_set(),
                    Some("unlabeled") => last = None,
                    _ => {}
                }
            }
            if is_last {
                return Ok(last);
            }
        }
        Err(SendError::NoAccess(format!("the history of the pull request has over {} entries", MAX_PAGES * PAGE)))
    }
}

impl Entry {
    fn into_set(self) -> Option<LabelSet> {
        let is_persons = self.performed_via_github_app.is_none();
        let by = self.actor.filter(|actor| is_persons && actor.kind.as_deref() == Some("User"));
        Some(LabelSet { by: by.map(|by| Person { id: by.id, login: by.login }), at: self.created_at? })
    }
}
