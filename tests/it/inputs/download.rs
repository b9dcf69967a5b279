//! The download of a file: in parts, from where it was cut, and never another one.

use std::time::{Duration, Instant};

use trainyard::inputs::InputError;

use super::world::{LOOPBACK, PART, fetch, inputs, noise, sha256};
use crate::support::files::{FileServer, Trouble};

const REPO: &str = "acme/styles";

#[tokio::test]
async fn a_file_comes_in_parts_once_for_all_who_ask() {
    let bytes = noise(PART * 2 + 12345);
    let (server, folder) = (FileServer::start(bytes.clone()).await, tempfile::tempdir().unwrap());
    let (inputs, hash) = (inputs(folder.path(), LOOPBACK), sha256(&bytes));
    let url = server.url();
    let ask = || fetch(&inputs, REPO, &url, Some(&hash));
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let fetched = one.unwrap();
    assert_eq!((two.unwrap(), three.unwrap()), (fetched.clone(), fetched.clone()));
    assert_eq!((fetched.digest.as_str(), fetched.files, fetched.bytes), (hash.as_str(), 1, bytes.len() as u64));
    assert_eq!((fetched.revision.as_str(), fetched.file_name.as_deref()), (hash.as_str(), Some("base.bin")));
    assert!(std::fs::read(&fetched.path).unwrap() == bytes);
    let mut parts: Vec<String> = server.asked().into_iter().filter_map(|(range, _)| range).collect();
    parts.sort();
    assert_eq!(parts, ["bytes=0-33554431", "bytes=33554432-67108863", "bytes=67108864-67121208"]);
    assert_eq!(server.take_sent(), bytes.len());
    let begun = Instant::now();
    fetch(&inputs, REPO, &url, Some(&hash)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1) && server.take_sent() == 0, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn after_a_cut_only_the_rest_is_asked_for() {
    let bytes = noise(PART + 5_000_000);
    let (server, folder) = (FileServer::start(bytes.clone()).await, tempfile::tempdir().unwrap());
    server.will_fail(&[
        Trouble::Cut(20_000_000),
        Trouble::Cut(1_000_000),
        Trouble::Status(503, Some(("retry-after", "0".to_owned()))),
        Trouble::Cut(0),
    ]);
    let fetched = fetch(&inputs(folder.path(), LOOPBACK), REPO, &server.url(), Some(&sha256(&bytes))).await.unwrap();
    assert!(std::fs::read(&fetched.path).unwrap() == bytes);
    assert!(server.take_sent() < bytes.len() + 3_000_000, "what was there is not fetched again");
    let versions: Vec<_> = server.asked().into_iter().filter_map(|(_, version)| version).collect();
    assert!(versions.iter().all(|version| version == "\"1\"") && versions.len() >= 3, "{versions:?}");
}

#[tokio::test]
async fn a_process_goes_on_where_a_dead_one_was() {
    let bytes = noise(PART * 2);
    let (server, folder) = (FileServer::start(bytes.clone()).await, tempfile::tempdir().unwrap());
    let hash = sha256(&bytes);
    server.will_fail(&[Trouble::Hang(30_000_000), Trouble::Hang(10_000_000)]);
    let (first, url) = (inputs(folder.path(), LOOPBACK), server.url());
    let cut = tokio::time::timeout(Duration::from_millis(2500), fetch(&first, REPO, &url, Some(&hash)));
    assert!(cut.await.is_err(), "the server hangs");
    drop(first);
    server.take_sent();
    let fetched = fetch(&inputs(folder.path(), LOOPBACK), REPO, &server.url(), Some(&hash)).await.unwrap();
    assert!(std::fs::read(&fetched.path).unwrap() == bytes);
    let sent = server.take_sent();
    assert!(sent < bytes.len() - 35_000_000, "{sent} bytes were fetched again");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("inputs/partial")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn another_version_in_the_middle_begins_anew() {
    let (old, new) = (noise(PART + 1000), noise(PART + 2000));
    let (server, folder) = (FileServer::start(old).await, tempfile::tempdir().unwrap());
    server.will_fail(&[Trouble::Hang(1_000_000), Trouble::Hang(500)]);
    let (first, url) = (inputs(folder.path(), LOOPBACK), server.url());
    let cut = tokio::time::timeout(Duration::from_millis(2500), fetch(&first, REPO, &url, None));
    assert!(cut.await.is_err(), "the server hangs");
    server.change(new.clone(), Some("\"2\""));
    let fetched = fetch(&inputs(folder.path(), LOOPBACK), REPO, &server.url(), None).await.unwrap();
    assert!(std::fs::read(&fetched.path).unwrap() == new);
    assert_eq!(fetched.revision, sha256(&new));
}

#[tokio::test]
async fn a_server_without_parts_sends_all_of_it() {
    let bytes = noise(3_000_000);
    let (server, folder) = (FileServer::start(bytes.clone()).await, tempfile::tempdir().unwrap());
    server.knows_no_parts();
    server.will_fail(&[Trouble::Cut(1_000_000)]);
    let fetched = fetch(&inputs(folder.path(), LOOPBACK), REPO, &server.url(), Some(&sha256(&bytes))).await.unwrap();
    assert!(std::fs::read(&fetched.path).unwrap() == bytes);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn another_checksum_is_told_and_nothing_is_kept() {
    let (server, folder) = (FileServer::start(noise(1000)).await, tempfile::tempdir().unwrap());
    let inputs = inputs(folder.path(), LOOPBACK);
    let wrong = "ab".repeat(32);
    let error = fetch(&inputs, REPO, &server.url(), Some(&wrong)).await.unwrap_err().to_string();
    let told = format!("checksum differs: base.bin has the SHA-256 {}, not {wrong}", sha256(&noise(1000)));
    assert_eq!(error, told);
    assert!(std::fs::read_dir(folder.path().join("inputs/manifests")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let (server, folder) = (FileServer::start(noise(1000)).await, tempfile::tempdir().unwrap());
    let away = Trouble::Status(503, Some(("retry-after", "0".to_owned())));
    server.will_fail(&vec![away; 9]);
    let error = fetch(&inputs(folder.path(), LOOPBACK), REPO, &server.url(), None).await.unwrap_err();
    assert!(matches!(&error, InputError::Away(words, _) if words.contains("503")), "{error:?}");
    assert_eq!(server.asked().len(), 9);
    let section = format!("{LOOPBACK}\ntimeout = '300ms'");
    server.will_fail(&[Trouble::Hang(10)]);
    let late = inputs(&folder.path().join("other"), &section);
    std::fs::create_dir_all(folder.path().join("other")).unwrap();
    let error = fetch(&late, REPO, &server.url(), None).await.unwrap_err().to_string();
    assert!(error.starts_with("timeout: it is not complete after 300ms (inputs.timeout)"), "{error}");
}
