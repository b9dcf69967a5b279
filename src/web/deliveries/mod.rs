//! Deliveries: their rows, and the JSON API of them.

mod hide;

use axum::Json;
use axum::extract::{self, Path, Query};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::State;
use super::access::View;
use super::error::{Error, InJson};
use super::show::{Mark, When};
use crate::domain::DeliveryId;
use crate::store::deliveries::Source;
use crate::store::replays;

const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;
/// Size up to which bodies are shown, in bytes.
const MAX_SHOWN: i32 = 1 << 20;

/// Result of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    pub repository: Option<String>,
    pub outcome: Option<String>,
    /// Id of the delivery after which the list begins.
    pub before: Option<String>,
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
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
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
    let before = before.map_err(|_| Error::NotFound("delivery"))?;
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

/// `GET /api/v1/deliveries`
pub(super) async fn all(
    extract::State(state): extract::State<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, InJson> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let deliveries = list(&state.db, &wanted, limit).await?;
    let deliveries: Vec<Value> = deliveries.iter().map(|one| described(&state, one)).collect::<Result<_, _>>()?;
    Ok(Json(json!({ "deliveries": deliveries })))
}

/// `GET /api/v1/deliveries/{id}`: a delivery. For an operator, it has the body, without secrets.
pub(super) async fn one(
    extract::State(state): extract::State<State>,
    Path(id): Path<String>,
    view: View,
) -> Result<Json<Value>, InJson> {
    let may_read = view.viewer.is_operator();
    let delivery = find(&state.db, &id).await?;
    let mut described = described(&state, &delivery)?;
    if may_read {
        described["body"] = body(&state.db, &delivery).await?;
    }
    Ok(Json(described))
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

fn described(state: &State, delivery: &Delivery) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(delivery)?;
    value["url"] = state.public(&delivery.path()).into();
    value["build_url"] = delivery.build.as_deref().map(|path| state.public(path)).into();
    if let Some(value) = value.as_object_mut() {
        value.remove("build");
    }
    Ok(value)
}
