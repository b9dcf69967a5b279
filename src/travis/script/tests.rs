use std::process::Command;

use serde_json::json;

use super::*;

fn facts() -> Facts {
    let numbered = |id, number: &str| Numbered { id, number: number.to_owned(), url: format!("https://ci/{number}") };
    Facts {
        home: "/tmp".to_owned(),
        image: "acme/python:3.11".to_owned(),
        host: "https://ci".to_owned(),
        repo: "acme/styles".parse().expect("a name"),
        private: false,
        event: TriggerKind::Push,
        branch: "main'; touch /tmp/owned; '".to_owned(),
        tag: None,
        commit: "a".repeat(40),
        commit_range: String::new(),
        commit_message: "it's $(touch /tmp/owned)\n\"`touch /tmp/owned`".to_owned(),
        pull_request: None,
        build: numbered(7, "12"),
        job: numbered(8, "12.1"),
        restarted: false,
        secrets_allowed: true,
        settings: vec![Setting { name: "TOKEN".to_owned(), value: "it's $HOME".to_owned(), secret: true }],
        cache: None,
        decrypted: vec![("c2Vj".to_owned(), "PASS=hush".to_owned())],
    }
}

/// Runs the script in a home of its own; the status and the whole output.
fn run(config: &Json) -> (Option<i32>, String) {
    let dir =
        std::env::temp_dir().join(format!("trainyard-script-{}-{:?}", std::process::id(), std::thread::current().id()));
    let home = dir.to_string_lossy().into_owned();
    std::fs::create_dir_all(dir.join("build/acme/styles")).expect("a folder");
    let script = compile(config, &Facts { home, ..facts() });
    let output = Command::new("bash").arg("-c").arg(script).output().expect("bash");
    std::fs::remove_dir_all(&dir).expect("the folder");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn hostile_texts_stay_texts() {
    let (status, log) = run(&json!({"language": "generic", "script": [
        "printf '[%s]' \"$TRAVIS_COMMIT_MESSAGE\"", "printf '[%s]' \"$TRAVIS_BRANCH\"", "printf '[%s]' \"$TOKEN\"",
    ]}));
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("[it's $(touch /tmp/owned)\n\"`touch /tmp/owned`]"), "{log}");
    assert!(log.contains("[main'; touch /tmp/owned; ']"), "{log}");
    assert!(log.contains("[it's $HOME]"), "{log}");
    assert!(log.contains("$ export TOKEN=[secure]"), "{log}");
}

#[test]
fn variables_of_the_file_are_evaluated_and_secrets_hidden() {
    let env = json!([{"A": "$TRAVIS_BUILD_NUMBER", "B": "\"$A x\""}, {"secure": "c2Vj"}, {"secure": "unknown"}]);
    let (status, log) = run(&json!({"language": "generic", "env": env, "script": ["echo [$B] [${#PASS}]"]}));
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("[12 x] [4]"), "{log}");
    assert!(log.contains("$ export PASS=[secure]") && !log.contains("hush"), "{log}");
}

#[test]
fn a_language_without_commands_says_so() {
    let (status, log) = run(&json!({"language": "haskell"}));
    assert_eq!(status, Some(2));
    assert!(log.contains("no default commands for the language `haskell`"), "{log}");
    assert_eq!(run(&json!({"language": "haskell", "script": ["true"]})).0, Some(0));
}

#[test]
fn a_missing_python_names_the_image() {
    let (status, log) = run(&json!({"language": "python", "python": "2.0", "script": ["true"]}));
    assert_eq!(status, Some(2));
    assert!(log.contains("The image acme/python:3.11 has no Python 2.0"), "{log}");
}

#[test]
fn a_map_in_script_runs_in_its_printed_form() {
    let (status, log) = run(&json!({"language": "generic", "script": [{"echo a": "b"}]}));
    assert_eq!(status, Some(1));
    assert!(log.contains("$ {\"echo a\"=>\"b\"}"), "{log}");
}

#[test]
fn skipped_phases_and_folds() {
    let (status, log) = run(&json!({"language": "python", "python": "2.0", "install": ["skip"], "script": ["skip"]}));
    assert_eq!(status, Some(2), "{log}");
    let (status, log) = run(&json!({"language": "generic", "install": ["a=1", "b=2"], "script": ["skip"]}));
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("travis_fold:start:install.1\r\u{1b}[0Ktravis_time:start:"), "{log}");
    assert!(log.contains("Skipping the script step, as specified in the configuration."), "{log}");
}
