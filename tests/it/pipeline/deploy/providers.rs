//! The providers of `deploy` in real containers, each with a stand-in for its service.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::pushed;
use crate::pipeline::secrets::encrypted;
use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::{self, GitHost};
use crate::support::hub::{self, HubServer};
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::support::trouble::Trouble;

/// Returns the `.travis.yml` of a job with an entry of `deploy`, which is in flow style.
fn travis(language: &str, script: &str, deploy: &str) -> String {
    format!("language: {language}\nscript:\n{script}deploy:\n  - {{{deploy}, on: main}}\n")
}

#[tokio::test]
async fn s3_gets_the_files_of_a_folder_with_signed_requests() {
    let s3 = S3::at(&docker::bridge(), Trouble::default()).await;
    let app = App::start(&docker::reach_bridge()).await;
    let repo = app.github.repo("acme/styles");
    repo.write("README.md", "# Styles\n");
    let entry = |more: &str| {
        format!(
            "provider: s3, access_key_id: {ACCESS_KEY}, secret_access_key: \"{SECRET_KEY}\", bucket: {BUCKET}, \
             endpoint: \"{}\", upload_dir: site/$TRAVIS_BRANCH, local_dir: out{more}",
            s3.endpoint
        )
    };
    let script =
        "  - mkdir -p out/deep; echo one > 'out/a b+ü.txt'; echo '<p>' > out/deep/index.html; echo no > out/.hidden\n";
    repo.write(".travis.yml", &travis("shell", script, &entry(", acl: public_read")));
    repo.commit("Deploy");
    let (verdict, log) = pushed(&app, &repo, 1, None).await;
    assert_eq!(verdict, "passed", "{log}");
    assert_eq!(s3.keys(), ["site/main/a%20b%2B%C3%BC.txt", "site/main/deep/index.html"], "{log}");
    assert_eq!(&s3.object("site/main/deep/index.html").unwrap().bytes[..], b"<p>\n");
    assert_eq!(s3.refused(), Vec::<String>::new());
    assert!(log.contains("Published site/main/deep/index.html."), "{log}");

    // What is there stays, with `overwrite: false`.
    repo.write(".travis.yml", &travis("shell", &script.replace("<p>", "<b>"), &entry(", overwrite: false")));
    repo.commit("Deploy again");
    let (verdict, log) = pushed(&app, &repo, 2, None).await;
    assert!(verdict == "passed" && log.contains("index.html is there already, and stays as it is"), "{log}");
    assert!(s3.replaced().is_empty());

    // A failure is the job's.
    for (job, (from, to, told)) in [
        (&format!("bucket: {BUCKET}")[..], "bucket: other", "it answered 404 to"),
        (SECRET_KEY, "a wrong key", "it answered 403 to"),
        (", upload_dir", ", local_dir: nowhere, upload_dir", "there is no folder nowhere"),
        (
            &format!("bucket: {BUCKET}, ")[..],
            "bucket: $NO_BUCKET, ",
            "there is no bucket: `bucket` is missing or empty",
        ),
        (ACCESS_KEY, "$NO_KEY", "there is no key: `access_key_id` is missing or empty"),
    ]
    .into_iter()
    .enumerate()
    {
        let entry = entry("").replace(from, to);
        let entry = if to.contains("nowhere") { entry.replace(", local_dir: out", "") } else { entry };
        repo.write(".travis.yml", &travis("shell", script, &entry));
        repo.commit("Fail");
        let (verdict, log) = pushed(&app, &repo, 3 + job as i64, None).await;
        assert!(verdict == "errored" && log.contains(told), "{told}: {log}");
    }
    app.stop().await;
}

#[tokio::test]
async fn pages_are_a_commit_on_a_branch_and_a_secret_stays_one() {
    const TOKEN: &str = "ghp_tokenForPagesThatNobodyMaySee";
    let app = App::start(&docker::reach_bridge()).await;
    let repo = app.github.repo("acme/styles");
    let config = Command::new("git").arg("-C").arg(&repo.bare).args(["config", "http.receivepack", "true"]).status();
    assert!(config.unwrap().success());
    let host = GitHost::new(&app.github.root, Some(TOKEN));
    let listener = TcpListener::bind((docker::bridge(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/{owner}/{repo}/{*rest}", any(git_host::serve)).with_state(host);
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });

    let token = format!("{{{}}}", encrypted(&app.base, &app.github, &repo, TOKEN).await);
    let script = |text: &str| {
        format!(
            "  - git config --global url.http://{address}/.insteadOf https://pages.example/\n  - mkdir -p out; echo {text} > out/index.html; \
             touch made.txt\n"
        )
    };
    let entry = |more: &str| format!("provider: pages, token: {token}, url: pages.example, local_dir: out{more}");
    let branch = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&repo.bare).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (job, (text, more, commits)) in [
        ("first", ", fqdn: styles.example.org", "1"),
        ("second", "", "2"),
        ("second", "", "2"),
        ("third", ", keep_history: false, commit_message: Fresh at $TRAVIS_BRANCH", "1"),
    ]
    .into_iter()
    .enumerate()
    {
        repo.write(".travis.yml", &travis("shell", &script(text), &entry(more)));
        repo.commit("Deploy");
        let (verdict, log) = pushed(&app, &repo, 2 + job as i64, None).await;
        assert_eq!(verdict, "passed", "{log}");
        assert_eq!(branch(&["rev-list", "--count", "gh-pages"]).trim(), commits, "{job}: {log}");
        assert_eq!(branch(&["show", "gh-pages:index.html"]).trim(), text);
        assert!(
            !log.contains(TOKEN) && !log.contains(&BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}"))),
            "{log}"
        );
    }
    assert_eq!(branch(&["ls-tree", "--name-only", "gh-pages"]).trim(), "index.html");
    assert_eq!(branch(&["log", "-1", "--format=%s", "gh-pages"]).trim(), "Fresh at main");

    let wrong = entry("").replace(&token, "ghp_wrong");
    for (job, (entry, told)) in [
        (wrong, "pages.example did not take it"),
        (entry("").replace(&token, "$NO_TOKEN"), "there is no token: `token` is missing or empty"),
    ]
    .into_iter()
    .enumerate()
    {
        repo.write(".travis.yml", &travis("shell", &script("x"), &entry));
        repo.commit("Fail");
        let (verdict, log) = pushed(&app, &repo, 6 + job as i64, None).await;
        assert!(verdict == "errored" && log.contains(told), "{told}: {log}");
    }
    app.stop_with_leaks().await;
}

/// Returns a configuration in which jobs find the clients that `make setup-test` has installed.
fn with_clients() -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/venv/lib");
    let folder = std::fs::read_dir(&python).expect("run `make setup-test`").next().unwrap().unwrap();
    let packages = folder.path().join("site-packages");
    format!("{}\n[[mount]]\nhost = {packages:?}\ntarget = '/clients'\nrepos = ['acme/*']\n", docker::reach_bridge())
}

#[tokio::test]
async fn a_folder_goes_to_the_hub_with_its_own_client() {
    let server = HubServer::at(&docker::bridge(), Trouble::default()).await;
    let app = App::start(&with_clients()).await;
    let repo = app.github.repo("acme/styles");
    let entry = |token: &str| {
        format!(
            "provider: huggingface, token: {token}, repo: acme/site, local_dir: out, tag_name: v1, endpoint: \"{}\", \
             private: false",
            server.endpoint()
        )
    };
    let script = "  - mkdir out; echo '# Ink' > out/README.md; head -c 3000000 /dev/zero > out/ink.safetensors\n";
    // The client chooses Xet by what is installed. The stand-in has LFS alone.
    let env = "env: PYTHONPATH=/clients HF_HUB_DISABLE_XET=1";
    let of = |entry: &str| format!("{env}\n{}", travis("python", script, entry));
    repo.write(".travis.yml", &of(&entry(hub::TOKEN)));
    repo.commit("Deploy");
    let (verdict, log) = pushed(&app, &repo, 1, None).await;
    assert_eq!(verdict, "passed", "{log}");
    let published = server.repository("acme/site").unwrap();
    assert!(!published.private && published.tags.contains_key("v1"), "{log}");
    let weights = &published.last().tree["ink.safetensors"];
    assert!(weights.is_lfs && weights.bytes.len() == 3_000_000);
    assert_eq!(server.wrong(), Vec::<String>::new());
    repo.write(".travis.yml", &of(&entry("hf_wrong")));
    repo.commit("Fail");
    let (verdict, log) = pushed(&app, &repo, 2, None).await;
    assert!(verdict == "errored" && log.contains("401"), "{log}");
    repo.write(".travis.yml", &of(&entry(hub::TOKEN).replace("repo: acme/site, ", "repo: $NO_REPO, ")));
    repo.commit("Fail again");
    let (verdict, log) = pushed(&app, &repo, 3, None).await;
    assert!(verdict == "errored" && log.contains("there is no repository: `repo` is missing or empty"), "{log}");
    app.stop_with_leaks().await;
}

/// Files that were uploaded to the stand-in for a package index: name, version and content.
type Uploaded = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// Returns the fields of a form with files.
fn fields_of(content_type: &str, body: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let boundary = format!("--{}", content_type.split_once("boundary=").unwrap().1);
    let find = |text: &[u8], part: &[u8]| text.windows(part.len()).position(|window| window == part);
    let (mut fields, mut rest) = (BTreeMap::new(), body);
    while let Some(begin) = find(rest, boundary.as_bytes()) {
        rest = &rest[begin + boundary.len()..];
        let Some(end) = find(rest, boundary.as_bytes()) else { break };
        let head = find(rest, b"\r\n\r\n").unwrap();
        let name = String::from_utf8_lossy(&rest[..head]).into_owned();
        let name = name.split_once("name=\"").unwrap().1.split('"').next().unwrap().to_owned();
        fields.insert(name, rest[head + 4..end - 2].to_vec());
    }
    fields
}

/// Takes an upload as PyPI does.
async fn upload(State(uploaded): State<Uploaded>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    let wanted = format!("Basic {}", BASE64_STANDARD.encode("__token__:pypi-token"));
    if headers["authorization"] != wanted.as_str() {
        return (StatusCode::FORBIDDEN, "Invalid or non-existent authentication information.");
    }
    let fields = fields_of(headers["content-type"].to_str().unwrap(), &body);
    let text = |name: &str| String::from_utf8(fields[name].clone()).unwrap();
    if text(":action") != "file_upload" || text("sha256_digest") != hex::encode(Sha256::digest(&fields["content"])) {
        return (StatusCode::BAD_REQUEST, "not an upload");
    }
    let mut uploaded = uploaded.lock().unwrap();
    if uploaded.iter().any(|(name, version, _)| (name, version) == (&text("name"), &text("version"))) {
        return (StatusCode::BAD_REQUEST, "File already exists.");
    }
    uploaded.push((text("name"), text("version"), fields["content"].clone()));
    (StatusCode::OK, "")
}

#[tokio::test]
async fn a_package_is_built_and_uploaded_with_twine() {
    let listener = TcpListener::bind((docker::bridge(), 0)).await.unwrap();
    let server = format!("http://{}/legacy/", listener.local_addr().unwrap());
    let uploaded = Uploaded::default();
    let router = Router::new().route("/legacy/", any(upload)).with_state(Arc::clone(&uploaded));
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    let app = App::start(&with_clients()).await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        "setup.py",
        "from setuptools import setup\nsetup(name='ink-styles', version='1.2', py_modules=['ink'])\n",
    );
    repo.write("ink.py", "");
    repo.write("README.md", "# Ink\n");
    let token = format!("{{{}}}", encrypted(&app.base, &app.github, &repo, "pypi-token").await);
    let of = |more: &str| {
        let entry = format!("provider: pypi, password: {token}, server: \"{server}\"{more}");
        format!("env: PYTHONPATH=/clients\n{}", travis("python", "  - true\n", &entry))
    };
    for (job, (more, verdict, told)) in [
        ("", "passed", "Uploading"),
        // twine tells the status alone. The stand-in's reason is that the file exists already.
        ("", "errored", "400 Bad Request"),
        // twine has this for PyPI itself alone.
        (", skip_existing: true", "errored", "--skip-existing"),
    ]
    .into_iter()
    .enumerate()
    {
        repo.write(".travis.yml", &of(more));
        repo.commit("Deploy");
        let (found, log) = pushed(&app, &repo, 2 + job as i64, None).await;
        assert!(found == verdict && log.contains(told), "{more}: {found}: {log}");
        assert!(!log.contains("pypi-token"), "{log}");
    }
    let uploaded = uploaded.lock().unwrap().clone();
    let [(name, version, content)] = &uploaded[..] else { panic!("{} uploads", uploaded.len()) };
    assert!(name.replace('_', "-") == "ink-styles" && version == "1.2" && content.starts_with(&[0x1f, 0x8b]));
    repo.write(".travis.yml", &of("").replace(&token, "$NO_TOKEN"));
    repo.commit("Fail");
    let (verdict, log) = pushed(&app, &repo, 5, None).await;
    assert!(verdict == "errored" && log.contains("there is no password: `password` is missing or empty"), "{log}");
    app.stop_with_leaks().await;
}
