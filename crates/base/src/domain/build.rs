//! The state of a build, computed from its jobs.

use serde::{Deserialize, Serialize};

use super::{JobState, Verdict};

/// State of a build, as people and GitHub see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "build_state", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// No job has started.
    Queued,
    /// At least one job has started, and at least one job that counts is not finished.
    Running,
    /// Every job that counts passed.
    Passed,
    /// A job failed or timed out, or the lint found errors.
    Failed,
    /// A job or the plan could not do its work.
    Errored,
    /// A job that counts was canceled.
    Canceled,
}

impl BuildState {
    /// Returns true if this state is final.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// The part of a job that decides its build's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "sqlx", derive(sqlx::FromRow))]
pub struct JobSummary {
    /// Position of the job's stage among the build's stages.
    pub stage_order: i32,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    /// True when the job's verdict does not count.
    pub allow_failure: bool,
}

/// Computes the state of a build from its jobs, which are in the order of their stages.
///
/// A build is finished when all its jobs are finished. It takes the state of its first stage that did not pass, since
/// that stage caused the jobs of later stages to be canceled. With `fast_finish`, the build is finished as soon as the
/// jobs that may not fail are finished; the other jobs go on.
pub fn roll_up(jobs: &[JobSummary], fast_finish: bool) -> BuildState {
    let counts = |job: &&JobSummary| !job.allow_failure;
    let decided = fast_finish
        && jobs.iter().any(|job| counts(&job))
        && jobs.iter().filter(counts).all(|job| job.state == JobState::Finished);
    if !decided && jobs.iter().any(|job| job.state != JobState::Finished) {
        let started = jobs.iter().any(|job| matches!(job.state, JobState::Running | JobState::Finished));
        return if started { BuildState::Running } else { BuildState::Queued };
    }
    let stages = jobs.chunk_by(|a, b| a.stage_order == b.stage_order);
    stages.map(roll_up_stage).find(|state| *state != BuildState::Passed).unwrap_or(BuildState::Passed)
}

/// Computes the state of one stage. The order of the final states is Travis's: any canceled, else any errored, else any
/// failed, else passed. Only the jobs that are not allowed to fail count.
fn roll_up_stage(jobs: &[JobSummary]) -> BuildState {
    let worst_first = [
        (Verdict::Canceled, BuildState::Canceled),
        (Verdict::Errored, BuildState::Errored),
        (Verdict::TimedOut, BuildState::Failed),
        (Verdict::Failed, BuildState::Failed),
    ];
    worst_first
        .into_iter()
        .find(|(wanted, _)| jobs.iter().any(|job| !job.allow_failure && job.verdict == Some(*wanted)))
        .map_or(BuildState::Passed, |(_, state)| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roll_ups() {
        use JobState::{Finished, Queued, Running, Waiting};
        use Verdict::{Canceled, Errored, Failed, Passed, TimedOut};
        let done = |verdict| (Finished, Some(verdict), false);
        let table = [
            (vec![], BuildState::Passed),
            (vec![(Queued, None, false), (Waiting, None, false)], BuildState::Queued),
            (vec![(Running, None, false), (Queued, None, false)], BuildState::Running),
            (vec![done(Failed), (Waiting, None, false)], BuildState::Running),
            (vec![done(Passed), done(Passed)], BuildState::Passed),
            (vec![done(Passed), (Finished, Some(Failed), true)], BuildState::Passed),
            (vec![done(Passed), done(Failed)], BuildState::Failed),
            (vec![done(TimedOut)], BuildState::Failed),
            (vec![done(Failed), done(Errored)], BuildState::Errored),
            (vec![done(Errored), done(Canceled), done(Failed)], BuildState::Canceled),
            (vec![(Finished, Some(Canceled), true), done(Passed)], BuildState::Passed),
        ];
        for (jobs, expected) in table {
            let jobs: Vec<JobSummary> = jobs
                .into_iter()
                .map(|(state, verdict, allow_failure)| JobSummary { stage_order: 0, state, verdict, allow_failure })
                .collect();
            assert_eq!(roll_up(&jobs, false), expected, "{jobs:?}");
        }
    }

    #[test]
    fn the_first_stage_that_did_not_pass_decides() {
        let job = |stage_order, verdict| JobSummary {
            stage_order,
            state: JobState::Finished,
            verdict: Some(verdict),
            allow_failure: false,
        };
        let jobs = [job(0, Verdict::Passed), job(1, Verdict::Failed), job(2, Verdict::Canceled)];
        assert_eq!(roll_up(&jobs, false), BuildState::Failed);
    }

    #[test]
    fn fast_finish_does_not_wait_for_jobs_that_may_fail() {
        let job = |state, verdict, allow_failure| JobSummary { stage_order: 0, state, verdict, allow_failure };
        let optional = job(JobState::Running, None, true);
        let failed = [job(JobState::Finished, Some(Verdict::Failed), false), optional];
        assert_eq!((roll_up(&failed, true), roll_up(&failed, false)), (BuildState::Failed, BuildState::Running));
        let running = [job(JobState::Running, None, false), optional];
        assert_eq!(roll_up(&running, true), BuildState::Running);
        assert_eq!(roll_up(&[optional], true), BuildState::Running, "then nothing would decide");
    }
}
