//! Training configs: real ones, and some with exactly one defect.

use std::path::Path;

use trainyard::domain::{Problem, Severity};
use trainyard::lora::smoke::{self, Ask, Unfit};
use trainyard::lora::{Dialect, Repository, lint, weights};

use crate::support::{Score, shared};

/// Names of the linted dialects in the corpus. A file of another dialect must be left alone.
const DIALECTS: [(&str, Dialect); 11] = [
    ("lora-scripts", Dialect::LoraScripts),
    ("sdscripts", Dialect::SdScripts),
    ("sdscripts-dataset", Dialect::SdScriptsDataset),
    ("akegarasu-preset", Dialect::AkegarasuPreset),
    ("kohya-gui", Dialect::KohyaGui),
    ("axolotl", Dialect::Axolotl),
    ("llamafactory", Dialect::LlamaFactory),
    ("ai-toolkit", Dialect::AiToolkit),
    ("simpletuner", Dialect::SimpleTuner),
    ("simpletuner-dataloader", Dialect::SimpleTunerDataset),
    ("onetrainer", Dialect::OneTrainer),
];

pub fn scores() -> Vec<Score> {
    // The folders and models that real configs name do not exist; those of the broken ones do, except where they must
    // be missing.
    let configs = cases("lora/configs", 6, None, &Repository::default());
    let files = shared("lora/configs/broken").map(|dir| files(&dir)).unwrap_or_default();
    let texts = files.iter().map(|(path, text)| (path.as_str(), text.as_slice()));
    let repository = Repository::of(files.iter().map(|(path, _)| path.as_str()), texts);
    let broken = cases("lora/configs/broken", 2, Some(3), &repository);
    vec![
        recognition(&configs),
        accepted(&configs),
        wrong_in_the_wild(&configs),
        with_one_defect(&broken),
        weight_files(),
        smoke_configs(&configs),
    ]
}

/// A file of the corpus with its expected and its actual result.
struct Case {
    file: String,
    dialect: String,
    /// `ok`, or the rule that the file breaks.
    expected: String,
    /// Line of the problem; `None` when it concerns the whole file.
    line: Option<u32>,
    found: Option<(Dialect, Vec<Problem>)>,
}

impl Case {
    fn problems(&self) -> &[Problem] {
        self.found.as_ref().map_or(&[], |(_, problems)| problems)
    }

    /// Returns true if the problem is the expected one. The corpus has one rule for all formats that cannot be read.
    fn is_expected(&self, problem: &Problem) -> bool {
        let rules: &[&str] = match self.expected.as_str() {
            "unknown-key-typo" => &["unknown-key"],
            "bad-yaml" => &["bad-yaml", "bad-toml", "bad-json"],
            expected => &[expected],
        };
        rules.contains(&problem.rule.as_str()) && (self.line.is_none() || self.line == problem.line)
    }

    fn told(&self) -> String {
        let tell = |p: &Problem| format!("{} {} {:?}: {}", p.place(), p.rule, p.severity, p.message);
        let problems: Vec<String> = self.problems().iter().map(tell).collect();
        format!("{} at {:?} is expected, found {problems:?}", self.expected, self.line)
    }
}

/// Lists all files below a folder.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(dir).expect("a path below the folder").to_string_lossy().into_owned();
                files.push((relative, std::fs::read(&path).expect("a file")));
            }
        }
    }
    files
}

/// Reads the cases of a folder's manifest, whose columns for rule and line are given.
fn cases(folder: &str, expected: usize, line: Option<usize>, repository: &Repository<'_>) -> Vec<Case> {
    let Some(dir) = shared(folder) else { return Vec::new() };
    let manifest = std::fs::read_to_string(dir.join("MANIFEST.tsv")).expect("a manifest");
    let case = |row: &str| {
        let columns: Vec<&str> = row.split('\t').collect();
        let text = std::fs::read(Path::new(&dir).join(columns[0])).expect("a file of the manifest");
        let line: u32 = line.map_or(0, |line| columns[line].parse().expect("a number"));
        Case {
            file: columns[0].to_owned(),
            dialect: columns[1].to_owned(),
            expected: columns[expected].to_owned(),
            line: (line > 0).then_some(line),
            found: lint(columns[0], &text, repository).and_then(|linted| Some((linted.dialect?, linted.problems))),
        }
    };
    manifest.lines().skip(1).map(case).collect()
}

fn recognition(cases: &[Case]) -> Score {
    let mut score = Score::new("lora dialects recognised", 100.0);
    for case in cases {
        let expected = DIALECTS.iter().find(|(name, _)| *name == case.dialect).map(|(_, dialect)| *dialect);
        let found = case.found.as_ref().map(|(dialect, _)| *dialect);
        score.count(&case.file, found == expected, || format!("{} was taken for {found:?}", case.dialect));
    }
    score
}

fn accepted(cases: &[Case]) -> Score {
    let mut score = Score::new("lora configs without errors", 100.0);
    for case in cases.iter().filter(|case| case.expected == "ok") {
        let has_errors = case.problems().iter().any(|problem| problem.severity == Severity::Error);
        score.count(&case.file, !has_errors, || case.told());
    }
    score
}

fn wrong_in_the_wild(cases: &[Case]) -> Score {
    let mut score = Score::new("lora configs wrong as found", 100.0);
    for case in cases.iter().filter(|case| case.expected != "ok") {
        score.count(&case.file, case.problems().iter().any(|problem| case.is_expected(problem)), || case.told());
    }
    score
}

fn with_one_defect(cases: &[Case]) -> Score {
    let mut score = Score::new("lora configs with one defect", 100.0);
    for case in cases {
        let exact = matches!(case.problems(), [problem] if case.is_expected(problem));
        score.count(&case.file, exact, || case.told());
    }
    score
}

/// Files of weights, each with the rules of the errors and warnings that it must give. The 2 modules of the middle
/// block that learn nothing at a resolution of 64 are normal and only a note (trainers.md, mid block).
const WEIGHTS: [(&str, &[&str]); 16] = [
    ("bad-header-too-large.safetensors", &["weights-unreadable"]),
    ("bad-html-404.safetensors", &["weights-unreadable"]),
    ("bad-lfs-pointer.safetensors", &["weights-unreadable"]),
    ("bad-missing-up.safetensors", &["weights-unpaired"]),
    ("bad-not-json.safetensors", &["weights-unreadable"]),
    ("bad-rank-mismatch.safetensors", &["weights-rank-mismatch"]),
    ("bad-truncated.safetensors", &["weights-unreadable"]),
    ("diffusers-old-lora.up.safetensors", &[]),
    ("kohya-all-zero-up.safetensors", &["weights-untrained"]),
    ("kohya-good-bf16.safetensors", &[]),
    ("kohya-good-f32.safetensors", &[]),
    ("kohya-nan.safetensors", &["weights-nan"]),
    ("kohya-no-alpha.safetensors", &["weights-alpha"]),
    ("kohya-no-metadata.safetensors", &[]),
    ("kohya-pickle-named.safetensor", &["weights-unreadable"]),
    ("peft/adapter_model.safetensors", &[]),
];
/// Prefixes of the files with errors; the others are usable.
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

/// Scores configs that were derived from real ones without errors: they have no errors either, and the same dialect. A
/// config that cannot be derived must say why, and only some dialects allow that.
fn smoke_configs(cases: &[Case]) -> Score {
    let mut score = Score::new("smoke configs without errors", 100.0);
    let Some(dir) = shared("lora/configs") else { return score };
    for case in cases.iter().filter(|case| case.expected == "ok") {
        let text = std::fs::read(dir.join(&case.file)).expect("a file of the manifest");
        let derived = smoke::derive(&case.file, &text, &Ask::default(), &Repository::default(), "/smoke");
        let (right, told) = match (case.found.as_ref().map(|(dialect, _)| *dialect), derived) {
            (None, Err(Unfit::NotRun(_))) => (true, String::new()),
            (Some(dialect), Err(unfit)) => (may_be_unfit(dialect, &unfit), format!("{unfit:?}")),
            (found, Ok(smoke)) => {
                let file = &smoke.files[0];
                let linted = lint(&file.path, &file.bytes, &Repository::default());
                let told = format!("{linted:?}\n{}", String::from_utf8_lossy(&file.bytes));
                let linted = linted.filter(|linted| linted.dialect == found && Some(smoke.dialect) == linted.dialect);
                let is_error = |problem: &Problem| problem.severity == Severity::Error;
                (linted.is_some_and(|linted| !linted.problems.iter().any(is_error)), told)
            }
            (None, Err(unfit)) => (false, format!("{unfit:?}")),
        };
        score.count(&case.file, right, || told);
    }
    score
}

/// Returns true if a config of this dialect may have no smoke job for this reason. For lora-scripts, none may.
fn may_be_unfit(dialect: Dialect, unfit: &Unfit) -> bool {
    match unfit {
        Unfit::NotRun(_) => {
            [Dialect::SdScriptsDataset, Dialect::SimpleTunerDataset, Dialect::AkegarasuPreset, Dialect::AiToolkit]
                .contains(&dialect)
        }
        Unfit::Cannot(why) => {
            let reasons = ["Trainyard has no mock base model", "only the web UI kohya_ss", "only a single process"];
            reasons.iter().any(|reason| why.starts_with(reason)) && dialect != Dialect::LoraScripts
        }
    }
}
