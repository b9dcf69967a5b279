//! The page of a request that went wrong.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::Chrome;
use crate::web::error::Error;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    chrome: Chrome,
    status: StatusCode,
    words: String,
    may_log_in: bool,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let chrome = Chrome::plain(matches!(self, Self::Unavailable(_)));
        let page = ErrorPage {
            chrome,
            status: self.status(),
            words: self.words(),
            may_log_in: matches!(self, Self::Hidden(_)),
        };
        // The words alone are still an answer.
        let html = page.render().unwrap_or_else(|_| page.words.clone());
        self.respond(Html(html))
    }
}
