//! The description of the JSON API as OpenAPI 3.1. The operations and the types come from the code, and what holds for
//! all of them from the table of routes: parameters of paths, the right that is needed, and the answers of the gate.

mod common;
pub(in crate::web) mod page;
mod shown;

use axum::extract;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::Value;
use utoipa::OpenApi;

pub(in crate::web) use self::common::Documented;
use self::shown::Shown;
use super::events::BuildEvent;
use super::{budgets, builds, events, jobs, me, operators, publications, queue, repos, runners, series, tokens};
use crate::web::State;
use crate::web::changes::{approve, cancel, crons, publish, replay, requests, restart};
use crate::web::error::{Error, Problem};
use crate::web::{artifacts, deliveries, log_stream};

/// Address of the description.
pub(in crate::web) const PATH: &str = "/api/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(title = "Trainyard", description = "The JSON API of a Trainyard server. Public repositories are read without a \
        token. Programs send a token of `/settings/tokens` as `Authorization: Bearer TOKEN`."),
    paths(
        builds::all, builds::of_repo, builds::one, events::all, events::of_repo, requests::create, requests::show,
        approve::approve, cancel::build, restart::build,
        jobs::one, cancel::job, restart::job, log_stream::raw, log_stream::live, series::losses, series::resources,
        artifacts::list, artifacts::download,
        publications::of_job, publish::again, publish::approve, publish::reject,
        repos::all, repos::one, repos::key, repos::variables, crons::list, crons::set, crons::remove,
        queue::show, runners::list, budgets::list,
        me::show, tokens::list, tokens::make, tokens::revoke,
        deliveries::all, deliveries::one, replay::replay,
        operators::audit, operators::alerts,
    ),
    components(schemas(Problem, BuildEvent)),
    tags(
        (name = "Builds", description = "Builds, and requests for them"),
        (name = "Jobs", description = "Jobs with their logs, losses, resources and artifacts"),
        (name = "Repositories", description = "Repositories with their crons, variables and keys"),
        (name = "Queue and runners", description = "What waits, and where it will run"),
        (name = "You", description = "The sender of a request, and tokens"),
        (name = "Deliveries", description = "Webhooks that have come"),
        (name = "Operators", description = "The record of changes, and alerts"),
    )
)]
struct Operations;

/// The description, as it is sent and as a page shows it.
#[derive(Debug)]
pub(in crate::web) struct Document {
    json: Bytes,
    shown: Shown,
}

impl Document {
    /// Describes these routes.
    pub(in crate::web) fn of(routes: &[Documented], public_url: &str) -> Self {
        let mut operations = serde_json::to_value(Operations::openapi()).unwrap_or_default();
        common::complete(&mut operations, routes, public_url);
        let text = serde_json::to_vec_pretty(&operations).unwrap_or_default();
        Self { json: text.into(), shown: Shown::of(&operations) }
    }
}

/// `GET /api/openapi.json`
pub(in crate::web) async fn json(extract::State(state): extract::State<State>) -> Result<Response, Error> {
    let document = state.api.document().ok_or_else(|| anyhow::anyhow!("the API has no description"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, document.json.clone()).into_response())
}

/// Returns the name of the schema that a reference names.
fn referenced(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}
