//! A push of a job that runs `echo`, from its signature to the first line of its log in the store, and to the `success`
//! at GitHub's stand-in, against `docker run` of the same; once with a ready container, and once without.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::deliveries::connect;
use crate::recovery::grown;
use crate::smoke;
use crate::support::app::IMAGE;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, report};

const RUNS: usize = 15;
/// Pause after each run, in which its containers are removed or made ready: that work must not slow the other side.
const AFTER: Duration = Duration::from_millis(1500);

/// Measures with ready containers, if the yard's service keeps some.
pub async fn of_echo(yard: &Yard) {
    let (what, aim) = match yard.ready {
        0 => ("none ready", ["at most 1.3 of docker run", "at most 1.2 of docker run"]),
        _ => ("container ready", ["at most 0.5 of docker run and 0.2 s", "at most 0.75 of docker run"]),
    };
    let repo = yard.github.repo("acme/echo");
    measured(yard, &repo, what, aim, async |_| {}).await;
}

/// Measures while a smoke job runs before each push, as in a team's usual builds: the ready containers are of two
/// kinds.
pub async fn after_smoke_jobs(yard: &Yard) {
    let (repo, training) = (yard.github.repo("acme/mixed"), smoke::example(yard, "acme/training"));
    let aim = ["at most 0.5 of docker run", "at most 0.75 of docker run"];
    measured(yard, &repo, "after a smoke job", aim, async |run| {
        training.write("run", &run.to_string());
        smoke::push(yard, &training, &format!("mixed-smoke-{run}"), "success").await;
        tokio::time::sleep(AFTER).await;
    })
    .await;
}

/// Measures pushes of `echo`, each after `before`.
async fn measured(yard: &Yard, repo: &Repo, what: &str, [first, whole]: [&str; 2], before: impl AsyncFn(usize)) {
    let db = connect(yard).await;
    let (mut lines, mut ends, mut docker) = (Vec::new(), Vec::new(), Vec::new());
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    // The first run of each side warms what is warm in a running service: mirror, connections, image.
    for run in 0..=RUNS {
        before(run).await;
        let sha = repo.commit(&format!("Run {run}"));
        let id = format!("{what}-{run}").replace(' ', "-");
        let delivery = Delivery::new(&id, "push", &payload::push(&yard.github, repo, "main"));
        let begin = Instant::now();
        assert_eq!(delivery.post(&yard.service.base).await.0, 202);
        grown(&db, &sha, 1).await;
        let line = begin.elapsed().as_secs_f64();
        let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!(end.state, "success");
        let took = end.at.duration_since(begin).as_secs_f64();
        tokio::time::sleep(AFTER).await;
        let bare = docker_run();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if run > 0 {
            lines.push(line);
            ends.push(took);
            docker.push(bare);
        }
    }
    tell(&format!("push of `echo` to its first line, {what}, s"), lines, &docker, first);
    tell(&format!("push of `echo` to success, {what}, s"), ends, &docker, whole);
}

fn tell(what: &str, ours: Vec<f64>, docker: &[f64], aim: &str) {
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, docker.to_vec());
    report(&format!("{what} ({spread})"), &format!("{ours:.3}"), &format!("{limit:.3}"), Some(ratio), aim);
}

fn docker_run() -> f64 {
    let begin = Instant::now();
    let ran = Command::new("docker")
        .args(["run", "--rm", IMAGE, "echo", "hello"])
        .stdout(Stdio::null())
        .status()
        .expect("docker runs");
    assert!(ran.success());
    begin.elapsed().as_secs_f64()
}
