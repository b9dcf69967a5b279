//! `trainyard losses`, as a person types it.

use std::process::Command;

use serde_json::{Value, json};

/// Runs the command on a log. Returns exit status, standard output and standard error.
fn said(log: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("train.log");
    std::fs::write(&file, log).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("losses").arg(file).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_log_is_told_to_people_and_to_programs() {
    let log = "step 1/3 loss=0.5\nstep 2/3 loss=0.4\n";
    let (code, out, err) = said(log, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("steps      2 of 3") && !out.contains('\u{1b}'), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let (code, out, _) = said(log, &["--json"]);
    let facts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &facts["points"], &facts["last"]),
        (Some(0), &json!([[1, 0.5], [2, 0.4]]), &json!({"step": 2, "loss": 0.4}))
    );
}

#[test]
fn what_is_no_sound_training_is_no_success() {
    for (log, told) in
        [("hello\n", "no step and no loss"), ("step 1 loss=nan\n", "not a number"), ("step 1 loss=0\n", "exactly 0")]
    {
        let (code, out, _) = said(log, &[]);
        assert!(code == Some(1) && out.contains(told), "{told}: {out}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard")).args(["losses", "/nowhere/train.log"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /nowhere/train.log"));
}
