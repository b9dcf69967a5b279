//! Rights of people in repositories.

use http::Method;
use serde::Deserialize;

use super::GitHubUser;
use crate::domain::Right;
use crate::github::access::{Access, Target};
use crate::github::{Client, GITHUB, SendError};

/// Maximum size of GitHub's answer about a right, in bytes.
const MAX_ANSWER: usize = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    permission: String,
    user: Option<Person>,
}

#[derive(Deserialize)]
struct Person {
    id: i64,
}

impl Client {
    /// Asks for the right of a person in a repository; `None` where there is none.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or does not let us ask.
    pub async fn permission(&self, target: Target<'_>, user: &GitHubUser) -> Result<Option<Right>, SendError> {
        // Another server has other people under the same logins and numbers.
        if self.forge_of(target.repo) != GITHUB {
            return Ok(None);
        }
        // The login goes into a path. Logins have no other characters.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if user.login.is_empty() || !user.login.chars().all(is_plain) {
            return Ok(None);
        }
        let path = format!("/repos/{}/collaborators/{}/permission", target.repo, user.login);
        let answer = match self.ask_about::<()>(target, Access::Metadata, Method::GET, &path, None).await {
            Ok(answer) => self.read::<Answer>(answer, MAX_ANSWER).await?,
            Err(SendError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Another person may have the login by now.
        if answer.user.is_none_or(|person| person.id != user.id) {
            return Ok(None);
        }
        Ok(match answer.permission.as_str() {
            "admin" => Some(Right::Admin),
            "write" => Some(Right::Write),
            "read" => Some(Right::Read),
            _ => None,
        })
    }
}
