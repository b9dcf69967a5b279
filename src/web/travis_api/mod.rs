//! Answers in the form of Travis's API.

mod rows;
mod v3;

use axum::routing::get;
use axum::{Json, Router, extract};
use serde_json::{Value, json};

use super::State;
use super::error::InJson;

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

/// The API, for clients that take its address as a setting: `/api/travis`, and `/api/travis/v3` as on Travis.
pub(super) fn routes() -> Router<State> {
    let api = Router::new()
        .route("/config", get(config))
        .route("/repo/{slug}", get(v3::repo))
        .route("/repo/github/{slug}", get(v3::repo))
        .route("/repo/{slug}/builds", get(v3::builds))
        .route("/build/{id}", get(v3::build))
        .route("/build/{id}/jobs", get(v3::jobs))
        .route("/job/{id}", get(v3::job))
        .route("/job/{id}/log", get(v3::log))
        .route("/owner/{login}/active", get(v3::active))
        .route("/owner/github/{login}/active", get(v3::active))
        .route("/repos/{owner}/{repo}/cc.xml", get(v3::cctray));
    Router::new().nest("/api/travis/v3", api.clone()).nest("/api/travis", api)
}
