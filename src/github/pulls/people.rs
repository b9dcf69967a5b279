//! The rights of a person in a repository, as GitHub has them now. What a payload says of its author is not asked.

use http::Method;
use serde::Deserialize;

use crate::github::access::{Access, Target};
use crate::github::event::Person;
use crate::github::{Client, SendError};

/// Maximum size of GitHub's answer about a person's rights, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Maximum length of a login, in characters, with the part that a company's accounts have.
const MAX_LOGIN: usize = 100;

#[derive(Deserialize)]
struct Rights {
    permission: String,
    user: Option<Account>,
}

#[derive(Deserialize)]
struct Account {
    id: i64,
}

impl Client {
    /// Returns true if a person may push to a repository now. The login leads to the person, and the number has to be
    /// theirs: a login that was given up may belong to somebody else.
    ///
    /// # Errors
    /// Fails when GitHub did not answer.
    pub async fn may_write(&self, target: Target<'_>, person: &Person) -> Result<bool, SendError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let login = &person.login;
        if login.is_empty() || login.len() > MAX_LOGIN || !login.chars().all(is_plain) {
            return Ok(false);
        }
        let path = format!("/repos/{}/collaborators/{login}/permission", target.repo);
        let answer = match self.ask_about::<()>(target, Access::Metadata, Method::GET, &path, None).await {
            Ok(answer) => answer,
            Err(SendError::Refused { status: 404, .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Rights { permission, user } = self.read(answer, MAX_ANSWER).await?;
        let is_same = user.is_some_and(|user| user.id == person.id);
        // GitHub gives the role `maintain` as write, and `triage` as read.
        Ok(is_same && matches!(permission.as_str(), "admin" | "write"))
    }
}
