//! Containers that are ready before their job arrives.

use std::time::Duration;

use sqlx::PgPool;
use trainyard::domain::{AttemptId, JobId};
use trainyard::executor::docker::container::staged;
use trainyard::executor::docker::image;
use trainyard::executor::{Docker, Endpoint, Limits, Spec};

use crate::support::app::{App, IMAGE, configuration, merged};
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;
use crate::support::{database, docker};

const ONE_READY: &str = "[[runner]]\nready = 1\n";

/// Waits for a container that is ready. Returns its id.
async fn ready(db: &PgPool) -> String {
    let instance = trainyard::store::instance(db).await.unwrap();
    for _ in 0..200 {
        if let Some(id) = docker::running(&format!("trainyard-{}-ready-[0-9]+", &instance[..8])) {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no container is made ready: {:?}", docker::names(db).await);
}

async fn push(app: &App, repo: &str, script: &str) -> String {
    push_to(app, &app.github.repo(repo), script).await
}

async fn push_to(app: &App, repo: &Repo, script: &str) -> String {
    repo.write(".travis.yml", &format!("language: shell\nscript:\n  - {script:?}\n"));
    let sha = repo.commit(script);
    Delivery::new(&sha, "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    sha
}

#[tokio::test]
async fn the_next_job_gets_a_container_that_waited_for_it_and_nobody_else_does() {
    let app = App::start(ONE_READY).await;
    let first = push(&app, "acme/styles", "touch /home/travis/mine").await;
    assert_eq!(app.github.wait_for_end(&first, "trainyard/push").await.state, "success");
    let waiting = ready(&app.db).await;
    // A job of another repository: the container is empty, so it does not matter whose job showed the demand for it.
    let script = "test ! -e /home/travis/mine && test -f .travis.yml && ! read -r _ && sleep 2";
    let second = push(&app, "acme/faces", script).await;
    let container = loop {
        if let Some(container) = docker::container_of(&app.db, 2).await {
            break container;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(container, waiting);
    assert_eq!(app.github.wait_for_end(&second, "trainyard/push").await.state, "success");
    let next = ready(&app.db).await;
    assert_ne!(next, waiting, "a container serves one job");
    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
}

#[tokio::test]
async fn a_job_of_another_kind_gets_the_network_of_a_ready_container() {
    let app = App::start(ONE_READY).await;
    let first = push(&app, "acme/styles", "true").await;
    assert_eq!(app.github.wait_for_end(&first, "trainyard/push").await.state, "success");
    let waiting = ready(&app.db).await;
    let network = docker::network_of(&waiting).unwrap();
    // Another repository, so that no network of an earlier job may be used, and another image.
    let repo = app.github.repo("acme/faces");
    repo.write(".travis.yml", "language: python\npython: 3.11\nscript:\n  - getent hosts localhost; sleep 2\n");
    let sha = repo.commit("Python");
    Delivery::new("python", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let container = loop {
        if let Some(container) = docker::container_of(&app.db, 2).await {
            break container;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(docker::network_of(&container).as_ref(), Some(&network));
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    assert_ne!(ready(&app.db).await, waiting, "the container of the other kind is replaced");
    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
}

#[tokio::test]
async fn a_network_is_used_again_by_jobs_of_the_same_repository_and_by_no_other() {
    let app = App::start(ONE_READY).await;
    let gateway = async |job: i64| {
        for _ in 0..600 {
            let container = docker::container_of(&app.db, job).await;
            if let Some(network) = container.and_then(|container| docker::network_of(&container)) {
                return network;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("job {job} has no container");
    };
    // The first job has a new network, the second takes the container that was ready. Both leave their network to the
    // pool.
    let mut networks = Vec::new();
    let (styles, faces) = (app.github.repo("acme/styles"), app.github.repo("acme/faces"));
    for (job, repo) in [(1, &styles), (2, &faces), (3, &styles)] {
        if job == 2 {
            ready(&app.db).await;
        }
        let sha = push_to(&app, repo, &format!("sleep 1; echo {job}")).await;
        networks.push(gateway(job).await);
        assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
        // A ready container would be taken first.
        if job == 2 {
            docker::remove(&ready(&app.db).await);
        }
    }
    assert_eq!(networks[2], networks[0], "a network of acme/styles was there");
    assert_ne!(networks[1], networks[0]);
    // A stop before that would leave the network to the next start.
    until_shelved(&app.db, 3).await;
    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
}

/// Waits until a job's container is removed and its network is in the pool.
async fn until_shelved(db: &PgPool, job: i64) {
    for _ in 0..200 {
        let names = docker::names(db).await;
        let is_of = |name: &String| name.contains(&format!("-{job}-1"));
        if !names.iter().any(is_of) && names.iter().any(|name| name.contains("-spare-")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the network of job {job} is not kept: {:?}", docker::names(db).await);
}

struct Yard {
    _folder: tempfile::TempDir,
    github: GitHub,
    db: PgPool,
    config: std::path::PathBuf,
}

impl Yard {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let url = database::url().await;
        let config = folder.path().join("config.toml");
        let usual = configuration(&folder.path().join("data"), Some(&url), &github);
        std::fs::write(&config, merged(&usual, ONE_READY)).unwrap();
        Self { _folder: folder, github, db: PgPool::connect(&url).await.unwrap(), config }
    }

    fn serve(&self) -> Service {
        Service::start(env!("CARGO_BIN_EXE_trainyard").as_ref(), &self.config)
    }

    /// Runs the first job to its end. Returns the commit.
    async fn first_job(&self, service: &Service) -> String {
        let repo = self.github.repo("acme/styles");
        repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
        let sha = repo.commit("Hello");
        Delivery::new("d-1", "push", &payload::push(&self.github, &repo, "main")).post(&service.base).await;
        assert_eq!(self.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
        sha
    }
}

#[tokio::test]
async fn what_a_killed_process_had_ready_is_removed_by_the_next() {
    let yard = Yard::new().await;
    let service = yard.serve();
    yard.first_job(&service).await;
    ready(&yard.db).await;
    service.kill();
    assert!(!docker::names(&yard.db).await.is_empty());
    let service = yard.serve();
    docker::assert_no_containers(&yard.db).await;
    assert_eq!(service.interrupt(), Some(0));
}

/// Simulates a crash between the assignment of a container to the job and its filling.
#[tokio::test]
async fn a_job_whose_container_was_not_filled_begins_again() {
    let yard = Yard::new().await;
    let service = yard.serve();
    yard.first_job(&service).await;
    service.kill();
    sqlx::raw_sql(
        "update job set state = 'running', verdict = null, finished_at = null, exit_status = null, attempt = 2,
             runner = 'local', lease_until = now() + interval '1 min', log_length = 0, output_read = 0;
         update build set state = 'running', finished_at = null;",
    )
    .execute(&yard.db)
    .await
    .unwrap();
    let instance = trainyard::store::instance(&yard.db).await.unwrap();
    let engine = Docker::new(Endpoint::Unix("/var/run/docker.sock".into()), &instance);
    // The container waits for the same file as a job's, and would pass if that did not matter.
    let command = "read -r _; test -e /etc/trainyard/begin || exit 86; exit 0";
    let spec = Spec {
        image: IMAGE.to_owned(),
        command: ["bash", "-c", command].map(str::to_owned).to_vec(),
        environment: Vec::new(),
        limits: Limits::default(),
        mounts: Vec::new(),
        inputs: Vec::new(),
        egress_only: None,
        helper: IMAGE.to_owned(),
        gpus: Vec::new(),
    };
    drop(staged::start_empty(&engine, &spec, &engine.name_of(AttemptId { job: JobId(1), number: 2 })).await.unwrap());
    let service = yard.serve();
    let (attempt, verdict): (i32, Option<String>) = loop {
        let row: (i32, Option<String>) =
            sqlx::query_as("select attempt, verdict::text from job").fetch_one(&yard.db).await.unwrap();
        if row.1.is_some() {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((attempt, verdict.as_deref()), (3, Some("passed")), "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
    docker::assert_no_containers(&yard.db).await;
}

#[tokio::test]
async fn a_container_that_is_gone_is_not_one_that_lacks_a_file() {
    let docker = Docker::new(Endpoint::Unix("/var/run/docker.sock".into()), "0123456789abcdef");
    let name = "trainyard-01234567-image-1-inspect";
    let made = std::process::Command::new("docker").args(["create", "--name", name, IMAGE, "true"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let look = async |path: &str| docker.tar_of(name, path).await.map(|tar| tar.is_some());
    let (there, missing) = (look("/bin/sh").await, look("/no/such/file").await);
    docker::remove(name);
    assert!(there.unwrap() && !missing.unwrap());
    let gone = format!("{:#}", look("/bin/sh").await.unwrap_err());
    assert!(gone.contains("No such container"), "{gone}");
    assert!(image::is_inspection(&docker, name) && !image::is_inspection(&docker, "trainyard-01234567-ready-1"));
}
