//! From a signed push of a job that runs `echo` to the `success` at GitHub's stand-in, against `docker run` of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::app::IMAGE;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{median, report};

const RUNS: usize = 15;

pub async fn to_success(yard: &Yard) {
    let repo = yard.github.repo("acme/echo");
    repo.write(".travis.yml", "language: shell\nscript: echo hello\n");
    let (mut ours, mut docker) = (Vec::new(), Vec::new());
    // The first of each warms what is warm in a service that runs: mirror, connections, image.
    for run in 0..=RUNS {
        let sha = repo.commit(&format!("Run {run}"));
        let delivery = Delivery::new(&format!("push-{run}"), "push", &payload::push(&yard.github, &repo, "main"));
        let begin = Instant::now();
        delivery.post(&yard.service.base).await;
        let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!(end.state, "success");
        let took = end.at.duration_since(begin).as_secs_f64();
        // The container is removed after the verdict; that work shall not slow the other side.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begin = Instant::now();
        let ran = Command::new("docker")
            .args(["run", "--rm", IMAGE, "echo", "hello"])
            .stdout(Stdio::null())
            .status()
            .expect("docker runs");
        assert!(ran.success());
        let bare = begin.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if run > 0 {
            ours.push(took);
            docker.push(bare);
        }
    }
    let mut ratios: Vec<f64> = ours.iter().zip(&docker).map(|(ours, docker)| ours / docker).collect();
    let ((ours, spread), (docker, _), (ratio, _)) = (median(&mut ours), median(&mut docker), median(&mut ratios));
    let what = format!("push of `echo` to success, s ({RUNS} runs, {spread})");
    report(&what, &format!("{ours:.3}"), &format!("{docker:.3}"), Some(ratio), "at most 2.0 of docker run, better 1.2");
}
