//! The server's answers, as far as commands read them. Fields that are not known here are ignored, and those that a
//! server lacks are empty.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::cli::table::Colour;
use crate::domain::{Problem, in_words};

/// A build, with its jobs and problems if it was asked for alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Build {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) number: i64,
    pub(super) state: String,
    pub(super) kind: String,
    pub(super) branch: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) sha: String,
    pub(super) message: Option<String>,
    pub(super) author: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) pull_request: Option<i64>,
    pub(super) pull_request_title: Option<String>,
    pub(super) head_branch: Option<String>,
    pub(super) needs_approval: bool,
    pub(super) approved_by: Option<String>,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) jobs: Vec<Job>,
    pub(super) problems: Vec<Problem>,
}

/// A job of a build.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub(super) id: i64,
    pub(super) number: i64,
    pub(super) stage: Option<String>,
    pub(super) name: Option<String>,
    pub(super) allow_failure: bool,
    pub(super) state: String,
    pub(super) verdict: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) wait_reason: Option<String>,
    pub(super) warning: Option<String>,
    /// How far it is, or how long it takes, in words.
    pub(super) outlook: Option<String>,
    pub(super) attempt: i64,
    pub(super) runner: Option<String>,
    pub(super) log_length: i64,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

/// A state in words, with its mark and colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sign: &'static str,
    pub(super) words: String,
    pub(super) colour: Colour,
}

impl Mark {
    /// Returns the mark of a state or verdict. One that only a newer server knows has its own word.
    fn of(word: &str) -> Self {
        let (sign, colour) = match word {
            "passed" => ("✔", Colour::Green),
            "failed" | "errored" | "timed_out" => ("✘", Colour::Red),
            "canceled" => ("–", Colour::Yellow),
            "running" => ("●", Colour::Yellow),
            _ => ("○", Colour::Faint),
        };
        Self { sign, words: word.replace('_', " "), colour }
    }

    pub(super) fn text(&self) -> String {
        format!("{} {}", self.sign, self.words)
    }
}

impl Build {
    pub(super) fn is_finished(&self) -> bool {
        !matches!(self.state.as_str(), "queued" | "running")
    }

    pub(super) fn is_unapproved(&self) -> bool {
        self.needs_approval && self.approved_by.is_none() && !self.is_finished()
    }

    /// Returns the exit status of a command that waits for the build's end.
    pub(super) fn exit_status(&self) -> u8 {
        if self.state == "passed" || !self.is_finished() { crate::cli::FINE } else { crate::cli::PROBLEMS }
    }

    pub(super) fn mark(&self) -> Mark {
        let mark = Mark::of(&self.state);
        if self.is_unapproved() {
            Mark { words: "needs approval".to_owned(), colour: Colour::Yellow, ..mark }
        } else {
            mark
        }
    }

    /// Returns `acme/styles #12`.
    pub(super) fn title(&self) -> String {
        format!("{}/{} #{}", self.owner, self.name, self.number)
    }

    /// Returns the first line of the commit message, or the title of the pull request.
    pub(super) fn subject(&self) -> &str {
        let first_line = self.message.as_deref().and_then(|message| message.lines().next());
        [self.pull_request_title.as_deref(), first_line].into_iter().flatten().next().unwrap_or_default()
    }

    /// Returns the branch, tag or pull request that was built.
    pub(super) fn reference(&self) -> String {
        match self.pull_request {
            Some(number) => format!("PR {number}"),
            None => self.tag.clone().or_else(|| self.branch.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn short_sha(&self) -> String {
        self.sha.chars().take(7).collect()
    }

    pub(super) fn person(&self) -> &str {
        self.author.as_deref().or(self.sender.as_deref()).unwrap_or_default()
    }

    pub(super) fn took(&self, now: DateTime<Utc>) -> String {
        took(self.started_at, self.finished_at, now)
    }
}

impl Job {
    pub(super) fn is_finished(&self) -> bool {
        self.state == "finished"
    }

    /// Returns the exit status of a command that waits for the job's end.
    pub(super) fn exit_status(&self) -> u8 {
        verdict_status(self.verdict.as_deref())
    }

    pub(super) fn mark(&self) -> Mark {
        let mark = Mark::of(self.verdict.as_deref().filter(|_| self.is_finished()).unwrap_or(&self.state));
        let is_allowed = self.allow_failure && self.is_finished() && self.verdict.as_deref() != Some("passed");
        if is_allowed {
            return Mark { words: format!("{} (allowed)", mark.words), colour: Colour::Yellow, ..mark };
        }
        mark
    }

    /// Returns the stage and name of the job, as far as it has them.
    pub(super) fn label(&self) -> String {
        let parts = [self.stage.as_deref(), self.name.as_deref()];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// Returns the reason for the state: why the job waits, how far it is, or how it ended.
    pub(super) fn why(&self) -> &str {
        let why =
            if self.is_finished() { self.reason.as_ref() } else { self.wait_reason.as_ref().or(self.outlook.as_ref()) };
        why.or(self.warning.as_ref()).map_or("", String::as_str)
    }

    pub(super) fn took(&self, now: DateTime<Utc>) -> String {
        took(self.started_at, self.finished_at, now)
    }
}

/// Returns the exit status for the verdict of a job.
pub(super) fn verdict_status(verdict: Option<&str>) -> u8 {
    if verdict == Some("passed") { crate::cli::FINE } else { crate::cli::PROBLEMS }
}

/// Returns how long something took, or has taken until now; empty before it has begun.
fn took(started: Option<DateTime<Utc>>, finished: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let took = started.map(|started| finished.unwrap_or(now).signed_duration_since(started));
    // The clocks of two machines may differ by a little.
    took.map(|took| in_words(took.to_std().unwrap_or(Duration::ZERO).max(Duration::from_secs(1)))).unwrap_or_default()
}

/// Returns the time since then in its largest unit, such as `3 min`; empty for no time.
pub(super) fn since(then: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let Some(then) = then else { return String::new() };
    let seconds = now.signed_duration_since(then).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a time of [`took`] for a table: without seconds beside minutes.
pub(super) fn rough(took: &str) -> &str {
    took.split_once(" min ").map_or(took, |(minutes, _)| &took[..minutes.len() + " min".len()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_other_versions_are_read() {
        let build: Build =
            serde_json::from_value(json!({ "number": 3, "state": "paused", "new": { "field": 1 } })).expect("a build");
        assert_eq!((build.mark().text().as_str(), build.is_finished()), ("○ paused", true));
        assert_eq!((build.title().as_str(), build.subject()), ("/ #3", ""));
    }

    #[test]
    fn an_allowed_failure_is_no_alarm() {
        let job = Job {
            state: "finished".to_owned(),
            verdict: Some("timed_out".to_owned()),
            allow_failure: true,
            ..Job::default()
        };
        assert_eq!((job.mark().text().as_str(), job.mark().colour), ("✘ timed out (allowed)", Colour::Yellow));
    }

    #[test]
    fn a_running_job_tells_how_far_it_is() {
        let job: Job = serde_json::from_value(
            json!({ "state": "running", "warning": "an old version", "outlook": "step 12 of 40, loss 0.5, 6 min left" }),
        )
        .expect("a job");
        assert_eq!(job.why(), "step 12 of 40, loss 0.5, 6 min left");
        assert_eq!(Job { outlook: None, ..job }.why(), "an old version");
    }

    #[test]
    fn times_are_short() {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0);
        let now = at(0).expect("a time");
        assert_eq!(took(at(-75), None, now), "1 min 15 s");
        assert_eq!(took(at(5), None, now), "1 s", "the server's clock is ahead");
        assert_eq!(took(None, None, now), "");
        assert_eq!([at(5), at(-3599), at(-90_000), None].map(|then| since(then, now)), ["0 s", "59 min", "1 d", ""]);
        assert_eq!(["12 s", "1 min 15 s", "2 h 5 min", ""].map(rough), ["12 s", "1 min", "2 h 5 min", ""]);
    }
}
