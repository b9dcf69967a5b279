//! Tokens that people have made for programs.

use axum::Json;
use axum::extract::{self, Path, Request};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{PersonId, Right};
use crate::store::people::api_tokens::{self, Listed};
use crate::web::State;
use crate::web::access::View;
use crate::web::error::{Error, InJson};
use crate::web::people::tokens::{self, Made};

const MAX_BODY: usize = 16 << 10;

/// A token, without its text.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Token {
    id: i64,
    name: String,
    /// The highest right that it may use.
    scope: Right,
    /// Repositories that it is for; null for all of its person.
    repositories: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    used_at: Option<DateTime<Utc>>,
}

impl From<Listed> for Token {
    fn from(listed: Listed) -> Self {
        let Listed { id, name, scope, repos: repositories, created_at, expires_at, used_at } = listed;
        Self { id, name, scope, repositories, created_at, expires_at, used_at }
    }
}

/// Your tokens, the newest first. There are 50 at most.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct TokenList {
    tokens: Vec<Token>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct NewToken {
    #[schema(max_length = 100)]
    name: String,
    scope: Right,
    /// Days for which it is good: 7, 30, 90 or 365.
    days: i64,
    /// Repositories that it is for, as `owner/name`. All of yours if there are none.
    #[serde(default)]
    repositories: Vec<String>,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct MadeToken {
    name: String,
    /// Text of the token. This answer alone has it.
    token: String,
}

/// A token that was revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Revoked {
    /// Name of the token.
    revoked: String,
}

/// Lists your tokens.
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "You",
    responses((status = 200, description = "Your tokens", body = TokenList)))]
pub(in crate::web) async fn list(
    extract::State(state): extract::State<State>,
    view: View,
) -> Result<Json<TokenList>, InJson> {
    let tokens = api_tokens::of(&state.db, person(&view)?).await?.into_iter().map(Token::from).collect();
    Ok(Json(TokenList { tokens }))
}

/// Makes a token. Only a person in a browser may do so: a token makes no others.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "makeToken", tag = "You", request_body = NewToken,
    responses((status = 201, description = "The token, whose text is not shown again", body = MadeToken)))]
pub(in crate::web) async fn make(
    extract::State(state): extract::State<State>,
    view: View,
    request: Request,
) -> Result<(StatusCode, Json<MadeToken>), InJson> {
    let person = person(&view)?;
    let received = state.webhook_room.receive(request.into_body(), MAX_BODY).await?;
    let new: NewToken = serde_json::from_slice(&received.bytes).map_err(|_| {
        let form = "{\"name\": \"laptop\", \"scope\": \"read\", \"days\": 90, \"repositories\": []}";
        Error::BadRequest(format!("The body has to be like {form}. Scopes are read, write and admin."))
    })?;
    let repos = new.repositories.iter().map(String::as_str).collect();
    let name = new.name.replace('\0', "");
    let wanted = tokens::Wanted { name: &name, scope: new.scope.word(), days: new.days, repos };
    let Made { name, token } = tokens::insert(&state, &view, person, &wanted).await?.map_err(Error::BadRequest)?;
    Ok((StatusCode::CREATED, Json(MadeToken { name, token })))
}

/// Revokes a token of yours.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", operation_id = "revokeToken", tag = "You",
    responses((status = 200, description = "It was revoked", body = Revoked),
        (status = 404, description = "You have no such token", body = crate::web::error::Problem)))]
pub(in crate::web) async fn revoke(
    extract::State(state): extract::State<State>,
    view: View,
    Path(token): Path<String>,
) -> Result<Json<Revoked>, InJson> {
    let token = token.parse().map_err(|_| Error::NotFound("token"))?;
    let removed = api_tokens::remove(&state.db, person(&view)?, token).await?;
    Ok(Json(Revoked { revoked: removed.ok_or(Error::NotFound("token"))? }))
}

fn person(view: &View) -> Result<PersonId, Error> {
    view.viewer.person().ok_or(Error::NoToken)
}
