//! `/deliveries` and `/deliveries/{id}`: what has come, and what became of it.

use askama::Template;
use axum::extract::{self, Path, Query};

use super::{Chrome, Page, render};
use crate::domain::in_words;
use crate::web::State;
use crate::web::access::View;
use crate::web::deliveries::{self, Delivery, Outcome, Wanted};
use crate::web::error::Error;
use crate::web::show::When;

const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    chrome: Chrome,
    deliveries: Vec<Delivery>,
    repository: String,
    outcome: Option<Outcome>,
    first_page: bool,
    /// Id after which the next page begins.
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct One {
    chrome: Chrome,
    delivery: Delivery,
}

pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    view: View,
    Query(wanted): Query<Wanted>,
) -> Result<Page, Error> {
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut deliveries = deliveries::list(&state.db, &wanted, limit).await?;
    let more = deliveries.len() > PAGE;
    deliveries.truncate(PAGE);
    let first_page = wanted.before.is_none();
    let page = List {
        chrome: Chrome::load(&state, &view, first_page).await?,
        next: deliveries.last().filter(|_| more).map(|delivery| delivery.id.to_string()),
        deliveries,
        repository: wanted.repository().unwrap_or_default().to_owned(),
        outcome: wanted.outcome()?,
        first_page,
    };
    render(&page)
}

pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    Path(id): Path<String>,
) -> Result<Page, Error> {
    let delivery = deliveries::find(&state.db, &id).await?;
    let chrome = Chrome::load(&state, &view, delivery.result == Outcome::Open).await?;
    render(&One { chrome, delivery })
}

impl List {
    fn query(&self) -> String {
        let outcome = self.outcome.map(Outcome::word).unwrap_or_default();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("repository", &self.repository).append_pair("outcome", outcome).finish()
    }

    fn is_chosen(&self, outcome: &Outcome) -> bool {
        self.outcome == Some(*outcome)
    }
}

impl One {
    fn is_open(&self) -> bool {
        self.delivery.result == Outcome::Open
    }

    /// Returns true if a person may ask for another try. Whether there is anything to try shows then.
    fn may_replay(&self) -> bool {
        self.delivery.has_body && self.delivery.result != Outcome::Built
    }

    /// Returns the failure of the last try, unless the outcome says the same.
    fn failure(&self) -> Option<&str> {
        self.delivery.last_error.as_deref().filter(|failure| *failure != self.delivery.reason())
    }

    fn done(&self) -> Option<When> {
        self.delivery.done_at.map(When::new)
    }

    fn took(&self) -> Option<String> {
        let took = self.delivery.done_at? - self.delivery.received_at;
        took.to_std().ok().filter(|took| took.as_secs() > 0).map(in_words)
    }
}
