//! Backups under load, and the service that begins again from them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;
use trainyard::domain::{AttemptId, JobId};
use trainyard::storage::{Logs, Objects, StorageConfig};

use crate::support::app::configuration;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
/// Number of lines that each job prints.
const LINES: usize = 20;
/// Number of pushes before the backup begins.
const BEFORE: usize = 3;
/// Time in which all builds must end after the restoration.
const LIMIT: Duration = Duration::from_secs(120);

/// An installation with a private Postgres.
struct Yard {
    // Postgres runs as another user, so that user must be able to enter the folder.
    folder: tempfile::TempDir,
    github: GitHub,
    config: PathBuf,
}

impl Yard {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let config = folder.path().join("config.toml");
        std::fs::write(&config, configuration(&folder.path().join("data"), None, &github)).unwrap();
        Self { folder, github, config }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn db(&self) -> PgPool {
        let options = PgConnectOptions::new_without_pgpass().socket(self.data().join("sockets"));
        PgPool::connect_with(options.username("trainyard").database("trainyard")).await.unwrap()
    }

    /// Runs `trainyard backup` or `trainyard restore`.
    async fn command(&self, command: &str, file: &Path) -> Output {
        let mut program = Command::new(PROGRAM);
        program.arg(command).arg(file).arg("--config").arg(&self.config).kill_on_drop(true);
        program.output().await.unwrap()
    }

    /// Pushes a new commit on a branch of its own, where no later build cancels it. Returns the delivery.
    async fn push(&self, repo: &Repo, base: &str, number: usize) -> Delivery {
        let branch = format!("branch-{number}");
        repo.git(&["checkout", "-q", "-b", &branch]);
        repo.write("number", &number.to_string());
        repo.commit(&format!("Push {number}"));
        let delivery = Delivery::new(&format!("d-{number}"), "push", &payload::push(&self.github, repo, &branch));
        assert_eq!(delivery.post(base).await.0, 202);
        delivery
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The text of a `.travis.yml` whose job prints lines, uses a secret and leaves an artifact.
async fn script(service: &Service, github: &GitHub, repo: &Repo) -> String {
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-0", "push", &payload::push(github, repo, "main")).post(&service.base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    let mut encrypt = Command::new(PROGRAM);
    encrypt.args(["encrypt", "TOKEN=twelve-chars", "--repo", "acme/styles", "--server", &service.base]);
    let secure = String::from_utf8(encrypt.output().await.unwrap().stdout).unwrap();
    format!(
        "language: shell\nenv:\n  global:\n    - {}\naddons: {{artifacts: {{paths: out}}}}\nscript:\n  \
         - for i in $(seq 1 {LINES}); do echo \"line $i.\"; sleep 0.05; done\n  \
         - test ${{#TOKEN}} = 12\n  - mkdir out && cp number out/number\n",
        secure.trim()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_made_under_load_begins_again_whole() {
    let yard = Yard::new().await;
    let service = Service::start(PROGRAM.as_ref(), &yard.config);
    let repo = yard.github.repo("acme/styles");
    repo.write(".travis.yml", &script(&service, &yard.github, &repo).await);
    let mut deliveries = Vec::new();
    for number in 1..=BEFORE {
        deliveries.push(yard.push(&repo, &service.base, number).await);
    }
    yard.github
        .wait_for(LIMIT, |p| p.state == "success" && p.context == "trainyard/push" && p.sha == repo.head())
        .await;

    // Pushes go on while the backup is made.
    let file = yard.folder.path().join("backup.tar");
    let backup = yard.command("backup", &file);
    tokio::pin!(backup);
    let made = loop {
        deliveries.push(yard.push(&repo, &service.base, deliveries.len() + 1).await);
        tokio::select! {
            made = &mut backup => break made,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    };
    assert!(made.status.success(), "{}", said(&made));
    assert!(said(&made).contains("Keep a copy of") && said(&made).contains("seal.key"), "{}", said(&made));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = yard.command("backup", &file).await;
    assert!(said(&again).contains("exists: name a new file"), "{}", said(&again));

    // The machine is lost, with everything on it but the backup and the key.
    deliveries.push(yard.push(&repo, &service.base, deliveries.len() + 1).await);
    service.kill();
    let lost = yard.folder.path().join("lost");
    std::fs::rename(yard.data(), &lost).unwrap();
    restore_with_the_key(&yard, &file, &lost.join("seal.key")).await;
    let service = Service::start(PROGRAM.as_ref(), &yard.config);
    // GitHub's page offers to send each delivery again. Those in the backup change nothing.
    for delivery in &deliveries {
        assert_eq!(delivery.post(&service.base).await.0, 202);
    }
    check_that_all_end(&yard, deliveries.len() + 1).await;
    assert_eq!(service.interrupt(), Some(0));

    // A service that does not run can be saved as well.
    let second = yard.folder.path().join("second.tar");
    let made = yard.command("backup", &second).await;
    assert!(made.status.success() && second.is_file(), "{}", said(&made));
}

/// Restores a backup, after the ways that are refused.
async fn restore_with_the_key(yard: &Yard, file: &Path, key: &Path) {
    let ours = yard.data().join("seal.key");
    std::fs::create_dir(yard.data()).unwrap();
    std::fs::write(&ours, [7; 32]).unwrap();
    let refused = yard.command("restore", file).await;
    assert!(said(&refused).contains("is not the key of this backup"), "{}", said(&refused));
    std::fs::remove_file(&ours).unwrap();
    // The next repository gets this id again.
    let caches = yard.data().join("caches");
    std::fs::create_dir_all(caches.join("2/ref")).unwrap();
    std::fs::create_dir(caches.join("lost+found")).unwrap();
    let restored = yard.command("restore", file).await;
    assert!(restored.status.success(), "{}", said(&restored));
    assert!(said(&restored).contains("put the key of the seal at"), "{}", said(&restored));
    let refused = yard.command("restore", file).await;
    assert!(said(&refused).contains("move it away"), "{}", said(&refused));
    assert!(!caches.join("2").exists() && caches.join("lost+found").exists());
    std::fs::copy(key, &ours).unwrap();
    let mode = std::fs::metadata(yard.data().join("objects")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!yard.data().join("restoring").exists());
}

/// Waits until all builds have ended, and checks that rows, logs, artifacts and statuses agree.
async fn check_that_all_end(yard: &Yard, builds: usize) {
    let db = yard.db().await;
    let begin = Instant::now();
    loop {
        let ended: i64 = sqlx::query_scalar("select count(*) from build where finished_at is not null")
            .fetch_one(&db)
            .await
            .unwrap();
        if usize::try_from(ended).unwrap() == builds {
            break;
        }
        assert!(begin.elapsed() < LIMIT, "{ended} of {builds} builds have ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let states: Vec<(String, String)> =
        sqlx::query_as("select sha, state::text from build order by id").fetch_all(&db).await.unwrap();
    assert_eq!(states.len(), builds);
    for (sha, state) in &states {
        assert_eq!(state, "passed", "{sha}");
        yard.github.wait_for(LIMIT, |p| p.sha == *sha && p.state == "success").await;
        assert_eq!(yard.github.states(sha, "trainyard/push").last().map(String::as_str), Some("success"), "{sha}");
    }
    let objects = Objects::open(&StorageConfig::default(), &yard.data()).unwrap();
    let logs = Logs::new(db.clone(), objects.clone());
    let jobs: Vec<(i64, i32)> =
        sqlx::query_as("select id, attempt from job where id > 1 order by id").fetch_all(&db).await.unwrap();
    for (job, attempt) in jobs {
        let log = logs.read(AttemptId { job: JobId(job), number: attempt }, 0, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&log.bytes).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("line ") && line.ends_with('.')).collect();
        let wanted: Vec<String> = (1..=LINES).map(|line| format!("line {line}.")).collect();
        assert_eq!(lines, wanted, "the log of job {job}:\n{text}");
    }
    let artifacts: Vec<(String, i64, Vec<u8>)> =
        sqlx::query_as("select key, size, sha256 from artifact").fetch_all(&db).await.unwrap();
    assert_eq!(artifacts.len(), builds - 1);
    for (key, size, hash) in artifacts {
        let bytes = objects.range(&key, 0..u64::try_from(size).unwrap()).await.unwrap();
        assert_eq!(Sha256::digest(bytes.unwrap_or_else(|| panic!("{key} is missing"))).to_vec(), hash, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_interrupted_leaves_no_file() {
    let yard = Yard::new().await;
    let service = Service::start(PROGRAM.as_ref(), &yard.config);
    // The backup waits at the first object until the test opens it for writing.
    let objects = yard.data().join("objects");
    std::fs::write(objects.join("b"), "x").unwrap();
    assert!(Command::new("mkfifo").arg(objects.join("a")).status().await.unwrap().success());
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url, last_build)
             values (1, 'acme', 'styles', false, 'main', 'http://localhost/', 1);
         insert into build (repo_id, number, kind, sha, built_sha, state, finished_at)
             values (1, 1, 'push', repeat('0', 40), repeat('0', 40), 'passed', now());
         insert into job (repo_id, build_id, number, kind, config, state, verdict, attempt, finished_at)
             values (1, 1, 1, 'script', '{}', 'finished', 'passed', 1, now());
         insert into artifact (repo_id, job_id, attempt, path, key, size, sha256)
             select 1, 1, 1, key, key, 1, sha256('') from unnest('{a,b}'::text[]) key;",
    )
    .execute(&yard.db().await)
    .await
    .unwrap();
    let to = yard.folder.path().join("backups");
    std::fs::create_dir(&to).unwrap();
    let mut backup = std::process::Command::new(PROGRAM);
    backup.arg("backup").arg(to.join("backup.tar")).arg("--config").arg(&yard.config);
    let mut backup = Service::of(&mut backup, &yard.config);
    backup.wait_for("logs and artifacts …");
    let pid = rustix::process::Pid::from_raw(backup.child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(std::fs::OpenOptions::new().write(true).open(objects.join("a")).unwrap());
    assert_eq!(backup.child.wait().unwrap().code(), Some(1), "{}", backup.said());
    assert!(backup.said().contains("interrupted: nothing was written"), "{}", backup.said());
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 0);
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test]
async fn another_postgres_and_a_file_that_is_no_backup_are_refused() {
    let yard = Yard::new().await;
    let file = yard.folder.path().join("backup.tar");
    let refused = yard.command("backup", &file).await;
    assert!(said(&refused).contains("has no database: check server.data_dir"), "{}", said(&refused));
    std::fs::write(&file, "not a tar").unwrap();
    let refused = yard.command("restore", &file).await;
    assert!(said(&refused).contains("is not a backup of Trainyard"), "{}", said(&refused));
    let other = configuration(&yard.data(), Some("postgres://localhost/x"), &yard.github);
    std::fs::write(&yard.config, other).unwrap();
    for command in ["backup", "restore"] {
        let refused = yard.command(command, &file).await;
        assert!(said(&refused).contains("use pg_dump"), "{}", said(&refused));
    }
}
