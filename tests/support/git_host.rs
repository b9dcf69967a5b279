//! Repositories on disk, and `git http-backend` behind HTTP, as GitHub serves them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::io::AsyncWriteExt as _;
use trainyard::git::{GitConfig, Mirrors};
use trainyard::storage::Room;

/// A bare repository in the host's folder, with a work tree for commands.
#[derive(Debug, Clone)]
pub struct Repo {
    pub name: String,
    pub bare: PathBuf,
    work: PathBuf,
}

impl Repo {
    /// Makes an empty repository `owner/name` with the branch `main`.
    pub fn new(root: &Path, name: &str) -> Self {
        let bare = root.join("bare").join(format!("{name}.git"));
        let work = root.join("work").join(name);
        std::fs::create_dir_all(&bare).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main", "."]);
        // GitHub allows fetching any commit that it has by its id.
        git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        git(&work, &["init", "--quiet", "--initial-branch=main", "."]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        Self { name: name.to_owned(), bare, work }
    }

    /// Returns the folder for files of the next commit.
    pub fn work(&self) -> &Path {
        &self.work
    }

    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub fn write_bytes(&self, path: &str, contents: &[u8]) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// Commits everything on the current branch and pushes it. Returns the commit's id.
    pub fn commit(&self, message: &str) -> String {
        git(&self.work, &["add", "--all"]);
        git(&self.work, &["commit", "--quiet", "--allow-empty", "-m", message]);
        git(&self.work, &["push", "--quiet", "--force", "origin", "HEAD"]);
        self.head()
    }

    pub fn head(&self) -> String {
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// Runs a git command in the work tree. Returns its output without the last newline.
    pub fn git(&self, args: &[&str]) -> String {
        git(&self.work, args)
    }

    /// Runs a git command with a file as standard input.
    pub fn git_with_input(&self, args: &[&str], input: &Path) -> String {
        run(&self.work, args, std::fs::File::open(input).unwrap().into())
    }

    /// Makes `refs/pull/N/head` and, as GitHub does without conflicts, `refs/pull/N/merge` of `head` into `base`.
    pub fn open_pull_request(&self, number: u32, base: &str, head: &str) -> String {
        git(&self.work, &["checkout", "--quiet", "--detach", base]);
        git(&self.work, &["merge", "--quiet", "--no-ff", "-m", &format!("Merge {head} into {base}"), head]);
        let merge = self.head();
        let (to_merge, to_head) =
            (format!("{merge}:refs/pull/{number}/merge"), format!("{head}:refs/pull/{number}/head"));
        git(&self.work, &["push", "--quiet", "--force", "origin", &to_merge, &to_head]);
        git(&self.work, &["checkout", "--quiet", "main"]);
        merge
    }
}

fn git(folder: &Path, args: &[&str]) -> String {
    run(folder, args, Stdio::null())
}

fn run(folder: &Path, args: &[&str], input: Stdio) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(input)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Returns the mirrors in a folder, with the usual bounds.
pub fn mirrors(folder: PathBuf) -> Mirrors {
    let room = Room::new(PathBuf::from("/"), bytesize::ByteSize::b(0));
    Mirrors::new(folder, &GitConfig::default(), room)
}

/// State of the host: the token that it requires, and the requests that it has seen.
#[derive(Debug, Clone)]
pub struct GitHost {
    root: PathBuf,
    /// Token that must be the password of `x-access-token`; `None` for public repositories.
    token: Option<String>,
    refuse: Arc<Mutex<usize>>,
    public: Arc<Mutex<Vec<String>>>,
    /// Paths of repositories that have moved, and their new addresses.
    moved: Arc<Mutex<Vec<(String, String)>>>,
    /// Path of each request, and whether it had the token.
    seen: Arc<Mutex<Vec<(String, bool)>>>,
}

impl GitHost {
    pub fn new(root: &Path, token: Option<&str>) -> Self {
        Self {
            root: root.join("bare"),
            token: token.map(str::to_owned),
            refuse: Arc::default(),
            public: Arc::default(),
            moved: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// Allows everyone to read a repository.
    pub fn publish(&self, name: &str) {
        self.public.lock().unwrap().push(format!("/{name}.git/"));
    }

    /// Redirects requests for a repository to another address, as GitHub does after a change of its name.
    pub fn move_to(&self, name: &str, url: &str) {
        self.moved.lock().unwrap().push((format!("/{name}.git/"), url.to_owned()));
    }

    /// Returns true if any request for a repository had the token, and `None` if there was no request.
    pub fn saw_token(&self, name: &str) -> Option<bool> {
        let seen = self.seen.lock().unwrap();
        let of_repo = seen.iter().filter(|(path, _)| path.starts_with(&format!("/{name}.git/")));
        of_repo.map(|(_, with_token)| *with_token).reduce(|any, one| any || one)
    }

    /// Answers the next `times` requests with 503.
    pub fn fail_next(&self, times: usize) {
        *self.refuse.lock().unwrap() = times;
    }
}

impl GitHost {
    fn new_address(&self, uri: &Uri) -> Option<String> {
        let moved = self.moved.lock().unwrap();
        let (old, new) = moved.iter().find(|(old, _)| uri.path().starts_with(old))?;
        Some(format!("{new}/{}", uri.to_string().trim_start_matches(old.as_str())))
    }
}

/// Serves `/{owner}/{name}.git/…` through `git http-backend`.
pub async fn serve(
    State(host): State<GitHost>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    {
        let mut refuse = host.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    if let Some(token) = &host.token {
        let wanted = format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{token}")));
        let has_token = headers.get("authorization").and_then(|value| value.to_str().ok()) == Some(&wanted);
        host.seen.lock().unwrap().push((uri.path().to_owned(), has_token));
        let is_public = host.public.lock().unwrap().iter().any(|repo| uri.path().starts_with(repo));
        if !has_token && !is_public {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"GitHub\"")]).into_response();
        }
    }
    if let Some(location) = host.new_address(&uri) {
        return (StatusCode::MOVED_PERMANENTLY, [("location", location)]).into_response();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &host.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", query.unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git http-backend runs");
    let mut stdin = backend.stdin.take().unwrap();
    let feed = async move {
        let _ = stdin.write_all(&body).await;
    };
    let (output, ()) = tokio::join!(backend.wait_with_output(), feed);
    cgi_response(&output.unwrap().stdout)
}

fn cgi_response(output: &[u8]) -> Response {
    let split = output.windows(4).position(|four| four == b"\r\n\r\n").expect("CGI headers");
    let head = std::str::from_utf8(&output[..split]).unwrap();
    let mut response = Bytes::copy_from_slice(&output[split + 4..]).into_response();
    for line in head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("status") {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap();
        } else {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
    }
    response
}
