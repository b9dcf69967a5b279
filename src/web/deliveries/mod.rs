//! Deliveries: their rows, and the JSON API of them.

mod hide;

use axum::Json;
use axum::extract::{self, Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use super::State;
use super::access::View;
use super::error::{Error, InJson, Problem};
use super::paging::{Paged, Paging};
use super::query::Query;
use super::show::{Mark, When};
use crate::domain::DeliveryId;
use crate::store::deliveries::Source;
use crate::store::replays;

/// Size up to which bodies are shown, in bytes.
const MAX_SHOWN: i32 = 1 << 20;

/// Result of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeliveryOutcome)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(super) enum Outcome {
    /// Waits for intake, or for its next try.
    Open,
    Built,
    /// GitHub does not confirm it.
    Refused,
    /// Given up.
    Failed,
    /// Asks for no build.
    None,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] = [Self::Open, Self::Built, Self::Refused, Self::Failed, Self::None];

    /// Returns the mark of a delivery with this outcome.
    pub(super) fn mark(self) -> Mark {
        match self {
            Self::Open => Mark::OPEN,
            Self::Built => Mark::BUILT,
            Self::Refused => Mark::REFUSED,
            Self::Failed => Mark::GIVEN_UP,
            Self::None => Mark::NO_BUILD,
        }
    }

    /// Returns the word in addresses.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Built => "built",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

/// Query parameters of a list of deliveries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only deliveries of this repository, as `owner/name`.
    pub repository: Option<String>,
    /// Only deliveries with this result: `open`, `built`, `refused`, `failed` or `none`.
    pub outcome: Option<String>,
    /// Id of the delivery after which the list begins: the `next` of the page before.
    pub before: Option<String>,
    /// Number of deliveries, from 1 to 100. 25 if it is missing.
    limit: Option<i64>,
}

impl Wanted {
    /// Returns the outcome that is asked for. A form sends an empty one for all.
    pub(super) fn outcome(&self) -> Result<Option<Outcome>, Error> {
        let Some(word) = self.outcome.as_deref().filter(|word| !word.is_empty()) else { return Ok(None) };
        let known = Outcome::ALL.into_iter().find(|outcome| outcome.word() == word);
        let words = Outcome::ALL.map(Outcome::word).join(", ");
        known.map(Some).ok_or_else(|| Error::BadRequest(format!("There is no such outcome. Outcomes are {words}.")))
    }

    /// Returns the repository that is asked for. No name has a NUL, which Postgres would refuse.
    pub(super) fn repository(&self) -> Option<&str> {
        self.repository.as_deref().map(str::trim).filter(|name| !name.is_empty() && !name.contains('\0'))
    }
}

/// A delivery without its body.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
#[schema(as = DeliveryFacts)]
pub(super) struct Delivery {
    pub id: DeliveryId,
    pub source: Source,
    pub event: String,
    /// Repository that it is about, as its sender names it.
    pub repository: Option<String>,
    pub received_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
    pub result: Outcome,
    /// Outcome in words.
    pub outcome: Option<String>,
    /// Failure of the last try.
    pub last_error: Option<String>,
    pub tries: i32,
    /// Path of the page of its build.
    #[serde(skip)]
    pub build: Option<String>,
    /// False when the body was removed.
    pub has_body: bool,
}

impl Delivery {
    /// Returns the time at which it came.
    pub(super) fn when(&self) -> When {
        When::new(self.received_at)
    }

    /// Returns the sender in words.
    pub(super) fn sender(&self) -> &'static str {
        match self.source {
            Source::GitHub => "GitHub",
            Source::Gitea => "Gitea or Forgejo",
            Source::Travis => "Travis CI",
            Source::Request => "Trainyard, for a person, a cron or a check",
        }
    }

    /// Returns what became of it, in words.
    pub(super) fn reason(&self) -> &str {
        let waits = if self.tries == 0 { "waits" } else { "is being worked on, or waits for its next try" };
        let told = self.outcome.as_deref().unwrap_or(waits);
        // The mark says the rest.
        told.strip_prefix("refused: ").or_else(|| told.strip_prefix("no build: ")).unwrap_or(told)
    }

    /// Returns the path of its page. A sender may have put any visible characters into the id.
    pub(super) fn path(&self) -> String {
        let id: String = url::form_urlencoded::byte_serialize(self.id.as_str().as_bytes()).collect();
        format!("/deliveries/{id}")
    }
}

/// Makes a query of [`Delivery`]s, from the clauses that follow the join.
macro_rules! select_deliveries {
    ($rest:literal) => {
        concat!(
            "select delivery.id, source, event, delivery.repo as repository, received_at, done_at,
                 delivery_result(done_at, outcome, last_error) as result, outcome, last_error, tries,
                 '/' || owner || '/' || name || '/builds/' || number as build, delivery.body <> '' as has_body
             from delivery left join build on build.delivery_id = delivery.id left join repo on repo.id = build.repo_id ",
            $rest
        )
    };
}

/// Lists deliveries, newest first: those of a repository and of an outcome where these are given, after `before`.
pub(super) async fn list(db: &PgPool, wanted: &Wanted, limit: i64) -> Result<Vec<Delivery>, Error> {
    let before = wanted.before.as_deref().map(str::parse::<DeliveryId>).transpose();
    let before = before.map_err(|_| Error::BadRequest("This is no id of a delivery.".to_owned()))?;
    let found = sqlx::query_as(select_deliveries!(
        "where ($1::text is null or lower(delivery.repo) = lower($1))
             and ($2::text is null or delivery_result(done_at, outcome, last_error) = $2)
             and ($3::text is null or (received_at, delivery.id) < (
                 select earlier.received_at, earlier.id from delivery earlier where earlier.id = $3))
         order by received_at desc, delivery.id desc limit $4"
    ))
    .bind(wanted.repository())
    .bind(wanted.outcome()?.map(Outcome::word))
    .bind(before)
    .bind(limit);
    Ok(found.fetch_all(db).await?)
}

/// Finds the delivery that an address names.
pub(super) async fn find(db: &PgPool, id: &str) -> Result<Delivery, Error> {
    let id: DeliveryId = id.parse().map_err(|_| Error::NotFound("delivery"))?;
    let found = sqlx::query_as(select_deliveries!("where delivery.id = $1")).bind(id).fetch_optional(db).await?;
    found.ok_or(Error::NotFound("delivery"))
}

/// A delivery, with the addresses of its page and of its build.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct Described {
    #[serde(flatten)]
    delivery: Delivery,
    /// Address of its page.
    url: String,
    /// Address of the page of its build.
    build_url: Option<String>,
}

/// Deliveries, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryList {
    deliveries: Vec<Described>,
    /// The `before` of the next page; null on the last page.
    next: Option<String>,
}

/// A delivery with its body.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WholeDelivery {
    #[serde(flatten)]
    delivery: Described,
    /// The body without secrets, or a text that says why there is none. Operators alone see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    body: Option<Value>,
}

/// Lists the deliveries of webhooks, the newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", operation_id = "listDeliveries", tag = "Deliveries", params(Wanted),
    responses((status = 200, description = "A page of deliveries", body = DeliveryList)))]
pub(super) async fn all(
    extract::State(state): extract::State<State>,
    paging: Paging,
    Query(wanted): Query<Wanted>,
) -> Result<Paged<DeliveryList>, InJson> {
    let limit = Paging::limit(wanted.limit);
    let mut deliveries = list(&state.db, &wanted, limit + 1).await?;
    let next = Paging::cut(&mut deliveries, limit, |delivery| delivery.id.to_string());
    let deliveries = deliveries.into_iter().map(|delivery| described(&state, delivery)).collect();
    Ok(paging.answer(DeliveryList { deliveries, next: next.clone() }, next))
}

/// Returns a delivery. For an operator, it has the body, without secrets.
#[utoipa::path(get, path = "/api/v1/deliveries/{id}", operation_id = "getDelivery", tag = "Deliveries",
    responses((status = 200, description = "The delivery", body = WholeDelivery),
        (status = 404, description = "There is no such delivery", body = Problem)))]
pub(super) async fn one(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    view: View,
) -> Result<Json<WholeDelivery>, InJson> {
    let delivery = find(&state.db, &id).await?;
    let body = match view.viewer.is_operator() {
        true => Some(body(&state.db, &delivery).await?),
        false => None,
    };
    Ok(Json(WholeDelivery { delivery: described(&state, delivery), body }))
}

/// Reads a body for people; a text in its place says why there is none.
async fn body(db: &PgPool, delivery: &Delivery) -> Result<Value, Error> {
    if !delivery.has_body {
        return Ok("The body was removed.".into());
    }
    let kept = replays::read(db, &delivery.id, MAX_SHOWN).await?.ok_or(Error::NotFound("delivery"))?;
    if kept.body.is_empty() {
        let most = bytesize::ByteSize::b(MAX_SHOWN.unsigned_abs().into());
        return Ok(format!("The body has more than {most}, which is too much to be shown.").into());
    }
    Ok(match serde_json::from_slice(&kept.body) {
        Ok(body) => hide::hidden(body),
        Err(_) => "The body is not JSON.".into(),
    })
}

fn described(state: &State, delivery: Delivery) -> Described {
    let url = state.public(&delivery.path());
    let build_url = delivery.build.as_deref().map(|path| state.public(path));
    Described { delivery, url, build_url }
}
