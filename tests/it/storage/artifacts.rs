//! Artifacts: the files that jobs leave, and access to them.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::support::s3::S3;

const TRAVIS: &str = r#"language: shell
addons:
  artifacts:
    working_dir: train
    paths:
      - out
      - $(find . -name '*.log' | tr "\n" :)
      - /etc/hostname
      - none/at/all
    bucket: acme
script:
  - mkdir -p train/out/deep && cd train
  - printf weights > out/w.safetensors; printf deep > "out/deep/a b#1.txt"; printf log > run.log
  - printf '<script>alert(1)</script>' > out/page.html
  - ln -s /etc/passwd out/link; ln -s / out/root; mkfifo out/pipe; touch out/empty
  - printf x > "$(printf 'out/new\nline')"
"#;

async fn pushed(app: &App, repo: &Repo, id: &str) -> String {
    let sha = repo.commit(id);
    Delivery::new(id, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await.state
}

async fn listed(app: &App, job: i64) -> Vec<Value> {
    let (status, text) = app.get(&format!("/api/v1/jobs/{job}/artifacts")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["artifacts"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_a_script_names_is_kept_and_can_be_downloaded_but_not_run() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", TRAVIS);
    assert_eq!(pushed(&app, &repo, "d-1").await, "success");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("Stored 6 artifacts ("), "{log}");
    assert!(log.contains("Not stored: 1 artifact, since a name"), "{log}");
    let found = listed(&app, 1).await;
    let paths: Vec<&str> = found.iter().map(|artifact| artifact["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["etc/hostname", "out/deep/a b#1.txt", "out/empty", "out/page.html", "out/w.safetensors", "run.log"]
    );
    let weights = &found[4];
    assert_eq!((weights["size"].as_i64(), weights["removed"].is_null()), (Some(7), true));
    assert_eq!(weights["sha256"], hex::encode(Sha256::digest("weights")));

    for (artifact, contents) in [(1, "deep"), (2, ""), (3, "<script>alert(1)</script>"), (5, "log")] {
        let address = found[artifact]["url"].as_str().unwrap();
        let path = &address[address.find("/api/").unwrap()..];
        let answer = reqwest::get(format!("{}{path}", app.base)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "application/octet-stream");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
        assert_eq!(header("content-length"), contents.len().to_string());
        assert!(
            header("content-disposition").starts_with("attachment; filename=\""),
            "{}",
            header("content-disposition")
        );
        assert_eq!(answer.text().await.unwrap(), contents);
    }
    for missing in ["out/none", "out/link", "..%2F..%2F1%2Fartifacts%2Frun.log", "%00", "out"] {
        assert_eq!(app.get(&format!("/api/v1/jobs/1/artifacts/{missing}")).await.0, 404, "{missing}");
    }
    let (_, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert!(page.contains("href=\"/api/v1/jobs/1/artifacts/out/deep/a%20b%231.txt\""), "{page}");
    let (_, build) = app.get("/acme/styles/builds/1").await;
    assert!(build.contains("<code>bucket</code> has no effect here: artifacts are kept by this server"), "{build}");
    app.stop().await;
}

#[tokio::test]
async fn a_fork_has_a_place_of_its_own_and_what_is_too_large_is_told_of() {
    let app = App::start("[limits]\nartifacts = \"1 KiB\"\n").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\naddons: {artifacts: {paths: out}}\nscript: mkdir out; head -c 5000 /dev/zero > out/big; echo x > out/small; false\n",
    );
    assert_eq!(pushed(&app, &repo, "d-1").await, "failure");
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains("Stored 1 artifact (2 B)."), "{log}");
    assert!(
        log.contains(
            "Not stored: 1 artifact, since the artifacts of a job may have 1.0 KiB in all (limits.artifacts)."
        ),
        "{log}"
    );

    let base = repo.head();
    repo.git(&["checkout", "-q", "-b", "theirs"]);
    repo.write("x", "x");
    let head = repo.commit("Theirs");
    repo.open_pull_request(7, &base, &head);
    let mut opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    opened["pull_request"]["head"]["repo"]["full_name"] = "stranger/styles".into();
    Delivery::new("pr", "pull_request", &opened).post(&app.base).await;
    app.github.wait_for_end(&head, "trainyard/pr").await;
    let keys: Vec<String> =
        sqlx::query_scalar("select key from artifact order by job_id").fetch_all(&app.db).await.unwrap();
    assert!(keys[0].contains("/artifacts/own/1/1-1/") && keys[1].contains("/artifacts/forks/1/2-1/"), "{keys:?}");
    assert!(keys.iter().all(|key| app.data().join("objects").join(key).is_file()), "{keys:?}");
    app.stop().await;
}

#[tokio::test]
async fn artifacts_go_into_a_bucket_and_come_out_of_it() {
    let s3 = S3::start().await;
    let app = App::start(&s3.configuration()).await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\naddons: {artifacts: true}\nscript: head -c 11000000 /dev/urandom > weights.bin; sha256sum weights.bin\n",
    );
    assert_eq!(pushed(&app, &repo, "d-1").await, "success");
    let found = listed(&app, 1).await;
    assert_eq!(found[0]["path"], "weights.bin", "what git does not know is kept");
    let answer = reqwest::get(format!("{}/api/v1/jobs/1/artifacts/weights.bin", app.base)).await.unwrap();
    let bytes = answer.bytes().await.unwrap();
    let hash = hex::encode(Sha256::digest(&bytes));
    assert_eq!((bytes.len(), found[0]["sha256"].as_str()), (11_000_000, Some(hash.as_str())));
    let log = String::from_utf8(app.log(1).await).unwrap();
    assert!(log.contains(&hash), "{log}");
    assert_eq!(s3.refused(), [""; 0]);
    app.stop().await;
}
