//! `/metrics`, with Prometheus's own program.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn metrics(app: &App, token: &str) -> (u16, String) {
    let request = reqwest::Client::new().get(format!("{}/metrics", app.base)).bearer_auth(token);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Waits until the numbers have these parts. Returns them.
async fn wait_for(app: &App, parts: &[&str]) -> String {
    let mut last = String::new();
    for _ in 0..100 {
        let (code, text) = metrics(app, TOKEN).await;
        assert_eq!(code, 200, "{text}");
        if parts.iter().all(|part| text.contains(part)) {
            return text;
        }
        last = text;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not all of {parts:?} are in {last}");
}

fn in_older_form(line: &str) -> String {
    let counters = ["trainyard_deliveries_done", "trainyard_builds_finished", "trainyard_jobs_finished"];
    let is_about = |name: &&&str| line.starts_with("# ") && line.split(' ').nth(2) == Some(**name);
    match counters.iter().find(is_about) {
        Some(name) => line.replacen(*name, &format!("{name}_total"), 1),
        None => line.to_owned(),
    }
}

/// Runs promtool, which `make setup-test` installs. Returns whether it is content, and its words.
async fn promtool(folder: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut promtool = tokio::process::Command::new("promtool");
    promtool.args(arguments).current_dir(folder);
    let pipes = promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = pipes.spawn().expect("promtool is missing: run `make setup-test`");
    running.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = running.wait_with_output().await.unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn prometheus_reads_what_has_ended_and_what_there_is() {
    let app = App::start(&format!("[auth.tokens]\nprometheus = \"{TOKEN}\"\n")).await;
    assert_eq!(metrics(&app, "another token that is long enough").await.0, 401);
    wait_for(&app, &["trainyard_runner_slots{runner=\"local\"}"]).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: \"true\"\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let ended = [
        "trainyard_builds_finished_total{kind=\"push\",state=\"passed\"} 1\n",
        "trainyard_jobs_finished_total{kind=\"script\",verdict=\"passed\"} 1\n",
        "trainyard_deliveries_done_total{source=\"github\",result=\"build\"} 1\n",
        "trainyard_job_run_seconds_count{kind=\"script\"} 1\n",
    ];
    let text = wait_for(&app, &ended).await;
    assert!(text.ends_with("# EOF\n") && text.contains("trainyard_statuses_owed 0\n"), "{text}");
    let again = metrics(&app, TOKEN).await.1;
    assert!(again.contains(ended[0]), "nothing is counted twice: {again}");
    // promtool reads the older form, in which the name of a counter has its end in the lines about it, too.
    let older: String = text.lines().map(|line| format!("{}\n", in_older_form(line))).collect();
    let (is_good, said) = promtool(Path::new("/"), &["check", "metrics"], &older).await;
    assert!(is_good, "{said}\n{text}");
    app.stop().await;
}

#[tokio::test]
async fn prometheus_takes_the_alerts_and_each_name_in_them_and_on_the_board_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("deploy/prometheus");
    let (is_good, said) = promtool(&folder, &["check", "rules", "trainyard-alerts.yml"], "").await;
    assert!(is_good, "{said}");
    let copies = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("trainyard-alerts.yml"), copies.path().join("trainyard-alerts.yml")).unwrap();
    std::fs::copy(root.join("tests/fixtures/alerts.test.yml"), copies.path().join("test.yml")).unwrap();
    let (is_good, said) = promtool(copies.path(), &["test", "rules", "test.yml"], "").await;
    assert!(is_good, "{said}");

    let app = App::start(&format!("[auth.tokens]\nprometheus = \"{TOKEN}\"\n")).await;
    wait_for(&app, &["trainyard_runner_slots"]).await;
    // A family without a value is not written. The GPU is of a runner that is not here: `local` would take it away again,
    // as it finds none.
    sqlx::raw_sql(
        "insert into runner (name, endpoint, slots) values ('other', 'x', 1);
         insert into gpu (uuid, runner, name, class, memory) values ('GPU-1', 'other', 'T4', 't4', 16);
         insert into repo (github_id, owner, name, private, default_branch, clone_url)
         values (1, 'acme', 'styles', false, 'main', '');
         insert into build (repo_id, number, kind, branch, sha, built_sha, state, started_at, finished_at)
         values (1, 1, 'push', 'main', repeat('0', 40), repeat('0', 40), 'passed', now(), now());
         insert into job (repo_id, build_id, number, kind, config, state, verdict, started_at, finished_at)
         values (1, 1, 1, 'script', '{}', 'finished', 'passed', now(), now());
         insert into build (repo_id, number, kind, branch, sha, built_sha)
         values (1, 2, 'push', 'main', repeat('0', 40), repeat('0', 40));
         insert into job (repo_id, build_id, number, kind, config, labels) values (1, 2, 1, 'script', '{}', '{none}');
         insert into delivery (id, event, body, done_at, outcome) values ('d', 'push', '', now(), 'ping')",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let text = wait_for(&app, &["trainyard_builds_finished", "trainyard_jobs{", "trainyard_gpus"]).await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let known: Vec<String> = types.map(|(name, _)| name.to_owned()).collect();
    let mut used = std::fs::read_to_string(folder.join("trainyard-alerts.yml")).unwrap();
    used += &std::fs::read_to_string(root.join("deploy/grafana/trainyard.json")).unwrap();
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let mut count = 0;
    for (at, _) in used.match_indices("trainyard_") {
        let name: String = used[at..].chars().take_while(|c| is_part(*c)).collect();
        let family = name.strip_suffix("_total").or(name.strip_suffix("_bucket")).unwrap_or(&name);
        assert!(known.iter().any(|known| known == family), "{name} is not among {known:?}");
        count += 1;
    }
    assert!(count > 20, "{count}");
    app.stop().await;
}
