//! The part of the stand-in for large files.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::api::{admit, refuse};
use super::{PART, Shared};
use crate::support::files::range_of;

/// Signature in the addresses for uploads, which stand for those of an object storage.
pub(super) const SIGNED: &str = "X-Amz-Signature=0123";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/{owner}/{name}/info/lfs/objects/batch", post(batch))
        .route("/lfs/object/{oid}", put(object))
        .route("/lfs/file/{oid}", get(file))
        .route("/lfs/part/{oid}/{number}", put(part))
        .route("/lfs/complete/{oid}", post(complete))
        .route("/lfs/verify", post(verify))
}

/// Sends a large file. The storage is not the Hub, so no token belongs there.
async fn file(State(desk): State<Shared>, Path(oid): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let mut desk = desk.lock().unwrap();
    if headers.contains_key("authorization") || uri.query() != Some(SIGNED) {
        return refuse(&mut desk, 400, "the storage gets a token, or another address than the Hub has given");
    }
    let mut files = desk.model.repositories.values().flat_map(|repository| &repository.commits);
    let found = files.find_map(|commit| commit.tree.values().find(|blob| blob.sha256() == oid)).cloned();
    let Some(blob) = found else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    let (status, more, bytes) = range_of(&blob.bytes, range);
    (status, [("etag", format!("\"{oid}\""))], more, bytes).into_response()
}

async fn batch(
    State(desk): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let repo = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or_default());
    admit(&mut desk, &headers, Some(&repo))?;
    let is_lfs = |name: &str| headers.get(name).is_some_and(|value| value == "application/vnd.git-lfs+json");
    let transfers = body["transfers"].as_array().cloned().unwrap_or_default();
    if !is_lfs("accept") || !is_lfs("content-type") || body["operation"] != "upload" || body["hash_algo"] != "sha256" {
        return Err(refuse(&mut desk, 422, "this is not a batch of LFS"));
    }
    if !["basic", "multipart"].iter().all(|known| transfers.contains(&json!(known))) {
        return Err(refuse(&mut desk, 422, "no way to transfer"));
    }
    let endpoint = desk.model.endpoint.clone();
    let mut objects = Vec::new();
    for object in body["objects"].as_array().cloned().unwrap_or_default() {
        let oid = object["oid"].as_str().unwrap_or_default().to_owned();
        let Some(size) = object["size"].as_u64().filter(|size| *size > 0 && oid.len() == 64) else {
            return Err(refuse(&mut desk, 422, "an object has no id or no size"));
        };
        if desk.model.verified.contains(&oid) {
            objects.push(json!({"oid": oid, "size": size}));
            continue;
        }
        let count = (size as usize).div_ceil(PART);
        let upload = match count {
            1 => json!({"href": format!("{endpoint}/lfs/object/{oid}?{SIGNED}&size={size}")}),
            _ => {
                let address = |number| format!("{endpoint}/lfs/part/{oid}/{number}?{SIGNED}");
                let mut header: Map<String, Value> =
                    (1..=count).map(|number| (format!("{number:05}"), json!(address(number)))).collect();
                header.insert("chunk_size".to_owned(), json!(PART.to_string()));
                json!({"href": format!("{endpoint}/lfs/complete/{oid}"), "header": header})
            }
        };
        let verify = json!({"href": format!("{endpoint}/lfs/verify")});
        objects.push(json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}));
    }
    Ok(Json(json!({"transfer": "basic", "objects": objects})).into_response())
}

/// Checks an upload as an object storage does: it wants the length, and knows no token.
fn check_upload(desk: &mut super::Desk, headers: &HeaderMap, length: usize) -> Result<(), Response> {
    let said = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if headers.contains_key("transfer-encoding") || said != Some(length) {
        return Err(refuse(desk, 411, "an upload of unknown length"));
    }
    if headers.contains_key("authorization") {
        return Err(refuse(desk, 400, "the token was sent to the object storage"));
    }
    Ok(())
}

async fn object(
    State(desk): State<Shared>,
    Path(oid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    check_upload(&mut desk, &headers, body.len())?;
    store(&mut desk, oid, body)?;
    Ok(StatusCode::OK.into_response())
}

fn store(desk: &mut super::Desk, oid: String, body: Bytes) -> Result<(), Response> {
    if hex::encode(Sha256::digest(&body)) != oid {
        return Err(refuse(desk, 400, "the bytes are not those of the id"));
    }
    desk.model.stored.insert(oid, body);
    Ok(())
}

async fn part(
    State(desk): State<Shared>,
    Path((oid, number)): Path<(String, usize)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    check_upload(&mut desk, &headers, body.len())?;
    if body.len() > PART {
        return Err(refuse(&mut desk, 400, "a part is too large"));
    }
    let etag = hex::encode(&Sha256::digest(&body)[..16]);
    desk.model.parts.insert((oid, number), body);
    Ok((StatusCode::OK, [("etag", format!("\"{etag}\""))]).into_response())
}

async fn complete(
    State(desk): State<Shared>,
    Path(oid): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    let mut whole = Vec::new();
    for (place, said) in body["parts"].as_array().into_iter().flatten().enumerate() {
        let number = place + 1;
        let Some(part) = desk.model.parts.get(&(oid.clone(), number)).cloned() else {
            return Err(refuse(&mut desk, 400, "a part is missing"));
        };
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&part)[..16]));
        if said["partNumber"] != number || said["etag"] != etag.as_str() || body["oid"] != oid.as_str() {
            return Err(refuse(&mut desk, 400, "the list of parts is wrong"));
        }
        whole.extend_from_slice(&part);
    }
    store(&mut desk, oid, whole.into())?;
    Ok(Json(json!({})).into_response())
}

async fn verify(State(desk): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Result<Response, Response> {
    let mut desk = desk.lock().unwrap();
    admit(&mut desk, &headers, None)?;
    let oid = body["oid"].as_str().unwrap_or_default().to_owned();
    let stored = desk.model.stored.get(&oid).map(|bytes| bytes.len() as u64);
    if stored.is_none() || stored != body["size"].as_u64() {
        return Err(refuse(&mut desk, 404, "there is no such object of this size"));
    }
    desk.model.verified.insert(oid);
    Ok(Json(json!({})).into_response())
}
