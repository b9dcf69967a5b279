//! Answers in the form of Travis's API.

mod changes;
mod lint;
mod rows;
mod v3;

use axum::{Json, extract};
use serde_json::{Value, json};

pub(super) use self::changes::{cancel_build, cancel_job, request, request_build, restart_build, restart_job};
pub(super) use self::lint::lint;
pub(super) use self::v3::{active, build, builds, cctray, job, jobs, log, repo};
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
