//! Runners on other machines, by TLS and by ssh: their features, and their behaviour when the network fails.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use trainyard::domain::AttemptId;

use sqlx::PgPool;
use trainyard::executor::{Docker, Endpoint, NvidiaSmi, TlsFiles};

use crate::support::app::{IMAGE, configuration, merged};
use crate::support::database;
use crate::support::engine::remote::{Cut, RemoteEngine};
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// Returns a script that prints numbered lines, ten a second, with random numbers that a second run would not repeat.
pub fn counting(lines: u32) -> String {
    format!(
        "language: shell\ngit: {{clone: false}}\nscript:\n  - for i in $(seq 1 {lines}); do echo \"line $i of $RANDOM\"; \
         sleep 0.1; done\n"
    )
}

pub struct Yard {
    pub folder: tempfile::TempDir,
    pub github: GitHub,
    pub url: String,
    pub db: PgPool,
}

impl Yard {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let url = database::url().await;
        let db = PgPool::connect(&url).await.unwrap();
        Self { folder, github, url, db }
    }

    /// Writes the configuration of a process with its own data folder.
    pub fn config(&self, name: &str, change: &str) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.toml"));
        let data = self.folder.path().join(name);
        std::fs::write(&file, merged(&configuration(&data, Some(&self.url), &self.github), change)).unwrap();
        file
    }

    /// Pushes a `.travis.yml` to a new repository. Returns the commit.
    pub async fn push(&self, base: &str, name: &str, travis: &str) -> String {
        let repo = self.github.repo(name);
        repo.write(".travis.yml", travis);
        let sha = repo.commit("Train");
        Delivery::new(name, "push", &payload::push(&self.github, &repo, "main")).post(base).await;
        sha
    }

    pub async fn until(&self, what: &str, condition: &'static str) {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            let holds: Option<bool> = sqlx::query_scalar(condition).fetch_one(&self.db).await.unwrap_or_default();
            if holds == Some(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: this does not come true: {condition}");
    }

    pub async fn log(&self, job: i64) -> Vec<u8> {
        let (job, attempt): (trainyard::domain::JobId, i32) =
            sqlx::query_as("select id, attempt from job where id = $1").bind(job).fetch_one(&self.db).await.unwrap();
        trainyard::store::output::logs::read(&self.db, AttemptId { job, number: attempt }, 0, usize::MAX)
            .await
            .unwrap()
            .bytes
    }
}

/// Returns everything that a container prints until it ends, as its own engine recorded it.
pub fn output_when_ended(engine: &RemoteEngine, container: &str) -> impl Future<Output = Vec<u8>> + use<> {
    let mut docker = engine.command();
    docker.args(["logs", "--follow", container]).stderr(Stdio::null());
    let followed = tokio::task::spawn_blocking(move || docker.output().unwrap().stdout);
    async move { followed.await.unwrap() }
}

async fn page(base: &str, path: &str) -> String {
    reqwest::get(format!("{base}{path}")).await.unwrap().text().await.unwrap()
}

const BEGUN: &str = "select log_length > 500 from job where id = 1 union all select false limit 1";

async fn runs_to_its_end(engine: &RemoteEngine, change: &str) {
    let yard = Yard::new().await;
    let config = yard.config("data", change);
    let service = Service::start_with(PROGRAM.as_ref(), &config, Some(&engine.ssh_folder()));
    let sha = yard.push(&service.base, "acme/styles", &counting(30)).await;
    yard.until("the job runs", BEGUN).await;
    let container = engine.docker(&["ps", "--quiet", "--filter", "label=trainyard.gpus"]);
    let own = output_when_ended(engine, &container).await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    assert!(String::from_utf8_lossy(&own).contains("line 30 of"));
    assert_eq!(String::from_utf8_lossy(&yard.log(1).await), String::from_utf8_lossy(&own));
    let used: i64 =
        sqlx::query_scalar("select count(*) from report where kind = 'resources'").fetch_one(&yard.db).await.unwrap();
    assert_eq!(used, 1, "what it used is measured there");
    // A job that fails, and another that is stopped.
    let sha = yard.push(&service.base, "acme/fails", "language: shell\nscript: 'false'\n").await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "failure");
    let shown = page(&service.base, "/runners").await;
    assert!(shown.contains("Served by") && !shown.contains("unreachable"), "{shown}");
    assert_eq!(service.interrupt(), Some(0));
    let begin = Instant::now();
    while !engine.docker(&["ps", "--all", "--quiet"]).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", engine.docker(&["ps", "--all"]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_by_tls_and_by_ssh_from_the_push_to_the_status() {
    let engine = RemoteEngine::start();
    runs_to_its_end(&engine, &engine.by_tcp()).await;
    runs_to_its_end(&engine, &engine.by_ssh()).await;
}

/// Cuts the network in the middle of a job for longer than it takes to notice, and restores it.
async fn survives(change: impl Fn(&RemoteEngine) -> String, how: Cut) {
    let engine = RemoteEngine::start();
    let yard = Yard::new().await;
    let config = yard.config("data", &change(&engine));
    let service = Service::start_with(PROGRAM.as_ref(), &config, Some(&engine.ssh_folder()));
    let sha = yard.push(&service.base, "acme/styles", &counting(250)).await;
    yard.until("the job runs", BEGUN).await;
    let container = engine.docker(&["ps", "--quiet", "--filter", "label=trainyard.gpus"]);
    let own = output_when_ended(&engine, &container);
    engine.cut(how);
    let begin = Instant::now();
    yard.until("it is told", "select exists (select from alert where component = 'runner remote')").await;
    let noticed = begin.elapsed();
    eprintln!("{how:?}: noticed after {noticed:?}");
    assert!(noticed < Duration::from_secs(16), "{noticed:?}");
    let shown = page(&service.base, "/runners").await;
    assert!(shown.contains("unreachable") && shown.contains("is not reachable at"), "{shown}");
    // The lease is extended all the while, and a job that is pushed now waits.
    let waits = yard.push(&service.base, "acme/waits", &counting(1)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let leases: bool = sqlx::query_scalar("select lease_until > now() and attempt = 1 from job where id = 1")
        .fetch_one(&yard.db)
        .await
        .unwrap();
    assert!(leases, "{}", service.said());
    engine.heal(how);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    let own = own.await;
    assert!(String::from_utf8_lossy(&own).contains("line 250 of"));
    assert_eq!(String::from_utf8_lossy(&yard.log(1).await), String::from_utf8_lossy(&own));
    assert_eq!(yard.github.wait_for_end(&waits, "trainyard/push").await.state, "success", "{}", service.said());
    let attempts: Vec<i32> =
        sqlx::query_scalar("select attempt from job order by id").fetch_all(&yard.db).await.unwrap();
    assert_eq!(attempts, [1, 1], "{}", service.said());
    yard.until("the trouble is over", "select not exists (select from alert)").await;
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_by_tls_goes_on_when_packets_vanish_for_a_while() {
    survives(RemoteEngine::by_tcp, Cut::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_by_tls_goes_on_when_the_cable_is_out_for_a_while() {
    survives(RemoteEngine::by_tcp, Cut::Unplugged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_by_ssh_goes_on_when_packets_vanish_for_a_while() {
    survives(RemoteEngine::by_ssh, Cut::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_judged_by_what_it_did_while_nobody_saw_it() {
    let engine = RemoteEngine::start();
    let yard = Yard::new().await;
    let limits = "limits = {network = 'none', silence = '8s', grace = '1s'}\n";
    let runner = engine.by_tcp().lines().nth(1).unwrap().to_owned();
    let service = Service::start(PROGRAM.as_ref(), &yard.config("data", &format!("{limits}{runner}\n")));
    let counts = "for i in $(seq 40); do echo \"line $i of $RANDOM, with some more words\"; sleep 0.1; done";
    let script = |end: &str| format!("language: shell\ngit: {{clone: false}}\nscript:\n  - {counts}\n  - {end}\n");
    let fails = yard.push(&service.base, "acme/fails", &script("'false'")).await;
    let hangs = yard.push(&service.base, "acme/hangs", &script("sleep 300")).await;
    yard.until("both run", "select count(*) = 2 from job where log_length > 500").await;
    engine.cut(Cut::Silent);
    yard.until("it is told", "select exists (select from alert where component = 'runner remote')").await;
    // Longer than both the job and its allowed silence.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let undecided: i64 = sqlx::query_scalar("select count(*) from job where state = 'running' and stop is null")
        .fetch_one(&yard.db)
        .await
        .unwrap();
    assert_eq!(undecided, 2, "{}", service.said());
    engine.heal(Cut::Silent);
    assert_eq!(yard.github.wait_for_end(&fails, "trainyard/push").await.state, "failure", "{}", service.said());
    assert!(String::from_utf8_lossy(&yard.log(1).await).contains("line 40 of"));
    // Limits apply again to the job that is still running.
    assert_ne!(yard.github.wait_for_end(&hangs, "trainyard/push").await.state, "success", "{}", service.said());
    let ends: Vec<(i32, String)> = sqlx::query_as("select attempt, coalesce(stop::text, '') from job order by id")
        .fetch_all(&yard.db)
        .await
        .unwrap();
    assert_eq!(ends, [(1, String::new()), (1, "silence".to_owned())], "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}

/// The output of a job is lost while its dockerd is dead, and its container ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_end_docker_has_lost_begins_again() {
    let mut engine = RemoteEngine::start();
    let yard = Yard::new().await;
    let service = Service::start(PROGRAM.as_ref(), &yard.config("data", &engine.by_tcp()));
    let sha = yard.push(&service.base, "acme/styles", &counting(30)).await;
    yard.until("the job runs", BEGUN).await;
    engine.kill();
    // Longer than the job.
    tokio::time::sleep(Duration::from_secs(5)).await;
    engine.start_again();
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    let lost: String = sqlx::query_scalar("select reason from lost_attempt").fetch_one(&yard.db).await.unwrap();
    assert!(lost.starts_with("its container ended unseen"), "{lost}");
    let log = yard.log(1).await;
    assert!(String::from_utf8_lossy(&log).contains("\nline 30 of "), "the log is whole");
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_while_the_machine_is_away_keeps_its_jobs() {
    let engine = RemoteEngine::start();
    let yard = Yard::new().await;
    let config = yard.config("data", &engine.by_tcp());
    let service = Service::start(PROGRAM.as_ref(), &config);
    let sha = yard.push(&service.base, "acme/styles", &counting(200)).await;
    yard.until("the job runs", BEGUN).await;
    let container = engine.docker(&["ps", "--quiet", "--filter", "label=trainyard.gpus"]);
    let own = output_when_ended(&engine, &container);
    service.kill();
    engine.cut(Cut::Silent);
    let service = Service::start(PROGRAM.as_ref(), &config);
    yard.until("it is told", "select exists (select from alert where component = 'runner remote')").await;
    // Longer than a lease, and than the time until its loss is noticed.
    tokio::time::sleep(Duration::from_secs(12)).await;
    engine.heal(Cut::Silent);
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    assert_eq!(String::from_utf8_lossy(&yard.log(1).await), String::from_utf8_lossy(&own.await));
    let attempt: i32 = sqlx::query_scalar("select attempt from job where id = 1").fetch_one(&yard.db).await.unwrap();
    assert_eq!(attempt, 1, "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_is_away_at_the_start_is_shown_so_and_holds_up_no_other() {
    let engine = RemoteEngine::start();
    engine.cut(Cut::Silent);
    let yard = Yard::new().await;
    let change = format!(
        "limits = {{network = 'none'}}\nrunner = [{{name = 'remote', endpoint = {:?}, tls = {}, labels = ['arm64']}}, \
         {{name = 'local'}}]\n",
        engine.tcp(),
        engine.tls()
    );
    let service = Service::start(PROGRAM.as_ref(), &yard.config("data", &change));
    let waits = yard.push(&service.base, "acme/waits", &format!("arch: arm64\n{}", counting(1))).await;
    let here = yard.push(&service.base, "acme/here", &counting(1)).await;
    assert_eq!(yard.github.wait_for_end(&here, "trainyard/push").await.state, "success", "{}", service.said());
    yard.until("it is told", "select exists (select from alert where component = 'runner remote')").await;
    let shown = page(&service.base, "/runners").await;
    assert!(shown.contains("unreachable"), "{shown}");
    yard.until("its job waits", "select state = 'queued' and attempt = 0 from job where id = 1").await;
    engine.heal(Cut::Silent);
    assert_eq!(yard.github.wait_for_end(&waits, "trainyard/push").await.state, "success", "{}", service.said());
    assert_eq!(service.interrupt(), Some(0));
}

async fn has_gpus(engine: &RemoteEngine, change: &str) {
    let yard = Yard::new().await;
    engine.has(&[("GPU-1", 4), ("GPU-2", 9000)], &[]);
    let sizes = "gpu = {sizes = {gpu-medium = {}, gpu-xlarge = {count = 2}}}\n";
    let smi = format!("gpu = {{nvidia_smi = {:?}, sizes = {{gpu-medium = {{}}}}}}\n", engine.at("nvidia-smi"));
    let sizes = if change.contains("ssh://") { smi.as_str() } else { sizes };
    let config = yard.config("data", &format!("{sizes}{change}"));
    let service = Service::start_with(PROGRAM.as_ref(), &config, Some(&engine.ssh_folder()));
    yard.until("one is empty and one is not", "select count(*) = 2 from gpu where uuid = 'GPU-1' and state = 'free' or uuid = 'GPU-2' and reason like '%in use%'").await;
    let wants =
        "language: shell\nvm: {size: gpu-medium}\ngit: {clone: false}\nscript: echo \"sees $NVIDIA_VISIBLE_DEVICES\"\n";
    let sha = yard.push(&service.base, "acme/trains", wants).await;
    assert_eq!(yard.github.wait_for_end(&sha, "trainyard/push").await.state, "success", "{}", service.said());
    assert!(String::from_utf8_lossy(&yard.log(1).await).contains("sees GPU-1\n"));
    // A person uses it by hand now.
    engine.has(&[("GPU-1", 4), ("GPU-2", 9000)], &["GPU-1, 4242"]);
    yard.until("it is kept from jobs", "select reason like '%4242' from gpu where uuid = 'GPU-1'").await;
    assert_eq!(service.interrupt(), Some(0));
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]), "", "what looked is gone with the service");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gpus_of_another_machine_are_found_and_looked_at_there() {
    let engine = RemoteEngine::start();
    has_gpus(&engine, &engine.by_tcp()).await;
    has_gpus(&engine, &engine.by_ssh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_at_gpus_that_come_at_once_share_what_looks() {
    let engine = RemoteEngine::start();
    engine.has(&[("GPU-1", 4)], &[]);
    let files =
        TlsFiles { ca: engine.at("ca.pem"), certificate: engine.at("client.pem"), key: engine.at("client.key") };
    let docker = Docker::new(Endpoint::parse(&engine.tcp(), Some(&files)).unwrap(), "0123456789abcdef");
    let smi = NvidiaSmi::new(&Default::default(), &docker, IMAGE);
    let looks: Vec<_> = std::iter::repeat_with(|| smi.devices()).take(4).collect();
    for devices in futures::future::join_all(looks).await {
        assert_eq!(devices.unwrap().unwrap().len(), 1);
    }
    smi.tidy_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_who_they_should_be_is_not_talked_to() {
    let (engine, other) = (RemoteEngine::start(), RemoteEngine::start());
    let yard = Yard::new().await;
    // The authority of another engine; an ssh server with an unknown key; a client that the engine does not know.
    let mixed = format!(
        "{{ca = {:?}, certificate = {:?}, key = {:?}}}",
        engine.at("ca.pem"),
        other.at("client.pem"),
        other.at("client.key")
    );
    let change = format!(
        "runner = [{{name = 'a', endpoint = {:?}, tls = {}}}, {{name = 'b', endpoint = {:?}}}, \
         {{name = 'c', endpoint = {:?}, tls = {mixed}}}]\n",
        engine.tcp(),
        other.tls(),
        other.ssh(),
        engine.tcp(),
    );
    let service = Service::start_with(PROGRAM.as_ref(), &yard.config("data", &change), Some(&engine.ssh_folder()));
    yard.until("all are told", "select count(*) = 3 from alert where component like 'runner _'").await;
    let alerts = trainyard::store::alerts::all(&yard.db).await.unwrap();
    let of = |name: &str| alerts.iter().find(|it| it.component == format!("runner {name}")).unwrap().message.clone();
    assert!(of("a").contains("certificate"), "{alerts:#?}");
    assert!(of("b").contains("its key is not among the known hosts"), "{alerts:#?}");
    assert!(of("c").contains("certificate") || of("c").contains("alert"), "{alerts:#?}");
    assert_eq!(service.interrupt(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_looks_at_engines_elsewhere() {
    let engine = RemoteEngine::start();
    engine.has(&[("GPU-1", 4)], &[]);
    let yard = Yard::new().await;
    let change = format!(
        "gpu = {{nvidia_smi = {:?}}}\nimages = {{python = 'trainyard/minimal:bookworm'}}\n\
         runner = [{{name = 'a', endpoint = {:?}, tls = {}, cpus = 5000.0}}, {{name = 'b', endpoint = {:?}}}, \
         {{name = 'c', endpoint = 'ssh://root@127.0.0.1:1'}}]\n",
        engine.at("nvidia-smi"),
        engine.tcp(),
        engine.tls(),
        engine.ssh(),
    );
    let config = yard.config("data", &change);
    let path = format!("{}:{}", engine.ssh_folder().display(), std::env::var("PATH").unwrap());
    let look = async || {
        let mut doctor = tokio::process::Command::new(PROGRAM);
        let output =
            doctor.args(["doctor", "--json", "--config"]).arg(&config).env("PATH", &path).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = look().await;
    let openssl = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-enddate", "-in", &engine.at("client.pem").display().to_string()])
        .output()
        .unwrap();
    let end = String::from_utf8(openssl.stdout).unwrap();
    let end = chrono::NaiveDateTime::parse_from_str(end.trim(), "notAfter=%b %e %H:%M:%S %Y GMT").unwrap().and_utc();
    for told in [
        &format!("client.pem expires at {end}"),
        &format!("at {}, 2 slots", engine.tcp()),
        &format!("at {}, 2 slots", engine.ssh()),
        "1 GPU listed by nvidia-smi",
        "limits.cpus is 5000",
        "ssh to 127.0.0.1: ",
        "is the machine up, and does its ssh server listen?",
    ] {
        assert!(said.contains(told), "no {told:?} in {said}");
    }
    assert_eq!(engine.docker(&["ps", "--all", "--quiet"]), "", "it makes nothing there");
    let fails = "#!/bin/sh\necho 'no session for you' >&2\nexit 255\n";
    crate::support::engine::program(&engine.at("nvidia-smi"), fails);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(engine.at("client.key"), open).unwrap();
    std::fs::write(engine.at("ca.pem"), "nothing").unwrap();
    let said = look().await;
    for told in [
        "can be read by other users; it gives root rights",
        "ca.pem contains no certificate",
        // Both for ssh's own failure and for a program with the same exit status, the reason is on standard error.
        "nvidia-smi: no session for you",
    ] {
        assert!(said.contains(told), "no {told:?} in {said}");
    }
}
