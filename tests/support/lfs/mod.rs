//! A host of git repositories with large files: real git over HTTP, a stand-in for its server of Git LFS, and a storage at
//! another address. Both check what they are sent: the token goes to the host alone, and the storage's signature to the
//! storage alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::files::range_of;
use super::git_host::{self, GitHost, Repo};

/// Token that reads the repositories, unless they are public.
pub const TOKEN: &str = "glpat-0123456789abcdef";
/// Header with the signature for the storage.
const SIGNATURE: &str = "x-lfs-signature";

/// The way to the bytes of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// The storage, with a header for it.
    #[default]
    Storage,
    /// The storage, which redirects to the host.
    Redirect,
    /// The host itself, which wants the token again.
    Host,
}

#[derive(Default)]
struct Desk {
    host: Option<SocketAddr>,
    storage: Option<SocketAddr>,
    way: Way,
    objects: BTreeMap<String, Bytes>,
    /// Number of the signature that the storage knows.
    signature: usize,
    /// Number of reads after which the signature changes.
    ends_after: Option<usize>,
    refusals: Vec<(u16, &'static str)>,
    /// Number of objects of each batch.
    batches: Vec<usize>,
    /// Numbers of requests: of all for the host, and of those for objects.
    requests: usize,
    reads: usize,
    /// Reasons for refusals that a correct client never sees.
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Desk>>;

/// A running host.
pub struct LfsServer {
    pub address: SocketAddr,
    pub git: GitHost,
    root: TempDir,
    desk: Shared,
    _serving: JoinSet<()>,
}

impl LfsServer {
    pub async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (git, desk) = (GitHost::new(root.path(), Some(TOKEN)), Shared::default());
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = host.local_addr().unwrap();
        {
            let mut desk = desk.lock().unwrap();
            (desk.host, desk.storage) = (Some(address), Some(storage.local_addr().unwrap()));
        }
        let of_git: Router = Router::new().fallback(git_host::serve).with_state(git.clone());
        let of_host: Router = Router::new()
            .route("/{owner}/{name}/info/lfs/objects/batch", post(batch))
            .route("/own/{oid}", get(own))
            .route("/moved/{oid}", get(moved))
            .fallback_service(of_git)
            .layer(middleware::from_fn_with_state(Arc::clone(&desk), count))
            .with_state(Arc::clone(&desk));
        let of_storage: Router = Router::new().route("/objects/{oid}", get(object)).with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(host, of_host).await.unwrap() });
        serving.spawn(async move { axum::serve(storage, of_storage).await.unwrap() });
        Self { address, git, root, desk, _serving: serving }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// Makes an empty repository.
    pub fn repo(&self, name: &str) -> Repo {
        Repo::new(self.root.path(), name)
    }

    /// Returns the address of a repository, for a training.
    pub fn source(&self, name: &str) -> String {
        format!("git+http://{}/{name}.git", self.address)
    }

    /// Returns the section of a configuration with which acme's trainings read the repositories of an owner here.
    pub fn section(&self, owner: &str, token: &str) -> String {
        format!(
            "[inputs]\nallow = [\"127.0.0.1\"]\n[[inputs.git]]\nname = \"data\"\nrepos = [\"acme/*\"]\n\
             from = [\"{}/{owner}/*\"]\ntoken = \"{token}\"\n",
            self.address
        )
    }

    /// Writes the pointer of a large file for the next commit. The server has the file.
    pub fn write(&self, repo: &Repo, path: &str, bytes: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(bytes));
        repo.write(path, &pointer(&sha256, bytes.len()));
        self.desk().objects.insert(sha256, Bytes::copy_from_slice(bytes));
    }

    /// Loses an object.
    pub fn lose(&self, bytes: &[u8]) {
        self.desk().objects.remove(&hex::encode(Sha256::digest(bytes)));
    }

    /// Puts other bytes in the place of an object.
    pub fn spoil(&self, bytes: &[u8], others: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(bytes));
        self.desk().objects.insert(sha256, Bytes::copy_from_slice(others));
    }

    pub fn sends_by(&self, way: Way) {
        self.desk().way = way;
    }

    /// Lets the signatures that are given until then end after some reads.
    pub fn end_signatures_after(&self, reads: usize) {
        self.desk().ends_after = Some(reads);
    }

    /// Answers the next batches with a status and a message, and no more with earlier ones.
    pub fn refuse(&self, refusals: &[(u16, &'static str)]) {
        self.desk().refusals = refusals.to_vec();
    }

    /// Returns the sizes of the batches so far, and forgets them.
    pub fn take_batches(&self) -> Vec<usize> {
        std::mem::take(&mut self.desk().batches)
    }

    /// Returns the number of requests to the host, and of reads of objects, and forgets them.
    pub fn take_requests(&self) -> (usize, usize) {
        let mut desk = self.desk();
        (std::mem::take(&mut desk.requests), std::mem::take(&mut desk.reads))
    }

    /// Lists what no correct client asks for.
    pub fn wrong(&self) -> Vec<String> {
        self.desk().wrong.clone()
    }
}

/// Returns the pointer of a large file.
pub fn pointer(sha256: &str, size: usize) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn has_token(headers: &HeaderMap) -> bool {
    text(headers, "authorization") == format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")))
}

fn wrong(desk: &mut Desk, status: u16, why: &str) -> Response {
    desk.wrong.push(why.to_owned());
    (StatusCode::from_u16(status).unwrap(), why.to_owned()).into_response()
}

async fn count(State(desk): State<Shared>, request: Request, next: Next) -> Response {
    desk.lock().unwrap().requests += 1;
    next.run(request).await
}

async fn batch(
    State(desk): State<Shared>,
    Path((_owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut desk = desk.lock().unwrap();
    if !desk.refusals.is_empty() {
        let (status, message) = desk.refusals.remove(0);
        return (StatusCode::from_u16(status).unwrap(), Json(json!({"message": message}))).into_response();
    }
    if !has_token(&headers) {
        return wrong(&mut desk, 401, "a batch without the token");
    }
    let is_lfs = |name: &str| text(&headers, name) == "application/vnd.git-lfs+json";
    let objects = body["objects"].as_array().cloned().unwrap_or_default();
    let is_right = name.ends_with(".git")
        && is_lfs("accept")
        && is_lfs("content-type")
        && body["operation"] == "download"
        && body["hash_algo"] == "sha256"
        && body["transfers"].as_array().is_some_and(|known| known.contains(&json!("basic")))
        && (1..=100).contains(&objects.len());
    if !is_right {
        return wrong(&mut desk, 422, "this is no batch of downloads");
    }
    desk.batches.push(objects.len());
    let answers: Vec<Value> = objects.iter().map(|object| answer(&desk, object)).collect();
    Json(json!({"transfer": "basic", "objects": answers})).into_response()
}

fn answer(desk: &Desk, object: &Value) -> Value {
    let (oid, size) = (object["oid"].as_str().unwrap_or_default(), &object["size"]);
    if !desk.objects.contains_key(oid) {
        return json!({"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}});
    }
    let (host, storage, signature) = (desk.host.unwrap(), desk.storage.unwrap(), desk.signature);
    let download = match desk.way {
        Way::Host => json!({"href": format!("http://{host}/own/{oid}")}),
        Way::Storage | Way::Redirect => json!({
            "href": format!("http://{storage}/objects/{oid}?signature={signature}"),
            "header": {"X-Lfs-Signature": signature.to_string(), "Range": "bytes=0-0", "Host": "elsewhere.example"},
            "expires_in": 3600,
        }),
    };
    let mut answer = json!({"oid": oid, "size": size, "actions": {"download": download}});
    if desk.way != Way::Host {
        answer["authenticated"] = json!(true);
    }
    answer
}

/// Sends an object as a storage does.
async fn object(State(desk): State<Shared>, Path(oid): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let mut desk = desk.lock().unwrap();
    let signed = uri.query().unwrap_or_default().trim_start_matches("signature=").to_owned();
    if headers.contains_key("authorization") {
        return wrong(&mut desk, 400, "the storage gets a token");
    }
    if text(&headers, SIGNATURE) != signed || text(&headers, "host") != desk.storage.unwrap().to_string() {
        return wrong(&mut desk, 400, "the storage gets other headers than the host has given");
    }
    if signed != desk.signature.to_string() {
        return (StatusCode::FORBIDDEN, "the signature has ended").into_response();
    }
    if desk.way == Way::Redirect {
        let address = format!("http://{}/moved/{oid}", desk.host.unwrap());
        return (StatusCode::FOUND, [("location", address)]).into_response();
    }
    send(&mut desk, &oid, &headers)
}

/// Sends an object after a redirect of the storage.
async fn moved(State(desk): State<Shared>, Path(oid): Path<String>, headers: HeaderMap) -> Response {
    let mut desk = desk.lock().unwrap();
    if headers.contains_key("authorization") || headers.contains_key(SIGNATURE) {
        return wrong(&mut desk, 400, "a redirect takes the headers for the storage along");
    }
    send(&mut desk, &oid, &headers)
}

/// Sends an object to those who have the token.
async fn own(State(desk): State<Shared>, Path(oid): Path<String>, headers: HeaderMap) -> Response {
    let mut desk = desk.lock().unwrap();
    if !has_token(&headers) {
        return wrong(&mut desk, 401, "an object without the token");
    }
    send(&mut desk, &oid, &headers)
}

fn send(desk: &mut Desk, oid: &str, headers: &HeaderMap) -> Response {
    let Some(bytes) = desk.objects.get(oid).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    desk.reads += 1;
    if desk.ends_after == Some(desk.reads) {
        desk.signature += 1;
    }
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    let (status, more, bytes) = range_of(&bytes, range);
    (status, [("etag", format!("\"{oid}\""))], more, bytes).into_response()
}
