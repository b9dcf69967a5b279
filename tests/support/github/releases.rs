//! The releases of the stand-in, with their files.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{GitHub, refusal};
use crate::support::trouble::Trouble;

/// Maximum length of notes, in characters.
const MOST_NOTES: usize = 125_000;

/// A release.
#[derive(Debug, Clone)]
pub struct Release {
    pub id: i64,
    pub repo: String,
    pub tag: String,
    pub target: String,
    pub name: String,
    pub notes: String,
    pub draft: bool,
    pub assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Debug, Clone)]
pub struct Asset {
    pub id: i64,
    pub name: String,
    pub bytes: Bytes,
    /// Hash of the bytes. It is made once: a list of many releases must not take seconds.
    sha256: String,
    /// False if the upload broke off.
    pub is_whole: bool,
}

impl Asset {
    /// Makes a file with these bytes; `None` for an upload that broke off.
    fn new(id: i64, name: &str, bytes: Option<Bytes>) -> Self {
        let (is_whole, bytes) = (bytes.is_some(), bytes.unwrap_or_default());
        Self { id, name: name.to_owned(), sha256: hex::encode(Sha256::digest(&bytes)), bytes, is_whole }
    }
}

#[derive(Debug, Default)]
struct Model {
    releases: Vec<Release>,
    count: i64,
    requests: Vec<(String, String, Value)>,
    /// Requests that no correct client sends.
    wrong: Vec<String>,
    /// True if answers have no `digest`, as on older servers.
    is_old: bool,
}

/// The releases, and the trouble with requests for them.
#[derive(Debug, Clone, Default)]
pub struct Releases {
    model: Arc<Mutex<Model>>,
    pub trouble: Trouble,
}

impl Releases {
    pub(super) fn with(trouble: Trouble) -> Self {
        Self { trouble, ..Self::default() }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Lists the releases, the newest last.
    pub fn all(&self) -> Vec<Release> {
        self.model().releases.clone()
    }

    /// Makes a release as a person would.
    pub fn make(&self, repo: &str, tag: &str) {
        let mut model = self.model();
        let (repo, tag) = (repo.to_owned(), tag.to_owned());
        model.add(Release {
            id: 0,
            repo,
            tag,
            target: String::new(),
            name: String::new(),
            notes: "By hand".to_owned(),
            draft: false,
            assets: Vec::new(),
        });
    }

    /// Adds a file to every draft, as an upload that broke off leaves it.
    pub fn leave_broken_upload(&self, name: &str) {
        let mut model = self.model();
        let id = model.next();
        let asset = Asset::new(id, name, None);
        model
            .releases
            .iter_mut()
            .filter(|release| release.draft)
            .for_each(|release| release.assets.push(asset.clone()));
    }

    /// Copies each draft, as two processes that make one at the same time would.
    pub fn double_drafts(&self) {
        let mut model = self.model();
        let drafts: Vec<Release> = model.releases.iter().filter(|release| release.draft).cloned().collect();
        drafts.into_iter().for_each(|draft| model.add(Release { assets: Vec::new(), ..draft }));
    }

    /// Leaves digests out of the answers.
    pub fn be_old(&self) {
        self.model().is_old = true;
    }

    pub fn requests(&self) -> Vec<(String, String, Value)> {
        self.model().requests.clone()
    }

    /// Lists what no correct client asks for.
    pub fn wrong(&self) -> Vec<String> {
        self.model().wrong.clone()
    }
}

impl Model {
    fn next(&mut self) -> i64 {
        self.count += 1;
        self.count
    }

    fn add(&mut self, release: Release) {
        let id = self.next();
        self.releases.push(Release { id, ..release });
    }

    /// Returns true if another visible release has the tag.
    fn is_taken(&self, repo: &str, tag: &str, id: i64) -> bool {
        self.releases.iter().any(|other| other.repo == repo && other.tag == tag && !other.draft && other.id != id)
    }

    fn shown(&self, release: &Release) -> Value {
        let assets: Vec<Value> = release.assets.iter().map(|asset| self.shown_asset(asset)).collect();
        json!({
            "id": release.id, "tag_name": release.tag, "target_commitish": release.target, "name": release.name,
            "body": release.notes, "draft": release.draft, "prerelease": false, "assets": assets,
            "html_url": format!("https://github.example/{}/releases/tag/{}", release.repo, release.tag),
        })
    }

    fn shown_asset(&self, asset: &Asset) -> Value {
        let state = if asset.is_whole { "uploaded" } else { "starter" };
        let digest = format!("sha256:{}", asset.sha256);
        let digest = (asset.is_whole && !self.is_old).then_some(digest);
        json!({"id": asset.id, "name": asset.name, "state": state, "size": asset.bytes.len(), "digest": digest})
    }

    fn refuse(&mut self, status: u16, why: &str) -> Response {
        self.wrong.push(format!("{status} {why}"));
        refusal(status, why)
    }
}

/// Returns the part of the API that is for releases.
pub(super) fn routes(releases: &Releases) -> Router<GitHub> {
    Router::new()
        .route("/api/v3/repos/{owner}/{repo}/releases", get(list).post(create))
        .route("/api/v3/repos/{owner}/{repo}/releases/{id}", patch(update).delete(remove))
        .route("/api/v3/repos/{owner}/{repo}/releases/assets/{id}", delete(remove_asset))
        .route("/api/uploads/repos/{owner}/{repo}/releases/{id}/assets", post(upload))
        .route_layer(middleware::from_fn_with_state(releases.trouble.clone(), spoil))
}

async fn spoil(State(trouble): State<Trouble>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_upload = path.starts_with("/api/uploads/");
    let thing = if is_upload || path.contains("/releases/assets/") { "asset" } else { "release" };
    let kind = format!("{} {thing}", request.method());
    trouble.meet(kind, request, next).await
}

/// Records a request, and checks its token.
fn admit(github: &GitHub, headers: &HeaderMap, repo: &str, request: (&str, String, Value)) -> Result<(), Response> {
    let (method, path, body) = request;
    github.releases.model().requests.push((method.to_owned(), path, body));
    github.check(headers, repo, ("contents", "write"))
}

type Target = Path<(String, String)>;
type Numbered = Path<(String, String, i64)>;

#[derive(Deserialize)]
struct Page {
    per_page: usize,
    page: usize,
}

async fn list(
    State(github): State<GitHub>,
    Path((owner, repo)): Target,
    Query(Page { per_page, page }): Query<Page>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("GET", format!("/repos/{repo}/releases"), Value::Null))?;
    let model = github.releases.model();
    let of_repo = model.releases.iter().rev().filter(|release| release.repo == repo);
    let some: Vec<Value> =
        of_repo.skip(per_page * (page - 1)).take(per_page).map(|release| model.shown(release)).collect();
    Ok(Json(some).into_response())
}

fn text(body: &Value, key: &str) -> String {
    body[key].as_str().unwrap_or_default().to_owned()
}

fn is_taken() -> Response {
    let error = json!({"resource": "Release", "code": "already_exists", "field": "tag_name"});
    let body = Json(json!({"message": "Validation Failed", "errors": [error]}));
    (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
}

async fn create(
    State(github): State<GitHub>,
    Path((owner, repo)): Target,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("POST", format!("/repos/{repo}/releases"), body.clone()))?;
    let mut model = github.releases.model();
    let release = Release {
        id: 0,
        repo,
        tag: text(&body, "tag_name"),
        target: text(&body, "target_commitish"),
        name: text(&body, "name"),
        notes: text(&body, "body"),
        draft: body["draft"] == true,
        assets: Vec::new(),
    };
    if release.tag.is_empty() || release.notes.chars().count() > MOST_NOTES {
        return Err(model.refuse(422, "no tag, or notes that are too long"));
    }
    if !release.draft {
        return Err(model.refuse(422, "everyone would see a release without its files"));
    }
    model.add(release);
    let shown = model.shown(model.releases.last().unwrap());
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn update(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("PATCH", format!("/repos/{repo}/releases/{id}"), body.clone()))?;
    let mut model = github.releases.model();
    let place = model.releases.iter().position(|release| release.repo == repo && release.id == id);
    let Some(place) = place else { return Err(refusal(404, "Not Found")) };
    let tag = text(&body, "tag_name");
    if body["draft"] == false && model.is_taken(&repo, &tag, id) {
        return Err(is_taken());
    }
    if model.releases[place].assets.iter().any(|asset| !asset.is_whole) {
        return Err(model.refuse(422, "a file is not whole"));
    }
    let release = &mut model.releases[place];
    (release.tag, release.name, release.notes) = (tag, text(&body, "name"), text(&body, "body"));
    release.draft = body["draft"] != false;
    let release = release.clone();
    Ok(Json(model.shown(&release)).into_response())
}

async fn remove(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("DELETE", format!("/repos/{repo}/releases/{id}"), Value::Null))?;
    let mut model = github.releases.model();
    let place = model.releases.iter().position(|release| release.repo == repo && release.id == id);
    let Some(place) = place else { return Err(refusal(404, "Not Found")) };
    if !model.releases[place].draft {
        return Err(model.refuse(403, "everyone sees this release"));
    }
    model.releases.remove(place);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_asset(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("DELETE", format!("/repos/{repo}/releases/assets/{id}"), Value::Null))?;
    let mut model = github.releases.model();
    let of = model.releases.iter().position(|release| release.assets.iter().any(|asset| asset.id == id));
    let Some(of) = of else { return Err(refusal(404, "Not Found")) };
    if !model.releases[of].draft {
        return Err(model.refuse(403, "everyone sees this file"));
    }
    model.releases[of].assets.retain(|asset| asset.id != id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn upload(
    State(github): State<GitHub>,
    Path((owner, repo, id)): Numbered,
    Query(Named { name }): Query<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let repo = format!("{owner}/{repo}");
    admit(&github, &headers, &repo, ("POST", format!("/repos/{repo}/releases/{id}/assets"), Value::Null))?;
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let bytes = axum::body::to_bytes(body, usize::MAX).await.ok();
    let mut model = github.releases.model();
    if length.is_none_or(|length| length == 0) || bytes.as_ref().is_some_and(|bytes| Some(bytes.len()) != length) {
        return Err(model.refuse(400, "Bad Content-Length"));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(is_plain) {
        return Err(model.refuse(422, "a name that GitHub would change"));
    }
    let place = model.releases.iter().position(|release| release.repo == repo && release.id == id);
    let Some(place) = place else { return Err(refusal(404, "Not Found")) };
    if !model.releases[place].draft {
        return Err(model.refuse(422, "a file for a release that everyone sees"));
    }
    if model.releases[place].assets.iter().any(|asset| asset.name == name) {
        return Err(is_taken());
    }
    let id = model.next();
    let asset = Asset::new(id, &name, bytes);
    model.releases[place].assets.push(asset.clone());
    Ok((StatusCode::CREATED, Json(model.shown_asset(&asset))).into_response())
}
