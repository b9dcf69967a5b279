//! The outcome of the jobs: a table for people, facts for programs.

use std::time::Duration;

use serde::Serialize;

use crate::cli::jobs::{Column, label};
use crate::cli::table::{Colour, Table, inert, paint};
use crate::domain::{BuildState, JobState, JobSummary, Verdict, in_words, roll_up};
use crate::plan::{Plan, PlannedJob};

/// A job that has ended, or that will not run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Ended {
    pub(super) number: String,
    pub(super) stage: Option<String>,
    pub(super) name: Option<String>,
    pub(super) allow_failure: bool,
    pub(super) verdict: Verdict,
    pub(super) exit_status: Option<i64>,
    pub(super) seconds: f64,
    pub(super) reason: Option<String>,
    /// Place of the job's stage among the stages of the build.
    #[serde(skip)]
    pub(super) stage_order: usize,
}

/// Returns the state of a build whose jobs have ended in this way, by the roll-up of the service.
pub(super) fn state_of(ended: &[Ended]) -> BuildState {
    let summaries = ended.iter().map(|job| JobSummary {
        stage_order: i32::try_from(job.stage_order).unwrap_or(i32::MAX),
        state: JobState::Finished,
        verdict: Some(job.verdict),
        allow_failure: job.allow_failure,
    });
    roll_up(&summaries.collect::<Vec<_>>(), false)
}

/// Returns the mark of a job's end, such as `✔ passed`, and its colour.
fn mark(verdict: Verdict, allow_failure: bool) -> (String, Colour) {
    let (mark, word, colour) = match verdict {
        Verdict::Passed => ("✔", "passed", Colour::Green),
        Verdict::Failed => ("✘", "failed", Colour::Red),
        Verdict::Errored => ("✘", "errored", Colour::Red),
        Verdict::Canceled => ("–", "canceled", Colour::Yellow),
        Verdict::TimedOut => ("✘", "timed out", Colour::Red),
    };
    if allow_failure && verdict != Verdict::Passed {
        return (format!("{mark} {word} (allowed)"), Colour::Yellow);
    }
    (format!("{mark} {word}"), colour)
}

/// Returns the line under a job's log: how the job ended, and why.
pub(super) fn verdict_line(job: &Ended, colours: bool) -> String {
    let (verdict, colour) = mark(job.verdict, job.allow_failure);
    let reason = job.reason.as_ref().map(|reason| format!(": {}", inert(reason))).unwrap_or_default();
    let took = in_words(Duration::from_secs_f64(job.seconds));
    format!("{} in {took}{reason}\n", paint(&verdict, colour, colours))
}

/// Returns the table of the jobs, in the order in which they ran.
pub(super) fn table(plan: &Plan, columns: &[Column], ended: &[Ended]) -> Table {
    let staged = !plan.stages.is_empty();
    let mut head = vec!["JOB"];
    head.extend(staged.then_some("STAGE"));
    head.extend(["WHAT", "VERDICT", "TIME"]);
    head.extend(ended.iter().any(|job| job.reason.is_some()).then_some("REASON"));
    let mut table = Table::new(head);
    for job in ended {
        let index = plan.jobs.iter().position(|planned| planned.number == job.number).unwrap_or_default();
        let mut row = vec![(job.number.clone(), None)];
        row.extend(staged.then(|| (job.stage.clone().unwrap_or_default(), None)));
        row.push((label(columns, index), None));
        let (verdict, colour) = mark(job.verdict, job.allow_failure);
        row.push((verdict, Some(colour)));
        let took = Duration::from_secs_f64(job.seconds);
        row.push((if took.is_zero() { String::new() } else { in_words(took) }, None));
        row.extend(job.reason.clone().map(|reason| (reason, None)));
        table.push_painted(row);
    }
    table
}

/// Returns the title of a job's log: its number, stage and distinction.
pub(super) fn title(job: &PlannedJob, label: &str) -> String {
    let stage = job.stage.as_ref().map(|stage| format!(" · {stage}")).unwrap_or_default();
    let label = if label.is_empty() { String::new() } else { format!(" · {label}") };
    format!("Job {}{stage}{label}", job.number)
}
