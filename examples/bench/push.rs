//! A push of a job that runs `echo`, from its signature to the first line of its log in the store, and to the `success`
//! at GitHub's stand-in, against `docker run` of the same; once with a ready container, and once without.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::deliveries::connect;
use crate::recovery::grown;
use crate::support::app::IMAGE;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, report};

const RUNS: usize = 15;
/// Pause after each run, in which its containers are removed or made ready: that work must not slow the other side.
const AFTER: Duration = Duration::from_millis(1500);

/// Measures with ready containers, if the yard's service keeps some.
pub async fn of_echo(yard: &Yard) {
    let db = connect(yard).await;
    let (mut lines, mut ends, mut docker) = (Vec::new(), Vec::new(), Vec::new());
    let repo = yard.github.repo("acme/echo");
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    // The first run of each side warms what is warm in a running service: mirror, connections, image.
    for run in 0..=RUNS {
        let sha = repo.commit(&format!("Run {run}"));
        let delivery = Delivery::new(&format!("push-{run}"), "push", &payload::push(&yard.github, &repo, "main"));
        let begin = Instant::now();
        delivery.post(&yard.service.base).await;
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
    let (what, aim) = match yard.ready {
        0 => ("none ready", "at most 1.3 of docker run"),
        _ => ("container ready", "at most 0.5 of docker run and 0.2 s"),
    };
    tell(&format!("push of `echo` to its first line, {what}, s"), lines, &docker, aim);
    tell(&format!("push of `echo` to success, {what}, s"), ends, &docker, "at most 2.0 of docker run, better 1.2");
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
