//! A stand-in for an S3 service: one bucket in memory, behind HTTP. It checks the signature of each request as AWS
//! describes it (Signature Version 4) and the hash of each body, and records all requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::trouble::Trouble;

pub mod real;

pub const BUCKET: &str = "trainyard";
pub const ACCESS_KEY: &str = "AKIDTRAINYARD";
pub const SECRET_KEY: &str = "a key that nobody guesses";
/// Minimum size of a part, except the last one, as in S3.
const LEAST_PART: usize = 5 << 20;
/// Number of keys in one response to a list. It is small, so that lists have several pages.
const LISTED: usize = 3;

/// Metadata of an object: the headers `x-amz-meta-*`.
type Meta = Vec<(HeaderName, HeaderValue)>;

#[derive(Debug, Clone)]
pub struct Object {
    pub bytes: Bytes,
    written: DateTime<Utc>,
    meta: Meta,
}

#[derive(Default)]
struct Upload {
    meta: Meta,
    parts: BTreeMap<usize, Bytes>,
}

#[derive(Default)]
struct Model {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    asked: Vec<String>,
    refused: Vec<String>,
    /// Keys of objects that were written over.
    replaced: Vec<String>,
    is_away: bool,
}

/// A running stand-in.
#[derive(Clone)]
pub struct S3 {
    pub endpoint: String,
    pub trouble: Trouble,
    model: Arc<Mutex<Model>>,
}

/// Returns the section of a configuration that keeps objects in the bucket of a server.
pub fn storage_section(endpoint: &str) -> String {
    format!(
        "[storage]\nurl = \"s3://{BUCKET}/some/prefix\"\nendpoint = {endpoint:?}\naccess_key = {ACCESS_KEY:?}\nsecret_key = {SECRET_KEY:?}\n"
    )
}

impl S3 {
    pub async fn start() -> Self {
        Self::with(Trouble::default()).await
    }

    /// Starts with trouble that others share.
    pub async fn with(trouble: Trouble) -> Self {
        Self::at("127.0.0.1", trouble).await
    }

    /// Starts at an address, such as that which containers reach.
    pub async fn at(address: &str, trouble: Trouble) -> Self {
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let model = Arc::<Mutex<Model>>::default();
        let router = Router::new()
            .fallback(answer)
            .layer(middleware::from_fn_with_state(trouble.clone(), spoil))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&model));
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, trouble, model }
    }

    /// Returns the section of a configuration that keeps objects here.
    pub fn configuration(&self) -> String {
        storage_section(&self.endpoint)
    }

    /// Lists the requests, as `METHOD key?query` with the parameters of the query that distinguish them.
    pub fn asked(&self) -> Vec<String> {
        self.model.lock().unwrap().asked.clone()
    }

    /// Lists the requests that S3 would not accept.
    pub fn refused(&self) -> Vec<String> {
        self.model.lock().unwrap().refused.clone()
    }

    /// Returns the section of a configuration with which acme's repositories publish here.
    pub fn publish_section(&self) -> String {
        format!(
            "[[publish.s3]]\nname = \"models\"\nrepos = [\"acme/*\"]\nto = [\"s3://{BUCKET}/models/**\"]\nendpoint = {:?}\n\
             access_key = {ACCESS_KEY:?}\nsecret_key = {SECRET_KEY:?}\n",
            self.endpoint
        )
    }

    /// Returns an object.
    pub fn object(&self, key: &str) -> Option<Object> {
        self.model.lock().unwrap().objects.get(key).cloned()
    }

    /// Writes an object as somebody else.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let object = Object { bytes: bytes.into(), written: Utc::now(), meta: Vec::new() };
        self.model.lock().unwrap().objects.insert(key.to_owned(), object);
    }

    /// Lists the keys of objects that were written over.
    pub fn replaced(&self) -> Vec<String> {
        self.model.lock().unwrap().replaced.clone()
    }

    pub fn keys(&self) -> Vec<String> {
        self.model.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Returns the number of uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.model.lock().unwrap().uploads.len()
    }

    /// Makes every request fail, or work again.
    pub fn is_away(&self, is_away: bool) {
        self.model.lock().unwrap().is_away = is_away;
    }
}

async fn answer(State(model): State<Arc<Mutex<Model>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let mut model = model.lock().unwrap();
    if model.is_away {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Err(why) = check(&parts.method, parts.uri.path(), &query, &parts.headers, &body) {
        model.refused.push(format!("{} {}: {why}", parts.method, parts.uri));
        let words = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{why}</Message></Error>");
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    let path = parts.uri.path().trim_start_matches('/');
    let Some(key) = path.strip_prefix(BUCKET).map(|key| key.trim_start_matches('/').to_owned()) else {
        return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>").into_response();
    };
    let told: Vec<&str> =
        ["uploads", "partNumber", "uploadId", "list-type"].into_iter().filter(|k| query.contains_key(*k)).collect();
    model.asked.push(format!("{} {key}?{}", parts.method, told.join("&")));
    model.serve(&parts.method, key, &query, &parts.headers, body)
}

impl Model {
    fn serve(
        &mut self,
        method: &Method,
        key: String,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response {
        match (method.as_str(), query.get("uploadId"), query.get("partNumber")) {
            ("GET", ..) if query.contains_key("list-type") => self.list(query),
            ("GET" | "HEAD", ..) => self.get(method, &key, headers),
            ("POST", None, _) => {
                let id = format!("upload-{}", self.asked.len());
                self.uploads.insert(id.clone(), Upload { meta: meta_of(headers), ..Upload::default() });
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
                    .into_response()
            }
            ("PUT", Some(id), Some(number)) => {
                let Some(upload) = self.uploads.get_mut(id) else { return StatusCode::NOT_FOUND.into_response() };
                upload.parts.insert(number.parse().unwrap(), body);
                ([("etag", format!("\"part-{number}\""))], "").into_response()
            }
            ("PUT", ..)
                if headers.get("if-none-match").is_some_and(|mark| mark == "*") && self.objects.contains_key(&key) =>
            {
                (StatusCode::PRECONDITION_FAILED, "<Error><Code>PreconditionFailed</Code></Error>").into_response()
            }
            ("PUT", ..) => {
                self.insert(key, body, meta_of(headers));
                ([("etag", "\"whole\"")], "").into_response()
            }
            ("POST", Some(id), _) => {
                let Some(Upload { meta, parts }) = self.uploads.remove(id) else {
                    return StatusCode::NOT_FOUND.into_response();
                };
                let sizes: Vec<usize> = parts.values().map(Bytes::len).collect();
                if sizes[..sizes.len() - 1].iter().any(|size| *size < LEAST_PART) {
                    return (StatusCode::BAD_REQUEST, "<Error><Code>EntityTooSmall</Code></Error>").into_response();
                }
                self.insert(key, parts.into_values().flatten().collect(), meta);
                "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>".into_response()
            }
            ("DELETE", Some(id), _) => {
                self.uploads.remove(id);
                StatusCode::NO_CONTENT.into_response()
            }
            ("DELETE", ..) => {
                self.objects.remove(&key);
                StatusCode::NO_CONTENT.into_response()
            }
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    fn insert(&mut self, key: String, bytes: Bytes, meta: Meta) {
        if self.objects.insert(key.clone(), Object { bytes, written: Utc::now(), meta }).is_some() {
            self.replaced.push(key);
        }
    }

    fn get(&self, method: &Method, key: &str, headers: &HeaderMap) -> Response {
        let Some(Object { bytes, written, meta }) = self.objects.get(key) else {
            return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response();
        };
        let written = written.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut common = HeaderMap::from_iter(meta.iter().cloned());
        common.insert("etag", HeaderValue::from_static("\"whole\""));
        common.insert("last-modified", written.parse().unwrap());
        let range = headers.get("range").map(|range| range.to_str().unwrap().trim_start_matches("bytes=").to_owned());
        let Some((from, to)) = range.as_deref().and_then(|range| range.split_once('-')) else {
            let body = if method == Method::HEAD { Bytes::new() } else { bytes.clone() };
            return (common, [("content-length", bytes.len().to_string())], Body::from(body)).into_response();
        };
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        if from >= bytes.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let to = to.min(bytes.len() - 1);
        let told = [("content-range", format!("bytes {from}-{to}/{}", bytes.len()))];
        (StatusCode::PARTIAL_CONTENT, common, told, bytes.slice(from..=to)).into_response()
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let prefix = query.get("prefix").map(String::as_str).unwrap_or_default();
        let after = query.get("continuation-token").map(String::as_str).unwrap_or_default();
        let found: Vec<_> =
            self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after).collect();
        let mut answer = "<ListBucketResult>".to_owned();
        for (key, Object { bytes, written, .. }) in found.iter().take(LISTED) {
            let (size, written) = (bytes.len(), written.to_rfc3339());
            answer += &format!(
                "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{written}</LastModified></Contents>"
            );
        }
        if found.len() > LISTED {
            answer += &format!("<NextContinuationToken>{}</NextContinuationToken>", found[LISTED - 1].0);
        }
        (answer + "</ListBucketResult>").into_response()
    }
}

fn meta_of(headers: &HeaderMap) -> Meta {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-"));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Makes requests fail or hang.
async fn spoil(State(trouble): State<Trouble>, request: Request, next: Next) -> Response {
    let kind = format!("{} {}", request.method(), request.uri().path().rsplit('/').next().unwrap_or_default());
    trouble.meet(kind, request, next).await
}

/// Checks a request as AWS's "Signature Version 4" requires.
fn check(
    method: &Method,
    path: &str,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(format!("no header {name}"));
    // An address with a signature is good for reads alone, and has what is in headers otherwise.
    let signature = query.get("X-Amz-Signature").filter(|_| method == Method::GET);
    let in_address = |name: &str| query.get(&format!("X-Amz-{name}")).map(String::as_str).ok_or(format!("no {name}"));
    let hash = if signature.is_some() { "UNSIGNED-PAYLOAD" } else { header("x-amz-content-sha256")? };
    if signature.is_none() && hash != hex::encode(Sha256::digest(body)) {
        return Err(format!("the body's hash is not {hash}"));
    }
    let authorization = if signature.is_some() { "" } else { header("authorization")? };
    let field = |name: &str| {
        if signature.is_some() {
            return in_address(name);
        }
        let from = authorization.find(name).ok_or(format!("no {name}"))? + name.len() + 1;
        Ok::<_, String>(authorization[from..].split([',', ' ']).next().unwrap_or_default())
    };
    let (credential, signed) = (field("Credential")?, field("SignedHeaders")?);
    let scope: Vec<&str> = credential.split('/').collect();
    if scope[0] != ACCESS_KEY || scope[3..] != ["s3", "aws4_request"] {
        return Err(format!("the credential is {credential}"));
    }
    let mut canonical = format!("{method}\n{path}\n");
    let escaped = |text: &str| {
        let escape = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect::<String>()
    };
    let signed_query = query.iter().filter(|(key, _)| *key != "X-Amz-Signature");
    let pairs: Vec<String> = signed_query.map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
    canonical += &format!("{}\n", pairs.join("&"));
    for name in signed.split(';') {
        canonical += &format!("{name}:{}\n", header(name)?.trim());
    }
    canonical += &format!("\n{signed}\n{hash}");
    let date = if signature.is_some() { in_address("Date")? } else { header("x-amz-date")? };
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", scope[1..].join("/"), hex::encode(Sha256::digest(&canonical)));
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let start = format!("AWS4{SECRET_KEY}").into_bytes();
    let key = scope[1..].iter().fold(start, |key, part| mac(&key, part));
    if hex::encode(mac(&key, &to_sign)) == field("Signature")? {
        Ok(())
    } else {
        Err("the signature is wrong".to_owned())
    }
}
