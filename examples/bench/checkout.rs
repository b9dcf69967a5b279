//! A checkout of a repository with many files, from the claim of the job to the end of its checkout, against a shallow
//! `git clone` of the same from a bare repository on this machine.
//!
//! All of it is in memory, including a separate Docker engine: a file system on a disk may take a hundred times as long
//! per file when many files were removed shortly before, as happens here between the runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use trainyard::domain::AttemptId;

use crate::deliveries::connect;
use crate::support::engine::{BRIDGELESS, Engine};
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, report, stamp};

/// A file system in memory.
const MEMORY: &str = "/dev/shm";
const FILES: usize = 50_000;
const RUNS: usize = 5;

pub async fn of_many_files() {
    let folder = tempfile::Builder::new().prefix("trainyard-bench-").tempdir_in(MEMORY).unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    let engine = Engine::start(folder, &["unshare", "--net"], &BRIDGELESS.map(str::to_owned));
    let socket = engine.at("docker.sock");
    let change =
        format!("limits = {{network = 'none'}}\n[[runner]]\nready = 2\nendpoint = 'unix://{}'\n", socket.display());
    let yard = Yard::start_in(Path::new(MEMORY), &change, 2).await;
    measured(&yard, &engine).await;
    yard.stop();
}

async fn measured(yard: &Yard, engine: &Engine) {
    let repo = yard.github.repo("acme/many");
    for file in 0..FILES {
        write(&repo, file, 0);
    }
    let mut pushes = 0;
    // Written out, this setting keeps a job off the checkout image with most of the files; otherwise it is git's own
    // default.
    for (git, how) in [("{symlinks: true}", "all written"), ("{}", "1 % differ from an image's")] {
        repo.write(".travis.yml", &format!("language: shell\ngit: {git}\nscript: date +checked-out=%s.%N\n"));
        let (mut ours, mut clone) = (Vec::new(), Vec::new());
        for run in 0..=RUNS {
            for file in 0..FILES / 100 {
                write(&repo, file * 100, pushes);
            }
            pushes += 1;
            let took = pushed(yard, &repo, pushes).await;
            if run == 0 {
                // The first job fills the mirror, and the image is made after it.
                let is_made =
                    || !engine.docker(&["images", "--quiet", "--filter", "label=trainyard.base.commit"]).is_empty();
                let begin = Instant::now();
                while git == "{}" && !is_made() {
                    assert!(begin.elapsed() < Duration::from_secs(60), "an image is made of the files");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            let bare = cloned(&repo);
            if run > 0 {
                ours.push(took);
                clone.push(bare);
            }
        }
        let Sides { ours, limit, ratio, spread } = Sides::of(ours, clone);
        let what = format!("checkout of {FILES} files, {how}, claim to the first command, s ({spread})");
        let aim = if git == "{}" { "at most 1.0 of git clone --depth 1" } else { "for comparison" };
        report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), aim);
    }
}

fn write(repo: &Repo, file: usize, version: usize) {
    let text = format!("a caption of the image {file}, version {version}\n");
    repo.write(&format!("data/{:03}/{file:05}.txt", file % 500), &text);
}

/// Returns the seconds from the claim of a job to its first command.
async fn pushed(yard: &Yard, repo: &Repo, number: usize) -> f64 {
    let db = connect(yard).await;
    let sha = repo.commit(&format!("Push {number}"));
    let payload = payload::push(&yard.github, repo, "main");
    Delivery::new(&format!("many-{number}"), "push", &payload).post(&yard.service.base).await;
    let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{}", end.description);
    let (job, begun): (trainyard::domain::JobId, f64) = sqlx::query_as(
        "select job.id, extract(epoch from job.started_at)::float8 from job join build on build.id = build_id
         where sha = $1",
    )
    .bind(&sha)
    .fetch_one(&db)
    .await
    .unwrap();
    let log =
        trainyard::store::output::logs::read(&db, AttemptId { job, number: 1 }, 0, usize::MAX).await.unwrap().bytes;
    stamp(&log, "checked-out=") - begun
}

fn cloned(repo: &Repo) -> f64 {
    let folder = tempfile::tempdir_in(MEMORY).unwrap();
    let begin = Instant::now();
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--depth", "1"]).arg(format!("file://{}", repo.bare.display()));
    let cloned = git.arg(folder.path().join("clone")).stderr(Stdio::null()).status();
    assert!(cloned.expect("git runs").success());
    begin.elapsed().as_secs_f64()
}
