//! Traps in real files.

use std::collections::BTreeMap;

use trainyard::domain::Severity;
use trainyard::travis::normal::{Options, read};
use trainyard::travis::{matrix, traps};

use crate::real::config;
use crate::support::{corpus, corpus_dir};

/// A false warning is worse than none, so only few real files may have one. `TRAPS=rule` prints all warnings of a rule.
#[test]
fn traps_in_real_files() {
    let (Some(dir), Some(corpus)) = (corpus_dir(), corpus("real_expected.json")) else {
        println!("the corpora are absent, nothing is looked at");
        return;
    };
    let mut files = 0;
    let mut warned = 0;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in corpus["files"].as_object().expect("a map").keys() {
        let text = std::fs::read_to_string(dir.join("real").join(name)).expect("a file of the corpus");
        let document = read(&text).expect("YAML");
        let (config, _) = config(&text, Options::PRODUCTION);
        let jobs = matrix::matrix(&config, &corpus["data"]).jobs;
        let Some(root) = &document.root else { continue };
        let traps = traps::traps(root, &config, &jobs);
        files += 1;
        warned += usize::from(traps.iter().any(|trap| trap.severity == Severity::Warning));
        for trap in traps {
            *counts.entry(trap.rule.name()).or_default() += 1;
            if std::env::var("TRAPS").is_ok_and(|rule| rule == trap.rule.name()) {
                println!("{name}:{}:{}: {:?} {}", trap.at.line, trap.at.column, trap.severity, trap.message);
            }
        }
    }
    println!("traps in {files} real files, {warned} of them with a warning: {counts:?}");
    assert!(warned * 20 <= files, "{warned} of {files} files are warned of traps");
}
