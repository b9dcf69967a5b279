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
pub(super) async fn encrypted(base: &str, github: &GitHub, repo: &Repo, value: &str) -> String {
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
        (["encrypt", "A=b", "--repo", "acme/x", "--server", "http://127.0.0.1:9"], 4, "does not answer"),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(status) && stderr.contains(said), "{output:?}");
    }
}

/// Runs `trainyard repo variable` with a value on standard input.
async fn variable(app: &App, arguments: &[&str], value: &str) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["repo", "variable"]).args(arguments).arg("--config").arg(app.folder.path().join("config.toml"));
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut child.stdin.take().unwrap(), value.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("");
    (output.status.code(), said)
}

#[tokio::test]
async fn jobs_see_the_variables_of_the_settings_as_far_as_they_may() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\nenv: OF_FILE=file\n\
         script: echo \"token $TOKEN ${#TOKEN} level $LEVEL mirror $MIRROR file $OF_FILE secrets $TRAVIS_SECURE_ENV_VARS\"\n",
    );
    let base = repo.commit("Begin");
    Delivery::new("first", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&base, "trainyard/push").await;

    let (status, said) = variable(&app, &["set", "acme/other", "TOKEN"], SECRET).await;
    assert!(status == Some(2) && said.contains("its first webhook adds it"), "{said}");
    for (arguments, value) in [
        (&["set", "acme/styles", "TOKEN"][..], SECRET),
        (&["set", "acme/styles", "LEVEL", "--public"], "all branches"),
        (&["set", "acme/styles", "LEVEL", "--public", "--branch", "main"], "it's $main"),
        (&["set", "Acme/Styles", "MIRROR", "--branch", "release"], "of the release"),
        (&["set", "acme/styles", "OF_FILE"], "of the settings"),
    ] {
        let (status, said) = variable(&app, arguments, value).await;
        assert_eq!(status, Some(0), "{said}");
    }
    let stored: Vec<String> =
        sqlx::query_scalar("select encode(value, 'escape') from variable").fetch_all(&app.db).await.unwrap();
    assert!(stored.len() == 5 && stored.iter().all(|value| !value.contains("s3cret")), "{stored:?}");
    let listed = variable(&app, &["list", "acme/styles"], "").await.1;
    assert!(listed.contains("TOKEN") && listed.contains("release") && !listed.contains(SECRET), "{listed}");

    let sha = repo.commit("Use them");
    Delivery::new("second", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let log = String::from_utf8(app.log(2).await).unwrap();
    let shown = format!("token [secure] {} level it's $main mirror  file file secrets true", SECRET.len());
    assert!(log.contains(&shown), "{log}");
    assert!(log.contains("$ export TOKEN=[secure]\n") && !log.contains(SECRET), "{log}");

    // A fork's job sees what is public, and nothing else.
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    let head = repo.commit("Read the settings");
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &sha, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &sha, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&head, "trainyard/pr").await.state, "success");
    let log = String::from_utf8(app.log(3).await).unwrap();
    assert!(log.contains("token  0 level it's $main mirror  file file secrets false"), "{log}");

    assert_eq!(variable(&app, &["remove", "acme/styles", "TOKEN"], "").await, (Some(0), "Removed.\n".to_owned()));
    assert_eq!(variable(&app, &["remove", "acme/styles", "TOKEN"], "").await.0, Some(1));
    for (arguments, value, why) in [
        (&["set", "acme/styles", "1ST"][..], "x", "does not begin with a digit"),
        (&["set", "acme/styles", "NUL"], "a\0b", "contains NUL"),
        (&["set", "acme/styles", "LONG"], &"x".repeat(64 * 1024 + 1), "65537 bytes"),
    ] {
        let (status, said) = variable(&app, arguments, value).await;
        assert!(status != Some(0) && said.contains(why), "{said}");
    }
    sqlx::query("insert into variable select 1, 'V' || n, '', '', true from generate_series(1, 100) n")
        .execute(&app.db)
        .await
        .unwrap();
    let (status, said) = variable(&app, &["set", "acme/styles", "ONE_MORE"], "x").await;
    assert!(status == Some(1) && said.contains("remove one first"), "{said}");
    app.stop().await;
}
