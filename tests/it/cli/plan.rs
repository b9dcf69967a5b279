//! `trainyard plan`, as a person sees it.

use std::process::{Command, Stdio};

/// Runs the command in a folder with this `.travis.yml`. Returns exit status and standard output.
fn plan(travis: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".travis.yml"), travis).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
    let output = command.arg("plan").arg(folder.path()).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

const STAGED: &str = r#"language: python
python: "3.11"
scirpt: pytest
env: [RANK=8, RANK=16]
jobs:
  allow_failures: [{env: RANK=16}]
  include:
    - {stage: ship, name: Ship it, env: [{secure: "abc"}], script: ./ship}
"#;

#[test]
fn jobs_are_told_apart_by_what_differs() {
    let (code, out) = plan(STAGED, &[]);
    let wanted = "\
.travis.yml:3:1: warning: the key `scirpt` is not known and is read as `script`: write `script` [find-key]

STAGE  JOB  NAME     WITH      MAY FAIL
test   1             RANK=8
       2             RANK=16   yes
ship   3    Ship it  [secure]

3 jobs of python 3.11 in 2 stages, 1 may fail, 1 warning
";
    assert_eq!((code, out.as_str()), (Some(0), wanted));
}

#[test]
fn an_error_gives_status_1_and_nothing_to_build_does_not() {
    let (code, out) = plan("script: [\n", &[]);
    assert!(code == Some(1) && out.contains("[bad-yaml]") && out.ends_with("1 error: nothing would be run\n"), "{out}");
    let travis = "language: shell\nscript: x\nif: branch = dev\n";
    let (code, out) = plan(travis, &[]);
    assert!(code == Some(0) && out.starts_with("Nothing to build: the condition `branch = dev`"), "{out}");
    let (code, out) = plan(travis, &["--branch", "dev"]);
    assert!(code == Some(0) && out.contains("1    shell") && out.ends_with("1 job\n"), "{out}");
    let (_, out) = plan("script: x\nif: tag = v1 AND branch = v1\n", &["--tag", "v1"]);
    assert!(out.ends_with("1 job\n"), "a tag asks for a build of the tag: {out}");
}

#[test]
fn a_reader_that_has_enough_is_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let env: String = (0..190).map(|n| format!("  - A={n}{}\n", "x".repeat(600))).collect();
    std::fs::write(folder.path().join(".travis.yml"), format!("script: x\nenv:\n{env}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
    command.arg("plan").arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
