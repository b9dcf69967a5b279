use std::sync::Arc;

use super::*;
use crate::domain::JobId;
use crate::github::MAX_SUMMARY;
use crate::outbox::ChartLinks;
use crate::repo_keys::Seal;
use crate::store::checks::{Base, Training};

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

fn build(state: BuildState, problems: Vec<Problem>) -> CheckedBuild {
    CheckedBuild {
        state,
        is_unapproved: false,
        problems,
        lines: Vec::new(),
        jobs: Vec::new(),
        trainings: Vec::new(),
        base: None,
    }
}

fn summary_of(build: &CheckedBuild) -> String {
    let charts = ChartLinks::new(Arc::new(Seal::new(&[7; 32]).unwrap()));
    summary(build, &Links { charts: &charts, server: "https://ci.example.org" }, MAX_SUMMARY)
}

fn training(name: &str, points: &[f64]) -> Training {
    Training {
        job: JobId(3),
        attempt: 1,
        number: "2.1".to_owned(),
        name: Some(name.to_owned()),
        finished_at: chrono::DateTime::from_timestamp(1_800_000_000, 0),
        report: None,
        steps: (1..).take(points.len()).collect(),
        points: points.to_vec(),
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
fn a_problem_has_its_line_in_a_block_that_it_cannot_leave() {
    let hostile = "lr: 1 # ``` @acme/all ```` <img src=x>";
    let mut build = build(
        BuildState::Failed,
        vec![
            problem(Severity::Info, Some("a.yaml"), Some(1), "a note"),
            problem(Severity::Error, Some("b.yaml"), Some(3), "too high"),
        ],
    );
    build.lines = vec![Some("a: 1".to_owned()), Some(hostile.to_owned())];
    let text = summary_of(&build);
    assert!(text.contains(&format!("b.yaml&#58;3\n\n`````\n{hostile}\n`````\n")), "{text}");
    assert!(!text.contains("a: 1"), "{text}");
}

#[test]
fn losses_have_charts_and_stand_next_to_those_of_the_base_branch() {
    let mut build = build(BuildState::Passed, Vec::new());
    build.trainings = vec![training("smoke ink.yaml", &[1.0, 0.5, 0.25]), training("smoke new.yaml", &[f64::NAN])];
    let trainings = vec![training("smoke ink.yaml", &[1.0, 0.75])];
    build.base = Some(Base { number: 1, branch: "main".to_owned(), trainings });
    let text = summary_of(&build);
    assert!(text.contains("| 2.1 smoke ink.yaml | 1 | 0.25 | 0.25 |"), "{text}");
    assert_eq!(text.matches("![Loss of job 2.1](https://ci.example.org/charts/3/1/1807776000/").count(), 2, "{text}");
    assert!(text.contains("### Compared with build &#35;1 of main\n"), "{text}");
    assert!(text.contains("| 2.1 smoke ink.yaml | 0.75 | 0.25 |  |  |\n"), "{text}");
    assert!(!text.contains("smoke new.yaml | 0.75"), "{text}");
}

#[test]
fn buttons_are_those_that_do_something() {
    let of = |state, is_unapproved, jobs: usize| {
        let job =
            CheckedJob { number: "1.1".to_owned(), name: None, verdict: None, allow_failure: false, reason: None };
        let build = CheckedBuild { is_unapproved, jobs: vec![job; jobs], ..build(state, Vec::new()) };
        actions(&build).iter().map(|action| action.identifier).collect::<Vec<_>>()
    };
    assert_eq!(of(BuildState::Queued, true, 1), ["approve", "cancel"]);
    assert_eq!(of(BuildState::Running, false, 1), ["cancel"]);
    assert_eq!(of(BuildState::Failed, false, 1), ["retry"]);
    assert_eq!(of(BuildState::Failed, false, 0), Vec::<&str>::new());
    assert_eq!(of(BuildState::Passed, false, 1), Vec::<&str>::new());
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
    let mut build = build(BuildState::Failed, problems);
    build.lines = vec![Some("`".repeat(200)); 500];
    build.jobs = jobs.collect();
    build.trainings = (0..50).map(|_| training(&"|".repeat(400), &[1.0, 2.0])).collect();
    let text = summary_of(&build);
    assert!(text.chars().count() <= MAX_SUMMARY, "{}", text.chars().count());
    assert!(text.contains("more are on the page of the build"), "{}", &text[..200]);
    assert!(annotations(&build.problems).iter().all(|it| it.message.chars().count() <= MAX_MESSAGE));
}
