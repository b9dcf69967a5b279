//! Comments on pull requests: those of people, as GitHub has them now, and ours.

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::github::access::{Access, Target};
use crate::github::event::Person;
use crate::github::request::date_of;
use crate::github::{Client, Holder, SendError, Sent};

/// Maximum size of GitHub's answers, in bytes: a hundred comments of the largest size.
const MAX_ANSWER: usize = 32 << 20;
/// Number of comments in one answer.
const PAGE: usize = 100;
/// Number of answers in which one of our comments is looked for.
const MAX_PAGES: usize = 10;

/// A comment of a person, as GitHub has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Number of the pull request or issue.
    pub on: Option<i64>,
    pub body: String,
    /// `None` for a program, and for an account that was deleted.
    pub author: Option<Person>,
    pub created_at: DateTime<Utc>,
    /// True when it was changed after it was written. Others than its author may do that.
    pub is_edited: bool,
}

/// A comment of ours.
#[derive(Debug, Clone, Copy)]
pub struct NewComment<'a> {
    /// Number of the pull request.
    pub on: i64,
    /// Markdown.
    pub body: &'a str,
    /// Text at the end of the body, by which we find the comment again.
    pub marker: &'a str,
    /// Time from which the comment is looked for; `None` for all of the pull request.
    pub since: Option<DateTime<Utc>>,
}

/// A comment of ours at GitHub, after a request.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// GitHub's number of the comment.
    pub id: i64,
    pub sent: Sent,
}

/// A reaction to a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// A thumb up: the command was carried out.
    Done,
    /// Eyes: it will be.
    Seen,
}

impl Reaction {
    /// Returns the name at GitHub.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "+1",
            Self::Seen => "eyes",
        }
    }
}

/// A comment as GitHub describes it.
#[derive(Deserialize)]
struct Known {
    id: i64,
    body: Option<String>,
    user: Option<Account>,
    issue_url: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    performed_via_github_app: Option<App>,
}

#[derive(Deserialize)]
struct Account {
    id: i64,
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct App {
    id: u64,
}

impl From<Known> for Comment {
    fn from(known: Known) -> Self {
        let is_persons = known.performed_via_github_app.is_none();
        let user = known.user.filter(|user| is_persons && user.kind.as_deref() == Some("User"));
        Self {
            on: known.issue_url.and_then(|url| url.rsplit('/').next()?.parse().ok()),
            body: known.body.unwrap_or_default(),
            author: user.map(|user| Person { id: user.id, login: user.login }),
            created_at: known.created_at,
            is_edited: known.updated_at != known.created_at,
        }
    }
}

impl Client {
    /// Asks for a comment on a pull request; `None` if it is gone.
    ///
    /// # Errors
    /// Fails when GitHub did not answer.
    pub async fn comment(&self, target: Target<'_>, id: i64) -> Result<Option<Comment>, SendError> {
        let path = format!("/repos/{}/issues/comments/{id}", target.repo);
        match self.ask::<Known>(target, Method::GET, &path, None).await {
            Ok((known, _)) => Ok(Some(known.into())),
            Err(SendError::Refused { status: 404 | 410, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a reaction to a comment. GitHub keeps one of a kind, so a repetition does no harm.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept it.
    pub async fn react(&self, target: Target<'_>, comment: i64, reaction: &str) -> Result<Sent, SendError> {
        let path = format!("/repos/{}/issues/comments/{comment}/reactions", target.repo);
        let body = json!({ "content": reaction });
        let (_, sent) = self.ask::<Value>(target, Method::POST, &path, Some(&body)).await?;
        Ok(sent)
    }

    /// Writes a comment, or changes the one that was written before. `known` is the number of one that an earlier
    /// request has made.
    ///
    /// Without it, GitHub is asked first for a comment of ours with the marker. So a crash after a request writes no
    /// second one.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the comment.
    pub async fn put_comment(
        &self,
        target: Target<'_>,
        new: NewComment<'_>,
        known: Option<i64>,
    ) -> Result<Written, SendError> {
        let comments = format!("/repos/{}/issues", target.repo);
        let body = json!({ "body": format!("{}\n{}", new.body, new.marker) });
        if let Some(id) = known {
            let path = format!("{comments}/comments/{id}");
            match self.ask::<Known>(target, Method::PATCH, &path, Some(&body)).await {
                Ok((known, sent)) => return Ok(Written { id: known.id, sent }),
                // A person has deleted it.
                Err(SendError::Refused { status: 404 | 410, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let (method, path) = match self.find_comment(target, new).await? {
            Some(id) => (Method::PATCH, format!("{comments}/comments/{id}")),
            None => (Method::POST, format!("{comments}/{}/comments", new.on)),
        };
        let (known, sent) = self.ask::<Known>(target, method, &path, Some(&body)).await?;
        Ok(Written { id: known.id, sent })
    }

    /// Finds a comment that an earlier process has written. Anybody can write the marker, so the author counts too.
    async fn find_comment(&self, target: Target<'_>, new: NewComment<'_>) -> Result<Option<i64>, SendError> {
        let since = new.since.map(|since| format!("&since={}", since.format("%Y-%m-%dT%H:%M:%SZ"))).unwrap_or_default();
        for page in 1..=MAX_PAGES {
            let path = format!("/repos/{}/issues/{}/comments?per_page={PAGE}&page={page}{since}", target.repo, new.on);
            let (comments, _) = self.ask::<Vec<Known>>(target, Method::GET, &path, None).await?;
            let is_last = comments.len() < PAGE;
            for known in comments {
                let is_marked = known.body.as_deref().is_some_and(|body| body.trim_end().ends_with(new.marker));
                if is_marked && self.is_ours(target, &known).await? {
                    return Ok(Some(known.id));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(None)
    }

    async fn is_ours(&self, target: Target<'_>, known: &Known) -> Result<bool, SendError> {
        let Some(user) = &known.user else { return Ok(false) };
        Ok(match self.holder(target, Access::PullRequests).await? {
            Holder::Installation(_) => {
                let app = known.performed_via_github_app.as_ref();
                user.kind.as_deref() == Some("Bot") && app.is_some_and(|app| self.is_own_app(app.id))
            }
            Holder::Person => user.id == self.own_account(target).await?,
            // We write none on other servers.
            Holder::Forge(_) => false,
        })
    }

    /// Returns GitHub's number of the personal token's account.
    async fn own_account(&self, target: Target<'_>) -> Result<i64, SendError> {
        let ask = async { Ok(self.ask::<Account>(target, Method::GET, "/user", None).await?.0.id) };
        self.account.get_or_try_init(|| ask).await.copied()
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        target: Target<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(T, Sent), SendError> {
        let answer = self.ask_about(target, Access::PullRequests, method, path, body).await?;
        let sent = Sent { date: date_of(&answer) };
        Ok((self.read(answer, MAX_ANSWER).await?, sent))
    }
}
