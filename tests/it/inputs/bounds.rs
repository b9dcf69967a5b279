//! The bounds of fetches: sizes, disks, addresses, folders.

use std::time::Duration;

use trainyard::inputs::InputError;

use super::world::{LOOPBACK, fetch, inputs, inputs_with_room, noise};
use crate::support::files::{FileServer, Trouble};
use crate::support::mount::Mounted;
use crate::support::s3::real::RealS3;
use crate::support::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};

const REPO: &str = "acme/styles";

#[tokio::test]
async fn a_file_that_is_too_large_is_not_fetched() {
    let (server, folder) = (FileServer::start(noise(40_000_000)).await, tempfile::tempdir().unwrap());
    let inputs = inputs(folder.path(), &format!("{LOOPBACK}\nmax_size = '10 MB'"));
    let error = fetch(&inputs, REPO, &server.url(), None).await.unwrap_err().to_string();
    assert!(error.starts_with("too large: it has ") && error.contains("inputs.max_size"), "{error}");
    server.knows_no_parts();
    let error = fetch(&inputs, REPO, &server.url(), None).await.unwrap_err();
    assert!(matches!(error, InputError::TooLarge(..)), "{error}");
    let written: u64 = sizes(&folder.path().join("inputs/partial"));
    assert!(written <= 40_000_000, "{written}");
}

fn sizes(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

#[tokio::test]
async fn a_full_disk_is_told_before_and_in_the_middle() {
    let (server, folder) = (FileServer::start(noise(40_000_000)).await, tempfile::tempdir().unwrap());
    let disk = folder.path().join("small");
    let _mounted = Mounted::new(&disk, "size=32m");
    let error = fetch(&inputs(&disk, LOOPBACK), REPO, &server.url(), None).await.unwrap_err().to_string();
    assert!(error.starts_with("disk full: there is no room for "), "{error}");
    let keeps_free = inputs_with_room(&disk, LOOPBACK, 4_000_000);
    server.change(noise(20_000_000), Some("\"2\""));
    server.will_fail(&[Trouble::Hang(5_000_000)]);
    let filled = async {
        while !disk.join("inputs/partial").exists() || sizes(&disk.join("inputs/partial")) < 4_000_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::fs::write(disk.join("other"), noise(26_000_000)).unwrap();
    };
    let url = server.url();
    let (fetched, ()) = tokio::join!(fetch(&keeps_free, REPO, &url, None), filled);
    let error = fetched.unwrap_err().to_string();
    assert!(error.starts_with("disk full: less than "), "{error}");
    std::fs::remove_file(disk.join("other")).unwrap();
    server.take_sent();
    assert_eq!(fetch(&keeps_free, REPO, &url, None).await.unwrap().bytes, 20_000_000);
    // Of the five megabytes, the last pieces of 1 MiB may not have been written.
    assert!(server.take_sent() < 18_500_000, "what was there is kept");
}

#[tokio::test]
async fn only_the_internet_and_opened_networks_are_reached() {
    let (server, folder) = (FileServer::start(noise(1000)).await, tempfile::tempdir().unwrap());
    let closed = inputs(folder.path(), "");
    for url in [server.url(), server.url().replace("127.0.0.1", "localhost"), "http://169.254.169.254/x".to_owned()] {
        let error = fetch(&closed, REPO, &url, None).await.unwrap_err().to_string();
        assert_eq!(error, "not allowed: the address is not on the internet, nor in inputs.allow", "{url}");
    }
    assert_eq!(server.asked().len(), 0);
    let open = inputs(folder.path(), LOOPBACK);
    for (place, told) in [
        ("http://127.0.0.2:1024/x", "not on the internet"),
        ("http://127.0.0.1:22/x", "the port is neither 80 nor 443"),
        ("file:///etc/passwd", "not encrypted"),
    ] {
        server.will_fail(&[Trouble::Status(302, Some(("location", place.to_owned())))]);
        let error = fetch(&open, REPO, &server.url(), None).await.unwrap_err().to_string();
        assert!(error.contains(told), "{place}: {error}");
    }
    server.will_fail(&vec![Trouble::Status(302, Some(("location", "/again".to_owned()))); 6]);
    let error = fetch(&open, REPO, &server.url(), None).await.unwrap_err().to_string();
    assert_eq!(error, "refused: it redirects too often");
    server.will_fail(&[Trouble::Status(404, None)]);
    let error = fetch(&open, REPO, &server.url(), None).await.unwrap_err().to_string();
    assert_eq!(error, "refused: 127.0.0.1 answers 404 Not Found");
}

#[tokio::test]
async fn a_folder_is_read_only_where_the_operator_has_opened_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (open, closed) = (root.join("open"), root.join("closed"));
    for place in [&open, &closed] {
        std::fs::create_dir_all(place.join("style/a")).unwrap();
        std::fs::write(place.join("style/a/1.bin"), "one").unwrap();
        std::fs::write(place.join("style/2.bin"), "two").unwrap();
    }
    std::os::unix::fs::symlink(&closed, open.join("out")).unwrap();
    let section = format!("[[folder]]\npath = {open:?}\nrepos = ['acme/*']");
    let inputs = inputs(&root.join("data"), &section);
    std::fs::create_dir_all(root.join("data")).unwrap();
    let from = |path: &std::path::Path| format!("file://{}", path.display());
    let style = fetch(&inputs, REPO, &from(&open.join("style")), None).await.unwrap();
    assert_eq!((style.files, style.bytes), (2, 6));
    assert_eq!(std::fs::read_to_string(style.path.join("a/1.bin")).unwrap(), "one");
    assert_eq!(fetch(&inputs, REPO, &from(&open.join("style")), None).await.unwrap(), style);
    std::fs::write(open.join("style/2.bin"), "two, changed").unwrap();
    let changed = fetch(&inputs, REPO, &from(&open.join("style")), None).await.unwrap();
    assert!(changed.digest != style.digest && changed.bytes == 15);
    let file = fetch(&inputs, REPO, &from(&open.join("style/2.bin")), None).await.unwrap();
    assert_eq!(file.file_name.as_deref(), Some("2.bin"));
    for (repo, path) in [
        (REPO, closed.join("style")),
        (REPO, open.join("out/style")),
        ("mallory/styles", open.join("style")),
        (REPO, "/etc".into()),
    ] {
        let error = fetch(&inputs, repo, &from(&path), None).await.unwrap_err();
        assert!(matches!(error, InputError::NotAllowed(_)), "{}: {error}", path.display());
    }
    std::os::unix::fs::symlink("/etc/passwd", open.join("style/link")).unwrap();
    let error = fetch(&inputs, REPO, &from(&open.join("style")), None).await.unwrap_err().to_string();
    assert!(error.contains("style/link is neither a file nor a folder"), "{error}");
}

/// Returns the settings with which acme's repositories read the bucket of a server.
fn bucket_section(endpoint: &str, secret: &str) -> String {
    format!(
        "[[s3]]\nname = 'data'\nrepos = ['acme/*']\nbucket = '{BUCKET}'\nendpoint = '{endpoint}'\naccess_key = '{ACCESS_KEY}'\n\
         secret_key = '{secret}'"
    )
}

#[tokio::test]
async fn a_real_s3_server_is_read() {
    let Some(server) = RealS3::start().await else { return };
    let (folder, large) = (tempfile::tempdir().unwrap(), noise(40_000_000));
    server.put("sets/style/a-b.bin", &large);
    server.put("sets/style/deep/2.txt", b"two");
    let ours = inputs(folder.path(), &bucket_section(&server.endpoint, SECRET_KEY));
    // This server cannot tell a folder from a file, so the whole bucket is the folder.
    let all = fetch(&ours, REPO, &format!("s3://{BUCKET}"), None).await.unwrap();
    assert_eq!((all.files, all.bytes), (2, 40_000_003));
    assert!(std::fs::read(all.path.join("sets/style/a-b.bin")).unwrap() == large);
    let file = fetch(&ours, REPO, &format!("s3://{BUCKET}/sets/style/deep/2.txt"), None).await.unwrap();
    assert_eq!((file.file_name.as_deref(), file.bytes), (Some("2.txt"), 3));
    let wrong = inputs(folder.path(), &bucket_section(&server.endpoint, "a wrong key"));
    let error = fetch(&wrong, REPO, &format!("s3://{BUCKET}"), None).await.unwrap_err().to_string();
    assert!(error.starts_with("wrong or expired token: the key may not read"), "{error}");
}

#[tokio::test]
async fn a_bucket_is_read_with_the_key_of_the_operator() {
    let (s3, folder) = (S3::start().await, tempfile::tempdir().unwrap());
    let large = noise(40_000_000);
    s3.put("sets/style/a-b.bin", large.clone());
    s3.put("sets/style/deep/2.txt", "two");
    s3.put("sets/style-2/other.txt", "other");
    let ours = inputs(folder.path(), &bucket_section(&s3.endpoint, SECRET_KEY));
    let set = format!("s3://{BUCKET}/sets/style");
    let style = fetch(&ours, REPO, &set, None).await.unwrap();
    assert_eq!((style.files, style.file_name.clone()), (2, None));
    assert!(std::fs::read(style.path.join("a-b.bin")).unwrap() == large);
    assert_eq!(std::fs::read_to_string(style.path.join("deep/2.txt")).unwrap(), "two");
    let file = fetch(&ours, REPO, &format!("{set}/deep/2.txt"), None).await.unwrap();
    assert_eq!((file.file_name.as_deref(), file.bytes), (Some("2.txt"), 3));
    s3.put("sets/style/deep/2.txt", "three");
    assert!(fetch(&ours, REPO, &set, None).await.unwrap().digest != style.digest);
    assert_eq!(s3.refused(), Vec::<String>::new());
    let (wrong, whole) =
        (inputs(folder.path(), &bucket_section(&s3.endpoint, "a wrong key")), format!("s3://{BUCKET}"));
    let denied = "wrong or expired token: the key may not read";
    for (inputs, repo, from, told) in [
        (&ours, "mallory/styles", &*set, "not allowed: trainyard is in no inputs.s3 that is for mallory/styles"),
        (&ours, REPO, "s3://other/x", "not allowed: other is in no inputs.s3"),
        (&ours, REPO, "s3://trainyard/none", "refused: the bucket trainyard has nothing at \"none\""),
        (&wrong, REPO, &*set, denied),
        (&wrong, REPO, &*whole, denied),
    ] {
        let error = fetch(inputs, repo, from, None).await.unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
}
