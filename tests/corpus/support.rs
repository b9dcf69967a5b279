//! Loading, counting and telling.

use std::path::PathBuf;

use serde_json::Value;

/// A folder of the shared material, or `None` after saying that it is absent.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let dir = std::env::var_os("TRAINYARD_SHARED").map_or(beside, PathBuf::from).join(folder);
    if !dir.is_dir() {
        println!("{}: absent, nothing compared", dir.display());
        return None;
    }
    Some(dir)
}

/// The folder with Travis's corpora, if it is there.
pub fn corpus_dir() -> Option<PathBuf> {
    shared("travis/corpus")
}

/// A corpus, or `None` after saying that it is absent.
pub fn corpus(name: &str) -> Option<Value> {
    let dir = corpus_dir()?;
    let text = std::fs::read_to_string(dir.join(name)).expect("a corpus that can be read");
    Some(serde_json::from_str(&text).expect("a corpus in JSON"))
}

/// How many cases of a corpus come out equal.
pub struct Score {
    name: &'static str,
    equal: usize,
    cases: usize,
    tell: bool,
}

impl Score {
    pub fn new(name: &'static str) -> Self {
        let tell = std::env::var("CORPUS_DIFF").is_ok_and(|wanted| wanted == name);
        Self { name, equal: 0, cases: 0, tell }
    }

    /// Counts one case; `what` is asked only for a difference that is to be told.
    pub fn count(&mut self, equal: bool, what: impl FnOnce() -> String) {
        self.cases += 1;
        self.equal += usize::from(equal);
        if !equal && self.tell {
            println!("DIFF {}: {}", self.name, what());
        }
    }

    /// Prints the row and checks the floor, a share in percent.
    pub fn close(self, floor: f64) {
        let share = 100.0 * self.equal as f64 / self.cases.max(1) as f64;
        let differing = self.cases - self.equal;
        println!(
            "| {:28} | {:6} cases | {:6} equal | {differing:5} differing | {share:6.2} % |",
            self.name, self.cases, self.equal
        );
        assert!(share >= floor, "{}: {share:.2} % are equal, the floor is {floor} %", self.name);
    }
}
