//! Check of the configured token with GitHub.

use chrono::{DateTime, Utc};
use http::Method;

use super::request::{Answer, date_of};
use super::{Client, SendError};

/// Facts about a token that GitHub accepted.
#[derive(Debug, Clone, Default)]
pub struct Token {
    /// Scopes of a classic token; `None` for a fine-grained one, whose rights GitHub does not report.
    pub scopes: Option<Vec<String>>,
    /// Time at which the token expires, if it does.
    pub expires: Option<DateTime<Utc>>,
    /// GitHub's clock.
    pub date: Option<DateTime<Utc>>,
}

impl Client {
    /// Checks whether GitHub accepts the token, with a request that counts towards no limit and changes nothing.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the token.
    pub async fn examine(&self) -> Result<Token, SendError> {
        match self.accepted(self.follow::<()>(Method::GET, "/rate_limit", None, self.token.as_ref()).await?).await {
            Ok(answer) => Ok(read(&answer)),
            // An Enterprise server without rate limits, which checks the token first.
            Err(SendError::Refused { status: 404, .. }) => Ok(Token::default()),
            Err(error) => Err(error),
        }
    }
}

fn read(answer: &Answer) -> Token {
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    let scopes = header("x-oauth-scopes").map(|text| text.split(',').map(|scope| scope.trim().to_owned()));
    let expires = header("github-authentication-token-expiration");
    // `2026-12-31 23:59:59 UTC`, or with an offset instead of `UTC`.
    let expires = expires.map(|text| text.replace("UTC", "+0000"));
    let expires = expires.and_then(|text| DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S %z").ok());
    Token {
        scopes: scopes.map(|scopes| scopes.filter(|scope| !scope.is_empty()).collect()),
        expires: expires.map(|at| at.to_utc()),
        date: date_of(answer),
    }
}
