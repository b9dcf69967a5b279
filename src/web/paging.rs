//! Pages of lists. A page ends with a key, and the next page begins after it. So a list that grows at its beginning is
//! read without gaps and repeats, and a late page costs as much as an early one.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::State;
use super::error::InJson;

const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;

/// The page of a list that a request asks for.
#[derive(Debug, Clone)]
pub(super) struct Paging {
    uri: Uri,
    base: String,
}

impl FromRequestParts<State> for Paging {
    type Rejection = InJson;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, InJson> {
        Ok(Self { uri: parts.uri.clone(), base: state.public("") })
    }
}

/// A page of a list, with the address of the next page in a header.
pub(super) struct Paged<T> {
    body: T,
    next: Option<HeaderValue>,
}

impl Paging {
    /// Returns the number of rows that a page has. Numbers out of range count as the nearest.
    pub(super) fn limit(wanted: Option<i64>) -> i64 {
        wanted.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
    }

    /// Cuts rows, of which one more than `limit` was asked for. Returns the last one's key, if there is a next page.
    pub(super) fn cut<T, K>(rows: &mut Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Option<K> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        rows.last().filter(|_| has_more).map(key)
    }

    /// Returns the answer with a page, after which the key `next` leads to the next one.
    pub(super) fn answer<T: Serialize>(&self, body: T, next: Option<String>) -> Paged<T> {
        let next = next.and_then(|key| HeaderValue::try_from(format!("<{}>; rel=\"next\"", self.address(&key))).ok());
        Paged { body, next }
    }

    fn address(&self, before: &str) -> String {
        let pairs = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.filter(|(name, _)| name != "before")).append_pair("before", before);
        format!("{}{}?{}", self.base, self.uri.path(), query.finish())
    }
}

impl<T: Serialize> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(next) = self.next {
            response.headers_mut().insert(header::LINK, next);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_rest_of_the_query() {
        let uri = Uri::from_static("/api/v1/builds?branch=a%26b&before=9&limit=2");
        let paging = Paging { uri, base: "https://ci.example".to_owned() };
        assert_eq!(paging.address("7 8"), "https://ci.example/api/v1/builds?branch=a%26b&limit=2&before=7+8");
        let mut rows = vec![3, 2, 1];
        assert_eq!(Paging::cut(&mut rows, 2, |row| *row), Some(2));
        assert_eq!((Paging::cut(&mut rows, 2, |row| *row), rows), (None, vec![3, 2]));
    }
}
