//! Secrets: encrypted by their authors, in the clear in their jobs, and nowhere else.

use std::process::Command;
use std::time::Duration;

use sqlx::PgPool;

use crate::support::app::{App, configuration};
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;
use crate::support::{database, docker};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
const SECRET: &str = "not-so-s3cret-after-all";

/// Makes the repository known to the server, and encrypts with the key that it then has.
async fn encrypted(base: &str, github: &GitHub, repo: &Repo, value: &str) -> String {
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit("Begin");
    let unknown = encrypt(base, value).await;
    assert!(!unknown.status.success(), "a repository that the server does not know has no key");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("after the first push"), "{unknown:?}");
    Delivery::new("first", "push", &payload::push(github, repo, "main")).post(base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    let output = encrypt(base, value).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn encrypt(base: &str, value: &str) -> std::process::Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["encrypt", value, "--repo", "acme/styles", "--server", base]);
    command.output().await.unwrap()
}

const SCRIPT: &str = r#"
script:
  - echo "in the clear $TOKEN, and on"
  - printf '%s' "$TOKEN" | base64
  - printf 'user:%s' "$TOKEN" | base64
  - printf 'x%s' "$TOKEN" | od -An -v -t x1 | tr -d ' \n'; echo
  - for part in not-so s3cret- after-all; do printf '%s' "${part%s3cret-}"; sleep 0.2; done; echo
  - echo "length ${#TOKEN} $TRAVIS_SECURE_ENV_VARS"
"#;

#[tokio::test]
async fn a_secret_is_in_the_clear_in_its_job_and_hidden_in_the_log() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let secure = encrypted(&app.base, &app.github, &repo, &format!("TOKEN={SECRET}")).await;
    let others = "secure: \"bm90IG91cnM=\"";
    repo.write(
        ".travis.yml",
        &format!("language: shell\nenv:\n  global:\n    - {secure}\n    - {others}\n    - OPEN=yes\n{SCRIPT}"),
    );
    let sha = repo.commit("Use the secret");
    Delivery::new("second", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("$ export TOKEN=[secure]\n") && log.contains("$ export OPEN=yes\n"), "{log}");
    assert!(log.contains("in the clear [secure], and on\n"), "{log}");
    assert!(log.contains(&format!("length {} true", SECRET.len())), "the job has it\n{log}");
    assert!(log.contains("1 `secure:` value of .travis.yml cannot be decrypted"), "{log}");
    for shown in [SECRET, "bm90LXNvLXMzY3JldC1hZnRlci1hbGw", "6e6f742d736f2d7333637265742d61667465722d616c6c"] {
        assert!(!log.contains(shown), "{shown} is in the log\n{log}");
    }
    let rows: Vec<String> =
        sqlx::query_scalar("select row_to_json(job)::text from job").fetch_all(&app.db).await.unwrap();
    assert!(rows.iter().all(|row| !row.contains(SECRET)), "the database holds the clear text: {rows:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_fork_gets_no_secret() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let secure = encrypted(&app.base, &app.github, &repo, &format!("TOKEN={SECRET}")).await;
    repo.write(".travis.yml", &format!("language: shell\nenv:\n  global:\n    - {secure}\n{SCRIPT}"));
    let base = repo.commit("Use the secret");
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write("head.txt", "head");
    let head = repo.commit("Add head");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&head, "trainyard/pr").await.state, "success");
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("Encrypted environment variables have been removed for security reasons."), "{log}");
    assert!(log.contains("length 0 false"), "{log}");

    // A pull request from a branch of the repository itself comes from people who can push anyway.
    let mut of_branch = opened;
    of_branch["pull_request"]["head"]["repo"]["full_name"] = "acme/styles".into();
    Delivery::new("branch", "pull_request", &of_branch).post(&app.base).await;
    let ended = async {
        while sqlx::query("select 1 from job where id = 3 and state = 'finished'")
            .fetch_optional(&app.db)
            .await
            .unwrap()
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    let log = String::from_utf8(app.log(3).await).unwrap();
    assert!(log.contains(&format!("length {} true", SECRET.len())), "{log}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_stay_hidden_over_a_kill_9_and_the_log_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = database::url().await;
    let config = folder.path().join("config.toml");
    std::fs::write(&config, configuration(&folder.path().join("data"), Some(&url), &github)).unwrap();
    let service = Service::start(PROGRAM.as_ref(), &config);
    let db = PgPool::connect(&url).await.unwrap();
    let repo = github.repo("acme/styles");
    let secure = encrypted(&service.base, &github, &repo, &format!("TOKEN={SECRET}")).await;
    // Most of the time, half a secret is printed already.
    let script = "script:\n  - for i in $(seq 1 60); do printf \"line $i ${TOKEN:0:12}\"; sleep 0.1; echo \"${TOKEN:12}!\"; done\n";
    repo.write(".travis.yml", &format!("language: shell\nenv:\n  global:\n    - {secure}\n{script}"));
    let sha = repo.commit("Use the secret");
    Delivery::new("second", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    let container = loop {
        let stored: Option<i64> =
            sqlx::query_scalar("select log_length from job where id = 2").fetch_optional(&db).await.unwrap();
        if stored.is_some_and(|stored| stored > 500) {
            break docker::container_of(&db, 2).await.expect("a running container");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    service.kill();
    let service = Service::start(PROGRAM.as_ref(), &config);
    let bytes = docker::output_when_ended(&container);
    let end = github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", service.said());
    let log = trainyard::store::output::logs::read(
        &db,
        trainyard::domain::AttemptId { job: trainyard::domain::JobId(2), number: 1 },
        0,
        usize::MAX,
    )
    .await
    .unwrap()
    .bytes;
    let output = String::from_utf8(bytes.await).unwrap();
    assert_eq!(output.matches(SECRET).count(), 60);
    assert_eq!(String::from_utf8_lossy(&log), output.replace(SECRET, "[secure]"));
    docker::assert_no_containers(&db).await;
    assert_eq!(service.interrupt(), Some(0));
}

#[test]
fn encrypt_says_what_is_wrong() {
    for (arguments, status, said) in [
        (["encrypt", "A=b", "--repo", "acme", "--server", "http://127.0.0.1:9"], 2, "acme"),
        (["encrypt", "A=b", "--repo", "acme/x", "--server", "http://127.0.0.1:9"], 1, "does not answer"),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(status) && stderr.contains(said), "{output:?}");
    }
}
