//! A hundred jobs at once that run `true`, from the push to the last verdict, against as many runs of `docker run` of
//! the same, two at a time.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::app::IMAGE;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, report};

const JOBS: usize = 100;
const ROUNDS: usize = 3;
/// Number of jobs at a time, as many as the service's runner has slots.
const AT_ONCE: usize = 2;

pub async fn at_once(yard: &Yard) {
    let repo = yard.github.repo("acme/hundred");
    let jobs: Vec<String> = (1..=JOBS).map(|job| format!("JOB={job}")).collect();
    let travis = format!("language: shell\ngit: {{clone: false}}\nenv: [{}]\nscript: 'true'\n", jobs.join(", "));
    repo.write(".travis.yml", &travis);
    let (mut ours, mut docker) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let sha = repo.commit(&format!("Round {round}"));
        let delivery = Delivery::new(&format!("hundred-{round}"), "push", &payload::push(&yard.github, &repo, "main"));
        let begin = Instant::now();
        delivery.post(&yard.service.base).await;
        let ended = |posted: &crate::support::github::Posted| {
            posted.sha == sha && posted.context == "trainyard/push" && posted.state != "pending"
        };
        let end = yard.github.wait_for(Duration::from_secs(300), ended).await;
        assert_eq!(end.state, "success", "{}", end.description);
        ours.push(JOBS as f64 / end.at.duration_since(begin).as_secs_f64());
        tokio::time::sleep(Duration::from_secs(2)).await;
        docker.push(JOBS as f64 / docker_runs().as_secs_f64());
    }
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, docker);
    let what = format!("jobs per second, {JOBS} at once ({spread})");
    report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), "at least 1.0 of docker run");
}

fn docker_runs() -> Duration {
    let begin = Instant::now();
    let left = AtomicUsize::new(JOBS);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let mut run = Command::new("docker");
                    let ran = run.args(["run", "--rm", IMAGE, "true"]).stdout(Stdio::null()).status();
                    assert!(ran.expect("docker runs").success());
                }
            });
        }
    });
    begin.elapsed()
}
