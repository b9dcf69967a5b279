//! Plans of whole files: `fixtures/plan/NN_name.yml` next to the plan in `NN_name.json`. `UPDATE_FIXTURES=1` writes the
//! plans again, to be checked in the diff.

#[path = "support/hostile.rs"]
mod hostile;

use std::collections::BTreeSet;
use std::path::Path;

use hostile::Hostile;
use proptest::prelude::*;
use trainyard::domain::{Revision, Trigger};
use trainyard::plan::{CONFIG, MAX_JOBS, Settings, SourceFile, plan, wanted_imports};
use trainyard::travis::import::{Found, Imports, Source};
use trainyard::yaml::MAX_BYTES;

fn trigger() -> Trigger {
    let sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
    Trigger {
        message: Some("Train longer".to_owned()),
        sender: Some("alice".to_owned()),
        ..Trigger::push("acme/styles".parse().expect("a name"), "main", sha)
    }
}

fn file(path: &str, text: &[u8]) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_vec() }
}

/// Returns the imports of a fixture: files of its folder.
fn imports_beside(fixture: &Path, text: &[u8]) -> Imports {
    let files = [file(CONFIG, text)];
    let mut imports = Imports::new();
    loop {
        let wanted = wanted_imports(&files, &imports, &trigger(), &Settings::default());
        if wanted.is_empty() {
            return imports;
        }
        imports.extend(wanted.into_iter().map(|source| {
            let read = std::fs::read(fixture.with_file_name(&source.path));
            let found = match read {
                _ if source.revision != Revision::Built => Found::NotHere,
                Ok(text) => Found::File(text),
                Err(_) => Found::Failed("there is no such file".to_owned()),
            };
            (source, found)
        }));
    }
}

#[test]
fn fixtures() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan");
    let mut compared = 0;
    for entry in std::fs::read_dir(&dir).expect("the fixtures") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let text = std::fs::read(&path).expect("a file");
        let plan = plan(&[file(CONFIG, &text)], &imports_beside(&path, &text), &trigger(), &Settings::default());
        let shown =
            serde_json::json!({"jobs": plan.jobs, "stages": plan.stages, "problems": plan.problems, "skip": plan.skip});
        let got = serde_json::to_string_pretty(&shown).expect("JSON") + "\n";
        let expected = path.with_extension("json");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&expected, &got).expect("a file");
        }
        let wanted = std::fs::read_to_string(&expected).expect("the plan beside the file");
        assert_eq!(got, wanted, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 5);
}

/// Lines that real files consist of, in any order and at any depth.
fn lines() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "env:",
        "- A=1 B=\"x",
        "global:",
        "jobs:",
        "include:",
        "- os: osx",
        "matrix: {",
        "stages: [a, b]",
        "&x a: *x",
        "<<: *x",
        "if: branch = (",
        "if: tag =~ ^v*(",
        "script: |",
        "  true",
        "language: [python]",
        "python: 3.10",
        "deploy: heroku",
        "on: {tags: true}",
        "cache: [pip, a]",
        "notifications: false",
        "? [a]",
        "addons: {apt: [a]}",
        "base_model: x",
        "lora_rank: 4",
        "epochs: 1",
        "allow_failures:",
        "- env: A=1",
        "- secure: x",
        "branches: /a(/",
        "services: redis",
        "import: a.yml",
        "import: [a.yml@x, {source: b/c:d.yml, mode: merge, if: branch}]",
        "- source: ../x.yml",
        "*x : y",
        "- - - a",
        "'",
        "\"",
        "\t",
        "!!str 5",
        "key: @",
        "%YAML 9",
        "---",
        "...",
    ]);
    let indented = (0..5_usize, line).prop_map(|(depth, line)| format!("{}{line}\n", "  ".repeat(depth)));
    prop::collection::vec(indented, 0..30).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_import_makes_the_plan_panic(text in lines(), imported in lines(), mode in "(deep_)?merge(_append|_prepend)?") {
        let config = format!("{text}\nimport: {{source: a.yml, mode: {mode}}}\n");
        let a = Source { repo: trigger().repo, revision: Revision::Built, path: "a.yml".to_owned() };
        let imports = Imports::from([(a, Found::File(imported.into_bytes()))]);
        plan(&[file(CONFIG, config.as_bytes())], &imports, &trigger(), &Settings::default());
    }

    #[test]
    fn no_text_makes_the_plan_panic(text in lines()) {
        plan(&[file(CONFIG, text.as_bytes()), file("a.yaml", text.as_bytes())], &Imports::new(), &trigger(), &Settings::default());
    }

    #[test]
    fn no_bytes_make_the_plan_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        plan(&[file(CONFIG, &text), file("a.yaml", &text)], &Imports::new(), &trigger(), &Settings::default());
    }
}

/// Characters with a meaning in YAML, in conditions or in bash.
const SIGNS: &[u8] = b":-{}[]\"'#&*!|>%@`,\n\t $=\\()<~/";

/// Changes a text once: removes, repeats or overwrites the text at a place.
fn mutated(text: &mut Vec<u8>, place: usize, length: usize, change: u8) {
    let start = place % text.len().max(1);
    let end = (start + length).min(text.len());
    let piece: Vec<u8> = text[start..end].to_vec();
    let instead = match change % 4 {
        0 => Vec::new(),
        1 => piece.repeat(2),
        2 => piece.iter().rev().copied().collect(),
        _ => vec![SIGNS[usize::from(change) % SIGNS.len()]; piece.len()],
    };
    text.splice(start..end, instead);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn files_with_a_few_changes_are_planned_twice_alike(
        fixture in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<usize>(), 1..40_usize, any::<u8>()), 1..6),
    ) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plan");
        let paths = std::fs::read_dir(&dir).expect("the fixtures").map(|entry| entry.expect("a file").path());
        let mut paths: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".yml")).collect();
        paths.sort();
        let mut text = std::fs::read(fixture.get(&paths)).expect("a file");
        for (place, length, change) in changes {
            mutated(&mut text, place, length, change);
        }
        let planned = || plan(&[file(CONFIG, &text)], &Imports::new(), &trigger(), &Settings::default());
        let first = planned();
        prop_assert!(!first.jobs.is_empty() || first.is_fatal() || first.skip.is_some(), "no job and no reason");
        prop_assert_eq!(first, planned());
    }
}

/// Limits on the work keep the time short; `make bench` measures the times.
#[test]
fn hostile_files_are_planned_or_refused_with_a_problem() {
    for Hostile { name, text, rule } in hostile::all() {
        assert!(text.len() <= MAX_BYTES, "{name}");
        let begin = std::time::Instant::now();
        let plan = plan(&[file(CONFIG, text.as_bytes())], &Imports::new(), &trigger(), &Settings::default());
        println!("{name}: {:?}, {} jobs, {:?}", begin.elapsed(), plan.jobs.len(), plan.skip);
        let rules: BTreeSet<&str> = plan.problems.iter().map(|problem| problem.rule.as_str()).collect();
        match rule {
            Some(rule) => assert!(rules.contains(rule), "{name}: {rules:?}"),
            None => assert!(!plan.jobs.is_empty() || plan.skip.is_some(), "{name}: {rules:?}"),
        }
        assert!(plan.jobs.len() <= MAX_JOBS, "{name}");
        assert!(plan.problems.len() <= 500, "{name}: {} problems", plan.problems.len());
        let longest = plan.problems.iter().map(|problem| problem.message.len()).max();
        assert!(longest.unwrap_or(0) < 2_000, "{name}: a problem of {longest:?} bytes");
    }
}
