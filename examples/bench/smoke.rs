//! A smoke job of the example's config, from the push to `success`, against `docker run` of the same training; and a
//! push with a broken config, to its `failure`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use trainyard::lora::smoke::{Ask, Smoke};
use trainyard::plan::{Commit, SMOKE_FOLDER, SourceFile};

use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{Sides, median, report};

const RUNS: usize = 7;
const CONFIG: &str = "configs/style.yaml";
const IMAGE: &str = "trainyard/cpu:3.11";

/// Makes a repository with the example, which gives one smoke job for each push.
pub fn example(yard: &Yard, name: &str) -> Repo {
    let repo = yard.github.repo(name);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lora-scripts");
    copy(&example, repo.work());
    std::fs::remove_file(repo.work().join(".travis.yml")).unwrap();
    // The packages are already in the image, so neither side installs them.
    std::fs::remove_file(repo.work().join("requirements.txt")).unwrap();
    repo
}

pub async fn of_the_example(yard: &Yard) {
    let repo = example(yard, "acme/lora-scripts");
    let text = std::fs::read_to_string(repo.work().join(CONFIG)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let training = derived(folder.path(), &text);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        repo.write(CONFIG, &format!("{text}# run {run}\n"));
        let took = push(yard, &repo, &format!("smoke-{run}"), "success").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begin = Instant::now();
        docker_run(repo.work(), folder.path(), &training);
        if run > 0 {
            ours.push(took);
            bare.push(begin.elapsed().as_secs_f64());
        }
    }
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, bare);
    let what = format!("smoke of the example, push to success, s ({RUNS} runs, {spread})");
    report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), "at most 1.15 of docker run");

    let mut failures = Vec::new();
    for run in 0..RUNS {
        let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("base_model:")).collect();
        repo.write(CONFIG, &format!("{}\n# run {run}\n", without.join("\n")));
        failures.push(push(yard, &repo, &format!("broken-{run}"), "failure").await);
    }
    let (took, spread) = median(&mut failures);
    let what = format!("push of a broken config to failure, s ({RUNS} runs, {spread})");
    report(&what, &format!("{took:.3}"), "", None, "under 1 s");
}

/// Returns the seconds from a push to its last status.
pub async fn push(yard: &Yard, repo: &Repo, id: &str, state: &str) -> f64 {
    let sha = repo.commit(id);
    let delivery = Delivery::new(id, "push", &payload::push(&yard.github, repo, "main"));
    let begin = Instant::now();
    delivery.post(&yard.service.base).await;
    let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, state, "{}", end.description);
    end.at.duration_since(begin).as_secs_f64()
}

/// Writes the files that the smoke job gets into a folder.
fn derived(folder: &Path, text: &str) -> Smoke {
    let files = [SourceFile { path: CONFIG.to_owned(), text: text.as_bytes().to_vec() }];
    let commit = Commit { files: &files, ..Commit::default() };
    let training = commit.smoke(CONFIG, &Ask::default()).unwrap();
    for file in &training.files {
        let path = folder.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &file.bytes).unwrap();
    }
    training
}

fn docker_run(checkout: &Path, smoke: &Path, training: &Smoke) {
    let mut run = Command::new("docker");
    run.args(["run", "--rm", "--workdir", "/checkout", "--volume"]).arg(format!("{}:/checkout", checkout.display()));
    run.arg("--volume").arg(format!("{}:{SMOKE_FOLDER}", smoke.display()));
    for (name, value) in &training.environment {
        run.arg("--env").arg(format!("{name}={value}"));
    }
    // A login shell finds the image's Python in the same place as the job.
    run.args([IMAGE, "bash", "-c", &training.command]).stdout(Stdio::null());
    assert!(run.status().expect("docker runs").success());
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
