//! `trainyard condition`, as a person types it.

use std::process::{Command, Output};

fn condition(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("condition").args(arguments).output().unwrap()
}

/// Runs the command. Returns exit status, standard output and standard error.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = condition(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Writes a file of data. Returns its folder, which keeps it alive, and its path.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.json");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn true_and_false_are_both_fine() {
    let (_folder, data) = file(r#"{"branch": "main", "tag": null, "env": {"MODE": "full"}}"#);
    let fine = |text: &str| (Some(0), text.to_owned(), String::new());
    assert_eq!(said(&["branch = main AND env(MODE) = full", "--data", &data]), fine("true\n"));
    assert_eq!(said(&["tag IS present", "--data", &data]), fine("false\n"));
    assert_eq!(said(&["tag IS blank"]), fine("true\n"), "without data nothing is there");
    assert_eq!(said(&["branch =~ ^ma", "--data", &data, "--json"]), fine("{\"result\":true}\n"));
}

#[test]
fn a_mistake_has_a_caret_under_it() {
    let (code, out, err) = said(&["branch = main AND OR tag = x y"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[1], "    branch = main AND OR tag = x y", "{err}");
    assert!(lines[0].contains("cannot be read from here on") && lines[2].trim() == "^", "{err}");
    let (code, _, err) = said(&["branch = "]);
    assert!(
        code == Some(1) && err.contains("ends where something more must come") && err.ends_with("             ^\n"),
        "{err}"
    );
    let (_, _, err) = said(&["branch = $NAME"]);
    assert!(err.contains("env(NAME)") && err.ends_with("             ^\n"), "{err}");
    let (code, _, err) = said(&["\"x\" =~ /a(/"]);
    assert!(code == Some(1) && err.contains("valid regular expression") && err.ends_with("            ^\n"), "{err}");
    let (code, out, _) = said(&["branch = (", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &facts["error"]["column"]), (Some(1), &serde_json::json!(10)), "{out}");
}

#[test]
fn data_of_another_form_is_refused_with_an_example() {
    for (text, what) in [
        ("[1]", "holds a list, but it must hold a map"),
        ("\"main\"", "holds a text"),
        (r#"{"env": 3}"#, "`env` is a number"),
        ("{branch: main}", "is not JSON: key must be a string at line 1 column 2"),
    ] {
        let (_folder, data) = file(text);
        let (code, out, err) = said(&["branch = main", "--data", &data]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains(what) && err.contains(&data), "{err}");
    }
    let (code, _, err) = said(&["true", "--data", "/nowhere/data.json"]);
    assert!(code == Some(1) && err.contains("cannot read /nowhere/data.json"), "{err}");
    assert_eq!(said(&[]).0, Some(2), "a condition must be given");
}
