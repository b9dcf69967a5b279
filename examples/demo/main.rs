//! `make demo`: Trainyard's main task on this machine. A stand-in for GitHub holds the example repository, sends two
//! signed pushes to a real `trainyard serve`, and shows each status that it gets, with the time since the push.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a demo that cannot work shall say so at once")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::git_host::Repo;
use support::github::{GitHub, SECRET, TOKEN};
use support::payload::{self, Delivery};
use support::service::Service;
use terminal::{bold, faint, outcome, say};

const REPOSITORY: &str = "acme/lora-scripts";
/// Port of the dashboard, if it is free.
const PORT: u16 = 8700;

#[tokio::main]
async fn main() -> ExitCode {
    let once = std::env::var("ONCE").is_ok_and(|value| !value.is_empty() && value != "0");
    // Open to the unprivileged user that Postgres runs as.
    let folder = tempfile::Builder::new()
        .prefix("trainyard-demo-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder");
    let github = GitHub::start(folder.path().join("github")).await;
    say(&format!("GitHub's stand-in serves {} over HTTP at {}", bold(REPOSITORY), github.address));
    let repo = github.repo(REPOSITORY);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lora-scripts"), repo.work());

    let begin = Instant::now();
    let service = Service::start(&program(), &configure(folder.path(), &github));
    say(&format!("trainyard serve is up after {:.1} s, on its own private Postgres", begin.elapsed().as_secs_f64()));
    say(&format!("dashboard: {}", bold(&service.base)));

    let mut fine = true;
    println!("\n{}", bold("1. A good push: train a LoRA for a few steps and check that weights come out"));
    repo.commit("Train the example style");
    fine &= push(&github, &repo, &service.base, 1).await == "success";

    println!("\n{}", bold("2. A push that deletes `base_model` from configs/style.yaml"));
    let config = repo.work().join("configs/style.yaml");
    let text = std::fs::read_to_string(&config).expect("the example's config");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("base_model:")).collect();
    assert!(without.len() < text.lines().count(), "the example names its base model");
    std::fs::write(&config, without.join("\n") + "\n").unwrap();
    repo.commit("Tidy up the config");
    fine &= push(&github, &repo, &service.base, 2).await == "failure";

    println!();
    if !once {
        say(&format!("look around at {}; Ctrl-C stops the service", bold(&service.base)));
        tokio::signal::ctrl_c().await.expect("Ctrl-C can be heard");
        println!();
    }
    let stopped = service.interrupt();
    say(if stopped == Some(0) { "the service has stopped" } else { "the service did not stop well" });
    if fine && stopped == Some(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Sends a push as GitHub would, shows its results, and returns the build's last state.
async fn push(github: &GitHub, repo: &Repo, base: &str, number: usize) -> String {
    let sha = repo.head();
    let delivery = Delivery::new(&format!("demo-{number}"), "push", &payload::push(github, repo, "main"));
    let pushed = Instant::now();
    let (code, answer) = delivery.post(base).await;
    assert_eq!(code, 202, "the webhook was not taken: {answer}");
    say(&format!("pushed {}; the webhook was accepted after {} ms", &sha[..7], pushed.elapsed().as_millis()));
    let log = show_log(base, number);
    let statuses = show_statuses(github, &sha, pushed);
    tokio::join!(log, statuses).1
}

/// Shows each status that GitHub gets for a commit until its build is decided. Returns that state.
async fn show_statuses(github: &GitHub, sha: &str, pushed: Instant) -> String {
    let mut shown = 0;
    loop {
        let news = github.posted().into_iter().filter(|status| status.sha == sha).nth(shown);
        let Some(status) = news else {
            github
                .wait_for_more(Duration::from_secs(600), |all| all.iter().filter(|s| s.sha == sha).count() > shown)
                .await;
            continue;
        };
        shown += 1;
        let after = status.at.duration_since(pushed).as_secs_f64();
        say(&format!(
            "{} {} {:<15} {} {}",
            faint(&format!("{after:7.2} s")),
            outcome(&status.state),
            status.context,
            status.description,
            faint(&status.target_url),
        ));
        if status.context == "trainyard/push" && status.state != "pending" {
            return status.state;
        }
    }
}

/// Streams the log of a build's first job to the terminal. A build without jobs has none.
async fn show_log(base: &str, build: usize) {
    let url = format!("{base}/api/v1/repos/{REPOSITORY}/builds/{build}");
    let facts = loop {
        let answer = reqwest::get(&url).await.expect("the service answers");
        if answer.status().is_success() {
            break answer.json::<Value>().await.expect("JSON");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let Some(job) = facts["jobs"][0]["id"].as_i64() else { return };
    let mut answer = reqwest::get(format!("{base}/api/v1/jobs/{job}/log/stream")).await.expect("the service answers");
    let mut text = String::new();
    while let Some(piece) = answer.chunk().await.expect("the stream goes on") {
        text.push_str(&String::from_utf8_lossy(&piece));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field =
                |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
            match field("event: ").as_str() {
                "chunk" => {
                    let data: Value = serde_json::from_str(&field("data: ")).expect("JSON");
                    terminal::log(data["text"].as_str().unwrap_or_default());
                }
                "end" => return,
                _ => {}
            }
        }
    }
}

fn configure(folder: &Path, github: &GitHub) -> PathBuf {
    let wanted = format!("127.0.0.1:{PORT}");
    let free = std::net::TcpListener::bind(&wanted).or_else(|_| std::net::TcpListener::bind("127.0.0.1:0"));
    let address = free.and_then(|listener| listener.local_addr()).expect("a free port");
    let authorities = std::env::var("SSL_CERT_FILE").unwrap_or_default();
    let file = folder.join("config.toml");
    let text = format!(
        "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\ndata_dir = {:?}\n\
         [github]\napi_url = \"{}\"\ntoken = \"{TOKEN}\"\nwebhook_secret = \"{SECRET}\"\n\
         [images]\nca_certificates = {authorities:?}\n",
        folder.join("data"),
        github.api_url()
    );
    std::fs::write(&file, text).expect("the configuration can be written");
    file
}

/// Returns the service's binary, which was built next to this program.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let built = here.parent().and_then(Path::parent).expect("a target folder").join("trainyard");
    assert!(built.exists(), "{} is not built: use `make demo`", built.display());
    built
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the example repository") {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
