//! A web server with one file: it knows parts and versions, counts what it sends, and fails on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Trouble with the next answer.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// Nothing comes after so many bytes.
    Hang(usize),
    /// Another answer, with a header.
    Status(u16, Option<(&'static str, String)>),
}

#[derive(Default)]
struct Desk {
    bytes: Bytes,
    etag: Option<String>,
    knows_no_parts: bool,
    troubles: Vec<Trouble>,
    /// The parts that were asked for, each with the version.
    asked: Vec<(Option<String>, Option<String>)>,
    sent: usize,
}

type Shared = Arc<Mutex<Desk>>;

pub struct FileServer {
    pub address: SocketAddr,
    desk: Shared,
    _serving: JoinSet<()>,
}

impl FileServer {
    pub async fn start(bytes: impl Into<Bytes>) -> Self {
        let desk = Desk { bytes: bytes.into(), etag: Some("\"1\"".to_owned()), ..Desk::default() };
        let desk = Arc::new(Mutex::new(desk));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router: Router = Router::new().fallback(answer).with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, desk, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/files/base.bin", self.address)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    /// Lets the next answers fail, each in its own way.
    pub fn will_fail(&self, troubles: &[Trouble]) {
        self.desk().troubles.extend_from_slice(troubles);
    }

    /// Sends the whole file from now on, whatever is asked for.
    pub fn knows_no_parts(&self) {
        self.desk().knows_no_parts = true;
    }

    /// Puts another version in the place of the file.
    pub fn change(&self, bytes: impl Into<Bytes>, etag: Option<&str>) {
        let mut desk = self.desk();
        (desk.bytes, desk.etag) = (bytes.into(), etag.map(str::to_owned));
    }

    /// Lists the requests so far: the part, and the version.
    pub fn asked(&self) -> Vec<(Option<String>, Option<String>)> {
        self.desk().asked.clone()
    }

    /// Returns the number of bytes that were sent, and forgets it.
    pub fn take_sent(&self) -> usize {
        std::mem::take(&mut self.desk().sent)
    }
}

async fn answer(State(desk): State<Shared>, request: Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut desk = desk.lock().unwrap();
    desk.asked.push((header("range"), header("if-range")));
    let trouble = (!desk.troubles.is_empty()).then(|| desk.troubles.remove(0));
    if let Some(Trouble::Status(status, more)) = trouble {
        let mut answer = StatusCode::from_u16(status).unwrap().into_response();
        more.into_iter().for_each(|(name, value)| drop(answer.headers_mut().insert(name, value.parse().unwrap())));
        return answer;
    }
    let is_same = header("if-range").is_none_or(|wanted| Some(wanted) == desk.etag);
    let range = header("range").filter(|_| is_same && !desk.knows_no_parts);
    let (status, mut headers, bytes) = range_of(&desk.bytes, range.as_deref());
    if let Some(etag) = &desk.etag {
        headers.insert("etag", etag.parse().unwrap());
    }
    let most = match trouble {
        Some(Trouble::Cut(most) | Trouble::Hang(most)) => most.min(bytes.len()),
        _ => bytes.len(),
    };
    desk.sent += most;
    headers.insert("content-length", bytes.len().into());
    let first = futures::stream::iter([Ok(bytes.slice(..most))]);
    let body = match trouble {
        None | Some(Trouble::Status(..)) => Body::from(bytes),
        Some(Trouble::Cut(_)) => {
            let cut = futures::stream::once(async {
                // What was sent before must arrive.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(first.chain(cut))
        }
        Some(Trouble::Hang(_)) => {
            Body::from_stream(first.chain(futures::stream::pending::<Result<_, std::io::Error>>()))
        }
    };
    (status, headers, body).into_response()
}

/// Returns the part of a file that a header asks for.
pub fn range_of(bytes: &Bytes, range: Option<&str>) -> (StatusCode, HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    let wanted = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = wanted.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<usize>().ok()?))) else {
        return (StatusCode::OK, headers, bytes.clone());
    };
    if from >= bytes.len() {
        headers.insert("content-range", format!("bytes */{}", bytes.len()).parse().unwrap());
        return (StatusCode::RANGE_NOT_SATISFIABLE, headers, Bytes::new());
    }
    let end = (to + 1).min(bytes.len());
    let range = format!("bytes {from}-{}/{}", end - 1, bytes.len());
    headers.insert("content-range", range.parse().unwrap());
    (StatusCode::PARTIAL_CONTENT, headers, bytes.slice(from..end))
}
