//! The text and the annotations of a check run. A pure function of a build's rows.

use bytesize::ByteSize;
use serde::Deserialize as _;
use serde_json::Value as Json;

use super::markdown::{cut, plain};
use crate::attempt::Examined;
use crate::domain::{Problem, Severity, Verdict};
use crate::github::Annotation;
use crate::lora::verdict::{Saved, Weights};
use crate::store::checks::{CheckedBuild, CheckedJob};

/// Number of problems of a summary. The page of the build has all.
const MAX_PROBLEMS: usize = 100;
/// Number of jobs of a summary.
const MAX_JOBS: usize = 200;
/// Maximum length of an annotation's message, in characters.
const MAX_MESSAGE: usize = 4_000;

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

/// Returns the summary in Markdown, of at most this many characters: the problems, the verdicts of the jobs, and the
/// weights that trainings have saved.
pub(super) fn summary(build: &CheckedBuild, problems: &[Problem], most: usize) -> String {
    let mut text = String::new();
    let mut section =
        |title, head: &[&str], rows: &[Vec<String>], total| add_section(&mut text, most, (title, head), rows, total);
    section("Problems", &["", "Place", "What is wrong"], &rows_of(problems), problems.len());
    let jobs: Vec<Vec<String>> = build.jobs.iter().take(MAX_JOBS).map(job).collect();
    section("Jobs", &["Job", "Verdict", "Reason"], &jobs, build.jobs.len());
    let weights: Vec<Vec<String>> = build.smoke.iter().flat_map(weights).collect();
    section("Weights", &["Job", "File", "What it is", "Size"], &weights, weights.len());
    if text.is_empty() {
        text.push_str("There are no problems and no jobs.\n");
    }
    text
}

fn rows_of(problems: &[Problem]) -> Vec<Vec<String>> {
    let mut problems: Vec<&Problem> = problems.iter().collect();
    // Errors come first, as on the page.
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    let row =
        |problem: &&Problem| vec![level(problem.severity).to_owned(), plain(&problem.place()), plain(&problem.message)];
    problems.iter().take(MAX_PROBLEMS).map(row).collect()
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

/// Returns the rows of the weights that a smoke job has saved.
fn weights((job, report): &(String, Json)) -> Vec<Vec<String>> {
    let Ok(Examined { saved, .. }) = Examined::deserialize(report) else { return Vec::new() };
    let row = |saved: &Saved| {
        let Weights::Read(read) = &saved.weights else { return None };
        let what = format!("{}, {}", read.in_words(), read.dtypes.join(" and "));
        Some(vec![job.clone(), plain(&saved.path), plain(&what), ByteSize::b(read.bytes).to_string()])
    };
    saved.iter().filter_map(row).collect()
}

/// Adds a table, as many of its rows as there is room for.
fn add_section(text: &mut String, most: usize, (title, head): (&str, &[&str]), rows: &[Vec<String>], total: usize) {
    const ROOM_FOR_MORE: usize = 200;
    if rows.is_empty() {
        return;
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    let mut part = format!("### {title}\n\n");
    part.push_str(&line(&mut head.iter().copied()));
    part.push_str(&line(&mut head.iter().map(|_| "---")));
    let mut length = text.chars().count() + part.chars().count();
    let mut shown = 0;
    for row in rows {
        let row = line(&mut row.iter().map(String::as_str));
        length += row.chars().count();
        if length + ROOM_FOR_MORE > most {
            break;
        }
        part.push_str(&row);
        shown += 1;
    }
    if shown < total {
        part.push_str(&format!("\n{} more are on the page of the build.\n", total - shown));
    }
    part.push('\n');
    if text.chars().count() + part.chars().count() <= most {
        text.push_str(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::MAX_SUMMARY;

    fn problem(severity: Severity, file: Option<&str>, line: Option<u32>, message: &str) -> Problem {
        Problem {
            severity,
            rule: "some-rule".to_owned(),
            message: message.to_owned(),
            file: file.map(str::to_owned),
            line,
            column: None,
            key: None,
            fix: None,
        }
    }

    #[test]
    fn problems_in_files_are_annotations_on_their_lines() {
        let problems = [
            problem(Severity::Warning, Some("a.yaml"), Some(3), "odd"),
            problem(Severity::Error, None, None, "of the whole build"),
            problem(Severity::Error, Some("b.yaml"), None, "of the whole file"),
        ];
        let found = annotations(&problems);
        let facts: Vec<_> = found.iter().map(|it| (it.path.as_str(), it.start_line, it.annotation_level)).collect();
        assert_eq!(facts, [("a.yaml", 3, "warning"), ("b.yaml", 1, "failure")]);
    }

    #[test]
    fn a_summary_stays_within_githubs_bound() {
        let problems: Vec<Problem> =
            (0..500).map(|_| problem(Severity::Error, Some("a.yaml"), Some(1), &"<".repeat(9_000))).collect();
        let jobs = (0..200).map(|number| CheckedJob {
            number: format!("1.{number}"),
            name: Some("@".repeat(400)),
            verdict: Some(Verdict::Failed),
            allow_failure: false,
            reason: Some("<".repeat(400)),
        });
        let build = CheckedBuild { jobs: jobs.collect(), smoke: Vec::new() };
        let text = summary(&build, &problems, MAX_SUMMARY);
        assert!(text.chars().count() <= MAX_SUMMARY, "{}", text.chars().count());
        assert!(text.contains("more are on the page of the build"), "{}", &text[..200]);
        assert!(annotations(&problems).iter().all(|it| it.message.chars().count() <= MAX_MESSAGE));
    }
}
