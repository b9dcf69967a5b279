//! `make demo`: Trainyard's main task on this machine. A stand-in for GitHub holds the example repository, sends three
//! signed pushes to a real `trainyard serve`, and shows each status that it gets, with the time since the push. The last
//! push trains for real: its weights go to a stand-in of the Hugging Face Hub, and two chats hear of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a demo that cannot work shall say so at once")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::chat::ChatServices;
use support::git_host::Repo;
use support::github::{GitHub, SECRET, TOKEN};
use support::hub::HubServer;
use support::payload::{self, Delivery};
use support::service::Service;
use terminal::{bold, faint, outcome, say};

const REPOSITORY: &str = "acme/lora-scripts";
/// The repository on the Hub.
const WEIGHTS: &str = "acme/style-lora";
/// What the last push adds to the `.travis.yml`.
const TRAIN: &str = r"
lora:
  train:
    config: configs/style-long.yaml
    if: branch = main AND commit_message =~ /\[train\]/
    gpus: 0
    gate:
      loss: {max: 0.25, window: 10, falling: true}
      weights: {rank: 8, size: {max: 5MB}}
    publish: {huggingface: acme/style-lora, license: apache-2.0, tags: [style]}
";
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

    let hub = HubServer::start().await;
    let chats = ChatServices::start().await;
    say(&format!(
        "stand-ins for the Hugging Face Hub, Slack and DingTalk are at {} and {}",
        hub.address, chats.address
    ));

    let begin = Instant::now();
    let service = Service::start(&program(), &configure(folder.path(), &github, &hub, &chats));
    say(&format!("trainyard serve is up after {:.1} s, on its own private Postgres", begin.elapsed().as_secs_f64()));
    say(&format!("dashboard: {}", bold(&service.base)));

    let mut fine = true;
    println!("\n{}", bold("1. A good push: train a LoRA for a few steps and check that weights come out"));
    repo.commit("Train the example style");
    fine &= push(&github, &repo, &service.base, 1).await == "success";

    println!("\n{}", bold("2. A push that deletes `base_model` from configs/style.yaml"));
    let config = repo.work().join("configs/style.yaml");
    let whole = std::fs::read_to_string(&config).expect("the example's config");
    let without: Vec<&str> = whole.lines().filter(|line| !line.starts_with("base_model:")).collect();
    assert!(without.len() < whole.lines().count(), "the example names its base model");
    std::fs::write(&config, without.join("\n") + "\n").unwrap();
    repo.commit("Tidy up the config");
    fine &= push(&github, &repo, &service.base, 2).await == "failure";

    println!(
        "\n{}",
        bold("3. A push that trains: smoke run, training, gates, weights on the Hub, messages in the chats")
    );
    std::fs::write(repo.work().join("configs/style-long.yaml"), longer(&whole)).unwrap();
    std::fs::write(&config, whole).unwrap();
    let travis = repo.work().join(".travis.yml");
    let jobs = std::fs::read_to_string(&travis).expect("the example's .travis.yml");
    std::fs::write(&travis, jobs + TRAIN).unwrap();
    repo.commit("Bring the base model back, and train for longer [train]");
    fine &= push(&github, &repo, &service.base, 3).await == "success";
    fine &= show_weights(&hub).await;
    show_messages(&chats).await;
    say(&format!("all of it took {:.0} s", begin.elapsed().as_secs_f64()));

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

/// Returns the example's config for a training whose loss falls by more than its noise: all six images in each of its steps.
fn longer(config: &str) -> String {
    let changes = [
        ("batch_size: 2", "batch_size: 6"),
        ("max_train_steps: 24", "max_train_steps: 60"),
        ("save_steps: 12", "save_steps: 30"),
        ("resolution: 256", "resolution: 128"),
        ("output/style\"", "output/style-long\""),
    ];
    changes.iter().fold(config.to_owned(), |config, (from, to)| {
        assert!(config.contains(from), "the example has {from}");
        config.replace(from, to)
    })
}

/// Sends a push as GitHub would, shows its results, and returns the build's last state.
async fn push(github: &GitHub, repo: &Repo, base: &str, number: usize) -> String {
    let sha = repo.head();
    let delivery = Delivery::new(&format!("demo-{number}"), "push", &payload::push(github, repo, "main"));
    let pushed = Instant::now();
    let (code, answer) = delivery.post(base).await;
    assert_eq!(code, 202, "the webhook was not taken: {answer}");
    say(&format!("pushed {}; the webhook was accepted after {} ms", &sha[..7], pushed.elapsed().as_millis()));
    let log = show_logs(base, number);
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

/// Waits until the weights are on the Hub, and shows the files of their commit. Returns false if they do not come.
async fn show_weights(hub: &HubServer) -> bool {
    for _ in 0..600 {
        if let Some(repository) = hub.repository(WEIGHTS)
            && repository.commits.len() > 1
            && !repository.tags.is_empty()
        {
            let commit = repository.last();
            say(&format!("the Hub has the commit {} in {}:", bold(&commit.title), bold(WEIGHTS)));
            for name in commit.tree.keys() {
                say(&format!("  {name}"));
            }
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say("the weights did not come to the Hub");
    false
}

/// Shows the last message of each chat.
async fn show_messages(chats: &ChatServices) {
    // Each of the three builds is worth a message: it passed, it failed, it is fixed.
    for (service, text) in [("slack", "/attachments/0/blocks/0/text/text"), ("dingtalk", "/markdown/text")] {
        let messages = chats.wait_for(service, 3).await;
        say(&format!("{} got {} messages, the last is:", bold(service), messages.len()));
        let last = messages.last().and_then(|message| message.pointer(text)?.as_str()).expect("a message has a text");
        last.lines().filter(|line| !line.is_empty()).for_each(|line| say(&format!("  {line}")));
    }
}

/// Streams the logs of a build's jobs to the terminal, in the order in which the jobs run. A build without jobs has none.
async fn show_logs(base: &str, build: usize) {
    let url = format!("{base}/api/v1/repos/{REPOSITORY}/builds/{build}");
    let facts = loop {
        let answer = reqwest::get(&url).await.expect("the service answers");
        if answer.status().is_success() {
            break answer.json::<Value>().await.expect("JSON");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for job in facts["jobs"].as_array().expect("a list of jobs") {
        say(&format!("the log of {}:", bold(job["name"].as_str().unwrap_or("the job"))));
        show_log(base, job["id"].as_i64().expect("a job has an id")).await;
    }
}

/// Streams a job's log until the job has ended.
async fn show_log(base: &str, job: i64) {
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

fn configure(folder: &Path, github: &GitHub, hub: &HubServer, chats: &ChatServices) -> PathBuf {
    let wanted = format!("127.0.0.1:{PORT}");
    let free = std::net::TcpListener::bind(&wanted).or_else(|_| std::net::TcpListener::bind("127.0.0.1:0"));
    let address = free.and_then(|listener| listener.local_addr()).expect("a free port");
    let authorities = std::env::var("SSL_CERT_FILE").unwrap_or_default();
    let file = folder.join("config.toml");
    let text = format!(
        "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\ndata_dir = {:?}\n\
         [github]\napi_url = \"{}\"\ntoken = \"{TOKEN}\"\nwebhook_secret = \"{SECRET}\"\n\
         [images]\nca_certificates = {authorities:?}\n{}{}",
        folder.join("data"),
        github.api_url(),
        hub.section(),
        chats.sections(&["slack", "dingtalk"], "on_success = \"always\"\n"),
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
