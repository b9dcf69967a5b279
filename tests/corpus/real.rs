//! Whole files: config, jobs, stages and messages.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trainyard::travis::matrix::{self, Config};
use trainyard::travis::normal::{Options, normalize, read, take_imports};

use crate::support::{Score, corpus, corpus_dir};
use crate::valid::{expected, said, sorted};

/// Returns the normal form of a file, and its messages.
pub fn config(text: &str, options: Options) -> (Config, BTreeSet<String>) {
    let mut document = read(text).expect("YAML");
    // The imported files are not part of the corpora.
    let (_, messages) = take_imports(&mut document);
    let normal = normalize(&document, options).expect("a map");
    let said = messages.iter().chain(&normal.messages).map(said).collect();
    (normal.config.as_object().cloned().unwrap_or_default(), said)
}

/// Returns the jobs as one value.
pub fn jobs(jobs: &[Config]) -> Value {
    jobs.iter().cloned().map(Value::Object).collect()
}

pub fn scores() -> Vec<Score> {
    let mut config_score = Score::new("real configs", 97.0);
    let mut jobs_score = Score::new("real jobs", 97.0);
    let mut stages_score = Score::new("real stages", 97.0);
    let mut messages = Score::new("real messages", 90.0);
    let dir = corpus_dir().unwrap_or_default();
    let corpus = corpus("real_expected.json").unwrap_or_default();
    for (name, wanted) in corpus["files"].as_object().into_iter().flatten() {
        let text = std::fs::read_to_string(dir.join("real").join(name)).expect("a file of the corpus");
        let (config, mut said_of) = config(&text, Options::PRODUCTION);
        let matrix = matrix::matrix(&config, &corpus["data"]);
        let got = json!(config);
        config_score.count(name, sorted(&got) == sorted(&wanted["config"]), || {
            format!("got {}\n  not {}", sorted(&got), sorted(&wanted["config"]))
        });
        let got = jobs(&matrix.jobs);
        jobs_score.count(name, sorted(&got) == sorted(&wanted["jobs"]), || {
            let counts = (matrix.jobs.len(), wanted["jobs"].as_array().map(Vec::len));
            format!("{counts:?}\n  got {}\n  not {}", sorted(&got), sorted(&wanted["jobs"]))
        });
        let got = json!(matrix.stages);
        stages_score
            .count(name, sorted(&got) == sorted(&wanted["stages"]), || format!("{got} not {}", wanted["stages"]));
        said_of.extend(matrix.messages.iter().map(said));
        let wanted: BTreeSet<String> = wanted["msgs"].as_array().expect("a list").iter().map(expected).collect();
        messages.count(name, said_of == wanted, || {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            format!("got {:?}\n  not {:?}", only(&said_of, &wanted), only(&wanted, &said_of))
        });
    }
    vec![config_score, jobs_score, stages_score, messages]
}
