//! The part of the stand-in for repositories.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::lfs::SIGNED;
use super::model::{Blob, Commit};
use super::{Desk, OWNER, Shared, TOKEN};
use crate::support::files::range_of;

/// Number of commits that a repository takes within an hour.
const MOST_COMMITS: usize = 128;
/// Size above which a file is a large one, whatever its name.
const LARGE: u64 = 10 << 20;
/// Number of entries of a page of a tree. It is small, so that trees have several pages.
const PAGE: usize = 3;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/validate-yaml", post(async || Json(json!({"errors": [], "warnings": []}))))
        .route("/api/repos/create", post(create))
        .route("/api/models/{owner}/{name}", get(state_of_main))
        .route("/api/models/{owner}/{name}/revision/{revision}", get(state))
        .route("/api/models/{owner}/{name}/tree/{revision}", get(tree))
        .route("/api/models/{owner}/{name}/commits/{revision}", get(commits))
        .route("/api/models/{owner}/{name}/preupload/{revision}", post(preupload))
        .route("/api/models/{owner}/{name}/commit/{revision}", post(commit))
        .route("/api/models/{owner}/{name}/tag/{revision}", post(tag))
        .route("/{owner}/{name}/resolve/{revision}/{*path}", get(resolve))
        .route("/api/datasets/{owner}/{name}/revision/{revision}", get(state_of_dataset))
        .route("/api/datasets/{owner}/{name}/tree/{revision}", get(tree_of_dataset))
        .route("/datasets/{owner}/{name}/resolve/{revision}/{*path}", get(resolve_of_dataset))
}

/// Returns a refusal, and notes the ones that no correct client sees.
pub(super) fn refuse(desk: &mut Desk, status: u16, why: &str) -> Response {
    desk.wrong.push(format!("{status} {why}"));
    answer(status, why)
}

fn answer(status: u16, why: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("x-error-message", why.to_owned())], Json(json!({"error": why}))).into_response()
}

fn missing() -> Response {
    let mut answer = answer(404, "Repository not found");
    answer.headers_mut().insert("x-error-code", "RepoNotFound".parse().unwrap());
    answer
}

/// Checks the token, and that the repository exists.
pub(super) fn admit(desk: &mut Desk, headers: &HeaderMap, repo: Option<&str>) -> Result<(), Response> {
    let said = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said != format!("Bearer {TOKEN}") {
        // The token comes back, as it does from careless proxies.
        return Err(answer(401, &format!("Invalid credentials in Authorization header {said}")));
    }
    match repo {
        Some(repo) if !desk.model.repositories.contains_key(repo) => Err(missing()),
        _ => Ok(()),
    }
}

async fn create(State(desk): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    admit(&mut desk, &headers, None)?;
    if body["organization"] != OWNER {
        return Err(answer(403, "You don't have the rights to create a model under this namespace"));
    }
    let (Some(name), Some(visibility)) = (body["name"].as_str(), body["visibility"].as_str()) else {
        return Err(refuse(&mut desk, 400, "no name or no visibility"));
    };
    let repo = format!("{OWNER}/{name}");
    if desk.model.repositories.contains_key(&repo) {
        return Err(answer(409, "You already created this model repo"));
    }
    desk.model.make(&repo, visibility == "private");
    Ok(Json(json!({"url": format!("{}/{repo}", desk.model.endpoint)})).into_response())
}

type At = Path<(String, String, String)>;

/// Runs `read` on a commit of a repository.
fn with_commit(
    desk: &Shared,
    headers: &HeaderMap,
    Path((owner, name, revision)): At,
    read: impl FnOnce(&str, &super::Repository, &Commit) -> Response,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let repo = format!("{owner}/{name}");
    admit(&mut desk, headers, Some(&repo))?;
    let repository = &desk.model.repositories[&repo];
    let Some(commit) = repository.at(&revision) else { return Err(answer(404, "Invalid rev id")) };
    Ok(read(&repo, repository, commit))
}

async fn state_of_main(
    desk: State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    state(desk, Path((owner, name, "main".to_owned())), headers).await
}

async fn state(State(desk): State<Shared>, at: At, headers: HeaderMap) -> Result<Response, Response> {
    with_commit(&desk, &headers, at, |repo, repository, commit| {
        let siblings: Vec<Value> = commit.tree.keys().map(|path| json!({"rfilename": path})).collect();
        let state = json!({
            "_id": "0", "id": repo, "modelId": repo, "sha": commit.id, "private": repository.private, "gated": false,
            "disabled": false, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
        });
        Json(state).into_response()
    })
}

#[derive(serde::Deserialize)]
struct Page {
    cursor: Option<usize>,
}

/// Returns the place of a repository of data among the others.
fn dataset(Path((owner, name, revision)): At) -> At {
    Path((format!("datasets/{owner}"), name, revision))
}

async fn state_of_dataset(desk: State<Shared>, at: At, headers: HeaderMap) -> Result<Response, Response> {
    state(desk, dataset(at), headers).await
}

async fn tree_of_dataset(
    desk: State<Shared>,
    at: At,
    page: axum::extract::Query<Page>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Result<Response, Response> {
    tree(desk, dataset(at), page, uri, headers).await
}

async fn resolve_of_dataset(
    desk: State<Shared>,
    Path((owner, name, revision, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    resolve(desk, Path((format!("datasets/{owner}"), name, revision, path)), headers).await
}

async fn tree(
    State(desk): State<Shared>,
    at: At,
    axum::extract::Query(Page { cursor }): axum::extract::Query<Page>,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let endpoint = desk.lock().unwrap().model.endpoint.clone();
    with_commit(&desk, &headers, at, |_, _, commit| {
        let first = cursor.unwrap_or(0);
        let entries = commit.tree.iter().skip(first).take(PAGE).map(|(path, blob)| {
            let mut entry = json!({"type": "file", "path": path, "oid": blob.oid(), "size": blob.bytes.len()});
            if blob.is_lfs {
                entry["lfs"] =
                    json!({"oid": blob.sha256(), "size": blob.bytes.len(), "pointerSize": blob.pointer().len()});
            }
            entry
        });
        let mut answer = Json(entries.collect::<Vec<_>>()).into_response();
        if commit.tree.len() > first + PAGE {
            let next = format!("<{endpoint}{}?cursor={}>; rel=\"next\"", uri.path(), first + PAGE);
            answer.headers_mut().insert("link", next.parse().unwrap());
        }
        answer
    })
}

async fn commits(State(desk): State<Shared>, at: At, headers: HeaderMap) -> Result<Response, Response> {
    with_commit(&desk, &headers, at, |_, repository, _| {
        let listed = repository.commits.iter().rev().map(|commit| {
            let Commit { id, title, message, .. } = commit;
            json!({"id": id, "title": title, "message": message, "authors": [], "date": "2026-01-01T00:00:00.000Z"})
        });
        Json(listed.collect::<Vec<_>>()).into_response()
    })
}

async fn preupload(
    State(desk): State<Shared>,
    Path((owner, name, _)): At,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let repo = format!("{owner}/{name}");
    admit(&mut desk, &headers, Some(&repo))?;
    let files = body["files"].as_array().cloned().unwrap_or_default();
    let mut modes = Vec::new();
    for file in &files {
        let (Some(path), Some(size)) = (file["path"].as_str(), file["size"].as_u64()) else {
            return Err(refuse(&mut desk, 400, "a file has no path or no size"));
        };
        let sample = BASE64_STANDARD.decode(file["sample"].as_str().unwrap_or_default()).unwrap_or_default();
        if sample.len() as u64 != size.min(512) {
            return Err(refuse(&mut desk, 400, "the sample is not the first 512 bytes"));
        }
        let is_large = path.ends_with(".safetensors") || size > LARGE;
        let known = desk.model.repositories[&repo].last().tree.get(path).map(Blob::oid);
        let mode = if is_large { "lfs" } else { "regular" };
        modes.push(json!({"path": path, "uploadMode": mode, "shouldIgnore": false, "oid": known}));
    }
    if files.is_empty() || files.len() > 256 {
        return Err(refuse(&mut desk, 400, "from 1 to 256 files"));
    }
    Ok(Json(json!({"files": modes})).into_response())
}

async fn commit(
    State(desk): State<Shared>,
    Path((owner, name, revision)): At,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let repo = format!("{owner}/{name}");
    admit(&mut desk, &headers, Some(&repo))?;
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-ndjson") || revision != "main" {
        return Err(refuse(&mut desk, 400, "a commit is of lines of JSON, on main"));
    }
    let lines: Result<Vec<Value>, _> =
        body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect();
    let lines = lines.unwrap_or_default();
    let Some((header, operations)) = lines.split_first().filter(|(header, _)| header["key"] == "header") else {
        return Err(refuse(&mut desk, 400, "the first line is no header"));
    };
    let header = &header["value"];
    let summary = header["summary"].as_str().unwrap_or_default().to_owned();
    let mut tree = desk.model.repositories[&repo].last().tree.clone();
    if summary.is_empty() || operations.is_empty() {
        return Err(refuse(&mut desk, 400, "an empty commit, or one without a summary"));
    }
    for operation in operations {
        let (key, value) = (operation["key"].as_str().unwrap_or_default(), &operation["value"]);
        let path = value["path"].as_str().unwrap_or_default();
        match key {
            "file" if value["encoding"] == "base64" && !path.is_empty() => {
                let Ok(bytes) = BASE64_STANDARD.decode(value["content"].as_str().unwrap_or("?")) else {
                    return Err(refuse(&mut desk, 400, "a file is not in base64"));
                };
                tree.insert(path.to_owned(), Blob::regular(bytes));
            }
            "lfsFile" if value["algo"] == "sha256" && !path.is_empty() => {
                let oid = value["oid"].as_str().unwrap_or_default();
                let bytes = desk.model.stored.get(oid).cloned();
                let is_whole = bytes.as_ref().is_some_and(|bytes| value["size"] == bytes.len());
                let Some(bytes) = bytes.filter(|_| is_whole && desk.model.verified.contains(oid)) else {
                    return Err(refuse(&mut desk, 400, "the pointer is to a file that does not exist"));
                };
                tree.insert(path.to_owned(), Blob { bytes, is_lfs: true });
            }
            _ => return Err(refuse(&mut desk, 400, "an operation that is not known")),
        }
    }
    let parent = header["parentCommit"].as_str().map(str::to_owned);
    let repository = desk.model.repositories.get_mut(&repo).unwrap();
    if parent.is_some_and(|parent| parent != repository.last().id) {
        return Err(answer(412, "A commit has happened since. Please refresh and try again."));
    }
    if repository.commits.len() > MOST_COMMITS {
        let mut limited = answer(429, "You have exceeded the limit of commits; retry in 43 minutes");
        limited.headers_mut().insert("retry-after", "2580".parse().unwrap());
        return Err(limited);
    }
    let id = repository.add(&summary, header["description"].as_str().unwrap_or_default(), tree);
    let url = format!("{}/{repo}/commit/{id}", desk.model.endpoint);
    Ok(Json(json!({"success": true, "commitOid": id, "commitUrl": url, "hookOutput": ""})).into_response())
}

async fn tag(
    State(desk): State<Shared>,
    Path((owner, name, revision)): At,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let repo = format!("{owner}/{name}");
    admit(&mut desk, &headers, Some(&repo))?;
    let repository = desk.model.repositories.get_mut(&repo).unwrap();
    let Some(id) = repository.at(&revision).map(|commit| commit.id.clone()) else {
        return Err(answer(404, "Invalid rev id"));
    };
    let Some(tag) = body["tag"].as_str().filter(|tag| !tag.is_empty()) else {
        return Err(refuse(&mut desk, 400, "a tag without a name"));
    };
    if repository.tags.contains_key(tag) {
        return Err(answer(409, "Tag reference exists already"));
    }
    repository.tags.insert(tag.to_owned(), id);
    Ok(StatusCode::OK.into_response())
}

async fn resolve(
    State(desk): State<Shared>,
    Path((owner, name, revision, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let endpoint = desk.lock().unwrap().model.endpoint.clone();
    with_commit(&desk, &headers, Path((owner, name, revision)), |_, _, commit| {
        let Some(blob) = commit.tree.get(&path) else { return answer(404, "Entry not found") };
        let etag = if blob.is_lfs { blob.sha256() } else { blob.oid() };
        let (is_ranged, commit) = (headers.contains_key("range"), commit.id.clone());
        if blob.is_lfs && is_ranged {
            // As on the Hub, the bytes are on another server.
            let address = endpoint.replace("127.0.0.1", "localhost");
            let address = format!("{address}/lfs/file/{}?{SIGNED}", blob.sha256());
            let headers = [("location", address), ("x-linked-etag", format!("\"{etag}\"")), ("x-repo-commit", commit)];
            return (StatusCode::FOUND, headers).into_response();
        }
        let range = headers.get("range").and_then(|range| range.to_str().ok());
        let (status, more, bytes) = range_of(&blob.bytes, range);
        (status, [("etag", format!("\"{etag}\"")), ("x-repo-commit", commit)], more, bytes).into_response()
    })
}
