//! Crashes of each part, and the data that must survive them.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::PgPool;

use crate::support::app::{configuration, merged};
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;
use crate::support::{database, docker};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Prints numbered lines for a while, with random numbers that a second run would not repeat.
const COUNTING: &str =
    "language: shell\nscript:\n  - for i in $(seq 1 60); do echo \"line $i of $RANDOM\"; sleep 0.1; done\n";

struct Yard {
    folder: tempfile::TempDir,
    github: GitHub,
    url: String,
}

impl Yard {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        Self { folder, github, url: database::url().await }
    }

    fn config(&self, change: &str) -> PathBuf {
        let file = self.folder.path().join("config.toml");
        let data = self.folder.path().join("data");
        std::fs::write(&file, merged(&configuration(&data, Some(&self.url), &self.github), change)).unwrap();
        file
    }
}

/// Waits until the stored log of job 1 has at least this length. Returns the job's attempt.
async fn wait_for_log(db: &PgPool, length: i64) -> i32 {
    for _ in 0..600 {
        let row: Option<(i32, i64)> =
            sqlx::query_as("select attempt, log_length from job where id = 1").fetch_optional(db).await.unwrap();
        match row {
            Some((attempt, stored)) if stored >= length => return attempt,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the log does not grow");
}

/// Starts a service and kills it while the job of a commit counts. Returns its configuration, its database and the
/// commit.
async fn killed_while_counting(yard: &Yard) -> (PathBuf, PgPool, String) {
    let config = yard.config("");
    let service = Service::start(PROGRAM.as_ref(), &config);
    let db = PgPool::connect(&yard.url).await.unwrap();
    let repo = yard.github.repo("acme/styles");
    repo.write(".travis.yml", COUNTING);
    let sha = repo.commit("Count");
    Delivery::new("d-1", "push", &payload::push(&yard.github, &repo, "main")).post(&service.base).await;
    wait_for_log(&db, 300).await;
    service.kill();
    (config, db, sha)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_in_mid_job_the_same_container_goes_on() {
    let yard = Yard::new().await;
    let (config, db, sha) = killed_while_counting(&yard).await;
    let container = docker::container_of(&db, 1).await.expect("a running container");
    // Some lines are printed while no process reads them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let service = Service::start(PROGRAM.as_ref(), &config);
    assert_eq!(docker::container_of(&db, 1).await.as_deref(), Some(container.as_str()), "another container runs");
    wait_for_log(&db, 900).await;
    let bytes = docker::output_when_ended(&container);

    let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", service.said());
    let log = trainyard::store::output::logs::read(
        &db,
        trainyard::domain::AttemptId { job: trainyard::domain::JobId(1), number: 1 },
        0,
        usize::MAX,
    )
    .await
    .unwrap()
    .bytes;
    assert_eq!(String::from_utf8_lossy(&log), String::from_utf8_lossy(&bytes.await), "the log is not the container's");
    let text = String::from_utf8(log).unwrap();
    for i in 1..=60 {
        assert_eq!(text.matches(&format!("line {i} of")).count(), 1, "line {i}");
    }
    let attempts: i32 = sqlx::query_scalar("select attempt from job where id = 1").fetch_one(&db).await.unwrap();
    assert_eq!(attempts, 1, "it ran twice");
    // The record begins with the adoption, and its times count from the start of the container.
    let times: Vec<i64> =
        sqlx::query_scalar("select steps from series where job_id = 1 and name = 'cpu'").fetch_one(&db).await.unwrap();
    assert!(times[0] > 1000 && times.is_sorted(), "{times:?}");
    docker::assert_no_containers(&db).await;
    assert_eq!(service.interrupt(), Some(0));
}

/// Simulates a restart of the machine: Docker stopped the container while no service was running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ended_with_its_machine_begins_again() {
    let yard = Yard::new().await;
    let (config, db, sha) = killed_while_counting(&yard).await;
    docker::stop(&docker::container_of(&db, 1).await.expect("a running container"));
    let service = Service::start(PROGRAM.as_ref(), &config);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    let attempts: i32 = sqlx::query_scalar("select attempt from job where id = 1").fetch_one(&db).await.unwrap();
    assert_eq!(attempts, 2, "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_helped_a_container_that_is_lost_goes_too() {
    let yard = Yard::new().await;
    let (config, db, sha) = killed_while_counting(&yard).await;
    docker::remove(&docker::container_of(&db, 1).await.expect("a running container"));
    let left = docker::names(&db).await;
    assert!(left.len() == 1 && left[0].ends_with("-1-1-gateway"), "{left:?}");
    let _service = Service::start(PROGRAM.as_ref(), &config);
    // The second attempt begins only when everything of the first one is removed.
    while wait_for_log(&db, 300).await == 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!docker::names(&db).await.contains(&left[0]));
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    docker::assert_no_containers(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_was_accepted_survives_kill_9() {
    let yard = Yard::new().await;
    let config = yard.config("");
    let service = Service::start(PROGRAM.as_ref(), &config);
    let repo = yard.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo once\n");
    let sha = repo.commit("Once");
    // Intake cannot fetch the commit before the kill.
    yard.github.git.fail_next(1000);
    let (code, _) = Delivery::new("d-1", "push", &payload::push(&yard.github, &repo, "main")).post(&service.base).await;
    assert_eq!(code, 202);
    service.kill();
    yard.github.git.fail_next(0);
    let _service = Service::start(PROGRAM.as_ref(), &config);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let db = PgPool::connect(&yard.url).await.unwrap();
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&db).await.unwrap();
    assert_eq!(builds, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_was_not_sent_survives_kill_9() {
    let yard = Yard::new().await;
    let config = yard.config("");
    let service = Service::start(PROGRAM.as_ref(), &config);
    let repo = yard.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo once\n");
    let sha = repo.commit("Once");
    yard.github.fail_next(vec![crate::support::github::Fault::Status(502, None); 50]);
    Delivery::new("d-1", "push", &payload::push(&yard.github, &repo, "main")).post(&service.base).await;
    let db = PgPool::connect(&yard.url).await.unwrap();
    wait_for_log(&db, 1).await;
    service.kill();
    yard.github.clear_faults();
    let _service = Service::start(PROGRAM.as_ref(), &config);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_postgres_may_be_killed_in_mid_job() {
    // Postgres runs as another user than root, who must be able to enter the folder.
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let data = folder.path().join("data");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, configuration(&data, None, &github)).unwrap();
    let service = Service::start(PROGRAM.as_ref(), &config);
    let repo = github.repo("acme/styles");
    repo.write(".travis.yml", COUNTING);
    let sha = repo.commit("Count");
    Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    github.wait_for(Duration::from_secs(60), |p| p.description.starts_with("running")).await;
    let pid_file = data.join("postgres/postmaster.pid");
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().lines().next().unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let end = github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", service.said());
    assert!(service.said().contains("Postgres ended"), "{}", service.said());
    // When it is killed itself, it leaves no server behind, and the next start recovers the cluster.
    service.kill();
    let service = Service::start(PROGRAM.as_ref(), &config);
    let (code, _) = Delivery::new("d-1", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    assert_eq!(code, 202);
    assert_eq!(service.interrupt(), Some(0));
    assert!(!pid_file.exists(), "Postgres still runs after a clean stop");
}
