//! The text of a check run and of our comment on a pull request, and the annotations of a check run. Pure functions of a
//! build's rows.

mod text;
mod trainings;

pub(super) use trainings::Links;

use self::text::Text;
use super::markdown::{code_block, cut, plain};
use crate::domain::{BuildState, Problem, Severity, Verdict};
use crate::github::{Action, Annotation};
use crate::store::checks::{CheckedBuild, CheckedJob};

/// Number of problems of a summary. The page of the build has all.
const MAX_PROBLEMS: usize = 100;
/// Number of problems whose lines are shown.
const MAX_LINES: usize = 10;
/// Number of jobs of a summary.
const MAX_JOBS: usize = 200;
/// Maximum length of an annotation's message, in characters.
const MAX_MESSAGE: usize = 4_000;

const RETRY: Action = Action { label: "Retry", description: "Run the jobs again that failed", identifier: "retry" };
const APPROVE: Action =
    Action { label: "Approve", description: "Let the jobs of this commit run", identifier: "approve" };
const CANCEL: Action = Action { label: "Cancel", description: "End the jobs of this build", identifier: "cancel" };

/// Returns the buttons that make sense for a build.
pub(super) fn actions(build: &CheckedBuild) -> Vec<Action> {
    match build.state {
        BuildState::Queued | BuildState::Running if build.is_unapproved => vec![APPROVE, CANCEL],
        BuildState::Queued | BuildState::Running => vec![CANCEL],
        BuildState::Failed | BuildState::Errored | BuildState::Canceled if !build.jobs.is_empty() => vec![RETRY],
        _ => Vec::new(),
    }
}

/// Returns the annotations of problems that are in a file, in the order in which the problems are stored. Notes, which ask
/// for nothing, are in the summary alone.
pub(super) fn annotations(problems: &[Problem]) -> Vec<Annotation> {
    let annotation = |problem: &Problem| {
        let line = problem.line.unwrap_or(1).max(1);
        Some(Annotation {
            path: problem.file.clone()?,
            start_line: line,
            end_line: line,
            annotation_level: level(problem.severity),
            title: problem.rule.clone(),
            message: cut(&problem.message, MAX_MESSAGE),
        })
    };
    problems.iter().filter(|problem| problem.severity > Severity::Info).filter_map(annotation).collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "failure",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    }
}

/// Returns the summary in Markdown, of at most this many characters: the problems with their lines, the verdicts of the
/// jobs, the losses and weights of trainings, and what differs from the base branch.
pub(super) fn summary(build: &CheckedBuild, links: &Links<'_>, most: usize) -> String {
    let mut text = Text::new(most);
    let problems = problems(build);
    let rows: Vec<Vec<String>> = problems.iter().take(MAX_PROBLEMS).map(|(problem, _)| row(problem)).collect();
    text.table("Problems", &["", "Place", "What is wrong"], &rows, problems.len());
    let shown = problems.iter().filter_map(|(problem, line)| Some((problem, line.as_deref()?)));
    for (problem, line) in shown.filter(|(problem, _)| problem.severity > Severity::Info).take(MAX_LINES) {
        text.block(&format!("{}\n\n{}\n", plain(&problem.place()), code_block(line)));
    }
    let jobs: Vec<Vec<String>> = build.jobs.iter().take(MAX_JOBS).map(job).collect();
    text.table("Jobs", &["Job", "Verdict", "Reason"], &jobs, build.jobs.len());
    trainings::add(&mut text, build, links);
    text.finish("There are no problems and no jobs.\n")
}

/// Lists the problems with their lines, errors first, as on the page.
fn problems(build: &CheckedBuild) -> Vec<(&Problem, Option<String>)> {
    let line = |place: usize| build.lines.get(place).cloned().flatten();
    let mut problems: Vec<_> = build.problems.iter().enumerate().map(|(place, it)| (it, line(place))).collect();
    problems.sort_by_key(|(problem, _)| std::cmp::Reverse(problem.severity));
    problems
}

fn row(problem: &Problem) -> Vec<String> {
    vec![level(problem.severity).to_owned(), plain(&problem.place()), plain(&problem.message)]
}

fn job(job: &CheckedJob) -> Vec<String> {
    let name = job.name.as_deref().map(|name| format!(" {}", plain(name))).unwrap_or_default();
    let verdict = match job.verdict {
        None => "unfinished",
        Some(Verdict::Passed) => "passed",
        Some(Verdict::Failed) => "failed",
        Some(Verdict::Errored) => "errored",
        Some(Verdict::Canceled) => "canceled",
        Some(Verdict::TimedOut) => "timed out",
    };
    let may_fail = if job.allow_failure { ", may fail" } else { "" };
    vec![
        format!("{}{name}", job.number),
        format!("{verdict}{may_fail}"),
        plain(job.reason.as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests;
