//! `trainyard doctor` with the real Docker and Postgres: its findings, good and bad.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::app::{configuration, merged};
use crate::support::database;
use crate::support::gitea::{self, Gitea};
use crate::support::github::{GitHub, SECRET, TOKEN};
use crate::support::s3::{S3, SECRET_KEY};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

struct Patient {
    folder: tempfile::TempDir,
    github: GitHub,
}

impl Patient {
    async fn new() -> Self {
        // The private Postgres runs as another user, who must be able to enter the folder.
        let open = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        Self { folder, github }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs the doctor. Returns the exit status and the output.
    async fn look(&self, database: Option<&str>, change: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let text = merged(&configuration(&self.data(), database, &self.github), change);
        let file = self.folder.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        run(&file, arguments).await
    }

    async fn findings(&self, database: Option<&str>, change: &str) -> (Option<i32>, Value) {
        let (status, said) = self.look(database, change, &["--json"]).await;
        (status, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

/// Runs the program without blocking this thread: the stand-in for GitHub must answer meanwhile.
async fn run(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut doctor = tokio::process::Command::new(PROGRAM);
    let output = doctor.args(["doctor", "--config"]).arg(config).args(arguments).output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

/// Lists the findings of a level as `what: told`.
fn of(json: &Value, level: &str) -> Vec<String> {
    let findings = json["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == level);
    findings.map(|it| format!("{}: {}", it["what"].as_str().unwrap(), it["told"].as_str().unwrap())).collect()
}

#[track_caller]
fn has(findings: &[String], begin: &str, part: &str) {
    let found = findings.iter().any(|finding| finding.starts_with(begin) && finding.contains(part));
    assert!(found, "no {begin:?} with {part:?} in {findings:#?}");
}

#[tokio::test]
async fn a_sound_installation_is_found_to_be_so_and_left_as_it_is() {
    let patient = Patient::new().await;
    let url = database::url().await;
    let change = "server = {public_url = 'https://ci.example.org'}\nimages = {python = 'trainyard/cpu:{version}'}";
    let (status, json) = patient.findings(Some(&url), change).await;
    assert_eq!((status, &json["problems"]), (Some(0), &Value::from(0)), "{json:#}");
    let ok = of(&json, "ok");
    has(&ok, "server.public_url: ", "https://ci.example.org/");
    has(&ok, "data folder: ", "does not exist yet");
    has(&ok, "git: ", "2.");
    has(&ok, "object storage: ", "does not exist yet");
    has(&ok, "Postgres: the server of database.url", "");
    has(&ok, "schema: ", "migrations for the next start to run: ");
    has(&ok, "clock: ", "agrees with Postgres's clock within");
    has(&ok, "github.token: ", "GitHub accepts it");
    has(&ok, "github.webhook_secret: ", "is set");
    has(&ok, "runner local: Docker ", "control groups version ");
    has(&ok, "runner local: has trainyard/minimal:bookworm", "");
    has(&ok, "runner local: has trainyard/cpu:", "");
    assert!(!patient.data().exists(), "it changes nothing");

    let (status, said) = patient.look(Some(&url), change, &[]).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("WHAT") && said.contains("\u{2714} ok") && said.contains("Postgres"), "{said}");
    assert!(!said.contains(TOKEN) && !said.contains(SECRET) && !said.contains(&url), "{said}");
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_named_with_what_to_do() {
    let patient = Patient::new().await;
    std::fs::create_dir(patient.data()).unwrap();
    std::fs::set_permissions(patient.data(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(patient.data().join("seal.key"), [7; 32]).unwrap();
    std::fs::set_permissions(patient.data().join("seal.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let change = "server = {public_url = 'https://ci.example.org/trainyard'}\n\
                  github = {token = 'ghp_thisIsNotTheToken', webhook_secret = 'short'}\n\
                  runner = [{name = 'a', endpoint = 'unix:///nowhere/docker.sock'}, {name = 'b'}]\n\
                  images = {python = 'acme/none:{version}'}\nlimits = {cpus = 5000.0}\n";
    let url = "postgres://ada:hunter2@127.0.0.1:1/trainyard";
    let (status, json) = patient.findings(Some(url), change).await;
    assert_eq!(status, Some(1), "{json:#}");
    let problems = of(&json, "problem");
    has(&problems, "server.public_url: ", "more than scheme, host and port");
    has(&problems, "data folder: ", "can be written by other users");
    has(&problems, "seal.key: ", "can be read by other users");
    has(&problems, "Postgres: cannot connect to the server of database.url", "refused");
    has(&problems, "github.token: ", "GitHub does not accept it: Bad credentials");
    has(&problems, "runner a: Docker is not reachable at unix:///nowhere/docker.sock", "is dockerd running");
    has(&problems, "runner b: the image acme/none:{version} is missing", "");
    has(&problems, "runner b: limits.cpus is 5000", "no job can start");
    has(&of(&json, "warning"), "github.webhook_secret: ", "can be guessed");
    for finding in json["findings"].as_array().unwrap() {
        let says_it_itself = finding["what"] == "runner a";
        assert!(finding["level"] == "ok" || says_it_itself || finding["advice"].is_string(), "{finding}");
    }
    let said = json.to_string();
    assert!(!said.contains("hunter2") && !said.contains("thisIsNotTheToken") && !said.contains("short\""), "{said}");
}

#[tokio::test]
async fn a_bucket_is_looked_at_and_not_changed() {
    let (patient, s3) = (Patient::new().await, S3::start().await);
    let url = database::url().await;
    let (_, json) = patient.findings(Some(&url), &s3.configuration()).await;
    has(&of(&json, "ok"), "object storage: s3://trainyard/some/prefix answers", "");
    assert!(s3.asked().iter().all(|request| request.starts_with("GET ")), "{:?}", s3.asked());
    assert_eq!((s3.refused(), s3.keys()), (Vec::new(), Vec::new()));

    let wrong = s3.configuration().replace(SECRET_KEY, "guessed-and-wrong");
    let (status, json) = patient.findings(Some(&url), &format!("{wrong}least_free = \"900 PB\"\n")).await;
    assert_eq!(status, Some(1));
    let problems = of(&json, "problem");
    has(&problems, "object storage: ", "SignatureDoesNotMatch");
    has(&problems, "disk of the data folder: ", "no job starts with less than 799.");
    assert!(!json.to_string().contains("guessed-and-wrong"), "{json:#}");
}

#[tokio::test]
async fn what_github_tells_of_the_token_is_told() {
    let patient = Patient::new().await;
    let url = database::url().await;
    let ends = (Utc::now() + TimeDelta::days(3)).format("%Y-%m-%d %H:%M:%S UTC").to_string();
    patient.github.tell_of_token([("github-authentication-token-expiration", ends)]);
    patient.github.set_clock_skew(600);
    let warnings = of(&patient.findings(Some(&url), "").await.1, "warning");
    has(&warnings, "github.token: expires at ", "");
    has(&warnings, "clock: ", "GitHub's are ");

    patient.github.tell_of_token([("x-oauth-scopes", "repo, delete_repo".to_owned())]);
    has(
        &of(&patient.findings(Some(&url), "").await.1, "warning"),
        "github.token: ",
        "more than is needed (delete_repo)",
    );
    patient.github.tell_of_token([("x-oauth-scopes", "gist".to_owned())]);
    has(&of(&patient.findings(Some(&url), "").await.1, "problem"), "github.token: ", "scopes (gist)");
}

#[tokio::test]
async fn the_app_is_looked_at_with_its_permissions_and_installations() {
    let patient = Patient::new().await;
    let url = database::url().await;
    let settings = patient.github.app_settings();
    has(&of(&patient.findings(Some(&url), &settings).await.1, "problem"), "GitHub App: is not installed anywhere", "");

    let id = patient.github.app.install(&["acme/styles"]);
    let (_, json) = patient.findings(Some(&url), &settings).await;
    has(&of(&json, "ok"), "GitHub App: GitHub accepts the key of Trainyard", "");
    has(&of(&json, "ok"), "GitHub App: is installed for acme", "");
    patient.github.app.permit(&[("metadata", "read"), ("contents", "read"), ("statuses", "write")]);
    let releases = format!("{settings}[publish]\nreleases = ['acme/*']\n");
    let (_, with_releases) = patient.findings(Some(&url), &releases).await;
    has(&of(&with_releases, "problem"), "GitHub App: acme has not allowed contents: write", "");
    assert!(!of(&json, "problem").iter().any(|it| it.starts_with("github.token")), "the App is enough: {json:#}");

    let db = sqlx::PgPool::connect(&url).await.unwrap();
    trainyard::store::MIGRATOR.run(&db).await.unwrap();
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url)
             values (1, 'acme', 'styles', false, 'main', 'x'), (2, 'bob', 'art', false, 'main', 'x');
         insert into build (repo_id, number, kind, sha, built_sha, branch)
             select id, 1, 'push', repeat('0', 40), repeat('0', 40), 'main' from repo",
    )
    .execute(&db)
    .await
    .unwrap();
    let warnings = of(&patient.findings(Some(&url), &settings).await.1, "warning");
    has(&warnings, "GitHub App: is not installed on bob/art", "");

    patient.github.set_clock_skew(900);
    has(&of(&patient.findings(Some(&url), &settings).await.1, "warning"), "clock: ", "GitHub's are ");
    patient.github.app.permit(&[("metadata", "read"), ("contents", "read")]);
    has(&of(&patient.findings(Some(&url), &settings).await.1, "problem"), "GitHub App: ", "statuses: write");
    patient.github.app.suspend(id);
    has(&of(&patient.findings(Some(&url), &settings).await.1, "problem"), "GitHub App: is suspended for acme", "");
    patient.github.app.set_keys(&[]);
    let (status, json) = patient.findings(Some(&url), &settings).await;
    has(&of(&json, "problem"), "GitHub App: ", "key is not accepted");
    assert!(status == Some(1) && !json.to_string().contains("PRIVATE KEY"), "{json:#}");
    let wrong = "[github]\napp_id = 1\napp_private_key = 'not-a-file-but-a-secret'\n";
    let (_, json) = patient.findings(Some(&url), wrong).await;
    has(&of(&json, "problem"), "configuration: ", "github.app_private_key");
    assert!(!json.to_string().contains("but-a-secret"), "{json:#}");
}

#[tokio::test]
async fn a_database_is_looked_at_and_not_migrated() {
    let patient = Patient::new().await;
    let url = database::url().await;
    patient.findings(Some(&url), "").await;
    let db = sqlx::PgPool::connect(&url).await.unwrap();
    let tables: i64 =
        sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'").fetch_one(&db).await.unwrap();
    assert_eq!(tables, 0);
    trainyard::store::MIGRATOR.run(&db).await.unwrap();
    has(&of(&patient.findings(Some(&url), "").await.1, "ok"), "schema: is up to date", "");
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'later', true, '', 0)",
    )
    .execute(&db)
    .await
    .unwrap();
    has(&of(&patient.findings(Some(&url), "").await.1, "problem"), "schema: a newer Trainyard", "9999");
}

#[tokio::test]
async fn the_private_postgres_is_looked_for_and_not_started() {
    let patient = Patient::new().await;
    has(&of(&patient.findings(None, "").await.1, "ok"), "Postgres: the private server, ", "created by the first start");
    assert!(!patient.data().exists());
    std::fs::create_dir_all(patient.data().join("postgres")).unwrap();
    let (status, json) = patient.findings(None, "").await;
    assert_eq!(status, Some(1));
    let problems = of(&json, "problem");
    assert!(problems.iter().any(|it| it.starts_with("Postgres: ")), "{problems:?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_a_problem_and_a_wrong_call_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[server]\nlissten = 1\n").unwrap();
    let (status, said) = run(&file, &[]).await;
    assert_eq!(status, Some(1));
    assert!(said.contains("\u{2718} problem") && said.contains("unknown field `lissten`"), "{said}");
    assert_eq!(run(&file, &["--nonsense"]).await.0, Some(2));
}

#[tokio::test]
async fn a_forge_is_asked_whether_it_takes_the_token() {
    let (patient, url) = (Patient::new().await, database::url().await);
    let gitea = Gitea::start(patient.folder.path().join("gitea")).await;
    let good = gitea.section(&["studio"]);
    let (_, found) = patient.findings(Some(&url), &good).await;
    let ok = of(&found, "ok").join("\n");
    assert!(ok.contains(&format!("forge git: http://{}/ answers, and accepts the token", gitea.address)), "{ok}");
    let (status, found) = patient.findings(Some(&url), &good.replace(gitea::TOKEN, "expired")).await;
    let problems = of(&found, "problem").join("\n");
    assert!(problems.contains("forge git: Gitea refused (401): token is required"), "{problems}");
    assert_eq!(status, Some(1));
}
