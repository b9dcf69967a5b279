//! Servers that lie: what they say must not steer the terminal, write outside of the folder, or get the token elsewhere.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::Person;

const TOKEN: &str = "token-of-anna";
const STEERING: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{202e}x";

type Answer = Arc<dyn Fn(&str, Option<&str>) -> Response + Send + Sync>;

/// A request as a server has seen it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    path: String,
    token: Option<String>,
    idempotency_key: Option<String>,
}

/// A server that answers what a test says, and keeps the requests that it has seen.
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Answering {
    answer: Answer,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, Option<&str>) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let state = Answering { answer: Arc::new(answer), seen: Arc::clone(&seen) };
        let router = axum::Router::new().fallback(handle).with_state(state);
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, seen, _serving: serving }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn handle(State(state): State<Answering>, request: Request) -> Response {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let path = request.uri().path().to_owned();
    let idempotency_key = text(HeaderName::from_static("idempotency-key"));
    state.seen.lock().unwrap().push(Seen { path: path.clone(), token: text(header::AUTHORIZATION), idempotency_key });
    (state.answer)(&path, text(header::RANGE).as_deref())
}

fn json_of(value: &Value) -> Response {
    axum::Json(value).into_response()
}

fn build() -> Value {
    json!({
        "owner": format!("acme{STEERING}"), "name": STEERING, "number": 1, "state": format!("passed{STEERING}"),
        "kind": STEERING, "branch": format!("main{STEERING}"), "sha": STEERING, "message": format!("{STEERING}\n"),
        "author": STEERING, "created_at": "2026-01-01T10:00:00Z",
        "jobs": [{ "id": 7, "number": 1, "name": STEERING, "stage": STEERING, "state": "finished", "verdict": "passed",
            "reason": STEERING, "runner": STEERING, "log_length": 10 }],
        "problems": [{ "severity": "error", "rule": STEERING, "message": STEERING, "file": STEERING, "line": 1 }],
    })
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// Answers as a server does, but with texts that steer terminals.
fn steering(path: &str, _: Option<&str>) -> Response {
    let text = STEERING;
    match path {
        "/api/v1/me" => json_of(&json!({ "name": text })),
        "/api/v1/builds" | "/api/v1/repos/acme/styles/builds" => json_of(&json!({ "builds": [build()] })),
        "/api/v1/repos/acme/styles/builds/1" => json_of(&build()),
        "/api/v1/jobs/7/log" => format!("line {text}\nlast").into_response(),
        "/api/v1/jobs/7/log/stream" => {
            let events = [
                event("chunk", &json!({ "offset": 0, "text": format!("line {text}\nlast") })),
                event("end", &json!({ "verdict": "passed", "reason": text })),
            ];
            ([(header::CONTENT_TYPE, "text/event-stream")], events.concat()).into_response()
        }
        "/api/v1/jobs/7/artifacts" => json_of(&json!({ "artifacts": [{ "path": text, "size": 1, "sha256": text }] })),
        "/api/v1/queue" => {
            json_of(&json!({ "jobs": [{ "repo": text, "job": text, "name": text, "wait_reason": text }] }))
        }
        "/api/v1/runners" => json_of(&json!({ "runners": [{ "name": text, "state": text, "alert": text }] })),
        _ => (StatusCode::CONFLICT, axum::Json(json!({ "title": text, "detail": format!("refused {text}") })))
            .into_response(),
    }
}

#[tokio::test]
async fn no_text_of_a_server_steers_the_terminal() {
    let server = Server::start(steering).await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    let repo = ["--repo", "acme/styles"];
    let commands: [(&[&str], i32); 18] = [
        (&["builds"], 0),
        (&["builds", "--json"], 0),
        (&["build", "1"], 0),
        (&["build", "1", "--json"], 0),
        (&["logs", "1"], 0),
        (&["logs", "1", "-f"], 0),
        (&["watch", "1"], 0),
        (&["artifacts", "list", "1"], 0),
        (&["artifacts", "list", "1", "--json"], 0),
        (&["artifacts", "download", "1"], 1),
        (&["open", "1"], 0),
        (&["trigger"], 4),
        (&["cancel", "1"], 1),
        (&["approve", "1"], 1),
        (&["builds", "--all"], 0),
        (&["queue"], 0),
        (&["queue", "--json"], 0),
        (&["runners"], 0),
    ];
    for (command, code) in commands {
        let needs_repo = !["queue", "runners"].contains(&command[0]) && !command.contains(&"--all");
        let arguments: Vec<&str> = command.iter().copied().chain(repo.into_iter().filter(|_| needs_repo)).collect();
        let said = anna.says(&arguments).await;
        // A state that only a newer server knows is an end that is not `passed`.
        let code = if command == ["watch", "1"] { 1 } else { code };
        let all = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, code, "{command:?}: {said:?}");
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!all.contains(steers) && !all.is_empty(), "{command:?}: {all:?}");
        assert!(!all.contains(TOKEN), "{command:?}: {all:?}");
    }
    let said = anna.says_given(&["login", &server.base, "--token-stdin"], TOKEN).await;
    assert!(said.code == 0 && !said.out.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']), "{said:?}");
}

#[tokio::test]
async fn an_artifact_stays_in_its_folder_and_is_what_it_says() {
    let hash = |text: &str| hex::encode(Sha256::digest(text));
    let listed = json!({ "artifacts": [
        { "path": "../../x", "size": 1, "sha256": hash("x") },
        { "path": "/tmp/trainyard-x", "size": 1, "sha256": hash("x") },
        { "path": "out/../../x", "size": 1, "sha256": hash("x") },
        { "path": "link/x", "size": 1, "sha256": hash("x") },
        { "path": "other", "size": 1, "sha256": hash("x") },
        { "path": "long", "size": 1, "sha256": hash("x") },
        { "path": "nameless", "size": 1, "sha256": "../../x" },
        { "path": "gone", "size": 1, "sha256": hash("x"), "removed": "it was too old" },
        { "path": "resumed", "size": 6, "sha256": hash("abcdef") },
    ] });
    let server = Server::start(move |path, range| match (path, range) {
        ("/api/v1/repos/acme/styles/builds/1", _) => json_of(&build()),
        ("/api/v1/jobs/7/artifacts", _) => json_of(&listed),
        ("/api/v1/jobs/7/artifacts/other", _) => "y".into_response(),
        ("/api/v1/jobs/7/artifacts/long", _) => "x".repeat(1000).into_response(),
        ("/api/v1/jobs/7/artifacts/resumed", Some("bytes=3-")) => {
            (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, "bytes 3-5/6")], "def").into_response()
        }
        _ => "x".into_response(),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("a/b");
    std::fs::create_dir_all(&to).unwrap();
    std::os::unix::fs::symlink(folder.path(), to.join("link")).unwrap();
    std::fs::write(to.join(format!(".{}.part", &hash("abcdef")[..32])), "abc").unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    let said = anna.says(&["artifacts", "download", "1", "--repo", "acme/styles", "--to", to.to_str().unwrap()]).await;
    said.expect(
        1,
        &["1 file fetched", "8 failed", "would be outside of the folder", "is not a folder", "it was too old"],
    );
    said.expect(1, &["is not the file with its hash", "sends more than the size", "gives no hash"]);
    let mut left: Vec<String> = std::fs::read_dir(&to)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "link" && !name.ends_with(".part"))
        .collect();
    left.sort();
    assert_eq!(left, ["resumed"]);
    assert_eq!(std::fs::read_to_string(to.join("resumed")).unwrap(), "abcdef");
    let outside = |path: &str| folder.path().join(path).exists();
    assert!(!outside("x") && !outside("a/x") && !std::path::Path::new("/tmp/trainyard-x").exists());
    let asked: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert!(asked.iter().all(|path| !path.contains("..")), "{asked:?}");
}

#[tokio::test]
async fn the_token_goes_to_its_server_alone() {
    let other = Server::start(steering).await;
    let target = format!("{}/api/v1/builds", other.base);
    let server =
        Server::start(move |_, _| (StatusCode::FOUND, [(header::LOCATION, target.clone())]).into_response()).await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    let said = anna.says(&["builds", "--all"]).await;
    said.expect(4, &["it redirects to", &other.base, "a token is not sent after a redirect"]);
    anna.says_given(&["login", &server.base, "--token-stdin"], TOKEN).await.expect(4, &["it redirects to"]);
    assert_eq!(other.seen(), []);
    assert!(server.seen().iter().all(|seen| seen.token.as_deref() == Some("Bearer token-of-anna")));
    // The token of the environment is for the server of the environment.
    anna.says(&["builds", "--all", "--server", &other.base]).await.expect(0, &["BUILD"]);
    assert_eq!(other.seen(), [Seen { path: "/api/v1/builds".to_owned(), token: None, idempotency_key: None }]);

    // Everyone on the way could read it.
    let exposed = Person::with_token(folder.path(), "http://ci.example.invalid", TOKEN);
    exposed.says(&["builds", "--all"]).await.expect(2, &["is plain HTTP", "--insecure-http"]);
    exposed.says(&["builds", "--all", "--insecure-http"]).await.expect(4, &["does not answer"]);
    let said = exposed.says_given(&["login", "http://ci.example.invalid", "--token-stdin"], TOKEN).await;
    said.expect(2, &["is plain HTTP"]);
}

#[tokio::test]
async fn answers_have_bounds() {
    let server = Server::start(|path, _| match path {
        // An answer without an end.
        "/api/v1/builds" | "/api/v1/repos/acme/styles/builds" => endless(Bytes::from(vec![b' '; 1 << 20])),
        "/api/v1/runners" => "<html>Welcome to nginx</html>".into_response(),
        "/api/v1/queue" => json_of(&json!({ "jobs": 3 })),
        "/api/v1/repos/acme/styles/builds/1" => json_of(&build()),
        "/api/v1/jobs/7/log/stream" => endless(Bytes::from(vec![b'x'; 1 << 20])),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    let begin = Instant::now();
    anna.says(&["builds", "--all"]).await.expect(4, &["the answer is too long"]);
    anna.says(&["runners"]).await.expect(4, &["the answer is not JSON"]);
    anna.says(&["queue"]).await.expect(4, &["does not answer as a Trainyard server does"]);
    anna.says(&["logs", "-f", "1", "--repo", "acme/styles"]).await.expect(4, &["an event is too long"]);
    anna.says(&["build", "2", "--repo", "acme/styles"]).await.expect(4, &["500"]);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

fn endless(piece: Bytes) -> Response {
    let pieces = futures::stream::repeat(piece).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(pieces).into_response()
}

#[tokio::test]
async fn a_log_is_followed_over_lost_connections() {
    let connections = Arc::new(Mutex::new(0));
    let server = Server::start(move |path, _| {
        if path != "/api/v1/jobs/7/log/stream" {
            return json_of(&build());
        }
        let mut count = connections.lock().unwrap();
        *count += 1;
        let chunk = |text: &str, id: &str| format!("id: {id}\n{}", event("chunk", &json!({ "text": text })));
        match *count {
            1 => chunk("one\n", "4@1").into_response(),
            2 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            3 => [event("restart", &json!({ "attempt": 2 })), chunk("two\n", "4@2")].concat().into_response(),
            _ => event("end", &json!({ "verdict": "timed_out", "reason": "it took too long" })).into_response(),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    let said = anna.says(&["logs", "-f", "1", "--repo", "acme/styles"]).await;
    said.expect(1, &["one\n", "The job runs again", "two\n", "✘ timed out: it took too long", "trying again"]);
    assert_eq!(said.out.matches("one\n").count(), 1);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_asked_for_again_as_the_same() {
    let count = Arc::new(Mutex::new(0));
    let server = Server::start(move |_, _| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match *count {
            1 => {
                let pieces = [Ok(Bytes::from("{\"canc")), Err(std::io::Error::other("cut off"))];
                Body::from_stream(futures::stream::iter(pieces)).into_response()
            }
            _ => json_of(&json!({ "canceled": 2 })),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::with_token(folder.path(), &server.base, TOKEN);
    anna.says(&["cancel", "1", "--repo", "acme/styles"]).await.expect(0, &["2 jobs of acme/styles #1 canceled"]);
    let seen = server.seen();
    assert!(seen.len() == 2 && seen[0] == seen[1] && seen[0].idempotency_key.is_some(), "{seen:?}");
    anna.says(&["cancel", "1", "--repo", "acme/styles"]).await.expect(0, &["canceled"]);
    assert_ne!(server.seen()[2].idempotency_key, seen[0].idempotency_key);
}
