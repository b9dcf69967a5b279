use serde_json::json;

use super::*;
use crate::travis::normal::{Options, normalize};

fn own() -> RepoName {
    "acme/styles".parse().unwrap()
}

fn root() -> Source {
    Source { repo: own(), revision: Revision::Built, path: ".travis.yml".to_owned() }
}

/// Merges a `.travis.yml` with these files next to it, which are looked up one round after the other.
fn merged_with(text: &str, files: &[(&str, &str)]) -> Merged {
    let repo = own();
    let data = json!({"type": "push", "branch": "main", "commit_message": "shared"});
    let build = Build { repo: &repo, config: ".travis.yml", data: &data };
    let mut imports = Imports::new();
    loop {
        let merged = merged(document(0, text.as_bytes()).unwrap(), &imports, build);
        if merged.wanted.is_empty() {
            return merged;
        }
        for source in merged.wanted {
            let file = files.iter().find(|(name, _)| *name == source.to_string());
            let found = match file {
                Some((_, text)) => Found::File(text.as_bytes().to_vec()),
                None => Found::Failed("there is no such file".to_owned()),
            };
            assert!(imports.insert(source, found).is_none(), "nothing is asked for twice");
        }
        assert!(imports.len() <= MAX_IMPORTS);
    }
}

fn config(text: &str, files: &[(&str, &str)]) -> Json {
    let merged = merged_with(text, files);
    assert_eq!((merged.messages, merged.faults), (Vec::new(), Vec::new()), "{text}");
    normalize(&merged.document, Options { defaults: false, ..Options::PRODUCTION }).unwrap().config
}

#[test]
fn the_forms_of_a_source() {
    let sub = Source { path: "ci/one/a.yml".to_owned(), ..root() };
    let other = Source { repo: "other/ci".parse().unwrap(), revision: Revision::Default, path: "a/b.yml".to_owned() };
    let sha = "0123456789abcdef0123456789abcdef01234567";
    for (text, from, meant) in [
        ("a.yml", &sub, "a.yml"),
        ("./a.yaml", &sub, "ci/one/a.yaml"),
        ("./shared", &sub, "ci/one/shared"),
        ("../a.yml", &sub, "ci/a.yml"),
        ("./../../a.yml", &sub, "a.yml"),
        ("a.yml@v1/x-y_z.0", &sub, "acme/styles:a.yml@v1/x-y_z.0"),
        ("Acme/Styles:a.yml", &sub, "a.yml"),
        ("other/ci:a.yml", &sub, "other/ci:a.yml"),
        ("other/ci:a/b@main", &sub, "other/ci:a/b@main"),
        ("./c.yml", &other, "other/ci:a/c.yml"),
        ("c.yml@main", &other, "other/ci:c.yml@main"),
        ("acme/styles:c.yml", &other, "acme/styles:c.yml"),
    ] {
        assert_eq!(Source::parse(text, from).map(|source| source.to_string()).as_deref(), Some(meant), "{text}");
    }
    let of_commit = Source::parse(&format!("other/ci:a.yml@{sha}"), &sub).unwrap();
    assert_eq!(of_commit.revision, Revision::Commit(sha.parse().unwrap()));
}

#[test]
fn sources_that_would_lead_elsewhere_mean_nothing() {
    let long = format!("{}.yml", "a".repeat(400));
    for text in [
        "",
        "invalid",
        "/etc/passwd.yml",
        "../../etc/passwd",
        "./../a.yml",
        "a/../../b.yml",
        "a//b.yml",
        "./.git/config",
        "a\\b.yml",
        "a\nb.yml",
        "a\0.yml",
        "other/ci:/etc/passwd",
        "other/ci:../x.yml",
        "other/ci:",
        "other:a.yml",
        "../other/ci:a.yml",
        "https://host/ci:a.yml",
        "-u/x:a.yml",
        "a.yml@",
        "a.yml@--upload-pack=x",
        "a.yml@a..b",
        "a.yml@a:b",
        "a.yml@a b",
        "a.yml@*",
        "a.yml@^a",
        "a.yml@x{1}",
        "a.yml@/a",
        "a.yml@a/-b",
        "a.yml@a.lock",
        "a.yml@é",
        &long,
    ] {
        assert_eq!(Source::parse(text, &root()), None, "{text:?}");
    }
}

#[test]
fn the_forms_of_the_key() {
    let files = [("one.yml", "script: one\n"), ("two.yml", "install: two\n"), ("shared/three.yml", "os: linux\n")];
    let (one, two) = (json!({"script": ["one"]}), json!({"script": ["one"], "install": ["two"]}));
    assert_eq!(config("import: one.yml\n", &files), one);
    assert_eq!(config("import: {source: ./one.yml, mode: merge}\n", &files), one);
    assert_eq!(config("import: [one.yml, source: two.yml]\n", &files), two);
    assert_eq!(config("import:\n- one.yml\n- {source: two.yml, if: branch = main}\n", &files), two);
    assert_eq!(config("import: '%{commit_message}/three.yml'\n", &files), json!({"os": ["linux"]}));
    assert_eq!(config("import:\n", &files), json!({}));
    let misspelled = merged_with("imports: one.yml\nscrpt: x\n", &files);
    assert_eq!(misspelled.messages.iter().map(|message| message.code).collect::<Vec<_>>(), [Code::FindKey]);
    assert!(misspelled.document.root.unwrap().get("script").is_some());
}

#[test]
fn the_modes_of_merging() {
    let own = "script: [own]\naddons: {apt: {packages: [own]}}\nos: linux\n";
    let files = [("one.yml", "script: [one]\naddons: {hosts: [one], apt: {packages: [one]}}\nos: osx\ndist: jammy\n")];
    for (mode, script, addons, dist) in [
        (
            "deep_merge_append",
            json!(["one", "own"]),
            json!({"apt": {"packages": ["one", "own"]}, "hosts": ["one"]}),
            true,
        ),
        (
            "deep_merge_prepend",
            json!(["own", "one"]),
            json!({"apt": {"packages": ["own", "one"]}, "hosts": ["one"]}),
            true,
        ),
        ("deep_merge", json!(["own"]), json!({"apt": {"packages": ["own"]}, "hosts": ["one"]}), true),
        ("merge", json!(["own"]), json!({"apt": {"packages": ["own"]}}), true),
    ] {
        let config = config(&format!("import: {{source: one.yml, mode: {mode}}}\n{own}"), &files);
        assert_eq!((&config["script"], &config["addons"]), (&script, &addons), "{mode}");
        assert_eq!(config["os"], json!(["linux"]), "{mode}: the importing file wins");
        assert_eq!(config.get("dist").is_some(), dist, "{mode}");
    }
    let replaced = merged_with(&format!("import: {{source: one.yml, mode: replace}}\n{own}"), &files);
    assert_eq!(replaced.document.root.unwrap().get("dist"), None);
}

#[test]
fn what_comes_first_wins_and_a_file_is_read_once() {
    let files = [
        ("a.yml", "import: [c.yml, .travis.yml]\ndist: focal\nenv: {global: [A=1]}\n"),
        ("b.yml", "import: ./a.yml\ndist: bionic\nos: osx\nenv: {global: [B=1]}\n"),
        ("c.yml", "os: linux\nenv: {global: [C=1]}\n"),
    ];
    let merged = config("import: [a.yml, b.yml]\nenv: {global: [X=1]}\n", &files);
    assert_eq!((&merged["dist"], &merged["os"]), (&json!("focal"), &json!(["linux"])));
    assert_eq!(merged["env"]["global"], json!([{"B": "1"}, {"C": "1"}, {"A": "1"}, {"X": "1"}]));
}

#[test]
fn a_condition_that_does_not_hold_leaves_a_file_out() {
    let merged =
        merged_with("import:\n- {source: one.yml, if: type = cron}\n- {source: two.yml, if: 'branch = ('}\n", &[]);
    let told: Vec<Code> = merged.messages.iter().map(|message| message.code).collect();
    assert_eq!(told, [Code::InvalidCondition, Code::SkipImport, Code::SkipImport]);
    assert_eq!(merged.faults, []);
}

#[test]
fn twenty_five_files_are_imported_and_no_more() {
    let all: Vec<(String, String)> =
        (0..40).map(|n| (format!("{n}.yml"), format!("import: {}.yml\n", n + 1))).collect();
    let files: Vec<(&str, &str)> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let list = |n: usize| (0..n).map(|n| format!("- x{n}.yml\n")).collect::<String>();
    let told = |merged: &Merged| merged.messages.iter().filter(|message| message.code == Code::TooManyImports).count();
    let flat: Vec<(String, &str)> = (0..26).map(|n| (format!("x{n}.yml"), "os: linux\n")).collect();
    let flat: Vec<(&str, &str)> = flat.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    assert_eq!(told(&merged_with(&format!("import:\n{}", list(25)), &flat)), 0);
    assert_eq!(told(&merged_with(&format!("import:\n{}", list(26)), &flat)), 1);
    assert_eq!(told(&merged_with("import: 0.yml\n", &files)), 1, "a chain does not avoid the bound");
    let skipped = "- {source: a.yml, if: type = cron}\n".repeat(51);
    let merged = merged_with(&format!("import:\n{skipped}"), &[]);
    assert_eq!(merged.faults[0].rule.name(), "too-many-imports", "nor do entries that are left out");
}

#[test]
fn faults_name_the_file_that_they_are_in() {
    let large = " ".repeat(yaml::MAX_BYTES + 1);
    let half = "# ".repeat(yaml::MAX_BYTES / 3);
    let many = format!("x: [{}]\n", "1,".repeat(yaml::MAX_NODES - 100));
    let files = [
        ("bad.yml", "script: x\na: [\n"),
        ("list.yml", "- a\n"),
        ("large.yml", &large),
        ("half.yml", &half),
        ("other.yml", &half),
        ("many.yml", &many),
        ("more.yml", &many),
    ];
    for (import, rule, file, line) in [
        ("none.yml", "failed-import", ".travis.yml", 2),
        ("bad.yml", "bad-yaml", "bad.yml", 2),
        ("list.yml", "not-a-map", "list.yml", 1),
        ("large.yml", "config-too-large", "large.yml", 0),
        ("[half.yml, other.yml]", "imports-too-large", ".travis.yml", 2),
        ("[many.yml, more.yml]", "imports-too-large", ".travis.yml", 2),
    ] {
        let merged = merged_with(&format!("script: x\nimport: {import}\n"), &files);
        let [fault] = &merged.faults[..] else { panic!("{import}: {:?}", merged.faults) };
        let named = merged.sources[usize::from(fault.at.file)].to_string();
        assert_eq!((fault.rule.name(), named.as_str(), fault.at.line), (rule, file, line), "{import}: {fault:?}");
        assert_eq!(fault.severity, Severity::Error);
    }
}
