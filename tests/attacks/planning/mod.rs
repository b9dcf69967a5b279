//! Commits that eat memory and time while they are planned, planners that fail, and deliveries that always fail.
//! Everything is planned in a child process, as by the service.

mod children;
mod commits;
mod deliveries;
mod loads;

use std::collections::BTreeSet;
use std::process::Command;

use trainyard::domain::Trigger;
use trainyard::plan::{Settings, SourceFile};
use trainyard::planner::{Answer, PlanError, Planner, Request};
use trainyard::travis::import::Imports;

use crate::support::app::program;

fn file(path: impl Into<String>, text: impl Into<Vec<u8>>) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

fn trigger() -> Trigger {
    let sha = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    Trigger::push("acme/styles".parse().unwrap(), "main", sha)
}

/// Asks for the plan of these files, and returns the answer of the child.
async fn ask(planner: &Planner, files: &[SourceFile], imports: Imports) -> Result<Answer, PlanError> {
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.push("train.py");
    let (trigger, settings) = (trigger(), Settings::default());
    let request = Request { trigger: &trigger, settings: &settings, files, paths: &paths, changed: None, imports };
    planner.begin().ask(&request).await
}

/// A planner whose children leave their process ids in a file.
struct Watched {
    folder: tempfile::TempDir,
    planner: Planner,
}

impl Watched {
    fn new() -> Self {
        Self::running(&format!("exec '{}' \"$@\"", program().display()))
    }

    /// Returns a planner whose children run these commands.
    fn running(commands: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("planner");
        let script = format!("#!/bin/sh\necho $$ >> '{}/pids'\n{commands}\n", folder.path().display());
        // Written by another process: a child that another test starts meanwhile would inherit the open file, and a
        // file that is open for writing cannot be run.
        let install = "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let written = Command::new("sh").args(["-c", install, "sh", &script]).arg(&path).status().unwrap();
        assert!(written.success());
        Self { planner: Planner::new(path), folder }
    }

    /// Lists the process ids of all children so far.
    fn pids(&self) -> Vec<u32> {
        let pids = std::fs::read_to_string(self.folder.path().join("pids")).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Plans a small commit, and panics if that fails.
    async fn plan_hello(&self) {
        let files = [file(".travis.yml", "language: shell\nscript: echo hello\n")];
        match ask(&self.planner, &files, Imports::new()).await {
            Ok(Answer::Planned(plan)) => assert_eq!(plan.jobs.len(), 1, "{:?}", plan.problems),
            other => panic!("a small commit is not planned: {other:?}"),
        }
    }
}

/// Returns a fact of a process from `/proc`, such as the memory that it has had at most, in kB.
fn fact(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Returns the number of different values.
fn different<T: Ord>(values: impl IntoIterator<Item = T>) -> usize {
    values.into_iter().collect::<BTreeSet<_>>().len()
}
