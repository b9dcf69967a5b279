//! Loading of the corpora, scores and the report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::differences::DIFFERENCES;

/// Returns a folder of the shared material, if it exists.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let dir = std::env::var_os("TRAINYARD_SHARED").map_or(beside, PathBuf::from).join(folder);
    dir.is_dir().then_some(dir)
}

/// Returns the folder with Travis's corpora, if it exists.
pub fn corpus_dir() -> Option<PathBuf> {
    shared("travis/corpus")
}

/// Reads a corpus, if it exists.
pub fn corpus(name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(corpus_dir()?.join(name)).ok()?;
    Some(serde_json::from_str(&text).expect("a corpus in JSON"))
}

/// Returns the cases of a corpus that is a list; none when it is absent.
pub fn list(name: &str) -> Vec<Value> {
    corpus(name).map_or_else(Vec::new, |corpus| corpus.as_array().expect("a list").clone())
}

/// Score of a corpus.
pub struct Score {
    name: &'static str,
    floor: f64,
    cases: usize,
    differing: BTreeMap<String, String>,
}

impl Score {
    /// Makes a score that requires at least `floor` percent of equal cases.
    pub fn new(name: &'static str, floor: f64) -> Self {
        Self { name, floor, cases: 0, differing: BTreeMap::new() }
    }

    /// Counts a case, which is named by its file or its index. `what` is called only for a difference.
    pub fn count(&mut self, case: impl ToString, equal: bool, what: impl FnOnce() -> String) {
        self.cases += 1;
        if !equal {
            self.differing.insert(case.to_string(), what());
        }
    }

    fn share(&self) -> f64 {
        100.0 * (self.cases - self.differing.len()) as f64 / self.cases.max(1) as f64
    }

    fn row(&self) -> String {
        if self.cases == 0 {
            return format!("| {:28} | absent, nothing compared\n", self.name);
        }
        let (cases, differing) = (self.cases, self.differing.len());
        let equal = cases - differing;
        format!(
            "| {:28} | {cases:6} | {equal:6} | {differing:9} | {:8.2} | {:8.2} |\n",
            self.name,
            self.share(),
            self.floor
        )
    }

    /// Lists the faults of the score and of the reasons that are recorded for its differences.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.cases == 0 {
            return faults;
        }
        if self.share() < self.floor {
            faults.push(format!("{}: {:.2} % are equal, the floor is {} %", self.name, self.share(), self.floor));
        }
        for (case, what) in &self.differing {
            if reason(self.name, case).is_none() {
                faults.push(format!("{} {case} differs, and no reason is recorded: {what}", self.name));
            }
        }
        for difference in DIFFERENCES.iter().filter(|difference| difference.corpus == self.name) {
            for case in difference.cases.iter().filter(|case| !self.differing.contains_key(**case)) {
                faults.push(format!("{} {case} is equal now: take it out of differences.rs", self.name));
            }
        }
        faults
    }
}

fn reason(corpus: &str, case: &str) -> Option<&'static str> {
    let mut of_corpus = DIFFERENCES.iter().filter(|difference| difference.corpus == corpus);
    of_corpus.find(|difference| difference.cases.contains(&case)).map(|difference| difference.reason)
}

/// Prints the table of all corpora and each differing case with its reason. Panics when something is wrong.
pub fn close(scores: &[Score]) {
    let mut text = format!(
        "| {:28} | {:>6} | {:>6} | {:>9} | {:>8} | {:>8} |\n",
        "corpus", "cases", "equal", "differing", "share, %", "floor, %"
    );
    scores.iter().for_each(|score| text.push_str(&score.row()));
    for score in scores {
        for case in score.differing.keys() {
            let reason = reason(score.name, case).unwrap_or("NO REASON RECORDED");
            let _ = writeln!(text, "{} {case} differs: {reason}", score.name);
        }
    }
    println!("{text}");
    let faults: Vec<String> = scores.iter().flat_map(Score::faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
