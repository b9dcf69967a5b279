//! Commit statuses for GitHub, in words that a person can act on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BuildState, Problem, Scope, Severity, TriggerKind, Verdict};

/// State of a commit status, as GitHub names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "commit_state", rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    /// Not decided yet.
    Pending,
    /// All is well.
    Success,
    /// The author has something to fix.
    Failure,
    /// Trainyard or the set-up of the build could not do its work.
    Error,
}

/// A commit status, without its context and its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub state: CommitState,
    /// At most [`Status::MAX_DESCRIPTION`] characters.
    pub description: String,
}

/// The part of a job that the description of its build shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// `BUILD.JOB`, as in `12.1`.
    pub number: String,
    /// Verdict of the job; `None` while the job is not finished.
    pub verdict: Option<Verdict>,
    /// True when the job's verdict does not count for the build.
    pub allow_failure: bool,
    /// Reason for the verdict.
    pub reason: Option<String>,
    /// Reason why the queued job waits, if it waits for more than a slot.
    pub wait_reason: Option<String>,
    /// Place of a running training in its steps, in words.
    pub progress: Option<String>,
}

impl Status {
    /// Maximum length of a description in characters. GitHub refuses longer ones.
    pub const MAX_DESCRIPTION: usize = 140;

    /// Creates a status with its description cut to the length that GitHub accepts.
    pub fn new(state: CommitState, description: &str) -> Self {
        let one_line = description.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut description = one_line;
        if description.chars().count() > Self::MAX_DESCRIPTION {
            description = description.chars().take(Self::MAX_DESCRIPTION - 1).chain(['…']).collect();
        }
        Self { state, description }
    }

    /// Returns the context under which a build of this kind reports. One of trainings alone says nothing about the other
    /// jobs, so it has a context of its own.
    pub fn context(kind: TriggerKind, scope: Scope) -> &'static str {
        match (scope, kind) {
            (Scope::Smoke, _) => "trainyard/smoke",
            (Scope::Train, _) => "trainyard/train",
            (Scope::Commit, TriggerKind::PullRequest) => "trainyard/pr",
            // The push of the same commit has a build of its own.
            (Scope::Commit, TriggerKind::Travis) => "trainyard/travis",
            (Scope::Commit, _) => "trainyard/push",
        }
    }

    pub const LINT_CONTEXT: &'static str = "trainyard/lint";

    /// Prefix of the description of a build that has not begun.
    pub const QUEUED: &'static str = "queued: ";
    /// Prefix of the description of a build that is running.
    pub const RUNNING: &'static str = "running: ";

    /// Returns the status of a build.
    pub fn of_build(state: BuildState, jobs: &[JobOutcome], problems: &[Problem], duration: Option<Duration>) -> Self {
        let count = match jobs.len() {
            1 => "1 job".to_owned(),
            n => format!("{n} jobs"),
        };
        // There is room for one job. One that trains tells more than one that waits.
        let told = |of: fn(&JobOutcome) -> Option<&String>| {
            jobs.iter().find_map(|job| Some(format!(", {} {}", job.number, of(job)?)))
        };
        let wait = told(|job| job.progress.as_ref()).or_else(|| told(|job| job.wait_reason.as_ref()));
        let wait = wait.unwrap_or_default();
        let took = duration.map(|d| format!(" in {}", in_words(d))).unwrap_or_default();
        match state {
            BuildState::Queued => Self::new(CommitState::Pending, &format!("{}{count}{wait}", Self::QUEUED)),
            BuildState::Running => Self::new(CommitState::Pending, &format!("{}{count}{wait}", Self::RUNNING)),
            BuildState::Passed if jobs.is_empty() => Self::new(CommitState::Success, "passed: nothing to run"),
            BuildState::Passed => Self::new(CommitState::Success, &format!("passed: {count}{took}")),
            BuildState::Failed => Self::new(
                CommitState::Failure,
                &format!("failed: {}", why(&[Verdict::Failed, Verdict::TimedOut], jobs, problems)),
            ),
            BuildState::Errored => {
                Self::new(CommitState::Error, &format!("errored: {}", why(&[Verdict::Errored], jobs, problems)))
            }
            BuildState::Canceled => {
                Self::new(CommitState::Error, &format!("canceled: {}", why(&[Verdict::Canceled], jobs, problems)))
            }
        }
    }

    /// Returns the status of a build that nobody has approved yet.
    pub fn of_unapproved(jobs: usize) -> Self {
        let them = if jobs == 1 { "1 job waits".to_owned() } else { format!("{jobs} jobs wait") };
        Self::new(CommitState::Pending, &format!("{them} until a person approves this commit of a fork"))
    }

    /// Returns the status of the lint that found these problems.
    pub fn of_lint(problems: &[Problem]) -> Self {
        let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
        let warnings = problems.iter().filter(|p| p.severity == Severity::Warning).count();
        match (errors, warnings) {
            (0, 0) => Self::new(CommitState::Success, "no problems"),
            (0, n) => Self::new(CommitState::Success, &format!("no errors; warnings: {n}")),
            _ => Self::new(CommitState::Failure, &format!("failed: {}", first_error(problems).unwrap_or_default())),
        }
    }
}

/// Formats the first error among the problems as `place message`, with the number of further errors.
fn first_error(problems: &[Problem]) -> Option<String> {
    let mut errors = problems.iter().filter(|p| p.severity == Severity::Error);
    let first = errors.next()?;
    let more = match errors.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    let place = match (&first.file, first.line) {
        (Some(file), Some(line)) => format!("{file}:{line} "),
        (Some(file), None) => format!("{file}: "),
        _ => String::new(),
    };
    Some(format!("{place}{}{more}", first.message))
}

/// Explains why a build did not pass: its plan's first error, else the reason of its first job with such a verdict.
fn why(verdicts: &[Verdict], jobs: &[JobOutcome], problems: &[Problem]) -> String {
    if let Some(error) = first_error(problems) {
        return error;
    }
    let decided = |job: &&JobOutcome| !job.allow_failure && job.verdict.is_some_and(|v| verdicts.contains(&v));
    let culprit = jobs.iter().find(decided);
    match culprit {
        Some(JobOutcome { number, reason: Some(reason), .. }) => format!("job {number}: {reason}"),
        Some(JobOutcome { number, .. }) => format!("job {number}"),
        None => "no job".to_owned(),
    }
}

/// Formats a duration for people, with at most two units: `850 ms`, `12 s`, `3 min 4 s`, `2 h 5 min`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats a duration as an estimate: `less than a minute`, `6 min`, `2 h 5 min`, `3 d 2 h`.
pub fn roughly(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let two = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match minutes {
        0 => "less than a minute".to_owned(),
        1..60 => format!("{minutes} min"),
        60..1440 => two(minutes / 60, "h", minutes % 60, "min"),
        _ => two(minutes / 1440, "d", minutes % 1440 / 60, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_at_line_4() -> Problem {
        Problem {
            severity: Severity::Error,
            rule: "missing-required".into(),
            message: "base_model is missing".into(),
            file: Some("configs/style.yaml".into()),
            line: Some(4),
            column: None,
            key: Some("base_model".into()),
            fix: None,
        }
    }

    #[test]
    fn a_lint_error_names_file_line_and_key() {
        let status = Status::of_build(BuildState::Failed, &[], &[error_at_line_4()], None);
        assert_eq!(status.description, "failed: configs/style.yaml:4 base_model is missing");
        assert_eq!(status.state, CommitState::Failure);
        assert_eq!(Status::of_lint(&[error_at_line_4()]).state, CommitState::Failure);
    }

    #[test]
    fn the_job_that_decided_is_named() {
        let job = |number: &str, verdict, allow_failure, reason: &str| JobOutcome {
            number: number.into(),
            verdict: Some(verdict),
            allow_failure,
            reason: Some(reason.into()),
            wait_reason: None,
            progress: None,
        };
        let jobs = [
            job("3.1", Verdict::Failed, true, "allowed"),
            job("3.2", Verdict::Failed, false, "python train.py exited with 1"),
        ];
        let status = Status::of_build(BuildState::Failed, &jobs, &[], None);
        assert_eq!(status.description, "failed: job 3.2: python train.py exited with 1");
    }

    #[test]
    fn what_a_job_waits_for_is_told() {
        let wait_reason = Some("waiting for GPU: held by acme/styles #2.1 since 2026-03-01 09:30 UTC".to_owned());
        let job = |number: &str, wait_reason| JobOutcome {
            number: number.into(),
            verdict: None,
            allow_failure: false,
            reason: None,
            wait_reason,
            progress: None,
        };
        let mut jobs = [job("3.1", None), job("3.2", wait_reason)];
        let status = Status::of_build(BuildState::Running, &jobs, &[], None);
        let told = "running: 2 jobs, 3.2 waiting for GPU: held by acme/styles #2.1 since 2026-03-01 09:30 UTC";
        assert_eq!((status.state, status.description.as_str()), (CommitState::Pending, told));
        jobs[0].progress = Some("step 120 of 400, loss 0.08, 6 min left".to_owned());
        let status = Status::of_build(BuildState::Running, &jobs, &[], None);
        assert_eq!(status.description, "running: 2 jobs, 3.1 step 120 of 400, loss 0.08, 6 min left");
    }

    #[test]
    fn the_texts_of_statuses_are_as_people_know_them() {
        let job = |number: &str, verdict, reason: Option<&str>| JobOutcome {
            number: number.into(),
            verdict,
            allow_failure: false,
            reason: reason.map(str::to_owned),
            wait_reason: None,
            progress: None,
        };
        let passed = [job("3.1", Some(Verdict::Passed), None), job("3.2", Some(Verdict::Passed), None)];
        let failed = [job("3.1", Some(Verdict::Failed), Some("\"pytest\" exited with 2"))];
        let canceled = [job("3.1", Some(Verdict::Canceled), Some("canceled by ada"))];
        let took = Some(Duration::from_secs(184));
        let texts = [
            Status::of_build(BuildState::Queued, &[job("3.1", None, None)], &[], None),
            Status::of_build(BuildState::Running, &[job("3.1", None, None)], &[], None),
            Status::of_build(BuildState::Passed, &passed, &[], took),
            Status::of_build(BuildState::Failed, &failed, &[], took),
            Status::of_build(BuildState::Failed, &[], &[error_at_line_4()], None),
            Status::of_build(BuildState::Errored, &[], &[], None),
            Status::of_build(BuildState::Canceled, &canceled, &[], took),
            Status::of_lint(&[]),
            Status::of_lint(&[error_at_line_4(), error_at_line_4()]),
        ]
        .map(|status| format!("{:?}: {}", status.state, status.description));
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn a_description_fits_github() {
        let status = Status::new(CommitState::Error, &"é".repeat(500));
        assert_eq!(status.description.chars().count(), Status::MAX_DESCRIPTION);
    }

    #[test]
    fn durations_in_words() {
        let words = |ms| in_words(Duration::from_millis(ms));
        assert_eq!(
            [words(850), words(12_400), words(184_000), words(7_500_000)],
            ["850 ms", "12 s", "3 min 4 s", "2 h 5 min"]
        );
        let rough = |seconds| roughly(Duration::from_secs(seconds));
        assert_eq!(
            [rough(59), rough(184), rough(7200), rough(7_500), rough(266_400)],
            ["less than a minute", "3 min", "2 h", "2 h 5 min", "3 d 2 h"]
        );
    }
}
