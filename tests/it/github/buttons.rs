//! Check runs on pull requests: their buttons, and what they tell of trainings.

use serde_json::{Value, json};

use super::openapi;
use crate::support::payload::{self, Delivery};
use crate::support::people::proposal::{ADA, Proposal};

const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/sd.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 1000\nlearning_rate: 1.0e-4\n";

/// Returns the latest check run, once GitHub shows everything.
async fn run(it: &Proposal) -> Value {
    it.settled().await;
    it.app.github.checks.runs().pop().unwrap()
}

fn buttons(run: &Value) -> Vec<&str> {
    run["actions"].as_array().unwrap().iter().map(|action| action["identifier"].as_str().unwrap()).collect()
}

/// Presses a button of a check run, or *Re-run*. Returns what became of it.
async fn press(it: &Proposal, run: &Value, button: Option<&str>) -> String {
    let check = (run["id"].as_i64().unwrap(), run["head_sha"].as_str().unwrap());
    it.outcome_of("check_run", &payload::check_run(&it.app.github, &it.repo, ADA, check, button)).await
}

#[tokio::test]
async fn buttons_approve_cancel_and_retry_and_re_run_begins_anew() {
    let travis = "language: shell\njobs:\n  include:\n  - script: 'true'\n  - script: 'exit 1'\n";
    let it = Proposal::start_with_app("checks = true\n", &[(".travis.yml", travis)]).await;
    let waiting = run(&it).await;
    assert_eq!(buttons(&waiting), ["approve", "cancel"]);
    assert_eq!(press(&it, &waiting, Some("approve")).await, "Approved build #1.");
    assert_eq!(it.end_of(1).await, "failed");
    let failed = run(&it).await;
    assert_eq!((buttons(&failed), &failed["conclusion"]), (vec!["retry"], &json!("failure")));
    assert_eq!(press(&it, &failed, Some("cancel")).await, "Build #1 has ended already.");
    assert_eq!(press(&it, &failed, Some("approve")).await, "Build #1 waits for no approval.");
    assert_eq!(press(&it, &failed, Some("retry")).await, "Jobs of build #1 that run again: 1.");
    assert_eq!(it.end_of(1).await, "failed");
    assert_eq!(press(&it, &failed, None).await, "Jobs of build #1 that run again: 2.");
    assert_eq!(it.end_of(1).await, "failed");
    let mut suite = payload::check_run(&it.app.github, &it.repo, ADA, (0, &it.head), None);
    suite["check_suite"] = suite["check_run"].take();
    assert_eq!(it.outcome_of("check_suite", &suite).await, "Jobs of build #1 that run again: 2.");
    assert_eq!(it.end_of(1).await, "failed");
    let attempts: Vec<i32> = it.jobs(1).await.into_iter().map(|(_, _, attempt)| attempt).collect();
    assert_eq!(attempts, [3, 4]);
    assert_eq!(run(&it).await["conclusion"], "failure");
    let api = openapi::description();
    for (method, path, body) in it.app.github.checks.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path} {body}");
    }
    it.app.stop().await;
}

#[tokio::test]
async fn a_check_run_shows_lines_losses_and_what_differs_from_the_base_branch() {
    let hostile = "unknown: '``` @all <b>'";
    let travis = format!("language: python\nscript: echo tested\n{hostile}\n");
    let files = [(".travis.yml", travis.as_str()), ("train.py", TRAINER), ("configs/ink.yaml", CONFIG)];
    let mut it = Proposal::start_with_app("checks = true\n", &files).await;
    let summary = run(&it).await["output"]["summary"].as_str().unwrap().to_owned();
    assert!(summary.contains(&format!("\n````\n{hostile}\n````\n")), "{summary}");
    let push = payload::push(&it.app.github, &it.repo, "main");
    Delivery::new("main", "push", &push).post(&it.app.base).await;
    it.app.outcome("main").await;
    assert_eq!(it.end_of(2).await, "passed");

    it.repo.write(".travis.yml", &format!("{travis}lora: {{smoke: {{steps: 5}}}}\n"));
    it.push("second", |_| {}).await;
    it.comment(ADA, "/smoke").await;
    while it.jobs(4).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(it.comment(ADA, "/approve").await.1.starts_with("Approved"));
    assert_eq!(it.end_of(4).await, "passed");
    it.settled().await;
    let runs = it.app.github.checks.runs();
    let smoke = runs.iter().find(|run| run["name"] == "Trainyard smoke").unwrap();
    let summary = smoke["output"]["summary"].as_str().unwrap();
    assert!(
        summary.contains("### Losses\n") && summary.contains("| 4.1 smoke configs/ink.yaml | 1 | 0.2 | 0.2 |"),
        "{summary}"
    );
    assert!(summary.contains("### Weights\n") && summary.contains("LoRA of rank 4"), "{summary}");
    assert!(summary.contains("### Compared with build &#35;2 of main\n"), "{summary}");
    assert!(summary.contains("| 4.1 smoke configs/ink.yaml | 0.3333 | 0.2 | LoRA of rank 4"), "{summary}");

    // GitHub's proxy fetches the chart without a login.
    let (_, link) = summary.split_once("![Loss of job 4.1](").unwrap();
    let (link, _) = link.split_once(')').unwrap();
    let path = &link[link.find("/charts/").unwrap()..];
    let answer = reqwest::get(format!("{}{path}", it.app.base)).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"image/svg+xml".parse().unwrap()));
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
    let svg = answer.text().await.unwrap();
    assert!(
        svg.starts_with("<svg xmlns=") && svg.contains("<path class=\"course\"") && svg.ends_with("</svg></svg>\n"),
        "{svg}"
    );
    // Chats show no SVG.
    let answer = reqwest::get(format!("{}{}", it.app.base, path.replace(".svg", ".png"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
    assert!(answer.bytes().await.unwrap().starts_with(b"\x89PNG\r\n"));
    // Nobody makes such an address, for this job or another.
    let parts: Vec<&str> = path.split('/').collect();
    let last = parts[5].trim_end_matches(".svg");
    for forged in [
        format!("/charts/1/1/{}/{last}.svg", parts[4]),
        format!("/charts/{}/2/{}/{last}.svg", parts[2], parts[4]),
        format!("/charts/{}/1/9999999999/{last}.svg", parts[2]),
        format!("/charts/{}/1/{}/{}.svg", parts[2], parts[4], "0".repeat(64)),
        format!("/charts/{}/1/{}/.svg", parts[2], parts[4]),
        path.replace(".svg", ".gif"),
    ] {
        assert_eq!(it.app.get(&forged).await.0, 404, "{forged}");
    }
    it.app.stop().await;
}
