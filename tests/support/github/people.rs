//! People at the stand-in: their rights in repositories, and the login with which an App asks who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{GitHub, number, pulls, refusal};

/// Credentials with which the App logs people in.
pub const CLIENT_ID: &str = "Iv1.stand-in";
pub const CLIENT_SECRET: &str = "the client's secret of the stand-in";
/// Beginning of each token of a person.
pub const USER_TOKEN_PREFIX: &str = "ghu_standInTokenOfAPerson";

/// A code that was given to a browser.
#[derive(Debug, Clone)]
struct Code {
    login: String,
    challenge: String,
    redirect_uri: String,
}

#[derive(Debug, Default)]
struct Model {
    /// Rights by repository and login.
    rights: BTreeMap<(String, String), String>,
    /// The person who is logged in at GitHub in the test's browser.
    logged_in: Option<String>,
    codes: BTreeMap<String, Code>,
    /// Logins by token.
    tokens: BTreeMap<String, String>,
    count: u32,
    /// Questions about rights: repository and login.
    asked: Vec<(String, String)>,
    /// Numbers of logins that another person has taken over.
    taken: BTreeMap<String, u32>,
    is_away: bool,
    /// Repositories that are not public any more.
    private: BTreeSet<String>,
}

/// The people of a stand-in.
#[derive(Debug, Clone, Default)]
pub struct People(Arc<Mutex<Model>>);

impl People {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Gives a person a right in a repository: `read`, `write`, `admin`, or `none`.
    pub fn allow(&self, repo: &str, login: &str, right: &str) {
        self.model().rights.insert((repo.to_owned(), login.to_owned()), right.to_owned());
    }

    /// Logs a person in at GitHub; nobody for `None`, who then refuses every App.
    pub fn log_in(&self, login: Option<&str>) {
        self.model().logged_in = login.map(str::to_owned);
    }

    /// Gives a login to another person.
    pub fn take_over(&self, login: &str) {
        self.model().taken.insert(login.to_owned(), number(login) ^ 1);
    }

    /// Lets questions about rights fail, or be answered again.
    pub fn keep_away(&self, is_away: bool) {
        self.model().is_away = is_away;
    }

    /// Makes a repository private.
    pub fn make_private(&self, repo: &str) {
        self.model().private.insert(repo.to_owned());
    }

    pub(super) fn is_private(&self, repo: &str) -> bool {
        self.model().private.contains(repo)
    }

    /// Returns GitHub's number of a person.
    pub fn id(&self, login: &str) -> u32 {
        self.model().taken.get(login).copied().unwrap_or_else(|| number(login))
    }

    /// Lists the questions about rights.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.model().asked.clone()
    }
}

impl GitHub {
    /// Returns the settings of a service that logs people in with the App.
    pub fn login_settings(&self) -> String {
        format!("[github]\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n")
    }
}

pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/user", get(user))
        .route("/api/v3/repos/{owner}/{repo}/collaborators/{login}/permission", get(permission))
}

pub(super) fn pages() -> Router<GitHub> {
    Router::new().route("/login/oauth/authorize", get(authorize)).route("/login/oauth/access_token", post(access_token))
}

/// Sends the browser back at once, as if the person had agreed before.
async fn authorize(State(github): State<GitHub>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let wrong = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned()).into_response();
    if query.get("client_id").map(String::as_str) != Some(CLIENT_ID) {
        return wrong("unknown client");
    }
    if query.get("code_challenge_method").map(String::as_str) != Some("S256") {
        return wrong("no PKCE with S256");
    }
    let (Some(challenge), Some(state), Some(redirect_uri)) =
        (query.get("code_challenge"), query.get("state"), query.get("redirect_uri"))
    else {
        return wrong("a parameter is missing");
    };
    if state.len() < 32 || challenge.len() != 43 || !redirect_uri.ends_with("/login/github/callback") {
        return wrong("a parameter cannot be right");
    }
    let mut model = github.people.model();
    let answer = match model.logged_in.clone() {
        Some(login) => {
            model.count += 1;
            let code = format!("code-of-{login}-{}", model.count);
            let given = Code { login, challenge: challenge.clone(), redirect_uri: redirect_uri.clone() };
            model.codes.insert(code.clone(), given);
            format!("code={code}")
        }
        None => "error=access_denied&error_description=The+user+has+denied+your+application+access.".to_owned(),
    };
    (StatusCode::FOUND, [(header::LOCATION, format!("{redirect_uri}?{answer}&state={state}"))]).into_response()
}

async fn access_token(
    State(github): State<GitHub>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(headers[header::ACCEPT], "application/json", "otherwise GitHub answers with a form");
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let refused = |error: &str| Json(json!({"error": error, "error_description": "It is not good."})).into_response();
    if (field("client_id"), field("client_secret")) != (CLIENT_ID, CLIENT_SECRET) {
        return refused("incorrect_client_credentials");
    }
    let mut model = github.people.model();
    // A code is good once.
    let Some(code) = model.codes.remove(field("code")) else { return refused("bad_verification_code") };
    if code.redirect_uri != field("redirect_uri") {
        return refused("redirect_uri_mismatch");
    }
    if BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier"))) != code.challenge {
        return refused("bad_verification_code");
    }
    model.count += 1;
    let token = format!("{USER_TOKEN_PREFIX}{}", model.count);
    model.tokens.insert(token.clone(), code.login);
    Json(json!({"access_token": token, "token_type": "bearer", "scope": ""})).into_response()
}

async fn user(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let login = token.and_then(|token| github.people.model().tokens.get(token).cloned());
    // Others than people have the token of the configuration, or one of the App.
    let Some(login) = login else { return pulls::user(State(github), headers).await };
    Json(json!({"id": github.people.id(&login), "login": login, "type": "User"})).into_response()
}

async fn permission(
    State(github): State<GitHub>,
    Path((owner, repo, login)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if github.pulls.knows(&login) {
        return pulls::permission(State(github), Path((owner, repo, login)), headers).await;
    }
    let name = format!("{owner}/{repo}");
    if let Err(refused) = github.check(&headers, &name, ("metadata", "read")) {
        return refused;
    }
    let mut model = github.people.model();
    model.asked.push((name.clone(), login.clone()));
    if model.is_away {
        return refusal(502, "Bad Gateway");
    }
    let right = model.rights.get(&(name, login.clone())).cloned().unwrap_or_else(|| "none".to_owned());
    drop(model);
    let user = json!({"id": github.people.id(&login), "login": login});
    Json(json!({"permission": right, "role_name": right, "user": user})).into_response()
}
