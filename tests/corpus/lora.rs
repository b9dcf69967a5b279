//! Training configs: real ones, and ones with one defect each.

use std::path::Path;

use trainyard::domain::Severity;
use trainyard::lora::lint;

use crate::support::{Score, shared};

/// The rules that are built; others come with the rest of the linter.
const BUILT: [(&str, &str); 5] = [
    ("bad-yaml", "bad-yaml"),
    ("missing-required", "missing-required"),
    ("conflicting-keys", "conflicting-keys"),
    ("unknown-key-typo", "unknown-key"),
    ("camel-case", "unknown-key"),
];

fn rows(dir: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(dir.join("MANIFEST.tsv")).expect("a manifest");
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn real_configs() {
    let Some(dir) = shared("lora/configs") else { return };
    let mut score = Score::new("lora configs without errors");
    for row in rows(&dir) {
        let Ok(text) = std::fs::read(dir.join(&row[0])) else {
            continue;
        };
        let linted = lint(&row[0], &text);
        let recognised = linted.is_some();
        let errors = linted.map_or(0, |l| l.problems.iter().filter(|p| p.severity == Severity::Error).count());
        let equal = recognised == (row[1] == "lora-scripts") && (row[6] != "ok" || errors == 0);
        score.count(equal, || format!("{row:?}: recognised {recognised}, {errors} errors"));
    }
    score.close(100.0);
}

#[test]
fn broken_configs() {
    let Some(dir) = shared("lora/configs/broken") else {
        return;
    };
    let mut score = Score::new("lora configs with one defect");
    for row in rows(&dir).iter().filter(|row| row[1] == "lora-scripts") {
        let Some((_, rule)) = BUILT.iter().find(|(expected, _)| *expected == row[2]) else {
            continue;
        };
        let text = std::fs::read(dir.join(&row[0])).expect("a file");
        let problems = lint(&row[0], &text).map(|linted| linted.problems).unwrap_or_default();
        let line: u32 = row[3].parse().expect("a number");
        let found = problems.iter().any(|p| p.rule == *rule && (line == 0 || p.line == Some(line)));
        score.count(found && problems.len() == 1, || format!("{row:?}: {problems:?}"));
    }
    score.close(100.0);
}
