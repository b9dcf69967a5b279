//! The sender of a request.

use axum::Json;
use axum::extract;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Right;
use crate::store::people::api_tokens;
use crate::web::State;
use crate::web::access::{View, Viewer};
use crate::web::error::InJson;

/// The way in which a sender is known.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = SenderKind)]
#[serde(rename_all = "snake_case")]
pub(in crate::web) enum Kind {
    /// Nothing is known.
    Anonymous,
    /// A person in a browser.
    Person,
    /// A token of a person.
    Token,
    /// A token of the configuration.
    Operator,
}

/// The sender of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Me {
    kind: Kind,
    /// Name of the person, or of the operator's token; null if nothing is known.
    name: Option<String>,
    is_operator: bool,
    /// The highest right that the request may use.
    scope: Right,
    /// Repositories that the token is for; null for all.
    repositories: Option<Vec<String>>,
    /// The token of a person with which the request was sent.
    token: Option<OwnToken>,
}

/// A token that a request was sent with.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct OwnToken {
    id: i64,
    name: String,
    expires_at: DateTime<Utc>,
}

/// Returns what the server knows of you.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "getMe", tag = "You",
    responses((status = 200, description = "You", body = Me)))]
pub(in crate::web) async fn show(extract::State(state): extract::State<State>, view: View) -> Result<Json<Me>, InJson> {
    let viewer = &view.viewer;
    let kind = match **viewer {
        Viewer::Anonymous => Kind::Anonymous,
        Viewer::Person(_) => Kind::Person,
        Viewer::Program(_) => Kind::Token,
        Viewer::Operator(_) => Kind::Operator,
    };
    let own = match (viewer.person(), viewer.token()) {
        (Some(person), Some(id)) => api_tokens::of(&state.db, person).await?.into_iter().find(|token| token.id == id),
        _ => None,
    };
    let (token, repositories) = match own {
        Some(api_tokens::Listed { id, name, expires_at, repos, .. }) => {
            (Some(OwnToken { id, name, expires_at }), repos)
        }
        None => (None, None),
    };
    Ok(Json(Me {
        kind,
        name: viewer.person_name().map(str::to_owned),
        is_operator: viewer.is_operator(),
        scope: viewer.scope(),
        repositories,
        token,
    }))
}
