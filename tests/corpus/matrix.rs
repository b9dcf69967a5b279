//! Jobs and stages.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use trainyard::travis::matrix::{self, Config, Notes};
use trainyard::travis::normal::{Options, normalize, read};
use trainyard::travis::traps;

use crate::support::{Score, corpus, corpus_dir};
use crate::valid::{expected, options, said, sorted};

fn config(text: &str, options: Options) -> (Config, BTreeSet<String>) {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, options).expect("a map");
    let said = normal.messages.iter().map(said).collect();
    (normal.config.as_object().cloned().unwrap_or_default(), said)
}

fn jobs(jobs: &[Config]) -> Value {
    jobs.iter().cloned().map(Value::Object).collect()
}

#[test]
fn expansion() {
    let Some(cases) = corpus("matrix.json") else { return };
    let mut score = Score::new("matrix");
    for case in cases.as_array().expect("a list") {
        let (config, _) = config(case["yaml"].as_str().expect("a string"), options(&case["opts"]));
        let data = &case["data"];
        let (got, stages) = if case["pipeline"] == "full" {
            let matrix = matrix::matrix(&config, data);
            (jobs(&matrix.jobs), json!(matrix.stages))
        } else {
            (jobs(&matrix::expand(&config, data, &mut Notes::default())), Value::Null)
        };
        let equal = sorted(&got) == sorted(&case["expected_jobs"])
            && case.get("expected_stages").is_none_or(|wanted| sorted(wanted) == sorted(&stages));
        score.count(equal, || {
            format!("{}\n{}\n  got {got} {stages}\n  not {}", case["name"], case["yaml"], case["expected_jobs"])
        });
    }
    score.close(98.0);
}

#[test]
fn stages() {
    let Some(cases) = corpus("stages.json") else { return };
    let mut score = Score::new("stages");
    for case in cases.as_array().expect("a list") {
        let list = |name: &str| case[name].as_array().cloned().unwrap_or_default();
        let given: Vec<Map<_, _>> = list("jobs").iter().filter_map(Value::as_object).cloned().collect();
        let (stages, given) = matrix::with_stages(&list("stages"), given, &case["data"]);
        let equal = sorted(&json!(stages)) == sorted(&case["expected_stages"])
            && sorted(&jobs(&given)) == sorted(&case["expected_jobs"]);
        score.count(equal, || format!("{case}\n  got {stages:?} {}", jobs(&given)));
    }
    score.close(98.0);
}

#[test]
fn real_files() {
    let (Some(dir), Some(corpus)) = (corpus_dir(), corpus("real_expected.json")) else {
        return;
    };
    let mut jobs_score = Score::new("real jobs");
    let mut config_score = Score::new("real configs");
    let mut stages_score = Score::new("real stages");
    let mut messages = Score::new("real messages");
    for (name, wanted) in corpus["files"].as_object().expect("a map") {
        let text = std::fs::read_to_string(dir.join("real").join(name)).expect("a file of the corpus");
        let (config, mut said_of) = config(&text, Options::PRODUCTION);
        let matrix = matrix::matrix(&config, &corpus["data"]);
        let got = json!(config);
        config_score.count(sorted(&got) == sorted(&wanted["config"]), || {
            format!("{name}\n  got {}\n  not {}", sorted(&got), sorted(&wanted["config"]))
        });
        let got = jobs(&matrix.jobs);
        jobs_score.count(sorted(&got) == sorted(&wanted["jobs"]), || {
            let counts = (matrix.jobs.len(), wanted["jobs"].as_array().map(Vec::len));
            format!("{name} {counts:?}\n  got {}\n  not {}", sorted(&got), sorted(&wanted["jobs"]))
        });
        let got = json!(matrix.stages);
        stages_score
            .count(sorted(&got) == sorted(&wanted["stages"]), || format!("{name} {got} not {}", wanted["stages"]));
        said_of.extend(matrix.messages.iter().map(said));
        let wanted: BTreeSet<String> = wanted["msgs"].as_array().expect("a list").iter().map(expected).collect();
        messages.count(said_of == wanted, || {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            format!("{name}\n  got {:?}\n  not {:?}", only(&said_of, &wanted), only(&wanted, &said_of))
        });
    }
    config_score.close(97.0);
    stages_score.close(97.0);
    messages.close(0.0);
    jobs_score.close(97.0);
}

/// A trap that is told of where none is, is worse than none: few real files have one.
#[test]
fn traps_in_real_files() {
    let Some(dir) = corpus_dir() else { return };
    let mut told = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.join("real")).expect("a folder") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a file of the corpus");
        let document = read(&text).expect("YAML");
        let (config, _) = config(&text, Options::PRODUCTION);
        files += 1;
        if let Some(root) = &document.root {
            told.extend(traps::traps(root, &config).into_iter().map(|trap| format!("{path:?} {}", trap.message)));
        }
    }
    println!("traps: {} in {files} real files: {told:#?}", told.len());
    assert!(told.len() * 50 <= files, "{told:#?}");
}
