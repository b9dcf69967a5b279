//! A stand-in for GitHub behind HTTP: it records requests, checks that they are well-formed, and fails on demand.

pub mod app;
pub mod checks;
pub mod hooks;
pub mod open_pulls;
pub mod people;
pub mod pulls;
pub mod releases;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::app::GitHubApp;
use self::checks::Checks;
use self::hooks::Hooks;
use self::open_pulls::OpenPulls;
use self::people::People;
use self::pulls::Pulls;
use self::releases::Releases;
use super::git_host::{self, GitHost, Repo};
use super::trouble::Trouble;

/// Token that the stand-in accepts.
pub const TOKEN: &str = "ghp_standInTokenThatIsNoSecret";
/// Secret with which it signs webhooks.
pub const SECRET: &str = "the webhook's secret";

/// A status that was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    pub repo: String,
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub target_url: String,
    pub at: Instant,
}

/// Failure of the next request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A response with this status code, and an optional `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// A response with this status code and message.
    Says(u16, String),
    /// No response for this long; the status is not accepted.
    Hang(Duration),
    /// The primary rate limit: no requests are left for this many seconds.
    NoneLeft(u64),
    /// A redirection with this status code to this address.
    Redirect(u16, String),
    /// The status is accepted, and the answer is lost.
    Lost,
    /// The secondary rate limit with this status code, and an optional `Retry-After` in seconds.
    Secondary(u16, Option<u64>),
}

/// Number of statuses that GitHub keeps for a commit and context.
const MOST_STATUSES: usize = 1000;

/// Decides on the failure of each request.
struct Chance(Box<dyn FnMut() -> Option<Fault> + Send>);

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

#[derive(Debug, Default)]
struct Model {
    posted: Vec<Posted>,
    faults: VecDeque<Fault>,
    chance: Option<Chance>,
    /// Repositories whose statuses are refused, with the status code.
    refused: HashMap<String, u16>,
    /// Times of the requests that set a status.
    times: Vec<Instant>,
    /// Method, path and body of every request, to be checked against GitHub's own description.
    requests: Vec<(String, String, Value)>,
    /// Difference of the stand-in's clock to ours, in seconds.
    clock_skew: i64,
    /// Response headers that describe the token.
    token: Vec<(&'static str, String)>,
    /// Present names of repositories by their former ones.
    renamed: BTreeMap<String, String>,
    /// True when questions about repositories fail.
    is_silent: bool,
    /// Number of questions about repositories, and the number from which on they are limited.
    questions: (usize, Option<usize>),
    /// Numbers of repositories that have the former name of another one.
    retaken: BTreeMap<String, u32>,
    private: BTreeSet<String>,
    archived: BTreeSet<String>,
}

/// Returns the stand-in's number of a repository. It is always the same for a name.
pub fn number(name: &str) -> u32 {
    name.bytes().fold(7_u32, |id, byte| id.wrapping_mul(31).wrapping_add(byte.into()))
}

/// A running stand-in.
#[derive(Debug, Clone)]
pub struct GitHub {
    pub address: SocketAddr,
    pub root: PathBuf,
    pub git: GitHost,
    pub app: GitHubApp,
    pub checks: Checks,
    pub hooks: Hooks,
    pub open_pulls: OpenPulls,
    pub people: People,
    pub pulls: Pulls,
    pub releases: Releases,
    model: Arc<Mutex<Model>>,
    changed: Arc<Notify>,
}

impl GitHub {
    /// Starts on a free port of the loopback, with repositories in `root`.
    pub async fn start(root: PathBuf) -> Self {
        Self::with(root, Trouble::default()).await
    }

    /// Starts with trouble for releases that others share.
    pub async fn with(root: PathBuf, trouble: Trouble) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let git = GitHost::new(&root, Some(TOKEN));
        let (app, checks, pulls) = (GitHubApp::default(), Checks::default(), Pulls::default());
        let (hooks, open_pulls, people) = (Hooks::default(), OpenPulls::default(), People::default());
        let (releases, model, changed) = (Releases::with(trouble), Arc::default(), Arc::default());
        let of_releases = releases::routes(&releases);
        let github =
            Self { address, root, git, app, checks, hooks, open_pulls, people, pulls, releases, model, changed };
        let api = Router::new()
            .route("/api/v3/repos/{owner}/{repo}", get(repository))
            .route("/api/v3/repositories/{id}", get(repository_by_number))
            .route("/api/v3/repos/{owner}/{repo}/statuses/{sha}", post(create_status))
            .route("/api/v3/repositories/{id}/statuses/{sha}", post(create_status_by_number).get(statuses_by_number))
            .route("/api/v3/rate_limit", get(rate_limit))
            .merge(app::routes())
            .merge(checks::routes())
            .merge(hooks::routes())
            .merge(open_pulls::routes())
            .merge(pulls::routes())
            .merge(of_releases)
            .merge(people::routes())
            .with_state(github.clone());
        let hosted = Router::new()
            .merge(app::pages())
            .merge(people::pages())
            .route("/{owner}/{repo}/{*rest}", any(serve_git))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(github.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the test's runtime, and a panic fails its requests"
        )]
        tokio::spawn(async move { axum::serve(listener, api.merge(hosted)).await.unwrap() });
        github
    }

    pub fn api_url(&self) -> String {
        format!("http://{}/api/v3", self.address)
    }

    pub fn clone_url(&self, repo: &str) -> String {
        format!("http://{}/{repo}.git", self.address)
    }

    /// Makes a new repository on this GitHub.
    pub fn repo(&self, name: &str) -> Repo {
        Repo::new(&self.root, name)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Gives a repository a new name. Its number stays that of its first name.
    pub fn rename(&self, from: &str, to: &str) {
        self.model().renamed.insert(from.to_owned(), to.to_owned());
        let path = |name: &str| self.root.join("bare").join(format!("{name}.git"));
        std::fs::create_dir_all(path(to).parent().unwrap()).unwrap();
        std::fs::rename(path(from), path(to)).unwrap();
    }

    /// Makes a new repository under the former name of a renamed one.
    pub fn retake(&self, name: &str) -> Repo {
        self.model().retaken.insert(name.to_owned(), number(name) + 1);
        std::fs::remove_dir_all(self.root.join("work").join(name)).unwrap();
        self.repo(name)
    }

    pub fn delete(&self, name: &str) {
        std::fs::remove_dir_all(self.root.join("bare").join(format!("{name}.git"))).unwrap();
    }

    /// Makes a repository private or public.
    pub fn set_private(&self, name: &str, is_private: bool) {
        let mut model = self.model();
        if is_private {
            model.private.insert(name.to_owned())
        } else {
            model.private.remove(name)
        };
    }

    pub fn archive(&self, name: &str) {
        self.model().archived.insert(name.to_owned());
    }

    /// Answers this number of questions about repositories, and asks to wait after them.
    pub fn limit_questions(&self, most: usize) {
        self.model().questions = (0, Some(most));
    }

    /// Returns the number of questions about repositories since [`GitHub::limit_questions`].
    pub fn questions(&self) -> usize {
        self.model().questions.0
    }

    /// Lets questions about repositories fail, or be answered again.
    pub fn keep_silent(&self, is_silent: bool) {
        self.model().is_silent = is_silent;
    }

    /// Returns the present name and the number of a repository.
    fn known(&self, name: &str) -> Option<(String, u32)> {
        let model = self.model();
        if let Some(number) = model.retaken.get(name) {
            return Some((name.to_owned(), *number));
        }
        let former = model.renamed.iter().find(|(_, now)| *now == name).map_or(name, |(former, _)| former);
        let now = model.renamed.get(former).map_or(former, String::as_str);
        let exists = self.root.join("bare").join(format!("{now}.git")).exists();
        exists.then(|| (now.to_owned(), number(former)))
    }

    /// Returns the number of a repository with this present name.
    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        self.known(name).map(|(_, number)| number)
    }

    pub(super) fn clock_skew(&self) -> i64 {
        self.model().clock_skew
    }

    /// Returns the address at which the API has a repository with this former name.
    pub(super) fn successor(&self, name: &str) -> Option<String> {
        let model = self.model();
        let is_former = model.renamed.contains_key(name) && !model.retaken.contains_key(name);
        is_former.then(|| format!("{}/repositories/{}", self.api_url(), number(name)))
    }

    /// Returns the present owner and name of a repository that was renamed.
    pub(super) fn name_of(&self, id: u32) -> Option<(String, String)> {
        let model = self.model();
        let (_, now) = model.renamed.iter().find(|(former, _)| number(former) == id)?;
        now.split_once('/').map(|(owner, repo)| (owner.to_owned(), repo.to_owned()))
    }

    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.model().faults.extend(faults);
    }

    /// Lets every request for a status fail as `fault` says, after the faults of [`GitHub::fail_next`].
    pub fn fail_by(&self, fault: impl FnMut() -> Option<Fault> + Send + 'static) {
        self.model().chance = Some(Chance(Box::new(fault)));
    }

    pub fn clear_faults(&self) {
        self.model().faults.clear();
    }

    /// Refuses every status of a repository with this status code, until [`GitHub::accept`].
    pub fn refuse(&self, repo: &str, code: u16) {
        self.model().refused.insert(repo.to_owned(), code);
    }

    /// Ends [`GitHub::refuse`].
    pub fn accept(&self, repo: &str) {
        self.model().refused.remove(repo);
    }

    /// Counts a status as set this many times.
    pub fn repeat(&self, status: &Posted, times: usize) {
        self.model().posted.extend(std::iter::repeat_n(status, times).cloned());
    }

    /// Returns the largest number of statuses that were asked for within any time of this length.
    pub fn busiest(&self, within: Duration) -> usize {
        let times = self.model().times.clone();
        let from =
            |(at, begin): (usize, &Instant)| times[at..].iter().take_while(|time| **time - *begin < within).count();
        times.iter().enumerate().map(from).max().unwrap_or(0)
    }

    pub fn set_clock_skew(&self, seconds: i64) {
        self.model().clock_skew = seconds;
    }

    /// Sets the response headers that describe the token.
    pub fn tell_of_token(&self, headers: impl IntoIterator<Item = (&'static str, String)>) {
        self.model().token = headers.into_iter().collect();
    }

    /// Lists every accepted status, in order.
    pub fn posted(&self) -> Vec<Posted> {
        self.model().posted.clone()
    }

    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }

    /// Lists the states of a context of a commit, in the order in which they were accepted.
    pub fn states(&self, sha: &str, context: &str) -> Vec<String> {
        let posted = self.posted();
        posted.iter().filter(|p| p.sha == sha && p.context == context).map(|p| p.state.clone()).collect()
    }

    /// Waits until `wanted` holds for a posted status. Returns that status.
    pub async fn wait_for(&self, limit: Duration, wanted: impl Fn(&Posted) -> bool) -> Posted {
        self.wait_for_more(limit, |all| all.iter().any(&wanted)).await;
        self.posted().into_iter().find(&wanted).unwrap()
    }

    /// Waits until `enough` holds for the posted statuses.
    pub async fn wait_for_more(&self, limit: Duration, enough: impl Fn(&[Posted]) -> bool) {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if enough(&self.posted()) {
                return;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                panic!("no such status within {limit:?}; there are: {:#?}", self.posted());
            }
        }
    }

    /// Waits until a context of a commit is decided. Returns the last status.
    pub async fn wait_for_end(&self, sha: &str, context: &str) -> Posted {
        self.wait_for(Duration::from_secs(90), |p| p.sha == sha && p.context == context && p.state != "pending").await
    }
}

async fn create_status(
    State(github): State<GitHub>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let path = format!("/repos/{owner}/{repo}/statuses/{sha}");
    let repo = format!("{owner}/{repo}");
    if let Some(address) = github.successor(&repo) {
        return redirection(307, &format!("{address}/statuses/{sha}"));
    }
    let (fault, refused) = {
        let mut model = github.model();
        model.requests.push(("POST".to_owned(), path, body.clone()));
        model.times.push(Instant::now());
        let next = model.faults.pop_front();
        let fault = next.or_else(|| model.chance.as_mut().and_then(|chance| (chance.0)()));
        (fault, model.refused.get(&repo).copied())
    };
    let is_lost = matches!(fault, Some(Fault::Lost));
    if let Some(fault) = fault.filter(|_| !is_lost) {
        return github.fail(fault).await;
    }
    if let Some(code) = refused {
        return refusal(code, "the stand-in refuses this repository");
    }
    if let Err(refused) = github.check(&headers, &repo, ("statuses", "write")) {
        return refused;
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let (Some(state), Some(context), Some(description), Some(target_url)) =
        (text("state"), text("context"), text("description"), text("target_url"))
    else {
        return unprocessable("a field is missing");
    };
    if !matches!(state.as_str(), "pending" | "success" | "failure" | "error") {
        return unprocessable("no such state");
    }
    if description.chars().count() > 140 || sha.len() != 40 || !target_url.starts_with("http") {
        return unprocessable("description over 140 characters, a short sha, or a target_url that is none");
    }
    let date = {
        let mut model = github.model();
        let is_same = |posted: &&Posted| (&posted.repo, &posted.sha, &posted.context) == (&repo, &sha, &context);
        if model.posted.iter().filter(is_same).count() >= MOST_STATUSES {
            return full();
        }
        let posted = Posted { repo, sha, context, state, description, target_url, at: Instant::now() };
        model.posted.push(posted);
        chrono::Utc::now() + chrono::TimeDelta::seconds(model.clock_skew)
    };
    github.changed.notify_waiters();
    if is_lost {
        return github.fail(Fault::Lost).await;
    }
    (StatusCode::CREATED, [("date", in_http(date))], Json(body)).into_response()
}

async fn create_status_by_number(
    State(github): State<GitHub>,
    Path((id, sha)): Path<(u32, String)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Response {
    let Some((owner, repo)) = github.name_of(id) else { return StatusCode::NOT_FOUND.into_response() };
    create_status(State(github), Path((owner, repo, sha)), headers, body).await
}

/// Lists the statuses of a commit: an answer to the wrong method.
async fn statuses_by_number() -> Json<Value> {
    Json(json!([]))
}

impl GitHub {
    async fn fail(&self, fault: Fault) -> Response {
        let with = |mut response: Response, headers: &[(&'static str, u64)]| {
            headers.iter().for_each(|(name, value)| drop(response.headers_mut().insert(*name, (*value).into())));
            response
        };
        let retry_after = |seconds: Option<u64>| seconds.map(|seconds| ("retry-after", seconds));
        match fault {
            Fault::Status(code, seconds) => {
                with(refusal(code, "the stand-in fails on demand"), retry_after(seconds).as_slice())
            }
            Fault::Says(code, message) => refusal(code, &message),
            Fault::Hang(time) => {
                tokio::time::sleep(time).await;
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Fault::Lost => StatusCode::BAD_GATEWAY.into_response(),
            Fault::Redirect(code, to) => redirection(code, &to),
            Fault::NoneLeft(seconds) => {
                let date = chrono::Utc::now() + chrono::TimeDelta::seconds(self.model().clock_skew);
                let reset = date.timestamp().unsigned_abs() + seconds;
                let response = refusal(403, "API rate limit exceeded for user ID 1.");
                let mut response = with(response, &[("x-ratelimit-remaining", 0), ("x-ratelimit-reset", reset)]);
                response.headers_mut().insert("date", in_http(date).parse().unwrap());
                response
            }
            Fault::Secondary(code, seconds) => {
                let said = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
                // The primary limit is far away, and its reset says nothing about the secondary one.
                let headers = [("x-ratelimit-remaining", 4999), ("x-ratelimit-reset", 4_000_000_000)];
                with(with(refusal(code, said), &headers), retry_after(seconds).as_slice())
            }
        }
    }
}

pub(super) fn redirection(code: u16, to: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), [("location", to)]).into_response()
}

pub(super) fn refusal(code: u16, message: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), Json(json!({ "message": message }))).into_response()
}

/// Answers as GitHub does when a commit has too many statuses of one context.
fn full() -> Response {
    let detail = "This SHA and context has reached the maximum number of statuses.";
    let error = json!({"resource": "Status", "code": "custom", "message": detail});
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"message": "Validation Failed", "errors": [error]}))).into_response()
}

pub(super) fn in_http(date: chrono::DateTime<chrono::Utc>) -> String {
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

async fn repository(
    State(github): State<GitHub>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let (is_silent, is_limited) = {
        let mut model = github.model();
        model.questions.0 += 1;
        (model.is_silent, model.questions.1.is_some_and(|most| model.questions.0 > most))
    };
    if is_silent {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if is_limited {
        return github.fail(Fault::Secondary(403, Some(60))).await;
    }
    let name = format!("{owner}/{repo}");
    if let Some(address) = github.successor(&name) {
        return redirection(301, &address);
    }
    // A request without a token sees no private repository. One with a bad token is told so.
    let is_installation = headers.get("authorization").is_some_and(|value| value.to_str().unwrap().contains("ghs_"));
    match (github.check(&headers, &name, ("metadata", "read")), github.known(&name)) {
        (Err(refused), _) if is_installation => refused,
        (Ok(()), Some((full_name, id))) => {
            let (private, archived) = {
                let model = github.model();
                (model.private.contains(&name), model.archived.contains(&name))
            };
            let private = private || github.people.is_private(&full_name);
            Json(json!({
                "id": id, "full_name": full_name, "private": private, "archived": archived, "default_branch": "main",
            }))
            .into_response()
        }
        _ => (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response(),
    }
}

async fn repository_by_number(State(github): State<GitHub>, Path(id): Path<u32>, headers: HeaderMap) -> Response {
    let Some(name) = github.name_of(id) else { return StatusCode::NOT_FOUND.into_response() };
    repository(State(github), Path(name), headers).await
}

async fn serve_git(State(github): State<GitHub>, mut request: Request) -> Response {
    if let Err(refused) = github.admit_to_git(&mut request) {
        return refused;
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query = RawQuery(parts.uri.query().map(str::to_owned));
    git_host::serve(State(github.git), parts.method, parts.uri, query, parts.headers, body).await
}

async fn rate_limit(State(github): State<GitHub>, headers: HeaderMap) -> Response {
    if !has_token(&headers) {
        return bad_credentials();
    }
    let model = github.model();
    let date = chrono::Utc::now() + chrono::TimeDelta::seconds(model.clock_skew);
    let mut response = Json(json!({"resources": {}, "rate": {"limit": 5000, "remaining": 4999}})).into_response();
    let date = ("date", in_http(date));
    for (name, value) in model.token.iter().chain([&date]) {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

fn has_token(headers: &HeaderMap) -> bool {
    headers.get("authorization").and_then(|v| v.to_str().ok()) == Some(&format!("Bearer {TOKEN}"))
}

fn bad_credentials() -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({"message": "Bad credentials"}))).into_response()
}

fn unprocessable(why: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"message": why}))).into_response()
}
