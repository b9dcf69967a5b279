//! Attacks by git servers and repositories: redirects that ask for the token, data without end, and small repositories
//! of large files.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytesize::ByteSize;
use trainyard::domain::{Checkout, RepoName, Revision, Sha};
use trainyard::git::{Credentials, GitConfig, Mirrors, NewHistory, Permanent, Remote, RemoteFileError};
use trainyard::storage::Room;
use url::Url;

use crate::support::app::App;
use crate::support::git_host::{GitHost, Repo, serve};
use crate::support::github::{GitHub, TOKEN};
use crate::support::mount::Mounted;
use crate::support::payload::{self, Delivery};

const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// A bound that the attacks exceed.
const SMALL: ByteSize = ByteSize::mib(4);

/// A server that records whether its requests had a token.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<bool>>>,
}

impl Server {
    async fn start<Answer: Future<Output = Response> + Send>(
        answer: impl Fn(Request) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
        let record = Arc::clone(&seen);
        let router = Router::new().fallback(move |request: Request| {
            record.lock().unwrap().push(request.headers().contains_key("authorization"));
            answer(request)
        });
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen }
    }

    /// Redirects every request to the same path of another server.
    async fn redirecting(status: u16, to: String) -> Self {
        Self::start(move |request: Request| {
            let location = format!("{to}{}", request.uri());
            let status = StatusCode::from_u16(status).unwrap();
            async move { (status, [("location", location)]).into_response() }
        })
        .await
    }

    /// Serves the repositories of a folder.
    async fn hosting(root: &Path) -> Self {
        let host = GitHost::new(root, None);
        Self::start(move |request: Request| {
            let host = host.clone();
            async move { hosted(host, request).await }
        })
        .await
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn url(&self) -> Url {
        format!("{}/acme/styles.git", self.base()).parse().unwrap()
    }

    fn seen(&self) -> Vec<bool> {
        self.seen.lock().unwrap().clone()
    }
}

async fn hosted(host: GitHost, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query = axum::extract::RawQuery(parts.uri.query().map(str::to_owned));
    serve(axum::extract::State(host), parts.method, parts.uri, query, parts.headers, body).await
}

fn name() -> RepoName {
    "acme/styles".parse().unwrap()
}

fn room() -> Room {
    Room::new(PathBuf::from("/"), ByteSize::b(0))
}

/// Returns mirrors with a small bound.
fn mirrors(folder: &Path) -> Mirrors {
    Mirrors::new(folder.join("mirrors"), &GitConfig { max_fetch: SMALL }, room())
}

/// Returns a token for the server at this address.
fn credentials(url: &Url) -> Credentials {
    Credentials { origin: url.origin(), token: TOKEN.to_owned().into() }
}

/// A repository with one commit.
fn repo(root: &Path) -> (Repo, Sha) {
    let repo = Repo::new(root, "acme/styles");
    repo.write("file.txt", "text");
    let sha = repo.commit("Begin").parse().unwrap();
    (repo, sha)
}

async fn fetch(mirrors: &Mirrors, url: &Url, sha: &Sha) -> anyhow::Result<()> {
    mirrors.fetch_commit(&Remote { repo: &name(), url, credentials: None }, sha).await
}

/// Fetches a commit with a token for the server at `for_url`.
async fn fetch_with_token(mirrors: &Mirrors, url: &Url, for_url: &Url, sha: &Sha) -> anyhow::Result<()> {
    let credentials = credentials(for_url);
    mirrors.fetch_commit(&Remote { repo: &name(), url, credentials: Some(&credentials) }, sha).await
}

fn permanent(fetched: anyhow::Result<()>) -> Permanent {
    fetched.unwrap_err().downcast().expect("an error that no retry can mend")
}

/// Lists the files below a folder that git has not finished.
fn temporary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            found.push(entry.path());
        } else if entry.file_type().unwrap().is_dir() {
            found.extend(temporary(&entry.path()));
        }
    }
    found
}

/// Waits until no process works in a folder. Killed processes may take a moment to end.
async fn wait_for_no_process_in(folder: &Path) {
    let begin = Instant::now();
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut places = processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
        let Some(left) = places.find(|place| place.starts_with(folder)) else { return };
        assert!(begin.elapsed() < Duration::from_secs(20), "a process still works in {}", left.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_redirect_carries_the_token_to_another_server() {
    for status in REDIRECTS {
        let folder = tempfile::tempdir().unwrap();
        let (_, sha) = repo(folder.path());
        let other = Server::hosting(folder.path()).await;
        let first = Server::redirecting(status, other.base()).await;
        let mirrors = mirrors(folder.path());
        let refused = permanent(fetch_with_token(&mirrors, &first.url(), &first.url(), &sha).await);
        assert!(matches!(refused, Permanent::Moved), "{status}: {refused}");
        assert!(refused.to_string().contains("the repository has moved"), "{refused}");
        assert_eq!(first.seen(), [true], "{status}: the server of the token gets it");
        assert!(other.seen().is_empty(), "{status}: the other server gets no request");
    }
}

#[tokio::test]
async fn no_redirect_of_the_second_request_carries_the_token() {
    for status in REDIRECTS {
        let folder = tempfile::tempdir().unwrap();
        let (_, sha) = repo(folder.path());
        let other = Server::hosting(folder.path()).await;
        let (host, to) = (GitHost::new(folder.path(), None), other.base());
        let first = Server::start(move |request: Request| {
            let (host, location) = (host.clone(), format!("{to}{}", request.uri()));
            async move {
                match *request.method() {
                    Method::POST => (StatusCode::from_u16(status).unwrap(), [("location", location)]).into_response(),
                    _ => hosted(host, request).await,
                }
            }
        })
        .await;
        let mirrors = mirrors(folder.path());
        let refused = permanent(fetch_with_token(&mirrors, &first.url(), &first.url(), &sha).await);
        assert!(matches!(refused, Permanent::Moved), "{status}");
        assert!(other.seen().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn an_import_follows_no_redirect_with_or_without_the_token() {
    for with_token in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        repo(folder.path());
        let other = Server::hosting(folder.path()).await;
        let first = Server::redirecting(301, other.base()).await;
        let mirrors = mirrors(folder.path());
        let credentials = with_token.then(|| credentials(&first.url()));
        let remote = Remote { repo: &name(), url: &first.url(), credentials: credentials.as_ref() };
        let read = mirrors.remote_file(&remote, &Revision::Default, "file.txt", 1000).await;
        assert!(matches!(&read, Err(RemoteFileError::Refused(why)) if why.contains("has moved")), "{read:?}");
        assert_eq!((first.seen(), other.seen()), (vec![with_token], Vec::new()));
    }
}

#[tokio::test]
async fn a_redirect_without_a_token_is_followed_and_leads_to_http_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, sha) = repo(folder.path());
    let other = Server::hosting(folder.path()).await;
    let first = Server::redirecting(301, other.base()).await;
    let elsewhere = "https://github.example/".parse().unwrap();
    fetch_with_token(&mirrors(folder.path()), &first.url(), &elsewhere, &sha).await.unwrap();
    assert!(!first.seen().contains(&true) && !other.seen().is_empty() && !other.seen().contains(&true));

    let bare = folder.path().join("bare");
    for to in [format!("file://{}", bare.display()), "ftp://127.0.0.1:1".to_owned(), "gopher://127.0.0.1:1".to_owned()]
    {
        let second = tempfile::tempdir().unwrap();
        let first = Server::redirecting(302, to.clone()).await;
        assert!(fetch(&mirrors(second.path()), &first.url(), &sha).await.is_err(), "{to}");
    }
}

#[tokio::test]
async fn only_http_addresses_are_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, sha) = repo(folder.path());
    let mark = folder.path().join("mark");
    let addresses = [
        format!("file://{}", repo.bare.display()),
        format!("ext::sh -c touch% {}", mark.display()),
        "ssh://git@127.0.0.1/acme/styles.git".to_owned(),
        "git://127.0.0.1/acme/styles.git".to_owned(),
        format!("fd::17/{}", mark.display()),
    ];
    for address in addresses {
        let url: Url = address.parse().unwrap();
        let error = fetch(&mirrors(folder.path()), &url, &sha).await.unwrap_err();
        assert!(format!("{error:#}").contains("is not an http or https address"), "{address}: {error:#}");
    }
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_repository_that_has_moved_ends_in_an_errored_build_at_the_first_try() {
    let app = App::start("").await;
    let other = app.github.repo("acme/renamed");
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit("Begin");
    app.github.git.move_to("acme/styles", &app.github.clone_url(&other.name));
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "error");
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("the repository has moved"), "{page}");
    let tries: i32 = sqlx::query_scalar("select tries from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!(tries, 1);
    assert_eq!(app.github.git.saw_token("acme/renamed"), None, "the new address gets no request");
    app.stop().await;
}

/// Answers as a git server with a branch `main` at `sha`, whose one pack never ends. It says that it has `objects`
/// objects: git stores few and many of them in different ways.
async fn endless(request: Request, sha: Sha, objects: u32) -> Response {
    let line = |text: String| format!("{:04x}{text}", text.len() + 4);
    if *request.method() == Method::GET {
        let head = line("# service=git-upload-pack\n".to_owned());
        let refs = line(format!("{sha} refs/heads/main\0ofs-delta shallow filter allow-tip-sha1-in-want\n"));
        return ([("content-type", "application/x-git-upload-pack-advertisement")], format!("{head}0000{refs}0000"))
            .into_response();
    }
    let asked = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let asks = |word: &[u8]| asked.windows(word.len()).any(|there| there == word);
    // To a request for a part of the history, the end of the list of its first commits comes before.
    let mut start = if asks(b"deepen") { b"0000".to_vec() } else { Vec::new() };
    if !asks(b"done") {
        return ([("content-type", "application/x-git-upload-pack-result")], start).into_response();
    }
    start.extend(b"0008NAK\nPACK\0\0\0\x02");
    start.extend(objects.to_be_bytes());
    // A blob of a terabyte: its type and size, and the head of its compressed content.
    start.extend([0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 0x78, 0x01]);
    let noise = futures::stream::unfold(7_u64, |mut state| async move {
        // A block that is stored as it is, and cannot be compressed.
        let mut block = vec![0, 0xff, 0xff, 0, 0];
        while block.len() < 5 + 0xffff {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.push(state.to_le_bytes()[3]);
        }
        Some((block, state))
    });
    let body = futures::StreamExt::chain(futures::stream::iter([start]), noise);
    let body = Body::from_stream(futures::StreamExt::map(body, |part| Ok::<_, std::io::Error>(Bytes::from(part))));
    ([("content-type", "application/x-git-upload-pack-result")], body).into_response()
}

fn some_sha() -> Sha {
    "0123456789abcdef0123456789abcdef01234567".parse().unwrap()
}

async fn endless_server(objects: u32) -> Server {
    Server::start(move |request| endless(request, some_sha(), objects)).await
}

#[tokio::test]
async fn a_server_that_never_stops_sending_is_stopped_at_the_bound_and_nothing_is_left() {
    for objects in [1, 200] {
        let folder = tempfile::tempdir().unwrap();
        let server = endless_server(objects).await;
        let refused = permanent(fetch(&mirrors(folder.path()), &server.url(), &some_sha()).await);
        assert_eq!(refused.to_string(), "git wrote more than 4.0 MiB to the disk (git.max_fetch)", "{objects}");
        let left = std::fs::read_dir(folder.path().join("mirrors/acme")).unwrap().count();
        assert_eq!(left, 0, "{objects}");
        wait_for_no_process_in(folder.path()).await;
    }
}

#[tokio::test]
async fn a_large_pack_that_comes_between_two_measures_is_refused_at_each_try() {
    let folder = tempfile::tempdir().unwrap();
    let (repo, sha) = repo(folder.path());
    let server = Server::hosting(folder.path()).await;
    let mirrors = mirrors(folder.path());
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    let mut noise = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(std::fs::File::open("/dev/urandom").unwrap(), 32 << 20),
        &mut noise,
    )
    .unwrap();
    std::fs::write(repo.work().join("large"), noise).unwrap();
    let large: Sha = repo.commit("Large").parse().unwrap();
    for _ in 0..2 {
        let refused = permanent(fetch(&mirrors, &server.url(), &large).await);
        assert!(matches!(refused, Permanent::TooLarge(..)), "{refused}");
    }
    // The rest of the repository can still be fetched.
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
}

#[tokio::test]
async fn an_import_from_a_server_that_never_stops_sending_is_stopped_at_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let server = endless_server(200).await;
    let mirrors = mirrors(folder.path());
    let remote = Remote { repo: &name(), url: &server.url(), credentials: None };
    let read = mirrors.remote_file(&remote, &Revision::Commit(some_sha()), "file.txt", 1000).await;
    assert!(matches!(&read, Err(RemoteFileError::Refused(why)) if why.contains("git.max_fetch")), "{read:?}");
}

#[tokio::test]
async fn a_fetch_that_breaks_off_leaves_nothing() {
    for objects in [1, 200] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |request: Request| async move {
            let is_pack = *request.method() == Method::POST;
            let whole = endless(request, some_sha(), objects).await;
            if !is_pack {
                return whole;
            }
            let start = futures::StreamExt::take(whole.into_body().into_data_stream(), 30);
            Body::from_stream(start).into_response()
        })
        .await;
        let error = fetch(&mirrors(folder.path()), &server.url(), &some_sha()).await.unwrap_err();
        assert!(!error.is::<Permanent>(), "{objects}: a retry may succeed: {error:#}");
        assert_eq!(temporary(&folder.path().join("mirrors")), Vec::<PathBuf>::new(), "{objects}");
    }
}

#[tokio::test]
async fn half_fetched_packs_of_a_dead_process_go_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let objects = folder.path().join("data/mirrors/acme/styles.git/objects");
    let left = ["pack/tmp_pack_a1b2c3", "pack/tmp_idx_a1b2c3", "0a/tmp_obj_d4e5f6"].map(|name| objects.join(name));
    for file in &left {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "half").unwrap();
    }
    let pack = objects.join("pack/pack-1.pack");
    std::fs::write(&pack, "whole").unwrap();
    let app = App::start_in(folder, github, "").await;
    let begin = Instant::now();
    while left.iter().any(|file| file.exists()) {
        assert!(begin.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(pack.exists());
    app.stop().await;
}

// The server sends without a pause: on one thread it would hold up the check of the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_ends_when_the_disk_has_no_room_left() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    let _mounted = Mounted::new(&disk, "size=512m");
    let room = Room::new(disk.clone(), ByteSize::mib(400));
    let config = GitConfig { max_fetch: ByteSize::tib(1) };
    let mirrors = Mirrors::new(disk.join("mirrors"), &config, room.clone());
    let server = endless_server(200).await;
    let error = fetch(&mirrors, &server.url(), &some_sha()).await.unwrap_err();
    assert!(format!("{error:#}").contains("less than 400.0 MiB are free"), "{error:#}");
    assert!(!error.is::<Permanent>(), "there may be room later");
    // The room is free when the killed processes have closed their files.
    let begin = Instant::now();
    while let Some(wanting) = room.wanting().unwrap() {
        assert!(begin.elapsed() < Duration::from_secs(20), "what was fetched is still there: {wanting}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    std::fs::write(disk.join("filler"), vec![1; 120 << 20]).unwrap();
    let requests = server.seen().len();
    assert!(fetch(&mirrors, &server.url(), &some_sha()).await.is_err());
    assert_eq!(server.seen().len(), requests, "a fetch into a full disk does not begin");
}

/// Waits until `/readyz` contains these words, or does not.
async fn wait_for_alert(app: &App, words: &str, is_there: bool) {
    let begin = Instant::now();
    while app.get("/readyz").await.1.contains(words) != is_there {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", app.get("/readyz").await.1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn deliveries_wait_while_a_disk_has_hardly_any_inodes_and_are_built_later() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let data = folder.path().join("data");
    let _mounted = Mounted::new(&data, "size=2g,nr_inodes=4000");
    let app = App::start_in(folder, github, "").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit("Begin");
    let filler = data.join("filler");
    std::fs::create_dir(&filler).unwrap();
    for n in 0..3850 {
        std::fs::File::create(filler.join(n.to_string())).unwrap();
    }
    wait_for_alert(&app, "hardly any inodes are free", true).await;
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    // Two rounds of the janitor, in which an intake would have taken the delivery.
    for _ in 0..2 {
        sqlx::query("delete from alert").execute(&app.db).await.unwrap();
        wait_for_alert(&app, "hardly any inodes are free", true).await;
    }
    let tries: i32 = sqlx::query_scalar("select tries from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!(tries, 0, "the delivery waits");
    std::fs::remove_dir_all(&filler).unwrap();
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    app.stop().await;
}

#[tokio::test]
async fn a_mirror_that_many_fetches_have_filled_is_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (_, sha) = repo(folder.path());
    let server = Server::hosting(folder.path()).await;
    let mirrors = mirrors(folder.path());
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    let mirror = folder.path().join("mirrors/acme/styles.git");
    let old = mirror.join("objects/pack/pack-0123.pack");
    let fill = || std::fs::write(&old, vec![1; 17 << 20]).unwrap();
    // In the middle of a fetch that takes long.
    fill();
    let refused = permanent(fetch(&mirrors, &endless_server(200).await.url(), &some_sha()).await);
    assert!(matches!(refused, Permanent::TooLarge(..)) && !old.exists(), "{refused}");
    // And in the regular rounds.
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    fill();
    mirrors.tidy().await.unwrap();
    assert!(!mirror.exists());
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    assert_eq!(mirrors.files(&name(), &sha).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_small_repository_of_large_files_is_not_checked_out() {
    let folder = tempfile::tempdir().unwrap();
    let repo = Repo::new(folder.path(), "acme/styles");
    // 16 kilobytes of objects stand for 4096 files of a mebibyte.
    std::fs::write(repo.work().join("zeros"), vec![0; 1 << 20]).unwrap();
    let blob = repo.git(&["hash-object", "-w", "zeros"]);
    let mut entry = format!("100644 blob {blob}");
    for _ in 0..4 {
        let list: String = (0..8).map(|n| format!("{entry}\t{n}\n")).collect();
        let file = folder.path().join("tree");
        std::fs::write(&file, list).unwrap();
        entry = format!("040000 tree {}", repo.git_with_input(&["mktree"], &file));
    }
    let tree = entry.rsplit(' ').next().unwrap();
    let sha: Sha = repo.git(&["commit-tree", "-m", "Bomb", tree]).parse().unwrap();
    repo.git(&["push", "--quiet", "origin", &format!("{sha}:refs/heads/main")]);
    let server = Server::hosting(folder.path()).await;
    let mirrors = mirrors(folder.path());
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    let into = tempfile::tempdir().unwrap();
    let wanted = Checkout::default();
    let new = NewHistory { sha: &sha, base: None, wanted: &wanted, origin: "http://localhost/", max_size: SMALL };
    mirrors.history(&name(), new, into.path()).await.unwrap();
    let refused = permanent(mirrors.check_out(&sha, into.path(), SMALL).await);
    assert_eq!(refused.to_string(), "git wrote more than 4.0 MiB to the disk (limits.disk)");
    wait_for_no_process_in(into.path()).await;
}

#[tokio::test]
async fn other_users_of_the_machine_do_not_read_mirrors() {
    let folder = tempfile::tempdir().unwrap();
    let (_, sha) = repo(folder.path());
    let server = Server::hosting(folder.path()).await;
    let mirrors = mirrors(folder.path());
    fetch(&mirrors, &server.url(), &sha).await.unwrap();
    let top = folder.path().join("mirrors");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes: BTreeSet<u32> = ["", "acme", "acme/styles.git"].map(|path| mode(&top.join(path))).into();
    assert_eq!(modes, BTreeSet::from([0o700]));
    // An earlier version has made the folder with the usual rights.
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o755)).unwrap();
    mirrors.tidy().await.unwrap();
    assert_eq!(mode(&top), 0o700);
}
