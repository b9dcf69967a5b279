//! The origin of a request that changes something: a browser must not send it for another site.

use axum::http::{HeaderMap, HeaderName, header};

/// Header in which scripts of our pages send the session's text. Forms have a field of that purpose.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns true if a page of ours has sent the request. Every browser of the last years says where a request that
/// changes something comes from; without that, the answer is no.
pub(in crate::web) fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(&FETCH_SITE), text(&header::ORIGIN), text(&header::HOST)) {
        // Browsers send it to addresses of https and of the loopback alone.
        (Some(site), _, _) => site == "same-origin",
        (None, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, its)| its.eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

/// Returns the session's text that a script of ours has sent.
pub(super) fn csrf(headers: &HeaderMap) -> Option<&str> {
    headers.get(&CSRF)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_our_own_pages_count() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_ours(&HeaderMap::from_iter(pairs))
        };
        let host = ("host", "ci.example");
        assert!(of(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(of(&[host, ("origin", "https://ci.example")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!of(&[host, ("sec-fetch-site", site), ("origin", "https://ci.example")]), "{site}");
        }
        for origin in ["https://evil.example", "null", "https://ci.example.evil", "https://ci.example:8443", ""] {
            assert!(!of(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!of(&[host]));
    }
}
