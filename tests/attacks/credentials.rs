//! Attacks on credentials: programs that inherit them, and logs and rows that hold them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use trainyard::domain::{JobId, JobKind, PullRequest, Requirements, Scope, Sha, Trigger, TriggerKind};
use trainyard::store::builds::{self, NewBuild};
use trainyard::store::queue::NewJob;
use trainyard::store::repos::{self, RepoFacts};

use crate::support::app::{App, configuration};
use crate::support::database;
use crate::support::engine::program;
use crate::support::github::app::{APP_ID, Key};
use crate::support::github::{GitHub, SECRET, TOKEN};
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
/// Programs that the service starts, which are replaced by ones that record their environment.
const PROGRAMS: [&str; 6] = ["git", "ssh", "nvidia-smi", "setpriv", "initdb", "postgres"];

/// Programs that record their environment, and then do what the real ones do.
struct Recording {
    folder: PathBuf,
    records: PathBuf,
}

impl Recording {
    fn new(folder: &Path) -> Self {
        let (bin, records) = (folder.join("bin"), folder.join("records"));
        for made in [&bin, &records] {
            std::fs::create_dir_all(made).unwrap();
        }
        // Postgres runs as another user.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&records, std::fs::Permissions::from_mode(0o777)).unwrap();
        for name in PROGRAMS {
            let record = format!("cat /proc/self/environ >{}/{name}.$$\n", records.display());
            let real = match name {
                // There is no such machine, and no GPU.
                "ssh" => "exit 255".to_owned(),
                "nvidia-smi" => "exit 6".to_owned(),
                _ => format!("exec {} \"$@\"", real(name).display()),
            };
            program(&bin.join(name), &format!("#!/bin/sh\n{record}{real}\n"));
        }
        Self { folder: bin, records }
    }

    /// Returns the recorded environments of a program.
    fn of(&self, name: &str) -> Vec<String> {
        let files = std::fs::read_dir(&self.records).unwrap().flatten();
        let own = files.filter(|file| file.file_name().to_string_lossy().starts_with(&format!("{name}.")));
        own.map(|file| String::from_utf8(std::fs::read(file.path()).unwrap()).unwrap()).collect()
    }

    async fn wait_for(&self, name: &str) {
        let begin = Instant::now();
        while self.of(name).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{name} was not started");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Panics if a recorded environment has a credential, or more variables than a program needs.
    fn assert_clean(&self, name: &str) {
        let environments = self.of(name);
        assert!(!environments.is_empty(), "{name} was not started");
        for environment in environments {
            assert_clean(name, &environment);
        }
    }
}

fn real(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = std::env::split_paths(&path).chain(postgres.map(|version| version.path().join("bin")));
    folders.map(|folder| folder.join(name)).find(|file| file.exists()).unwrap_or_else(|| panic!("no {name} here"))
}

fn assert_clean(name: &str, environment: &str) {
    let names: BTreeSet<&str> = environment.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    assert!(!names.iter().any(|variable| variable.starts_with("TRAINYARD")), "{name}: {names:?}");
    assert!(!names.contains("SOME_PASSWORD"), "{name}: {names:?}");
    let has_key = Key::used().is_some_and(|key| environment.contains(key.line()));
    assert!(!environment.contains(SECRET) && !environment.contains(TOKEN) && !has_key, "{name}: {names:?}");
}

/// Starts a command of the program with all credentials in its environment.
fn with_credentials(recording: &Recording, arguments: &[&str], config: &Path, github: &GitHub) -> Command {
    let path = format!("{}:{}", recording.folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null()).env("PATH", path);
    command.env("TRAINYARD__GITHUB__TOKEN", TOKEN).env("TRAINYARD__GITHUB__WEBHOOK_SECRET", SECRET);
    // The App is installed nowhere, so the token is used.
    github.app.set_keys(&[Key::first()]);
    command.env("TRAINYARD__GITHUB__APP_ID", APP_ID.to_string());
    command.env("TRAINYARD__GITHUB__APP_PRIVATE_KEY", &Key::first().pem);
    command.env("TRAINYARD__GITHUB__API_URL", github.api_url()).env("SOME_PASSWORD", "of another program");
    command
}

/// Writes a configuration with a private Postgres, a runner here and another one that ssh would reach.
fn config(folder: &Path, github: &GitHub) -> PathBuf {
    let data = folder.join("data");
    let text = configuration(&data, None, github);
    let secrets = [format!("token = \"{TOKEN}\"\n"), format!("webhook_secret = \"{SECRET}\"\n")];
    let text = secrets.iter().fold(text, |text, secret| text.replace(secret, ""));
    let file = folder.join("config.toml");
    std::fs::write(&file, format!("{text}[[runner]]\nname = \"far\"\nendpoint = \"ssh://nobody@gpu.invalid\"\n"))
        .unwrap();
    file
}

#[tokio::test]
async fn no_program_inherits_the_environment_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::new(folder.path());
    let github = GitHub::start(folder.path().join("github")).await;
    let config = config(folder.path(), &github);
    let mut command = with_credentials(&recording, &["serve"], &config, &github);
    let mut service = Service::of(&mut command, &config);
    service.wait_until_listening();
    let repo = github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: env\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    assert_eq!(github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    recording.wait_for("ssh").await;
    recording.wait_for("nvidia-smi").await;
    // The processes of Postgres, as any process of its user could read them.
    let folders = folder.path().join("data/postgres");
    let mut seen = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let is_of_postgres = std::fs::read_link(process.path().join("cwd")).is_ok_and(|place| place == folders);
        if let (true, Ok(environment)) = (is_of_postgres, std::fs::read(process.path().join("environ"))) {
            assert_clean("a process of Postgres", &String::from_utf8_lossy(&environment));
            seen += 1;
        }
    }
    assert!(seen > 1, "the server and its processes were seen");
    assert_eq!(service.interrupt(), Some(0));
    for name in PROGRAMS {
        recording.assert_clean(name);
    }
    // git gets the token for the fetch alone, and in no other form than the header that it sends.
    let basic = BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let with_token: Vec<String> = recording.of("git").into_iter().filter(|all| all.contains(&basic)).collect();
    assert!(!with_token.is_empty() && with_token.len() < recording.of("git").len());
}

#[tokio::test]
async fn no_program_inherits_the_environment_of_the_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::new(folder.path());
    let github = GitHub::start(folder.path().join("github")).await;
    let config = config(folder.path(), &github);
    let mut command = with_credentials(&recording, &["doctor"], &config, &github);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["git", "ssh", "nvidia-smi", "setpriv", "postgres"] {
        recording.assert_clean(name);
    }
}

#[tokio::test]
async fn a_token_in_a_log_or_a_row_is_found_at_the_end_of_each_test() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let (start, end) = TOKEN.split_at(8);
    repo.write(".travis.yml", &format!("language: shell\nscript: printf 'found %s%s' {start} {end}\n"));
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(app.leaks().await, ["GitHub's token is in the log of job 1"]);
    sqlx::query("update build set message = $1").bind(format!("leaked: {SECRET}")).execute(&app.db).await.unwrap();
    let leaks = app.leaks().await;
    assert!(leaks.contains(&"the webhook's secret is in the table build".to_owned()), "{leaks:?}");
    app.stop_with_leaks().await;
}

#[tokio::test]
async fn a_fork_stays_a_fork_when_the_repository_takes_its_name() {
    let db = database::pool().await;
    let mut connection = db.acquire().await.unwrap();
    let facts = RepoFacts {
        forge: "github".to_owned(),
        github_id: 7,
        name: "acme/styles".parse().unwrap(),
        private: false,
        default_branch: "main".to_owned(),
        clone_url: "http://localhost/acme/styles.git".to_owned(),
    };
    let repo = repos::upsert(&mut connection, &facts).await.unwrap();
    let sha: Sha = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    for (head, is_fork) in [(Some("bob/styles"), true), (Some("Acme/Styles"), false), (None, true)] {
        let mut trigger = Trigger::push(facts.name.clone(), "main", sha.clone());
        trigger.kind = TriggerKind::PullRequest;
        trigger.pull_request = Some(PullRequest {
            number: 7,
            title: String::new(),
            head_branch: "watercolour".to_owned(),
            head_repo: head.map(|head| head.parse().unwrap()),
            draft: false,
        });
        let job = NewJob {
            kind: JobKind::Script,
            stage: None,
            name: None,
            allow_failure: false,
            config: serde_json::json!({}),
            requirements: Requirements::default(),
        };
        let new = NewBuild {
            delivery: None,
            repo,
            trigger: &trigger,
            built_sha: &sha,
            jobs: &[job],
            problems: &[],
            decided: None,
            webhooks: None,
            chats: &[],
            fast_finish: false,
            linted: false,
            needs_approval: false,
            scope: Scope::Commit,
            lines: &[],
            cancels: None,
        };
        let build = builds::create(&mut connection, &new).await.unwrap();
        let job: JobId = sqlx::query_scalar("select id from job where build_id = $1")
            .bind(build.id)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let rename = "update repo set owner = $1, name = 'styles'";
        for owner in ["bob", "acme"] {
            sqlx::query(rename).bind(owner).execute(&mut *connection).await.unwrap();
            let found = builds::facts_of(&mut connection, job).await.unwrap();
            assert_eq!(found.is_fork, is_fork, "{head:?} while {owner} has the repository");
        }
    }
}
