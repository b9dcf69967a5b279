use std::process::Command;

use serde_json::json;

use super::*;

fn facts() -> Facts {
    let numbered = |id, number: &str| Numbered { id, number: number.to_owned(), url: format!("https://ci/{number}") };
    Facts {
        home: "/tmp".to_owned(),
        image: "acme/python:3.11".to_owned(),
        image_id: "sha256:1".to_owned(),
        python: None,
        files: Files::InPlace,
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
        github_api: Some("https://api.github.example".to_owned()),
        cache: None,
        is_training: false,
        smoke: None,
        decrypted: vec![("c2Vj".to_owned(), "PASS=hush".to_owned())],
    }
}

/// Runs the script in a separate home. Returns the exit status and the whole output.
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
fn a_compiled_script_is_as_reviewed() {
    let config = json!({"language": "python", "python": "3.11", "env": [{"RANK": "8"}],
        "install": ["pip install -r requirements.txt"], "script": ["python train.py --rank $RANK"],
        "after_success": ["echo done"]});
    let script = compile(&config, &facts());
    // The functions stand in a file of their own, where they are reviewed.
    let own = script.split("\n").skip_while(|line| !line.starts_with("export ")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(own);
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
fn another_python_that_stands_in_is_told_and_used() {
    let substitute = PythonSubstitute { version: "3.12".to_owned(), warning: "It's 3.12 now.".to_owned() };
    let facts = Facts { python: Some(substitute), ..facts() };
    let script = compile(&json!({"language": "python", "python": "3.8", "script": ["true"]}), &facts);
    let lines: Vec<&str> = script.lines().skip_while(|line| !line.starts_with("export TRAVIS_PYTHON")).collect();
    assert_eq!(lines[0], "export TRAVIS_PYTHON_VERSION='3.8'");
    assert!(lines.contains(&"travis_venv='/tmp/virtualenv/python3.12'"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("ANSI_YELLOW") && line.contains("3.12 now.")), "{lines:#?}");
    assert!(lines.contains(&"elif [ \"$travis_image_python\" = '3.12' ]; then"), "{lines:#?}");
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

#[test]
fn every_kind_of_build_has_its_variables() {
    const NAMES: [&str; 11] = [
        "TRAVIS_EVENT_TYPE",
        "TRAVIS_BRANCH",
        "TRAVIS_TAG",
        "TRAVIS_PULL_REQUEST",
        "TRAVIS_PULL_REQUEST_BRANCH",
        "TRAVIS_PULL_REQUEST_SHA",
        "TRAVIS_PULL_REQUEST_SLUG",
        "TRAVIS_PULL_REQUEST_IS_DRAFT",
        "TRAVIS_COMMIT_RANGE",
        "TRAVIS_JOB_NUMBER",
        "TRAVIS_SECURE_ENV_VARS",
    ];
    let pull = PullRequestFacts {
        number: 7,
        branch: "watercolour".to_owned(),
        sha: "b".repeat(40),
        slug: "bob/styles".to_owned(),
        draft: true,
    };
    let plain = Facts { branch: "main".to_owned(), settings: Vec::new(), decrypted: Vec::new(), ..facts() };
    let with_range = Facts { commit_range: "1...2".to_owned(), ..plain.clone() };
    let tag = Facts { event: TriggerKind::Tag, branch: String::new(), tag: Some("v1".to_owned()), ..plain.clone() };
    let of_pull = Facts { event: TriggerKind::PullRequest, pull_request: Some(pull), ..with_range.clone() };
    let cron = Facts { event: TriggerKind::Cron, ..plain.clone() };
    let api = Facts { event: TriggerKind::Api, decrypted: facts().decrypted, ..plain };
    let sha = "b".repeat(40);
    for (facts, expected) in [
        (with_range, ["push", "main", "", "false", "", "", "", "", "1...2", "12.1", "false"]),
        (tag, ["push", "v1", "v1", "false", "", "", "", "", "", "12.1", "false"]),
        (
            of_pull,
            ["pull_request", "main", "", "7", "watercolour", &sha, "bob/styles", "true", "1...2", "12.1", "false"],
        ),
        (cron, ["cron", "main", "", "false", "", "", "", "", "", "12.1", "false"]),
        (api, ["api", "main", "", "false", "", "", "", "", "", "12.1", "true"]),
    ] {
        let show: Vec<String> = NAMES.iter().map(|name| format!("echo \"{name}=[${name}]\"")).collect();
        let script = compile(&json!({"language": "generic", "script": show}), &facts);
        // Only the variables are checked: the checkout's folder does not exist.
        let script = script.replace("travis_cmd 'cd ", "true 'cd ");
        let output = Command::new("bash").arg("-c").arg(script).output().expect("bash");
        let log = String::from_utf8_lossy(&output.stdout);
        for (name, value) in NAMES.iter().zip(expected) {
            assert!(log.contains(&format!("\n{name}=[{value}]\n")), "{name} is not {value:?} in\n{log}");
        }
    }
}

#[test]
fn the_last_words_are_the_scripts() {
    let script = compile(&json!({"language": "shell", "script": ["true"]}), &facts());
    assert!(script.contains(LAST_WORDS) && script.ends_with("travis_footer\n"), "{script}");
}
