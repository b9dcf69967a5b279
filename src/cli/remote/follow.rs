//! A build followed until its end, as plain lines: for a file, a pipe, or after a change.

use std::collections::BTreeMap;

use chrono::Utc;

use super::answers::Build;
use super::events::BuildChanges;
use super::session::Session;
use crate::cli::print;
use crate::cli::table::{Colour, inert, paint, wants_colours};

/// Number of questions in a row that may fail: some five minutes.
const MAX_FAILURES: u32 = 150;

/// Prints a line for each change of a build until its end. Returns the exit status for its verdict.
pub(super) async fn follow(session: &Session, number: i64) -> anyhow::Result<u8> {
    let colours = wants_colours(&std::io::stdout());
    let mut told = Told::default();
    let mut failures = 0;
    let mut changes = BuildChanges::of(session, number);
    loop {
        match session.build(number).await {
            Ok(build) => {
                failures = 0;
                print(&told.lines(&build, colours))?;
                if build.is_finished() {
                    return Ok(build.exit_status());
                }
            }
            Err(error) => {
                failures += 1;
                // A server that has never answered is perhaps none.
                if !error.may_pass() || failures > MAX_FAILURES || told.build.is_empty() {
                    return Err(error.into());
                }
                if failures == 1 {
                    eprintln!("trainyard: {error}; trying again");
                }
            }
        }
        changes.next().await;
    }
}

/// The states that were printed.
#[derive(Default)]
struct Told {
    build: String,
    jobs: BTreeMap<i64, String>,
}

impl Told {
    /// Returns the lines for what has changed.
    fn lines(&mut self, build: &Build, colours: bool) -> String {
        let mut text = String::new();
        let now = Utc::now();
        for job in &build.jobs {
            let mark = job.mark();
            if self.jobs.get(&job.number) == Some(&mark.words) {
                continue;
            }
            let label = job.label();
            let runner = job.runner.as_ref().filter(|_| !job.is_finished()).map(|runner| format!("on {runner}"));
            let took = job.took(now);
            let took = Some(format!("in {took}")).filter(|_| job.is_finished() && !took.is_empty());
            let why = job.why().to_owned();
            let parts = [Some(label), runner, took, Some(why)].into_iter().flatten().filter(|part| !part.is_empty());
            let parts: Vec<String> = parts.map(|part| inert(&part)).collect();
            text.push_str(&format!(
                "{}.{}  {}  {}\n",
                build.number,
                job.number,
                paint(&inert(&mark.text()), mark.colour, colours),
                parts.join(" · ")
            ));
            self.jobs.insert(job.number, mark.words);
        }
        let mark = build.mark();
        if self.build != mark.words {
            let title = paint(&inert(&build.title()), Colour::Bold, colours);
            text.push_str(&format!("{title}  {}\n", paint(&inert(&mark.text()), mark.colour, colours)));
            if build.is_unapproved() {
                text.push_str(&format!("It is of a fork, and waits for: trainyard approve {}\n", build.number));
            }
            self.build = mark.words;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_changes_are_told() {
        let build = |state: &str, job: &str, verdict: Option<&str>| -> Build {
            let job = json!({ "number": 1, "name": "train", "state": job, "verdict": verdict, "runner": "local" });
            serde_json::from_value(
                json!({ "owner": "acme", "name": "styles", "number": 3, "state": state, "jobs": [job] }),
            )
            .expect("a build")
        };
        let mut told = Told::default();
        let running = build("running", "running", None);
        assert_eq!(told.lines(&running, false), "3.1  ● running  train · on local\nacme/styles #3  ● running\n");
        assert_eq!(told.lines(&running, false), "");
        let ended = build("failed", "finished", Some("failed"));
        assert_eq!(told.lines(&ended, false), "3.1  ✘ failed  train\nacme/styles #3  ✘ failed\n");
        assert_eq!((ended.exit_status(), running.exit_status()), (1, 0));
    }
}
