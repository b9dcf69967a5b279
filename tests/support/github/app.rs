//! The GitHub App of the stand-in: it checks the App's assertions and gives tokens of its installations, each for what
//! was asked, as GitHub does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use axum::extract::{Form, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::people::{CLIENT_ID, CLIENT_SECRET};
use super::{GitHub, TOKEN, in_http, number, redirection, refusal};

/// GitHub's number of the App.
pub const APP_ID: u64 = 4711;
/// Secret of the webhook of an App that was registered from a manifest.
pub const WEBHOOK_SECRET: &str = "the App's own webhook secret";
/// Beginning of every token of an installation.
pub const TOKEN_PREFIX: &str = "ghs_standInInstallationToken";
/// Beginning of every assertion of an App.
pub const ASSERTION_PREFIX: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.";

static FIRST: OnceLock<Key> = OnceLock::new();

/// A key of the App: the PEM text that GitHub offers for download, and the public half that it keeps.
#[derive(Debug, Clone)]
pub struct Key {
    pub pem: String,
    public: Vec<u8>,
}

impl Key {
    /// Makes a new key.
    pub fn generate() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // GitHub writes PKCS#1, which PKCS#8 has inside, after 26 bytes for this size.
        let text = BASE64_STANDARD.encode(&der.as_ref()[26..]);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let kind = "RSA PRIVATE KEY";
        let pem = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"));
        Self { pem, public: pair.public_key().as_ref().to_vec() }
    }

    /// Returns the first key of the App, the same in all tests of a process.
    pub fn first() -> &'static Self {
        FIRST.get_or_init(Self::generate)
    }

    /// Returns the first key of the App, if this process has used it.
    pub fn used() -> Option<&'static Self> {
        FIRST.get()
    }

    /// Returns a line of the PEM text that no other key has.
    pub fn line(&self) -> &str {
        self.pem.lines().nth(5).unwrap()
    }
}

/// An installation of the App for one owner.
#[derive(Debug, Clone)]
struct Installation {
    owner: String,
    /// Names of the repositories, without the owner.
    repos: BTreeSet<String>,
    suspended: bool,
}

/// A token of an installation.
#[derive(Debug, Clone)]
struct Minted {
    repos: BTreeSet<String>,
    permissions: BTreeMap<String, String>,
    /// By the stand-in's clock.
    expires_at: DateTime<Utc>,
}

#[derive(Debug)]
struct Model {
    keys: Vec<Key>,
    installations: BTreeMap<i64, Installation>,
    permissions: BTreeMap<String, String>,
    tokens: BTreeMap<String, Minted>,
    count: usize,
    lifetime: Duration,
    requests: Vec<(String, String, Value)>,
    misused: Vec<String>,
    /// An App that was registered and not fetched yet: its code, key and manifest.
    pending: Option<(String, Key, Value)>,
}

/// A handle to the App.
#[derive(Debug, Clone)]
pub struct GitHubApp(Arc<Mutex<Model>>);

impl Default for GitHubApp {
    fn default() -> Self {
        let all = [
            ("metadata", "read"),
            ("contents", "read"),
            ("statuses", "write"),
            ("checks", "write"),
            ("pull_requests", "write"),
        ];
        Self(Arc::new(Mutex::new(Model {
            keys: Vec::new(),
            installations: BTreeMap::new(),
            permissions: all.map(|(name, level)| (name.to_owned(), level.to_owned())).into(),
            tokens: BTreeMap::new(),
            count: 0,
            lifetime: Duration::from_secs(3600),
            requests: Vec::new(),
            misused: Vec::new(),
            pending: None,
        })))
    }
}

impl GitHubApp {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// Accepts assertions that one of these keys has signed.
    pub fn set_keys(&self, keys: &[&Key]) {
        self.model().keys = keys.iter().map(|key| (*key).clone()).collect();
    }

    /// Installs the App on repositories of one owner. Returns the number of the installation.
    pub fn install(&self, repos: &[&str]) -> i64 {
        let mut model = self.model();
        let id = 90_000 + model.installations.len() as i64;
        let owner = repos[0].split_once('/').unwrap().0.to_owned();
        let repos = repos.iter().map(|repo| repo.split_once('/').unwrap().1.to_owned()).collect();
        model.installations.insert(id, Installation { owner, repos, suspended: false });
        id
    }

    /// Ends an installation with its tokens.
    pub fn uninstall(&self, id: i64) {
        let mut model = self.model();
        model.installations.remove(&id);
        model.tokens.clear();
    }

    pub fn suspend(&self, id: i64) {
        let mut model = self.model();
        model.installations.get_mut(&id).unwrap().suspended = true;
        model.tokens.clear();
    }

    /// Sets what the App may do where it is installed.
    pub fn permit(&self, permissions: &[(&str, &str)]) {
        self.model().permissions = permissions.iter().map(|(name, level)| ((*name).into(), (*level).into())).collect();
    }

    /// Ends all tokens before their time.
    pub fn revoke_tokens(&self) {
        self.model().tokens.clear();
    }

    pub fn set_lifetime(&self, lifetime: Duration) {
        self.model().lifetime = lifetime;
    }

    /// Returns the number of tokens that were given.
    pub fn minted(&self) -> usize {
        self.model().count
    }

    /// Lists the requests of the App itself: method, path and body.
    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }

    /// Lists the uses of tokens for repositories that they were not given for.
    pub fn misused(&self) -> Vec<String> {
        self.model().misused.clone()
    }

    /// Checks an assertion, with the messages of GitHub.
    fn check_assertion(&self, headers: &HeaderMap, now: i64) -> Result<(), Response> {
        let refused = |why: &str| Err(refusal(401, why));
        let Some(token) = bearer(headers) else { return refused("Requires authentication") };
        let parts: Vec<&str> = token.split('.').collect();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let json = |text: &str| decode(text).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let ([head, claims, signature], true) = (&parts[..], parts.len() == 3) else {
            return refused("A JSON web token could not be decoded");
        };
        let (Some(header), Some(facts), Some(signature)) = (json(head), json(claims), decode(signature)) else {
            return refused("A JSON web token could not be decoded");
        };
        let signed = format!("{head}.{claims}");
        let verifies = |key: &Key| {
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.public);
            public.verify(signed.as_bytes(), &signature).is_ok()
        };
        if header["alg"] != "RS256" || !self.model().keys.iter().any(verifies) {
            return refused("A JSON web token could not be decoded");
        }
        let (Some(iat), Some(exp)) = (facts["iat"].as_i64(), facts["exp"].as_i64()) else {
            return refused("'Issued at' claim ('iat') must be an Integer");
        };
        if facts["iss"] != APP_ID {
            return Err(refusal(404, "Integration not found"));
        }
        if iat > now {
            return refused(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            );
        }
        if exp <= now {
            return refused("'Expiration time' claim ('exp') must be a numeric value representing the future time");
        }
        if exp - now > 600 {
            return refused("'Expiration time' claim ('exp') is too far in the future");
        }
        Ok(())
    }

    /// Returns true if a token is one of an installation, is good now, and may do this in the repository.
    ///
    /// # Errors
    /// Fails with GitHub's response when it is one of an installation, and is not good for that.
    fn check_token(&self, token: &str, repo: &str, wanted: (&str, &str), now: DateTime<Utc>) -> Result<bool, Response> {
        if !token.starts_with(TOKEN_PREFIX) {
            return Ok(false);
        }
        let mut model = self.model();
        let Some(minted) = model.tokens.get(token).filter(|minted| minted.expires_at > now).cloned() else {
            return Err(refusal(401, "Bad credentials"));
        };
        if !minted.repos.contains(repo) {
            model.misused.push(format!("a token for {:?} was used for {repo}", minted.repos));
            return Err(refusal(404, "Not Found"));
        }
        let (permission, level) = wanted;
        if minted.permissions.get(permission).is_none_or(|given| given != level && given != "write") {
            let mut response = refusal(403, "Resource not accessible by integration");
            let needed = HeaderValue::from_str(&format!("{permission}={level}")).unwrap();
            response.headers_mut().insert("x-accepted-github-permissions", needed);
            return Err(response);
        }
        Ok(true)
    }
}

impl GitHub {
    /// Returns the settings of a service that uses the App, without the personal token.
    pub fn app_settings(&self) -> String {
        self.app.set_keys(&[Key::first()]);
        format!("[github]\ntoken = ''\napp_id = {APP_ID}\napp_private_key = '''\n{}'''\n", Key::first().pem)
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.clock_skew())
    }

    /// Checks whether a request's token may do this in a repository: the personal one always may.
    ///
    /// # Errors
    /// Fails with GitHub's response when it may not.
    pub(super) fn check(&self, headers: &HeaderMap, repo: &str, wanted: (&str, &str)) -> Result<(), Response> {
        let token = bearer(headers).unwrap_or_default();
        if token == TOKEN || self.app.check_token(token, repo, wanted, self.now())? {
            return Ok(());
        }
        Err(refusal(401, "Bad credentials"))
    }

    /// Puts the personal token in place of an installation's, if git may read the repository with that.
    pub(super) fn admit_to_git(&self, request: &mut Request) -> Result<(), Response> {
        let basic = |token: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{token}")));
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let decoded = given.and_then(|given| BASE64_STANDARD.decode(given.strip_prefix("Basic ")?).ok());
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let token = text.strip_prefix("x-access-token:").unwrap_or_default();
        let path = request.uri().path().trim_start_matches('/');
        let repo = path.split_once(".git/").map(|(repo, _)| repo.to_owned()).unwrap_or_default();
        match self.app.check_token(token, &repo, ("contents", "read"), self.now()) {
            Ok(false) => {}
            Ok(true) => {
                request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_str(&basic(TOKEN)).unwrap());
            }
            Err(refused) if refused.status() == StatusCode::UNAUTHORIZED => {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            Err(refused) => return Err(refused),
        }
        Ok(())
    }

    /// Checks and records a request of the App itself.
    pub(super) fn as_app(&self, headers: &HeaderMap, request: (&str, String, Value)) -> Result<(), Response> {
        let (method, path, body) = request;
        self.app.model().requests.push((method.to_owned(), path, body));
        self.app.check_assertion(headers, self.now().timestamp()).map_err(|refused| self.dated(refused))
    }

    pub(super) fn dated(&self, response: Response) -> Response {
        ([("date", in_http(self.now()))], response).into_response()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Returns the part of the API that is for Apps.
pub(super) fn routes() -> Router<GitHub> {
    Router::new()
        .route("/api/v3/app", get(app))
        .route("/api/v3/app/installations", get(installations))
        .route("/api/v3/repos/{owner}/{repo}/installation", get(installation))
        .route("/api/v3/repositories/{id}/installation", get(installation_by_number))
        .route("/api/v3/app/installations/{id}/access_tokens", post(access_tokens))
        .route("/api/v3/installation/repositories", get(installation_repositories))
        .route("/api/v3/app-manifests/{code}/conversions", post(conversions))
}

/// Returns the pages on which people register Apps.
pub(super) fn pages() -> Router<GitHub> {
    Router::new()
        .route("/settings/apps/new", post(new_app))
        .route("/organizations/{organization}/settings/apps/new", post(new_app))
}

/// Makes an App at once, as if the person had agreed.
async fn new_app(
    State(github): State<GitHub>,
    Query(query): Query<BTreeMap<String, String>>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let manifest: Value = serde_json::from_str(&form["manifest"]).unwrap();
    let key = Key::generate();
    let code = format!("code{}", number(&key.pem));
    let target = format!("{}?code={code}&state={}", manifest["redirect_url"].as_str().unwrap(), query["state"]);
    let mut model = github.app.model();
    let permissions = manifest["default_permissions"].as_object().unwrap();
    let level = |(name, level): (&String, &Value)| (name.clone(), level.as_str().unwrap().to_owned());
    model.permissions = permissions.iter().map(level).collect();
    model.pending = Some((code, key, manifest));
    (StatusCode::FOUND, [("location", target)]).into_response()
}

async fn conversions(State(github): State<GitHub>, Path(code): Path<String>) -> Response {
    let mut model = github.app.model();
    match model.pending.take() {
        Some((expected, key, manifest)) if expected == code => {
            model.requests.push(("POST".to_owned(), format!("/app-manifests/{code}/conversions"), Value::Null));
            let app = json!({
                "id": APP_ID, "slug": "trainyard", "name": manifest["name"], "pem": key.pem,
                "html_url": format!("http://{}/apps/trainyard", github.address), "webhook_secret": WEBHOOK_SECRET,
                "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "owner": {"login": "acme"},
            });
            model.keys = vec![key];
            (StatusCode::CREATED, Json(app)).into_response()
        }
        pending => {
            model.pending = pending;
            refusal(404, "Not Found")
        }
    }
}

async fn installation_repositories(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    let token = bearer(&headers).unwrap_or_default().to_owned();
    let Some(minted) = github.app.model().tokens.get(&token).cloned() else { return refusal(401, "Bad credentials") };
    let number = |name: &String| github.number_of(name).unwrap_or_else(|| number(name));
    let all: Vec<Value> = minted.repos.iter().map(|name| json!({"id": number(name), "full_name": name})).collect();
    Json(json!({"total_count": all.len(), "repositories": all})).into_response()
}

async fn app(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    if let Err(refused) = github.as_app(&headers, ("GET", "/app".to_owned(), Value::Null)) {
        return refused;
    }
    let permissions = github.app.model().permissions.clone();
    let app = json!({
        "id": APP_ID, "slug": "trainyard", "name": "Trainyard", "permissions": permissions,
        "html_url": format!("http://{}/apps/trainyard", github.address),
        "events": ["push", "pull_request", "issue_comment", "check_run", "check_suite"], "installations_count": 1,
    });
    github.dated(Json(app).into_response())
}

fn describe(id: i64, installation: &Installation, permissions: &BTreeMap<String, String>) -> Value {
    json!({
        "id": id, "app_id": APP_ID, "account": {"login": installation.owner}, "permissions": permissions,
        "suspended_at": installation.suspended.then_some("2026-11-01T12:00:00Z"), "repository_selection": "selected",
    })
}

async fn installations(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    if let Err(refused) = github.as_app(&headers, ("GET", "/app/installations".to_owned(), Value::Null)) {
        return refused;
    }
    let model = github.app.model();
    let all = model.installations.iter().map(|(id, it)| describe(*id, it, &model.permissions));
    let all = Json(all.collect::<Vec<_>>()).into_response();
    drop(model);
    github.dated(all)
}

async fn installation(
    State(github): State<GitHub>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let path = format!("/repos/{owner}/{repo}/installation");
    if let Err(refused) = github.as_app(&headers, ("GET", path, Value::Null)) {
        return refused;
    }
    if let Some(address) = github.successor(&format!("{owner}/{repo}")) {
        return redirection(301, &format!("{address}/installation"));
    }
    let model = github.app.model();
    let found = model.installations.iter().find(|(_, it)| it.owner == owner && it.repos.contains(&repo));
    let response = match found {
        Some((id, it)) => Json(describe(*id, it, &model.permissions)).into_response(),
        None => refusal(404, "Not Found"),
    };
    drop(model);
    github.dated(response)
}

async fn installation_by_number(State(github): State<GitHub>, Path(id): Path<u32>, headers: HeaderMap) -> Response {
    let Some(name) = github.name_of(id) else { return StatusCode::NOT_FOUND.into_response() };
    installation(State(github), Path(name), headers).await
}

async fn access_tokens(
    State(github): State<GitHub>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let path = format!("/app/installations/{id}/access_tokens");
    if let Err(refused) = github.as_app(&headers, ("POST", path, body.clone())) {
        return refused;
    }
    let response = github.mint(id, &body);
    github.dated(response)
}

impl GitHub {
    fn mint(&self, id: i64, body: &Value) -> Response {
        let now = self.now();
        let mut model = self.app.model();
        let Some(installation) = model.installations.get(&id).cloned() else { return refusal(404, "Not Found") };
        if installation.suspended {
            return refusal(403, "This installation has been suspended");
        }
        let asked: BTreeMap<String, String> = serde_json::from_value(body["permissions"].clone()).unwrap();
        let is_given = |(name, level): (&String, &String)| {
            model.permissions.get(name).is_some_and(|given| given == level || given == "write")
        };
        if !asked.iter().all(is_given) {
            return refusal(422, "The permissions requested are not granted to this installation.");
        }
        let named = body["repositories"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
        let numbered = body["repository_ids"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let of_number = |wanted: u64| {
            let is_it = |repo: &&String| {
                let name = format!("{}/{repo}", installation.owner);
                self.number_of(&name).is_some_and(|number| u64::from(number) == wanted)
            };
            installation.repos.iter().find(is_it).cloned().unwrap_or_default()
        };
        let mut repos: BTreeSet<String> = named.map(str::to_owned).chain(numbered.map(of_number)).collect();
        if repos.is_empty() {
            assert_eq!(asked, BTreeMap::from([("metadata".to_owned(), "read".to_owned())]), "for all repositories");
            repos = installation.repos.clone();
        }
        if !repos.iter().all(|repo| installation.repos.contains(repo)) {
            let said =
                "There is at least one repository that does not exist or is not accessible to the parent installation.";
            return refusal(422, said);
        }
        model.count += 1;
        let token = format!("{TOKEN_PREFIX}{}", model.count);
        let expires_at = now + model.lifetime;
        let full = |repo: &String| format!("{}/{repo}", installation.owner);
        let listed: Vec<Value> = repos
            .iter()
            .map(full)
            .map(|name| json!({"id": self.number_of(&name).unwrap_or_else(|| number(&name)), "full_name": name}))
            .collect();
        let minted = Minted { repos: repos.iter().map(full).collect(), permissions: asked.clone(), expires_at };
        model.tokens.insert(token.clone(), minted);
        let expires_at = expires_at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let answer = json!({"token": token, "expires_at": expires_at, "permissions": asked, "repositories": listed});
        (StatusCode::CREATED, Json(answer)).into_response()
    }
}
