//! The Hub's refusals.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value as Json;

/// Reason why the Hub has not done something.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The token is wrong, or it may not write.
    #[error("the Hub does not let this token in: {0}")]
    Token(String),
    /// The repository does not exist, or the token may not see it.
    #[error("the Hub has no such repository for this token: {0}")]
    Missing(String),
    /// The repository asks people to agree to something first.
    #[error("the repository is gated, and the owner of this token has no access: {0}")]
    Gated(String),
    /// The repository has no such branch, tag or commit.
    #[error("the repository has no such revision: {0}")]
    Revision(String),
    #[error("the Hub finds a file too large: {0}")]
    TooLarge(String),
    /// Too many requests or commits. The Hub says how long to wait.
    #[error("the Hub takes no more requests for {}", humantime::format_duration(*.0))]
    Limited(Duration),
    /// Another commit came first.
    #[error("another commit to the repository came first")]
    Conflict,
    /// The Hub cannot be reached, or has a fault. What was sent may have taken effect.
    #[error("the Hub does not answer: {0}")]
    Away(String),
    #[error("the Hub refuses: {0}")]
    Refused(String),
    /// One of our own files cannot be read.
    #[error("reading a file: {0:#}")]
    File(anyhow::Error),
}

impl HubError {
    /// Returns true if no other try can succeed before somebody changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Token(_) | Self::Missing(_) | Self::Gated(_) | Self::Revision(_) => true,
            Self::TooLarge(_) | Self::Refused(_) => true,
            Self::Limited(_) | Self::Conflict | Self::Away(_) | Self::File(_) => false,
        }
    }
}

/// Wait after a 429 that does not say how long to wait, and the longest one that is believed.
const USUAL_WAIT: Duration = Duration::from_secs(300);
const MAX_WAIT: Duration = Duration::from_secs(2 * 3600);
/// Maximum length of the Hub's words, in characters.
const MAX_WORDS: usize = 200;

/// Judges an answer that is not a success.
pub(super) fn judge(status: u16, headers: &HeaderMap, body: &[u8]) -> HubError {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code = header("x-error-code").unwrap_or_default();
    let json: Json = serde_json::from_slice(body).unwrap_or_default();
    let words = header("x-error-message").or(json["error"].as_str()).or(json["message"].as_str()).unwrap_or_default();
    let words = format!("{status} {}", in_one_line(words)).trim_end().to_owned();
    match (status, code) {
        (429, _) => HubError::Limited(wait(header("retry-after"), header("ratelimit"))),
        (_, "GatedRepo") => HubError::Gated(words),
        (_, "RevisionNotFound") => HubError::Revision(words),
        (_, "RepoNotFound") | (404, _) => HubError::Missing(words),
        (401 | 403, _) => HubError::Token(words),
        (409 | 412, _) => HubError::Conflict,
        (413, _) => HubError::TooLarge(words),
        (408 | 500.., _) => HubError::Away(words),
        (300..=399, _) => HubError::Refused(format!("{status}: the repository has moved; name its new place")),
        _ => HubError::Refused(words),
    }
}

/// Returns the wait that a 429 asks for. `RateLimit: "api";r=0;t=55` has the seconds until the limit begins again.
fn wait(retry_after: Option<&str>, rate_limit: Option<&str>) -> Duration {
    let of_limit = || {
        let (mut remaining, mut seconds) = (None, None);
        for part in rate_limit?.split([';', ',']) {
            match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("r", value)) => remaining = value.parse::<u64>().ok(),
                Some(("t", value)) => seconds = value.parse::<u64>().ok(),
                _ => {}
            }
        }
        // The header comes with every answer. It gives the reason only if nothing remains.
        seconds.filter(|_| remaining == Some(0))
    };
    let seconds = retry_after.and_then(|text| text.trim().parse::<u64>().ok()).or_else(of_limit);
    seconds.map_or(USUAL_WAIT, Duration::from_secs).clamp(Duration::from_secs(1), MAX_WAIT)
}

fn in_one_line(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &str)], body: &str) -> HubError {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).expect("a value"))
        });
        judge(status, &headers.collect(), body.as_bytes())
    }

    #[test]
    fn each_refusal_has_its_kind() {
        assert!(matches!(
            judged(401, &[("x-error-message", "Invalid credentials in Authorization header")], ""),
            HubError::Token(words) if words == "401 Invalid credentials in Authorization header"
        ));
        assert!(matches!(judged(401, &[("x-error-code", "RepoNotFound")], ""), HubError::Missing(_)));
        assert!(matches!(judged(403, &[("x-error-code", "GatedRepo")], ""), HubError::Gated(_)));
        assert!(matches!(judged(404, &[("x-error-code", "RevisionNotFound")], ""), HubError::Revision(_)));
        assert!(
            matches!(judged(403, &[], r#"{"error": "no write"}"#), HubError::Token(words) if words == "403 no write")
        );
        assert!(matches!(judged(404, &[], ""), HubError::Missing(_)));
        assert!(matches!(judged(412, &[], ""), HubError::Conflict));
        assert!(matches!(judged(413, &[], ""), HubError::TooLarge(_)));
        assert!(matches!(judged(503, &[], "<html>"), HubError::Away(words) if words == "503"));
        assert!(matches!(judged(307, &[], ""), HubError::Refused(_)));
        assert!(
            matches!(judged(400, &[], "{\"error\": \"a\\n\\u0007b\"}"), HubError::Refused(words) if words == "400 a b")
        );
    }

    #[test]
    fn a_limit_says_how_long_to_wait() {
        let wait = |headers: &[(&'static str, &str)]| match judged(429, headers, "") {
            HubError::Limited(wait) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&[("retry-after", "2580")]), 2580);
        assert_eq!(wait(&[("ratelimit", "\"api\";r=0;t=55")]), 55);
        assert_eq!(wait(&[("ratelimit", "\"api\";r=12;t=55")]), 300);
        assert_eq!(wait(&[("retry-after", "999999999999")]), 7200);
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]), 300);
        assert_eq!(wait(&[]), 300);
    }
}
