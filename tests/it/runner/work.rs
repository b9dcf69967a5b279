//! `trainyard work` next to `trainyard serve`: two processes, one database.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, PgPool};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trainyard::store::runner::runner_lock::{RunnerLock, RunnerLocked};
use trainyard::store::wakeup::bell::Bells;
use trainyard::store::wakeup::bell_notify;

use super::remote::{Yard, counting};
use crate::support::service::Service;
use crate::support::{database, docker};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Label of jobs that run only on the machine of `work`.
const THERE: &str = "arch: arm64\n";

/// Starts a server with a runner that takes no jobs with the label. Also returns the configuration of a machine that
/// does.
async fn server(yard: &Yard) -> (Service, std::path::PathBuf) {
    let service = Service::start(PROGRAM.as_ref(), &yard.config("serve", "limits = {network = 'none'}"));
    yard.until("it is ready", "select exists (select from runner)").await;
    let change = "limits = {network = 'none'}\nrunner = [{name = 'far', labels = ['arm64'], gpus = 'none'}]";
    let config = yard.config("work", change);
    std::fs::create_dir_all(yard.folder.path().join("work")).unwrap();
    std::fs::copy(yard.folder.path().join("serve/seal.key"), yard.folder.path().join("work/seal.key")).unwrap();
    (service, config)
}

async fn refused(config: &Path, status: i32) -> String {
    let mut work = tokio::process::Command::new(PROGRAM);
    let output = work.args(["work", "--config"]).arg(config).output().await.unwrap();
    assert_eq!(output.status.code(), Some(status));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_on_another_machine_at_once_and_its_log_is_live() {
    let yard = Yard::new().await;
    let (service, config) = server(&yard).await;
    let work = Service::work(PROGRAM.as_ref(), &config, None);
    yard.until("it serves", "select exists (select from runner where name = 'far' and host is not null)").await;
    let sha = yard.push(&service.base, "acme/far", &format!("{THERE}{}", counting(60))).await;
    yard.until("it runs", "select state = 'running' from job where id = 1 union all select false limit 1").await;
    // Half a second is less than the interval of checks without a bell.
    let wait: f64 =
        sqlx::query_scalar("select extract(epoch from started_at - created_at)::float8 from job where id = 1")
            .fetch_one(&yard.db)
            .await
            .unwrap();
    eprintln!("claimed by the other process after {:.0} ms", wait * 1000.0);
    let stream = reqwest::get(format!("{}/api/v1/jobs/1/log/stream?offset=0", service.base)).await.unwrap();
    let mut events = stream.bytes_stream();
    let (mut arrivals, mut text) = (Vec::new(), String::new());
    while let Some(event) = events.next().await {
        text.push_str(&String::from_utf8_lossy(&event.unwrap()));
        arrivals.push(Instant::now());
        if text.contains("line 50 of") {
            break;
        }
    }
    // The job prints ten lines a second, and checks without a bell come once a second.
    assert!(arrivals.len() > 15, "the log comes in {} pieces: {text}", arrivals.len());
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", work.said());
    let worker: String = sqlx::query_scalar("select runner from job where id = 1").fetch_one(&yard.db).await.unwrap();
    assert_eq!(worker, "far");
    let shown = reqwest::get(format!("{}/runners", service.base)).await.unwrap().text().await.unwrap();
    assert!(shown.contains("Runner far") && shown.contains("Runner local"), "{shown}");
    assert_eq!((work.interrupt(), service.interrupt()), (Some(0), Some(0)));
    docker::assert_no_containers(&yard.db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_dies_and_comes_back_goes_on_with_its_jobs() {
    let yard = Yard::new().await;
    let (service, config) = server(&yard).await;
    let work = Service::work(PROGRAM.as_ref(), &config, None);
    let sha = yard.push(&service.base, "acme/far", &format!("{THERE}{}", counting(100))).await;
    yard.until("it runs", "select log_length > 500 from job where id = 1 union all select false limit 1").await;
    let container = docker::container_of(&yard.db, 1).await.unwrap();
    let own = docker::output_when_ended(&container);
    work.kill();
    let work = Service::work(PROGRAM.as_ref(), &config, None);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", work.said());
    assert_eq!(String::from_utf8_lossy(&yard.log(1).await), String::from_utf8_lossy(&own.await));
    let attempt: i32 = sqlx::query_scalar("select attempt from job where id = 1").fetch_one(&yard.db).await.unwrap();
    assert_eq!(attempt, 1);
    assert_eq!((work.interrupt(), service.interrupt()), (Some(0), Some(0)));
    docker::assert_no_containers(&yard.db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_machine_that_is_gone_for_good_begin_again_elsewhere() {
    let yard = Yard::new().await;
    let (service, config) = server(&yard).await;
    let work = Service::work(PROGRAM.as_ref(), &config, None);
    let sha = yard.push(&service.base, "acme/far", &format!("{THERE}{}", counting(600))).await;
    yard.until("it runs", "select log_length > 500 from job where id = 1 union all select false limit 1").await;
    let container = docker::container_of(&yard.db, 1).await.unwrap();
    work.kill();
    let begin = Instant::now();
    yard.until("it is queued again", "select state = 'queued' and attempt = 1 from job where id = 1").await;
    let after = begin.elapsed();
    eprintln!("given back {after:?} after the kill");
    // A lease of eight seconds, seen unchanged for the same time, and the interval of the janitor.
    assert!(after < Duration::from_secs(14), "{after:?}");
    docker::remove(&container);
    drop((sha, service));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_is_served_by_one_process() {
    let yard = Yard::new().await;
    let (service, config) = server(&yard).await;
    let work = Service::work(PROGRAM.as_ref(), &config, None);
    yard.until("it serves", "select exists (select from runner where name = 'far')").await;
    let second = yard.config("second", "runner = [{name = 'far', labels = ['arm64'], gpus = 'none'}]");
    std::fs::create_dir_all(yard.folder.path().join("second")).unwrap();
    std::fs::copy(yard.folder.path().join("serve/seal.key"), yard.folder.path().join("second/seal.key")).unwrap();
    let said = refused(&second, 3).await;
    assert!(said.contains("runner far is served by another process on "), "{said}");
    // When one process ends, the next can take its place at once.
    work.kill();
    let mut third = Service::work(PROGRAM.as_ref(), &second, None);
    third.wait_for("Docker ");
    // When Postgres cuts the connection that holds the lock, the lock is taken again.
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'trainyard runners'")
        .execute(&yard.db)
        .await
        .unwrap();
    third.wait_for("the runners are locked again");
    let sha = yard.push(&service.base, "acme/far", &format!("{THERE}{}", counting(1))).await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", third.said());
    assert_eq!((third.interrupt(), service.interrupt()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_cannot_work_for_the_server_says_why() {
    let yard = Yard::new().await;
    let data = yard.folder.path().join("work");
    std::fs::create_dir(&data).unwrap();
    let config = yard.config("work", "");
    let said = refused(&config, 1).await;
    assert!(said.contains("copy seal.key from the data folder of the machine that runs trainyard serve"), "{said}");
    std::fs::write(data.join("seal.key"), [7; 32]).unwrap();
    let said = refused(&config, 1).await;
    assert!(said.contains("start trainyard serve of this version first"), "{said}");
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(&yard.db)
        .await
        .unwrap();
    assert_eq!(tables, 0, "it migrates nothing");

    let service = Service::start(PROGRAM.as_ref(), &yard.config("serve", ""));
    yard.push(&service.base, "acme/styles", &counting(1)).await;
    yard.until("there is a repository", "select exists (select from repo)").await;
    let answer = reqwest::get(format!("{}/api/v1/repos/acme/styles/key", service.base)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let said = refused(&config, 1).await;
    assert!(said.contains("is not the key that this database is sealed with"), "{said}");
    let mut without = Command::new(PROGRAM);
    without.args(["work"]).env_remove("TRAINYARD_CONFIG").env("TRAINYARD__SERVER__DATA_DIR", &data);
    let output = without.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("trainyard work needs database.url"), "{said}");
    assert_eq!(service.interrupt(), Some(0));
}

/// Forwards connections to a Postgres until `forgets`. Connections of that time then stay open, but nothing gets
/// through.
async fn forgetful(listener: UnixListener, postgres: std::path::PathBuf, forgets: CancellationToken) {
    let mut carried = JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let (mut far, forgets) = (UnixStream::connect(&postgres).await.unwrap(), forgets.clone());
        let is_new = forgets.is_cancelled();
        carried.spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = forgets.cancelled(), if !is_new => std::future::pending().await,
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bells_are_heard_again_when_the_network_has_forgotten_a_connection() {
    let options: PgConnectOptions = database::url().await.parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = format!(".s.PGSQL.{}", options.get_port());
    let postgres = options.get_socket().unwrap().join(&file);
    let (forgets, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let (here, there) = (Bells::new(), Bells::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(forgetful(UnixListener::bind(folder.path().join(&file)).unwrap(), postgres, forgets.clone()));
    tasks.spawn(bell_notify::keep(options.clone(), here.clone(), shutdown.clone()));
    tasks.spawn(bell_notify::keep(options.socket(folder.path()), there.clone(), shutdown));
    let heard = async |limit: Duration| {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            here.worker.ring();
            let waited = Instant::now();
            there.worker.wait(Duration::from_millis(500)).await;
            if waited.elapsed() < Duration::from_millis(400) {
                return true;
            }
        }
        false
    };
    assert!(heard(Duration::from_secs(20)).await);
    forgets.cancel();
    assert!(!heard(Duration::from_secs(2)).await, "nothing comes through");
    assert!(heard(Duration::from_secs(50)).await, "it listens again");
}

/// Takes a runner's lock as another process would.
async fn hold(db: &PgPool, runner: &str) -> PgConnection {
    let mut other = PgConnection::connect_with(&db.connect_options()).await.unwrap();
    sqlx::query("select pg_advisory_lock($1, hashtext($2))")
        .bind(0x7261_696e)
        .bind(runner)
        .execute(&mut other)
        .await
        .unwrap();
    other
}

async fn take(db: &PgPool, runner: &str) -> anyhow::Result<RunnerLock> {
    RunnerLock::take(PgConnectOptions::clone(&db.connect_options()), vec![runner.to_owned()], "here").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_changes_hands_only_when_its_old_process_knows() {
    let db = database::pool().await;
    let shutdown = CancellationToken::new();
    // A process that loses its runner to another one ends at once, and is not confused by its own old connection.
    let loses = async {
        let mut lock = take(&db, "loses").await.unwrap();
        let pid: i32 = sqlx::query_scalar("select pid from pg_locks where locktype = 'advisory' and objid = (hashtext('loses')::bigint & 4294967295)::oid")
            .fetch_one(&db)
            .await
            .unwrap();
        let (other, _) = tokio::join!(hold(&db, "loses"), async {
            let waits = "select exists (select from pg_locks where locktype = 'advisory' and not granted)";
            while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&db).await.unwrap() {}
            sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&db).await.unwrap();
        });
        let begin = Instant::now();
        let error = lock.keep(&shutdown).await.unwrap_err();
        assert!(
            error.is::<RunnerLocked>() && begin.elapsed() < Duration::from_secs(8),
            "{error:#} {:?}",
            begin.elapsed()
        );
        drop(other);
    };
    // A process that found the lock held gives the other process the time to notice its loss.
    let waits = async {
        let other = hold(&db, "waits").await;
        let begin = Instant::now();
        let (lock, _) = tokio::join!(take(&db, "waits"), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(other);
        });
        assert!(lock.is_ok() && begin.elapsed() > Duration::from_secs(18), "{:?}", begin.elapsed());
    };
    // A process on another machine leaves the runner to the machine that had it, even while the lock is free.
    let elsewhere = async {
        sqlx::query("insert into runner (name, endpoint, slots, host) values ('left', 'unix:///x', 1, 'elsewhere')")
            .execute(&db)
            .await
            .unwrap();
        let begin = Instant::now();
        let (later, _) = tokio::join!(tokio::time::timeout(Duration::from_secs(30), take(&db, "left")), async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let change = "update runner set seen_at = now() - interval '58 s' where host = 'elsewhere'";
            sqlx::query(change).execute(&db).await.unwrap();
        });
        later.unwrap().unwrap();
        assert!(begin.elapsed() > Duration::from_secs(5), "{:?}", begin.elapsed());
        let begin = Instant::now();
        assert!(tokio::time::timeout(Duration::from_secs(5), take(&db, "new")).await.unwrap().is_ok());
        assert!(begin.elapsed() < Duration::from_secs(2), "a new one is taken at once: {:?}", begin.elapsed());
    };
    tokio::join!(loses, waits, elsewhere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_runner_another_process_has_says_so_and_waits_for_it() {
    let yard = Yard::new().await;
    trainyard::store::MIGRATOR.run(&yard.db).await.unwrap();
    let other = hold(&yard.db, "local").await;
    let service = Service::start(PROGRAM.as_ref(), &yard.config("serve", "limits = {network = 'none'}"));
    yard.until(
        "it is told",
        "select exists (select from alert where component = 'runners' and message like 'runner local is served by %')",
    )
    .await;
    assert_eq!(reqwest::get(format!("{}/healthz", service.base)).await.unwrap().status(), 200);
    drop(other);
    yard.until("it is over", "select not exists (select from alert where component = 'runners')").await;
    let sha = yard.push(&service.base, "acme/styles", &counting(1)).await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}
