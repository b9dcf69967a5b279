//! The linter compared with the trainers: configs with one change each, and what the trainer itself says about it.
//!
//! The configs are not part of this repository: they are read from `$TRAINYARD_SHARED` or `../shared`.
//! `cargo test -p trainyard-lora --test mutants -- --nocapture` prints the tables. With `MISSES=1` it also prints each
//! difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trainyard_base::domain::{Problem, Severity};
use trainyard_lora::{Repository, lint};

/// The least share of wanted problems that are found, in percent, and the most of right configs with a problem.
/// These are the figures that were reached: they may only get better.
const RECALL: f64 = 100.0;
const FALSE_ALARMS: f64 = 0.0;

/// Returns a folder of the shared material, if it exists.
fn shared(folder: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("TRAINYARD_SHARED").map_or(beside, PathBuf::from).join(folder);
    dir.is_dir().then_some(dir)
}

/// Returns the rows of a manifest, each as its columns.
fn rows(dir: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(dir.join("MANIFEST.tsv")).expect("a manifest");
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn problems(path: &Path, name: &str) -> Vec<Problem> {
    let text = std::fs::read(path).expect("a file of the manifest");
    lint(name, &text, &Repository::default()).map(|linted| linted.problems).unwrap_or_default()
}

/// Numbers of wanted faults and of those found, of sound files and of those reported.
#[derive(Default, Clone, Copy)]
struct Count {
    wanted: usize,
    found: usize,
    right: usize,
    told: usize,
}

impl Count {
    fn recall(self) -> f64 {
        100.0 * self.found as f64 / self.wanted.max(1) as f64
    }

    fn false_alarms(self) -> f64 {
        100.0 * self.told as f64 / self.right.max(1) as f64
    }
}

struct Mutant {
    file: String,
    dialect: String,
    kind: String,
    line: u32,
    reason: String,
    keys: Vec<String>,
    expect: String,
}

impl Mutant {
    fn of(row: &[String]) -> Self {
        Self {
            file: row[0].clone(),
            dialect: row[1].clone(),
            kind: row[3].clone(),
            line: row[4].parse().unwrap_or(0),
            reason: row[6].clone(),
            keys: row[7].split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect(),
            expect: row[8].clone(),
        }
    }

    /// Returns true if the problem is on the mutant's line or the next to it, or on its key. A fault of syntax may be
    /// noticed on any later line.
    fn is_hit_by(&self, problem: &Problem) -> bool {
        let least = if self.expect == "error" { Severity::Error } else { Severity::Warning };
        let is_syntax = self.reason.contains("loader stops") || self.reason.contains("strict JSON");
        let is_near = problem
            .line
            .is_some_and(|line| self.line > 0 && (line.abs_diff(self.line) <= 1 || is_syntax && line >= self.line));
        let key = problem.key.as_deref().and_then(|key| key.rsplit('.').next()).unwrap_or_default();
        problem.severity >= least && (is_near || self.keys.iter().any(|wanted| wanted == key))
    }
}

fn table(name: &str, counts: &BTreeMap<String, Count>) {
    println!("| {name:22} | wanted | found | recall, % | right | told | false alarms, % |");
    for (name, count) in counts {
        let (recall, alarms) = (count.recall(), count.false_alarms());
        let Count { wanted, found, right, told } = count;
        println!("| {name:22} | {wanted:6} | {found:5} | {recall:9.1} | {right:5} | {told:4} | {alarms:15.1} |");
    }
}

#[test]
fn what_the_trainers_say_is_said_here() {
    let Some(dir) = shared("lora/mutants") else { return println!("lora/mutants is absent: nothing compared") };
    let (mut dialects, mut kinds, mut all) = (BTreeMap::new(), BTreeMap::new(), Count::default());
    let mut misses = Vec::new();
    for mutant in rows(&dir).iter().map(|row| Mutant::of(row)).filter(|mutant| mutant.expect != "free") {
        // The kind `valid-key` has keys that the trainer knows; a few of its values are refused.
        let found = problems(&dir.join(&mutant.file), &mutant.file);
        let is_right = mutant.expect == "clean";
        let is_told = found.iter().any(|problem| problem.severity >= Severity::Warning);
        let is_found = found.iter().any(|problem| mutant.is_hit_by(problem));
        let of_dialect: &mut Count = dialects.entry(mutant.dialect.clone()).or_default();
        let of_kind: &mut Count = kinds.entry(mutant.kind.clone()).or_default();
        for count in [&mut all, of_dialect, of_kind] {
            count.wanted += usize::from(!is_right);
            count.found += usize::from(!is_right && is_found);
            count.right += usize::from(is_right);
            count.told += usize::from(is_right && is_told);
        }
        if is_right == is_told && is_right || !is_right && !is_found {
            let Mutant { file, line, reason, keys, expect, .. } = mutant;
            misses.push(format!("{file}:{line} {expect} {keys:?} {reason}: {found:?}"));
        }
    }
    table("dialect", &dialects);
    table("kind", &kinds);
    table("all", &BTreeMap::from([(String::new(), all)]));
    if std::env::var_os("MISSES").is_some() {
        println!("{}", misses.join("\n"));
    }
    assert!(all.wanted > 0, "the manifest has no mutants");
    assert!(all.recall() >= RECALL, "only {:.1} % are found", all.recall());
    assert!(all.false_alarms() <= FALSE_ALARMS, "{:.1} % of the right configs have problems", all.false_alarms());
}

#[test]
fn configs_in_use_have_no_errors() {
    let Some(dir) = shared("lora/configs") else { return println!("lora/configs is absent: nothing checked") };
    let mut wrong = Vec::new();
    for row in rows(&dir).iter().filter(|row| row[6] == "ok") {
        let errors = problems(&dir.join(&row[0]), &row[0]).into_iter().filter(|it| it.severity == Severity::Error);
        wrong.extend(errors.map(|error| format!("{}: {error:?}", row[0])));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
