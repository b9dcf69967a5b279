//! Problems at the start, and their messages: what is wrong, where, and what to do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sqlx::PgPool;
use trainyard::store::postgres::{cluster, examine};

use crate::support::app::{configuration, merged};
use crate::support::database;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Starts the program with this configuration, which must fail. Returns its message.
fn refused(config: &Path) -> String {
    let output = Command::new(PROGRAM).args(["serve", "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("config.toml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_wrong_key_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "[server]\n\n[limits]\ntmie = \"1h\"\n");
    let said = refused(&config);
    assert!(said.contains(&format!("{}:4:1: unknown field `tmie`", config.display())), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = write(
        folder.path(),
        &format!(
            "[server]\nlisten = \"{address}\"\ndata_dir = {:?}\n[database]\nurl = \"postgres://localhost/x\"\n",
            folder.path()
        ),
    );
    let said = refused(&config);
    assert!(said.contains(&address.to_string()) && said.contains("another program listens there"), "{said}");
}

#[tokio::test]
async fn a_second_service_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = database::url().await;
    let config = write(folder.path(), &configuration(&folder.path().join("data"), Some(&url), &github));
    let _first = Service::start(PROGRAM.as_ref(), &config);
    let said = refused(&config);
    assert!(said.contains("another Trainyard already runs on"), "{said}");
}

#[test]
fn a_cluster_that_is_not_its_own_is_left_alone() {
    let folder =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
    let foreign = folder.path().join("postgres");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("PG_VERSION"), "15\n").unwrap();
    // It may even belong to the same user.
    if let Some(user) = uzers::get_user_by_name("postgres").filter(|_| uzers::get_current_uid() == 0) {
        std::os::unix::fs::chown(&foreign, Some(user.uid()), None).unwrap();
    }
    let config = write(folder.path(), &format!("[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = {:?}\n", folder.path()));
    let said = refused(&config);
    assert!(said.contains("was not made by Trainyard"), "{said}");
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 1);
}

/// On a usual installation the service has a user of its own, and its data folder is closed to others.
#[tokio::test]
async fn root_uses_the_running_cluster_of_another_user() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = folder.path().join("postgres");
    std::fs::create_dir(&cluster).unwrap();
    std::fs::write(cluster.join("TRAINYARD"), "").unwrap();
    let mut postmaster = Command::new("sleep").arg("600").current_dir(&cluster).spawn().unwrap();
    let facts = format!("{}\n{}\n0\n5432\n/run/sockets\n", postmaster.id(), cluster.display());
    std::fs::write(cluster.join("postmaster.pid"), facts).unwrap();
    if uzers::get_current_uid() == 0 {
        std::os::unix::fs::chown(&cluster, Some(54321), None).unwrap();
    }
    let running = cluster::running(folder.path()).map(|options| options.is_some());
    let examined = examine::private(folder.path()).await.map(|private| private.running.is_some());
    postmaster.kill().unwrap();
    postmaster.wait().unwrap();
    assert!(matches!((&running, &examined), (Ok(true), Ok(true))), "{running:?} {examined:?}");
    let stopped = cluster::running(folder.path());
    if uzers::get_current_uid() == 0 {
        let error = format!("{:#}", stopped.unwrap_err());
        assert!(error.contains("belongs to the user with id 54321") && error.contains("stop the service"), "{error}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data = file.join("data");
    let said = refused(&write(folder.path(), &format!("[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = {data:?}\n")));
    assert!(said.contains("cannot make the data folder") && said.contains("server.data_dir"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_docker_it_starts_says_so_and_goes_on_when_docker_comes() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = database::url().await;
    let socket = folder.path().join("docker.sock");
    let runner = format!("runner = [{{name = 'local', endpoint = 'unix://{}'}}]", socket.display());
    let text = merged(&configuration(&folder.path().join("data"), Some(&url), &github), &runner);
    let service = Service::start(PROGRAM.as_ref(), &write(folder.path(), &text));
    let repo = github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let sha = repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    github.wait_for(Duration::from_secs(30), |p| p.sha == sha && p.state == "pending").await;
    let db = PgPool::connect(&url).await.unwrap();
    let page = loop {
        let page = reqwest::get(&service.base).await.unwrap().text().await.unwrap();
        if page.contains("Docker is not reachable") {
            break page;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(page.contains("is dockerd running"), "{page}");
    std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap();
    assert_eq!(github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    let left: i64 = sqlx::query_scalar("select count(*) from alert").fetch_one(&db).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_it_starts_and_every_page_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://trainyard@{nowhere}/trainyard");
    let service = Service::start(
        PROGRAM.as_ref(),
        &write(folder.path(), &configuration(&folder.path().join("data"), Some(&url), &github)),
    );
    let answer = reqwest::get(&service.base).await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.text().await.unwrap().contains("Postgres"));
    let repo = github.repo("acme/styles");
    repo.commit("Hello");
    let (code, _) = Delivery::new("d", "push", &payload::push(&github, &repo, "main")).post(&service.base).await;
    assert_eq!(code, 503, "GitHub must learn that the delivery was not stored");
    assert!(service.said().contains("Postgres is not reachable"), "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}
