//! A file is linted among other files, and its problems are compared.

use trainyard_base::domain::Severity;
use trainyard_lora::{Repository, lint};

/// Returns the problems of a file among other files: severity, line and message.
pub fn among(path: &str, files: &[(&str, &str)]) -> Vec<(Severity, Option<u32>, String)> {
    let texts = files.iter().map(|(path, text)| (*path, text.as_bytes()));
    let repository = Repository::of(files.iter().map(|(path, _)| *path), texts);
    let text = files.iter().find(|(known, _)| *known == path).expect("the file").1;
    let problems = lint(path, text.as_bytes(), &repository).map(|linted| linted.problems).unwrap_or_default();
    let told = problems.into_iter().filter(|problem| problem.severity >= Severity::Warning);
    told.map(|problem| (problem.severity, problem.line, problem.message)).collect()
}

#[track_caller]
#[allow(dead_code, reason = "not every test crate uses it")]
pub fn clean(path: &str, files: &[(&str, &str)]) {
    assert_eq!(among(path, files), [], "{path}");
}

/// Asserts that there is one problem, on this line, and that its message has this text.
#[track_caller]
#[allow(dead_code, reason = "not every test crate uses it")]
pub fn one(path: &str, files: &[(&str, &str)], severity: Severity, line: u32, about: &str) {
    match among(path, files).as_slice() {
        [(found, at, message)] => {
            assert!(*found == severity && *at == Some(line) && message.contains(about), "{found:?} {at:?} {message}");
        }
        found => panic!("not one problem: {found:#?}"),
    }
}
