//! Answers in the form of Travis's API.

mod rows;
mod v3;

use axum::routing::get;
use axum::{Json, Router, extract};
use serde_json::{Value, json};

use super::error::InJson;
use super::{State, log_stream};

/// `GET /config`: the key that signs our webhooks, for clients that verify those of Travis.
pub(super) async fn config(extract::State(state): extract::State<State>) -> Result<Json<Value>, InJson> {
    let key = state.notification_key.public().await?;
    Ok(Json(json!({
        "config": {
            "host": state.public_url.host_str(),
            "notifications": { "webhook": { "public_key": key.trim_end() } },
        }
    })))
}

/// The pages of the API, for clients that take its address as a setting: `/api/travis`, and `/api/travis/v3` as on Travis.
pub(super) fn pages() -> Router<State> {
    let api = Router::new()
        .route("/config", get(config))
        .route("/repo/{slug}", get(v3::repo))
        .route("/repo/github/{slug}", get(v3::repo))
        .route("/repo/{slug}/builds", get(v3::builds))
        .route("/build/{id}", get(v3::build))
        .route("/build/{id}/jobs", get(v3::jobs))
        .route("/job/{id}", get(v3::job))
        .route("/owner/{login}/active", get(v3::active))
        .route("/owner/github/{login}/active", get(v3::active))
        .route("/repos/{owner}/{repo}/cc.xml", get(v3::cctray));
    in_both_places(&api)
}

/// The logs of the API.
pub(super) fn logs() -> Router<State> {
    in_both_places(&Router::new().route("/job/{id}/log", get(v3::log)).route("/job/{id}/log.txt", get(log_stream::raw)))
}

fn in_both_places(api: &Router<State>) -> Router<State> {
    Router::new().nest("/api/travis/v3", api.clone()).nest("/api/travis", api.clone())
}
