//! Plans of whole files: `fixtures/plan/NN_name.yml` beside the plan in `NN_name.json`. `UPDATE_FIXTURES=1` writes
//! the plans anew, to be read in the diff.

use std::path::Path;

use proptest::prelude::*;
use trainyard::domain::{Trigger, TriggerKind};
use trainyard::plan::{CONFIG, Settings, SourceFile, plan, wanted_imports};
use trainyard::travis::import::{Found, Imports, Revision, Source};

fn trigger() -> Trigger {
    Trigger {
        kind: TriggerKind::Push,
        repo: "acme/styles".parse().expect("a name"),
        branch: Some("main".to_owned()),
        tag: None,
        sha: "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit"),
        before: None,
        message: Some("Train longer".to_owned()),
        author: None,
        sender: Some("alice".to_owned()),
        compare_url: None,
        pull_request: None,
    }
}

fn file(path: &str, text: &[u8]) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_vec() }
}

/// What a fixture imports: files of its folder.
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
        let got = serde_json::to_string_pretty(&plan).expect("JSON") + "\n";
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

/// Lines that real files are made of, in any order and at any depth.
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

/// Texts that are small to write and large to read end in a problem, and soon. The bound is generous for debug builds.
#[test]
fn hostile_texts_end_soon() {
    let levels = |n: usize| {
        let list: String =
            (1..n).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","))).collect();
        format!("a0: &a0 [x]\n{list}")
    };
    let axis = |key: &str| format!("{key}: [{}]\n", (0..90).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for (name, text) in [
        ("aliases", levels(12)),
        (
            "merges",
            (0..400)
                .map(|i| {
                    format!(
                        "k{i}: &k{i}\n  <<: [{}]\n  x{i}: 1\n",
                        (0..i).map(|j| format!("*k{j}")).collect::<Vec<_>>().join(",")
                    )
                })
                .collect(),
        ),
        ("brackets", "[".repeat(900_000)),
        ("dashes", "- ".repeat(450_000)),
        ("keys", (0..90_000).map(|i| format!("k{i}: v\n")).collect()),
        ("misspelled keys", (0..20_000).map(|i| format!("scrpt{i}: v\n")).collect()),
        ("product", format!("language: python\n{}{}{}", axis("python"), axis("arch"), axis("env"))),
        ("include", format!("jobs:\n  include:\n{}", "  - env: A=1\n".repeat(10_000))),
        ("condition", format!("if: {}\n", "(".repeat(100_000))),
        (
            "imports",
            format!("import:\n{}", "- {source: a.yml, if: commit_message =~ /(T|r|a|i|n)*(a|a)*x$/}\n".repeat(10_000)),
        ),
        ("regex", format!("if: commit_message =~ /({})*$/\n", "(a|a)*".repeat(100))),
    ] {
        let begin = std::time::Instant::now();
        plan(&[file(CONFIG, text.as_bytes())], &Imports::new(), &trigger(), &Settings::default());
        let took = begin.elapsed();
        println!("{name}: {took:?}");
        assert!(took.as_secs() < 5, "{name} took {took:?}");
    }
}
