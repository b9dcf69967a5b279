//! What phases print and how they end.

use std::process::Command;

use regex::Regex;
use trainyard::domain::TriggerKind;
use trainyard::travis::script::{Facts, Numbered, compile};

use crate::support::{Score, corpus};

fn facts(home: String) -> Facts {
    let numbered = |number: &str| Numbered { id: 1, number: number.to_owned(), url: String::new() };
    Facts {
        home,
        image: "image".to_owned(),
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
        cache: None,
        decrypted: Vec::new(),
    }
}

#[test]
fn phases() {
    let Some(cases) = corpus("phases.json") else { return };
    let marks = Regex::new("travis_(fold|time):[^\r]*\r|\u{1b}\\[[0-9;]*[mK]").expect("a pattern");
    let mut score = Score::new("phases");
    for case in cases.as_array().expect("a list") {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(home.path().join("build/owner/name")).expect("a folder");
        let mut config = case["phases"].clone();
        config["language"] = "generic".into();
        // The corpus holds standard output alone.
        let script =
            compile(&config, &facts(home.path().to_string_lossy().into_owned())).replacen("exec 2>&1\n", "", 1);
        // A file, as in the container: with `-c` bash has another status for an unset variable.
        let file = home.path().join("build.sh");
        std::fs::write(&file, script).expect("a file");
        let output = Command::new("bash").arg(&file).output().expect("bash");
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = log.split_once("travis_fold:end:git.checkout\r").map_or("", |(_, log)| log);
        let log = marks.replace_all(log, "");
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let wanted: Vec<&str> = case["stdout"].as_array().expect("a list").iter().filter_map(|l| l.as_str()).collect();
        let status = output.status.code().map(i64::from);
        let equal = status == case["exit"].as_i64() && lines == wanted;
        score.count(equal, || {
            format!("{} {status:?}\n  got {lines:?}\n  not {} {wanted:?}", case["name"], case["exit"])
        });
    }
    score.close(100.0);
}
