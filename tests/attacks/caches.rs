//! Attacks through caches and checkout images: tokens that forks would read, refs that write the cache of a branch, and
//! disks that forks fill.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use tar::{Builder, EntryType, Header};
use trainyard::domain::RepoId;
use trainyard::storage::{CacheConfig, Caches};

use crate::support::app::{App, IMAGE};
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// Files that hold nothing but tokens, in the places where their programs keep them.
const TOKEN_FILES: [&str; 20] = [
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    ".huggingface/token",
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh/hosts.yml",
    ".pypirc",
    ".docker/config.json",
    ".aws/credentials",
    ".azure/msal_token_cache.json",
    ".config/gcloud/application_default_credentials.json",
    ".config/gcloud/credentials.db",
    ".config/rclone/rclone.conf",
    ".kaggle/kaggle.json",
    ".modelscope/credentials/git_token",
    ".kube/config",
    ".cargo/credentials.toml",
    ".ssh/id_ed25519",
    "build/acme/styles/.netrc",
];
/// Files that hold a token only sometimes, with a text that has one and a text that has none.
const SOMETIMES: [(&str, &str, &str); 6] = [
    (".config/pip/pip.conf", "index-url = https://ci:hidden@pypi.example.org/simple", "timeout = 60"),
    (".npmrc", "//registry.npmjs.org/:_authToken=hidden", "fund = false"),
    (".yarnrc.yml", "npmAuthToken: hidden", "nodeLinker: node-modules"),
    (".config/uv/uv.toml", "url = \"https://ci:hidden@pypi.example.org/simple\"", "offline = true"),
    (
        "build/acme/styles/.git/config",
        "url = https://x:hidden@github.com/acme/styles",
        "url = git@github.com:acme/styles",
    ),
    (".condarc", "channels: [https://conda.anaconda.org/t/hidden/acme]", "channels: [conda-forge]"),
];
const REPO: RepoId = RepoId(7);

fn append(tar: &mut Builder<Vec<u8>>, path: &str, text: &str) {
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, format!("travis/{path}"), text.as_bytes()).unwrap();
}

/// Packs a tar of the home folder as a cache. Returns the stored names with their texts, and the names that were left
/// out.
fn packed(tar: Builder<Vec<u8>>) -> (Vec<(String, String)>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let caches = Caches::new(folder.path().to_owned(), CacheConfig::default());
    let mut new = caches.begin(REPO, "branch/main", "slug").unwrap();
    new.add("/home/travis", tar.into_inner().unwrap().as_slice()).unwrap();
    let left_out = new.left_out().iter().map(|path| path.display().to_string()).collect();
    new.finish(None).unwrap();
    let cached = caches.find(REPO, &["branch/main".to_owned()], "slug").unwrap().unwrap();
    let mut archive = tar::Archive::new(cached.open().unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    (entries.collect(), left_out)
}

#[test]
fn known_files_of_tokens_are_in_no_cache() {
    for path in TOKEN_FILES {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, path, "hidden");
        append(&mut tar, "other", "kept");
        let (stored, left_out) = packed(tar);
        assert_eq!(stored, [("home/travis/other".to_owned(), "kept".to_owned())], "{path}");
        assert_eq!(left_out, [format!("/home/travis/{path}")]);
    }
}

#[test]
fn files_that_sometimes_hold_tokens_are_in_caches_without_them_alone() {
    for (path, with, without) in SOMETIMES {
        let of = |text: &str| {
            let mut tar = Builder::new(Vec::new());
            append(&mut tar, path, text);
            packed(tar)
        };
        assert_eq!(of(with), (Vec::new(), vec![format!("/home/travis/{path}")]), "{path}");
        assert_eq!(of(without), (vec![(format!("home/travis/{path}"), without.to_owned())], Vec::new()), "{path}");
        let large = format!("{without}\n{}", "#".repeat(64 * 1024));
        assert_eq!(of(&large).0, Vec::new(), "{path}: too large to be looked at");
    }
}

#[test]
fn other_names_of_a_token_file_are_in_no_cache() {
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, ".netrc", "hidden");
    let link = |tar: &mut Builder<Vec<u8>>, name: &str, target: &str| {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, format!("travis/{name}"), format!("travis/{target}")).unwrap();
    };
    link(&mut tar, "second", ".netrc");
    link(&mut tar, "third", "second");
    append(&mut tar, "kept", "kept");
    let (stored, left_out) = packed(tar);
    assert_eq!(stored, [("home/travis/kept".to_owned(), "kept".to_owned())]);
    assert_eq!(left_out, ["/home/travis/.netrc", "/home/travis/second", "/home/travis/third"]);
}

#[test]
fn names_that_leave_their_folder_are_refused() {
    for name in ["travis/../../etc/passwd", "../x"] {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let mut tar = Builder::new(Vec::new());
        tar.append(&header, std::io::empty()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let caches = Caches::new(folder.path().to_owned(), CacheConfig::default());
        let mut new = caches.begin(REPO, "branch/main", "slug").unwrap();
        let error = new.add("/home/travis", tar.into_inner().unwrap().as_slice()).unwrap_err();
        assert!(error.to_string().contains("leaves its folder"), "{name}: {error}");
    }
}

#[test]
fn a_cache_of_endless_empty_files_is_refused() {
    /// A tar without end, of empty files.
    struct Endless {
        header: Vec<u8>,
        at: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let rest = &self.header[self.at..];
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            self.at = (self.at + read) % self.header.len();
            Ok(read)
        }
    }

    let mut header = Header::new_gnu();
    header.set_path("travis/empty").unwrap();
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    let folder = tempfile::tempdir().unwrap();
    let caches = Caches::new(folder.path().to_owned(), CacheConfig::default());
    let mut new = caches.begin(REPO, "fork/1", "slug").unwrap();
    let error = new.add("/home/travis", Endless { header: header.as_bytes().to_vec(), at: 0 }).unwrap_err();
    assert_eq!(error.to_string(), "there are more than 500000 files and folders to be cached");
}

/// Stores a cache of 100 KB that does not compress.
fn store(caches: &Caches, reference: &str) {
    let mut state = 7_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + (state >> 58) as u8)
    })
    .take(100_000)
    .collect();
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "noise", &noise);
    let mut new = caches.begin(REPO, reference, "slug").unwrap();
    new.add("/home/travis", tar.into_inner().unwrap().as_slice()).unwrap();
    new.finish(None).unwrap();
}

fn has(caches: &Caches, reference: &str) -> bool {
    caches.find(REPO, &[reference.to_owned()], "slug").unwrap().is_some()
}

#[test]
fn forks_throw_out_the_caches_of_forks_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = |total| CacheConfig { total_size: ByteSize::kib(total), ..CacheConfig::default() };
    let caches = Caches::new(folder.path().to_owned(), config(1000));
    store(&caches, "branch/main");
    let forks: Vec<String> = (0..20).map(|n| format!("fork/{n}")).collect();
    forks.iter().for_each(|fork| store(&caches, fork));
    let now = SystemTime::now();
    caches.prune(now).unwrap();
    assert!(has(&caches, "branch/main"), "it is the oldest, and stays");
    let left = forks.iter().filter(|fork| has(&caches, fork)).count();
    assert!((1..=3).contains(&left), "forks have a quarter: {left}");
    // When the others need the room, the caches of forks go first.
    let caches = Caches::new(folder.path().to_owned(), config(100));
    caches.prune(now).unwrap();
    assert!(has(&caches, "branch/main") && !forks.iter().any(|fork| has(&caches, fork)));
    assert_eq!(caches.prune(now + Duration::from_secs(46 * 24 * 3600)).unwrap(), 1, "age counts for all");
}

const TRAVIS: &str = "language: shell
cache: {directories: [$HOME/.cache/huggingface]}
script:
  - mkdir -p ~/.cache/huggingface && cd ~/.cache/huggingface
  - echo \"found [$(cat model 2>/dev/null)] and [$(cat token 2>/dev/null)]\"
  - echo \"$TRAVIS_TAG $TRAVIS_PULL_REQUEST\" > model
  - echo hidden-value > token
";

async fn log(app: &App, job: i64) -> String {
    String::from_utf8(app.log(job).await).unwrap()
}

async fn push(app: &App, repo: &Repo, id: &str) -> String {
    let sha = repo.commit(id);
    Delivery::new(id, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    sha
}

/// Opens a pull request of a fork with an empty commit. Waits for its end.
async fn fork(app: &App, repo: &Repo, number: u32) {
    let base = repo.head();
    repo.git(&["checkout", "-q", "-B", "watercolour"]);
    // Equal commits of one second would be the same commit.
    let head = repo.commit(&format!("Read the cache {number} at {}", chrono::Utc::now()));
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(number, &base, &head);
    let opened = payload::pull_request(&app.github, repo, number, &base, &head);
    Delivery::new(&head, "pull_request", &opened).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&head, "trainyard/pr").await.state, "success");
}

#[tokio::test]
async fn a_fork_reads_no_token_out_of_the_default_branchs_cache() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", TRAVIS);
    push(&app, &repo, "d-1").await;
    let first = log(&app, 1).await;
    assert!(first.contains("Stored the cache of branch main"), "{first}");
    assert!(first.contains("such files hold tokens: /home/travis/.cache/huggingface/token."), "{first}");
    fork(&app, &repo, 7).await;
    let second = log(&app, 2).await;
    assert!(
        second.contains("Restored the cache of branch main") && second.contains("found [ false] and []"),
        "{second}"
    );
    // It writes its own cache, which its next build reads, and no branch.
    push(&app, &repo, "d-2").await;
    let third = log(&app, 3).await;
    assert!(third.contains("found [ false] and []"), "{third}");
    app.stop().await;
}

#[tokio::test]
async fn where_forks_read_no_caches_they_find_their_own_alone() {
    let app = App::start("[cache]\nforks = 'none'\n").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", TRAVIS);
    push(&app, &repo, "d-1").await;
    fork(&app, &repo, 7).await;
    let first = log(&app, 2).await;
    assert!(
        first.contains("There is no cache yet for pull request #7.") && first.contains("found [] and []"),
        "{first}"
    );
    fork(&app, &repo, 7).await;
    let second = log(&app, 3).await;
    assert!(
        second.contains("Restored the cache of pull request #7") && second.contains("found [ 7] and []"),
        "{second}"
    );
    app.stop().await;
}

#[tokio::test]
async fn a_tag_that_is_called_as_a_branch_does_not_write_the_branchs_cache() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", TRAVIS);
    let sha = push(&app, &repo, "d-1").await;
    let mut tag = payload::push(&app.github, &repo, "main");
    repo.git(&["push", "--quiet", "origin", "HEAD:refs/tags/main"]);
    tag["ref"] = "refs/tags/main".into();
    Delivery::new("tag", "push", &tag).post(&app.base).await;
    let end = |posted: &crate::support::github::Posted| {
        posted.sha == sha && posted.target_url.contains("/builds/2") && posted.state == "success"
    };
    app.github.wait_for(Duration::from_secs(90), end).await;
    let of_tag = log(&app, 2).await;
    assert!(of_tag.contains("Restored the cache of branch main") && of_tag.contains("found [ false]"), "{of_tag}");
    assert!(of_tag.contains("Stored the cache of tag main"), "{of_tag}");
    push(&app, &repo, "d-2").await;
    let of_branch = log(&app, 3).await;
    assert!(of_branch.contains("found [ false]"), "the branch finds its own: {of_branch}");
    app.stop().await;
}

#[tokio::test]
async fn a_job_does_not_start_in_a_checkout_image_that_it_names() {
    let docker = |arguments: &[&str]| {
        let output = std::process::Command::new("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let container = docker(&["create", IMAGE, "true"]);
    let image = docker(&["commit", "--change", "LABEL trainyard.checkout_image.repo=8", &container]);
    docker(&["rm", &container]);
    let app = App::start("[images]\nallowed = ['*']\n").await;
    let repo = app.github.repo("acme/styles");
    for (number, name) in [(1, image.as_str()), (2, image.trim_start_matches("sha256:"))] {
        repo.write(".travis.yml", &format!("language: shell\nimage: {name:?}\nscript: ls\n"));
        let sha = repo.commit("Look");
        Delivery::new(&sha, "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "error");
        let (_, page) = app.get(&format!("/acme/styles/builds/{number}/jobs/1")).await;
        assert!(page.contains("holds the files of a repository"), "{page}");
    }
    docker(&["rmi", &image]);
    app.stop().await;
}

#[test]
fn caches_of_earlier_versions_which_hold_tokens_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let caches = Caches::new(folder.path().to_owned(), CacheConfig::default());
    store(&caches, "branch/main");
    let mut files = Vec::new();
    walk(folder.path(), &mut files);
    let [file] = &files[..] else { panic!("{files:?}") };
    let old = file.to_str().unwrap().replace(".2.tar.zst", ".tar.zst");
    std::fs::rename(file, old).unwrap();
    assert!(!has(&caches, "branch/main"));
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}
