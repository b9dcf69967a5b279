//! Data sets and models from git repositories, with large files from their server of Git LFS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use trainyard::inputs::{Fetched, InputError, Inputs};

use super::world::{LOOPBACK, PART, config, fetch, inputs, inputs_with_names, noise, sha256};
use crate::support::files::FileServer;
use crate::support::git_host::Repo;
use crate::support::lfs::{LfsServer, TOKEN, Way, pointer};
use crate::support::mount::Mounted;

const REPO: &str = "acme/styles";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10";

fn section(server: &LfsServer) -> String {
    config(&server.section("datasets", TOKEN))
}

/// Commits a data set with a large file. Returns the commit.
fn style(server: &LfsServer, repo: &Repo, large: &[u8]) -> String {
    repo.write_bytes("train/a.png", PNG);
    repo.write("train/a.txt", "a cat");
    repo.write_bytes("train/deep/b ü.png", PNG);
    repo.write("train/deep/b ü.txt", "a dog");
    repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n*.txt eol=crlf ident\n");
    repo.write("lines.txt", "one $Id$\ntwo\n");
    repo.write("empty", "");
    server.write(repo, "train/extra.bin", large);
    repo.commit("A style")
}

fn read(fetched: &Fetched, path: &str) -> Vec<u8> {
    std::fs::read(fetched.path.join(path)).unwrap()
}

#[tokio::test]
async fn a_commit_comes_with_its_large_files_and_the_token_stays_with_its_host() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let (repo, large) = (server.repo("datasets/style"), noise(PART + 1000));
    let commit = style(&server, &repo, &large);
    repo.git(&["tag", "-a", "-m", "First", "v1"]);
    repo.git(&["push", "--quiet", "origin", "v1"]);
    let (inputs, source) = (inputs(folder.path(), &section(&server)), server.source("datasets/style"));
    let whole = fetch(&inputs, REPO, &source, None).await.unwrap();
    assert_eq!((whole.revision.as_str(), whole.files, whole.file_name.clone()), (commit.as_str(), 8, None));
    assert_eq!(whole.contents, "2 images with captions");
    assert!(read(&whole, "train/extra.bin") == large);
    assert_eq!(read(&whole, "train/deep/b ü.txt"), b"a dog");
    assert_eq!(read(&whole, "lines.txt"), b"one $Id$\ntwo\n", "no attribute changes a file");
    assert!(!whole.path.join(".git").exists());
    assert_eq!((server.take_batches(), server.wrong()), (vec![1], Vec::new()));
    let (_, reads) = server.take_requests();
    assert_eq!(reads, 2, "a large file comes in parts");

    let part = fetch(&inputs, REPO, &format!("{source}@v1//train"), None).await.unwrap();
    assert_eq!((part.revision.as_str(), part.files), (commit.as_str(), 5));
    assert!(part.path.join("deep/b ü.png").exists());
    let file = fetch(&inputs, REPO, &format!("{source}@{commit}//train/extra.bin"), None).await.unwrap();
    assert_eq!((file.digest.as_str(), file.file_name.as_deref()), (sha256(&large).as_str(), Some("extra.bin")));
    assert_eq!(server.take_batches(), [0; 0], "what the repository has sent before is here");
    server.take_requests();
    fetch(&inputs, REPO, &format!("{source}@{commit}"), None).await.unwrap();
    assert_eq!(server.take_requests(), (0, 0), "a commit that is here needs no request");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("inputs/partial")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    repo.write("train/new.txt", "a second state");
    let second = repo.commit("A second state");
    let main = fetch(&inputs, REPO, &format!("{source}@main"), None).await.unwrap();
    assert_eq!((main.revision, main.files), (second, 9));
    let again = fetch(&inputs, REPO, &format!("{source}@v1"), None).await.unwrap();
    assert_eq!((again.revision, again.digest), (commit, whole.digest));
}

#[tokio::test]
async fn each_way_to_an_object_sees_only_its_own_secrets() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.repo("datasets/style");
    let inputs = inputs(folder.path(), &section(&server));
    for (number, way) in [Way::Storage, Way::Redirect, Way::Host].into_iter().enumerate() {
        server.sends_by(way);
        server.write(&repo, "base.bin", &noise(1000 + number));
        repo.commit("Another base");
        let fetched = fetch(&inputs, REPO, &server.source("datasets/style"), None).await.unwrap();
        assert!(read(&fetched, "base.bin") == noise(1000 + number), "{way:?}");
        assert_eq!(server.wrong(), Vec::<String>::new(), "{way:?}");
    }
}

#[tokio::test]
async fn many_objects_are_asked_for_at_once_and_ended_ways_again() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.repo("datasets/style");
    for number in 0..130 {
        server.write(&repo, &format!("{number}.bin"), &noise(100 + number));
    }
    server.write(&repo, "twice.bin", &noise(100));
    repo.commit("Many");
    let inputs = inputs(folder.path(), &section(&server));
    server.refuse(&[(503, ""), (429, "slow down")]);
    server.end_signatures_after(50);
    assert_eq!(fetch(&inputs, REPO, &server.source("datasets/style"), None).await.unwrap().files, 131);
    let batches = server.take_batches();
    assert!([100, 30, 1].iter().all(|size| batches.contains(size)), "{batches:?}");
    assert_eq!(server.wrong(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_is_for_its_repositories_alone_and_follows_no_redirect() {
    let (server, other) = (LfsServer::start().await, LfsServer::start().await);
    let folder = tempfile::tempdir().unwrap();
    let (repo, source) = (server.repo("datasets/style"), server.source("datasets/style"));
    let commit = style(&server, &repo, &noise(1000));
    let ours = inputs(folder.path(), &section(&server));
    fetch(&ours, REPO, &source, None).await.unwrap();
    let error = fetch(&ours, "mallory/styles", &format!("{source}@{commit}"), None).await.unwrap_err();
    assert!(matches!(error, InputError::Missing(_)), "{error}");
    let wrong = inputs(folder.path(), &config(&server.section("datasets", "glpat-expired")));
    let error = fetch(&wrong, REPO, &format!("{source}@v2"), None).await.unwrap_err().to_string();
    assert!(error.starts_with("wrong or expired token: ") && !error.contains("glpat"), "{error}");
    // Another host, and another owner on this one, are not in the token's patterns.
    other.repo("datasets/style");
    for source in [other.source("datasets/style"), server.source("others/style")] {
        let error = fetch(&ours, REPO, &source, None).await.unwrap_err();
        assert!(matches!(error, InputError::Missing(_)), "{error}");
    }
    assert_eq!(other.git.saw_token("datasets/style"), Some(false));
    let new = format!("http://{}/datasets/moved.git", other.address);
    server.git.move_to("datasets/style", &new);
    other.git.publish("datasets/moved");
    let error = fetch(&ours, REPO, &format!("{source}@main"), None).await.unwrap_err().to_string();
    assert!(error.contains("answers with a redirect"), "{error}");
    assert_eq!(other.git.saw_token("datasets/moved"), None, "nobody was asked there");
}

#[tokio::test]
async fn each_lack_has_its_name() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let (repo, source) = (server.repo("datasets/style"), server.source("datasets/style"));
    let (large, lost) = (noise(5000), noise(5001));
    style(&server, &repo, &large);
    let inputs = inputs(folder.path(), &section(&server));
    let gone = "ab".repeat(20);
    for (from, told) in [
        (server.source("datasets/none"), "missing repository: ".to_owned()),
        (format!("{source}@v9"), format!("revision gone: http://{}/datasets/style.git has no v9", server.address)),
        (
            format!("{source}@{gone}"),
            format!("revision gone: http://{}/datasets/style.git has no {gone}", server.address),
        ),
        (format!("{source}@main//eval"), "missing repository: ".to_owned()),
    ] {
        let error = fetch(&inputs, REPO, &from, None).await.unwrap_err().to_string();
        assert!(error.starts_with(&told), "{from}: {error}");
    }
    server.spoil(&large, &noise(5002)[2..]);
    let error = fetch(&inputs, REPO, &source, None).await.unwrap_err().to_string();
    let told = format!("checksum differs: train/extra.bin has the SHA-256 {}", sha256(&noise(5002)[2..]));
    assert!(error.starts_with(&told), "{error}");
    server.spoil(&large, &large);
    server.write(&repo, "lost.bin", &lost);
    server.lose(&lost);
    repo.commit("Lost");
    let error = fetch(&inputs, REPO, &source, None).await.unwrap_err().to_string();
    let told = format!("missing object of Git LFS: lost.bin (sha256:{}): 404 Object does not exist", sha256(&lost));
    assert!(error.starts_with(&told), "{error}");
    for (status, message, told) in [
        (404, "Not found", "refused: "),
        (403, "", "wrong or expired token: "),
        (403, "This repository exceeded its budget", "wrong or expired token: "),
        (509, "Bandwidth limit exceeded", "refused: "),
    ] {
        server.refuse(&[(status, message); 9]);
        let error = fetch(&inputs, REPO, &source, None).await.unwrap_err().to_string();
        assert!(error.starts_with(told) && error.contains(message) && !error.contains(TOKEN), "{status}: {error}");
    }
    server.refuse(&[]);
    server.git.fail_next(2);
    server.write(&repo, "lost.bin", &lost);
    repo.commit("Found");
    assert_eq!(fetch(&inputs, REPO, &source, None).await.unwrap().files, 9, "a failure that passes is tried again");
}

#[tokio::test]
async fn a_tree_with_tricks_is_refused() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let (repo, source) = (server.repo("datasets/style"), server.source("datasets/style"));
    let inputs = inputs(folder.path(), &section(&server));
    style(&server, &repo, &noise(1000));
    std::os::unix::fs::symlink("/etc/passwd", repo.work().join("link")).unwrap();
    let head = repo.head();
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    repo.git(&["add", "link"]);
    repo.git(&["commit", "--quiet", "-m", "Links"]);
    repo.git(&["push", "--quiet", "origin", "HEAD:links"]);
    let error = fetch(&inputs, REPO, &format!("{source}@links"), None).await.unwrap_err().to_string();
    assert!(error.starts_with("refused: 2 entries of the commit are links or submodules"), "{error}");
    assert!(error.contains("\"link\", \"module\""), "{error}");
    assert_eq!(fetch(&inputs, REPO, &format!("{source}@links//train"), None).await.unwrap().files, 5);
    let blob = repo.git(&["rev-parse", &format!("{head}:train/a.png")]);
    let tree = |lines: &str| {
        let file = folder.path().join("tree");
        std::fs::write(&file, lines).unwrap();
        repo.git_with_input(&["mktree", "--missing"], &file)
    };
    let inner = tree(&format!("100644 blob {blob}\tconfig\n"));
    for (lines, path) in [
        (format!("040000 tree {inner}\t.git\n"), ".git/config"),
        (format!("040000 tree {inner}\t.GIT\n"), ".GIT/config"),
        (format!("040000 tree {inner}\t..\n"), "../config"),
        (format!("100644 blob {blob}\ta\n040000 tree {inner}\ta\n"), "a/config"),
        (format!("100644 blob {blob}\ta\n100644 blob {blob}\ta\n"), "a"),
        (format!("100644 blob {blob}\ta\\b\n"), "a\\\\b"),
    ] {
        let commit = repo.git(&["commit-tree", "-m", "Tricks", &tree(&lines)]);
        repo.git(&["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/tricks")]);
        let error = fetch(&inputs, REPO, &format!("{source}@tricks"), None).await.unwrap_err().to_string();
        let told = format!("refused: the commit has paths that are not allowed: \"{path}\"");
        assert!(error.starts_with(&told), "{lines}: {error}");
    }
    assert!(!folder.path().join("config").exists() && !folder.path().join("inputs/config").exists());
}

#[tokio::test]
async fn a_pointer_to_a_file_of_others_proves_nothing() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let (private, secret) = (FileServer::start(noise(4000)).await, noise(4000));
    let inputs = inputs(folder.path(), &section(&server));
    fetch(&inputs, REPO, &private.url(), Some(&sha256(&secret))).await.unwrap();
    let repo = server.repo("datasets/style");
    repo.write("base.bin", &pointer(&sha256(&secret), secret.len()));
    repo.commit("A hash that was read somewhere");
    let error = fetch(&inputs, REPO, &server.source("datasets/style"), None).await.unwrap_err();
    assert!(matches!(error, InputError::Object(_)), "{error}");
}

#[tokio::test]
async fn what_is_too_large_for_the_settings_or_the_disk_is_not_fetched() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let (repo, source) = (server.repo("datasets/style"), server.source("datasets/style"));
    let small = section(&server).replace("allow", "max_size = '10 MB'\nallow");
    let small = inputs(folder.path(), &small);
    repo.write("base.bin", &pointer(&"ab".repeat(32), usize::MAX));
    repo.write("other.bin", &pointer(&"cd".repeat(32), usize::MAX));
    repo.commit("Two pointers");
    let error = fetch(&small, REPO, &source, None).await.unwrap_err().to_string();
    assert!(error.starts_with("too large: it has ") && error.contains("inputs.max_size"), "{error}");
    repo.write("zeros.bin", &"\0".repeat(12_000_000));
    repo.commit("A bomb");
    let error = fetch(&small, REPO, &source, None).await.unwrap_err().to_string();
    assert!(error.starts_with("too large: it has "), "{error}");
    for name in ["base.bin", "other.bin", "zeros.bin"] {
        std::fs::remove_file(repo.work().join(name)).unwrap();
    }
    repo.write_bytes("noise.bin", &noise(40_000_000));
    repo.commit("Much of git itself");
    let error = fetch(&small, REPO, &source, None).await.unwrap_err().to_string();
    assert!(error.starts_with("too large: "), "{error}");
    let disk = folder.path().join("small");
    let _mounted = Mounted::new(&disk, "size=32m");
    let error = fetch(&inputs(&disk, &section(&server)), REPO, &source, None).await.unwrap_err().to_string();
    assert!(error.starts_with("disk full: "), "{error}");
    let left: Vec<_> = std::fs::read_dir(disk.join("inputs/partial")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A name server that knows one address for every name.
struct Everywhere(IpAddr);

impl Resolve for Everywhere {
    fn resolve(&self, _name: Name) -> Resolving {
        let found = SocketAddr::new(self.0, 0);
        Box::pin(async move { Ok(Box::new(std::iter::once(found)) as Addrs) })
    }
}

#[tokio::test]
async fn git_connects_to_the_checked_address_of_a_name_and_to_no_other() {
    let (server, folder) = (LfsServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.repo("datasets/style");
    server.git.publish("datasets/style");
    style(&server, &repo, &noise(1000));
    std::fs::remove_file(repo.work().join("train/extra.bin")).unwrap();
    let commit = repo.commit("Without large files");
    let source = format!("git+http://data.example.org:{}/datasets/style.git", server.address.port());
    let at = |address: &str| -> Inputs {
        inputs_with_names(folder.path(), LOOPBACK, Arc::new(Everywhere(address.parse().unwrap())))
    };
    let fetched = fetch(&at("127.0.0.1"), REPO, &source, None).await.unwrap();
    assert_eq!(fetched.revision, commit);
    for address in ["127.0.0.2", "169.254.169.254", "10.0.0.1", "::1"] {
        let error = fetch(&at(address), REPO, &format!("{source}@main"), None).await.unwrap_err().to_string();
        assert_eq!(error, "not allowed: the address is not on the internet, nor in inputs.allow", "{address}");
    }
    let closed = inputs(folder.path(), "");
    server.take_requests();
    let error = fetch(&closed, REPO, &server.source("datasets/style"), None).await.unwrap_err();
    assert!(matches!(error, InputError::NotAllowed(_)), "{error}");
    assert_eq!(server.take_requests(), (0, 0));
}
