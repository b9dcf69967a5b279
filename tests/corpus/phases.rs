//! Output and exit status of phases.

use std::io::Write as _;
use std::process::{Command, Stdio};

use regex::Regex;
use trainyard::domain::TriggerKind;
use trainyard::travis::script::{Facts, Files, Numbered, compile};

use crate::support::{Score, list};

/// Image that jobs run in.
const IMAGE: &str = "trainyard/minimal:bookworm";

fn facts(home: String) -> Facts {
    let numbered = |number: &str| Numbered { id: 1, number: number.to_owned(), url: String::new() };
    Facts {
        home,
        image: "image".to_owned(),
        image_id: "sha256:1".to_owned(),
        python: None,
        files: Files::InPlace,
        host: String::new(),
        repo: "owner/name".parse().expect("a name"),
        private: false,
        event: TriggerKind::Push,
        branch: "main".to_owned(),
        tag: None,
        commit: String::new(),
        commit_range: String::new(),
        commit_message: String::new(),
        pull_request: None,
        build: numbered("1"),
        job: numbered("1.1"),
        restarted: false,
        secrets_allowed: false,
        settings: Vec::new(),
        github_api: None,
        cache: None,
        is_training: false,
        smoke: None,
        decrypted: Vec::new(),
    }
}

/// Runs every script in its own home, and prints the length of its output, its status and the output.
const RUN_ALL: &str = r#"
cd /tmp && tar x && for home in /tmp/homes/*; do
  mkdir -p $home/build/owner/name
  bash $home/build.sh >$home.out 2>/dev/null </dev/null
  echo "$? $(wc -c <$home.out)"
  cat $home.out
done"#;

pub fn scores() -> Vec<Score> {
    let mut score = Score::new("phases", 100.0);
    let cases = list("phases.json");
    let scripts = cases.iter().enumerate().map(|(index, case)| {
        let mut config = case["phases"].clone();
        config["language"] = "generic".into();
        let home = home(index);
        // The corpus records only standard output.
        let script = compile(&config, &facts(format!("/tmp/{home}"))).replacen("exec 2>&1\n", "", 1);
        // Run from a file, as in the container of a job: with `-c`, bash has another status for an unset variable.
        (format!("{home}/build.sh"), script)
    });
    let outputs = if cases.is_empty() { Vec::new() } else { run(scripts) };
    let marks = Regex::new("travis_(fold|time):[^\r]*\r|\u{1b}\\[[0-9;]*[mK]").expect("a pattern");
    for (index, (case, (status, log))) in cases.iter().zip(outputs).enumerate() {
        let log = log.split_once("travis_fold:end:git.checkout\r").map_or("", |(_, log)| log);
        let log = marks.replace_all(log, "");
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let wanted: Vec<&str> = case["stdout"].as_array().expect("a list").iter().filter_map(|l| l.as_str()).collect();
        let equal = case["exit"] == status && lines == wanted;
        score.count(index, equal, || {
            format!("{} {status}\n  got {lines:?}\n  not {} {wanted:?}", case["name"], case["exit"])
        });
    }
    vec![score]
}

/// Returns the folder of a case. The names sort in the order of the cases.
fn home(index: usize) -> String {
    format!("homes/{index:03}")
}

/// Runs the scripts one after the other in the job image. Returns the status and the output of each.
fn run(scripts: impl Iterator<Item = (String, String)>) -> Vec<(i64, String)> {
    let mut files = tar::Builder::new(Vec::new());
    for (path, script) in scripts {
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len() as u64);
        header.set_mode(0o644);
        files.append_data(&mut header, path, script.as_bytes()).expect("an archive in memory");
    }
    let files = files.into_inner().expect("an archive in memory");
    let mut docker = Command::new("docker")
        .args(["run", "--rm", "--interactive", "--init", "--network=none", IMAGE, "bash", "-c", RUN_ALL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker runs");
    docker.stdin.take().expect("a pipe").write_all(&files).expect("the container reads its archive");
    let output = docker.wait_with_output().expect("docker runs");
    assert!(output.status.success(), "the container of {IMAGE} ended with {} (make image builds it)", output.status);
    let mut rest = output.stdout.as_slice();
    let mut outputs = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = String::from_utf8_lossy(&rest[..end]);
        let (status, length) = line.split_once(' ').expect("a status and a length");
        let (status, length): (i64, usize) = (status.parse().expect("a status"), length.parse().expect("a length"));
        let (log, others) = rest[end + 1..].split_at(length);
        outputs.push((status, String::from_utf8_lossy(log).into_owned()));
        rest = others;
    }
    outputs
}
