//! Logs from a container's output to durable rows, with a secret to hide, against `docker logs` of the same bytes to a
//! file; and the memory that the service uses for it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use trainyard::domain::AttemptId;

use sqlx::PgPool;

use crate::deliveries::connect;
use crate::memory::{peak, reset_peak};
use crate::support::app::IMAGE;
use crate::support::github::Posted;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, report, stamp};

/// Megabytes that each job prints.
const SIZE: u64 = 200;
const ROUNDS: usize = 3;
/// Time limit for a job.
const LIMIT: Duration = Duration::from_secs(300);
/// Line like those of a training: 60 bytes.
const LINE: &str = "step 1234/20000 loss=0.0812 lr=9.7e-05 grad_norm=0.41 it/s 7";

pub async fn stored(yard: &Yard) {
    let db = connect(yard).await;
    let repo = yard.github.repo("acme/flood");
    let print = format!("yes '{LINE}' | head -c {}", SIZE * 1_000_000);
    repo.write(".travis.yml", "language: shell\nscript: 'true'\n");
    let secret = encrypted(yard, &repo).await;
    repo.write(
        ".travis.yml",
        &format!(
            "language: shell\ngit: {{clone: false}}\nenv:\n  - secure: {secret:?}\nscript:\n  - date +begin=%s.%N\n  \
             - {print}\n"
        ),
    );
    let (mut ours, mut docker, mut most) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let sha = repo.commit(&format!("Round {round}"));
        let delivery = Delivery::new(&format!("flood-{round}"), "push", &payload::push(&yard.github, &repo, "main"));
        reset_peak(&yard.service);
        delivery.post(&yard.service.base).await;
        let ended =
            |posted: &Posted| posted.sha == sha && posted.context == "trainyard/push" && posted.state != "pending";
        let end = yard.github.wait_for(LIMIT, ended).await;
        assert_eq!(end.state, "success", "{}", end.description);
        most = most.max(peak(yard.service.child.id()));
        ours.push(SIZE as f64 / took(&db, &sha).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        docker.push(SIZE as f64 / docker_logs(&print));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, docker);
    let what = format!("log from container to row, MB/s of {SIZE} MB ({spread})");
    report(&what, &format!("{ours:.1}"), &format!("{limit:.1}"), Some(ratio), "at least 0.8 of docker logs");
    report("  the service's memory at most, MB", &format!("{:.0}", most as f64 / 1e3), "", None, "under 100");
}

/// Returns a `secure:` string of the repository, which the server knows from its first build on.
async fn encrypted(yard: &Yard, repo: &crate::support::git_host::Repo) -> String {
    let sha = repo.commit("Be known");
    Delivery::new("flood", "push", &payload::push(&yard.github, repo, "main")).post(&yard.service.base).await;
    yard.github.wait_for_end(&sha, "trainyard/push").await;
    let mut encrypt = Command::new(crate::yard::program());
    encrypt.args(["encrypt", "TOKEN=correct-horse-battery", "--repo", &repo.name, "--server", &yard.service.base]);
    let said = String::from_utf8(encrypt.output().unwrap().stdout).unwrap();
    let secure = said.split('"').nth(1).unwrap_or_else(|| panic!("trainyard encrypt said {said:?}"));
    secure.to_owned()
}

/// Returns the seconds from the start of the command, by its own clock, to the transaction of its verdict, by the
/// database's clock: both are this machine's.
async fn took(db: &PgPool, sha: &str) -> f64 {
    let (job, attempt, ended): (trainyard::domain::JobId, i32, f64) = sqlx::query_as(
        "select job.id, attempt, extract(epoch from job.finished_at)::float8 from job join build on build.id = build_id
         where sha = $1",
    )
    .bind(sha)
    .fetch_one(db)
    .await
    .unwrap();
    let begin =
        trainyard::store::output::logs::read(db, AttemptId { job, number: attempt }, 0, 4096).await.unwrap().bytes;
    ended - stamp(&begin, "begin=")
}

/// Returns the seconds of `docker logs` following a container that prints the same, into a file.
fn docker_logs(print: &str) -> f64 {
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("docker runs");
        assert!(output.status.success(), "docker {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let container = docker(&["create", IMAGE, "bash", "-c", print]);
    docker(&["start", &container]);
    let begin = Instant::now();
    let mut logs = Command::new("docker");
    let status = logs
        .args(["logs", "--follow", &container])
        .stdout(file.reopen().unwrap())
        .stderr(Stdio::null())
        .status()
        .expect("docker runs");
    let took = begin.elapsed().as_secs_f64();
    assert!(status.success());
    assert_eq!(file.as_file().metadata().unwrap().len(), SIZE * 1_000_000);
    docker(&["rm", "--force", &container]);
    took
}
