//! Training configs: real ones, and ones with one defect each.

use std::path::Path;

use trainyard::domain::Severity;
use trainyard::lora::{lint, weights};

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

pub fn scores() -> Vec<Score> {
    vec![real_configs(), broken_configs(), weight_files()]
}

fn real_configs() -> Score {
    let mut score = Score::new("lora configs without errors", 100.0);
    let Some(dir) = shared("lora/configs") else { return score };
    for row in rows(&dir) {
        let Ok(text) = std::fs::read(dir.join(&row[0])) else {
            continue;
        };
        let linted = lint(&row[0], &text);
        let recognised = linted.is_some();
        let errors = linted.map_or(0, |l| l.problems.iter().filter(|p| p.severity == Severity::Error).count());
        let equal = recognised == (row[1] == "lora-scripts") && (row[6] != "ok" || errors == 0);
        score.count(&row[0], equal, || format!("{row:?}: recognised {recognised}, {errors} errors"));
    }
    score
}

fn broken_configs() -> Score {
    let mut score = Score::new("lora configs with one defect", 100.0);
    let Some(dir) = shared("lora/configs/broken") else { return score };
    for row in rows(&dir).iter().filter(|row| row[1] == "lora-scripts") {
        let Some((_, rule)) = BUILT.iter().find(|(expected, _)| *expected == row[2]) else {
            continue;
        };
        let text = std::fs::read(dir.join(&row[0])).expect("a file");
        let problems = lint(&row[0], &text).map(|linted| linted.problems).unwrap_or_default();
        let line: u32 = row[3].parse().expect("a number");
        let found = problems.iter().any(|p| p.rule == *rule && (line == 0 || p.line == Some(line)));
        score.count(&row[0], found && problems.len() == 1, || format!("{row:?}: {problems:?}"));
    }
    score
}

/// The files of weights, with the rules of the errors and warnings that each must give. The 2 modules of the middle block
/// that learn nothing at a resolution of 64 are known (trainers.md, mid block).
const WEIGHTS: [(&str, &[&str]); 16] = [
    ("bad-header-too-large.safetensors", &["weights-unreadable"]),
    ("bad-html-404.safetensors", &["weights-unreadable"]),
    ("bad-lfs-pointer.safetensors", &["weights-unreadable"]),
    ("bad-missing-up.safetensors", &["weights-unpaired"]),
    ("bad-not-json.safetensors", &["weights-unreadable"]),
    ("bad-rank-mismatch.safetensors", &["weights-rank-mismatch", "weights-untrained"]),
    ("bad-truncated.safetensors", &["weights-unreadable"]),
    ("diffusers-old-lora.up.safetensors", &[]),
    ("kohya-all-zero-up.safetensors", &["weights-untrained"]),
    ("kohya-good-bf16.safetensors", &["weights-untrained"]),
    ("kohya-good-f32.safetensors", &["weights-untrained"]),
    ("kohya-nan.safetensors", &["weights-nan"]),
    ("kohya-no-alpha.safetensors", &["weights-untrained", "weights-alpha"]),
    ("kohya-no-metadata.safetensors", &["weights-untrained"]),
    ("kohya-pickle-named.safetensor", &["weights-unreadable"]),
    ("peft/adapter_model.safetensors", &[]),
];
/// The files with errors; the others may be used.
const WITH_ERRORS: [&str; 3] = ["bad-", "kohya-all-zero-up", "kohya-nan"];

fn weight_files() -> Score {
    let mut score = Score::new("weights with their problems", 100.0);
    let Some(dir) = shared("lora/weights") else { return score };
    for (name, wanted) in WEIGHTS {
        let file = std::fs::File::open(dir.join(name)).expect("a file of weights");
        let problems = match weights::inspect(std::io::BufReader::new(file)) {
            Ok(report) => report.problems(),
            Err(error) => vec![error.problem()],
        };
        let told = problems.iter().filter(|problem| problem.severity > Severity::Info);
        let rules: Vec<&str> = told.map(|problem| problem.rule.as_str()).collect();
        let has_error = problems.iter().any(|problem| problem.severity == Severity::Error);
        let wants_error = name.contains("pickle") || WITH_ERRORS.iter().any(|start| name.starts_with(start));
        score.count(name, rules == wanted && has_error == wants_error, || format!("{problems:?}"));
    }
    score
}
