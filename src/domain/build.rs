//! What a build's jobs make of it.

use serde::{Deserialize, Serialize};

use super::{JobState, Verdict};

/// Where a build is, as people and GitHub see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "build_state", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum BuildState {
    /// No job has started.
    Queued,
    /// At least one job has started and at least one that counts is not finished.
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
    /// Whether this state is final.
    pub fn is_finished(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// The state of a build with these jobs: (state, verdict, allow_failure) of each.
///
/// The order of the final states is Travis's: any canceled, else any errored, else any failed, else passed, counting
/// only the jobs that are not allowed to fail. A build is finished when all its jobs are.
pub fn roll_up(jobs: &[(JobState, Option<Verdict>, bool)]) -> BuildState {
    if jobs.iter().any(|(state, ..)| *state != JobState::Finished) {
        let started = jobs.iter().any(|(state, ..)| matches!(state, JobState::Running | JobState::Finished));
        return if started { BuildState::Running } else { BuildState::Queued };
    }
    let worst_first = [
        (Verdict::Canceled, BuildState::Canceled),
        (Verdict::Errored, BuildState::Errored),
        (Verdict::TimedOut, BuildState::Failed),
        (Verdict::Failed, BuildState::Failed),
    ];
    worst_first
        .into_iter()
        .find(|(wanted, _)| jobs.iter().any(|(_, verdict, allowed)| !allowed && *verdict == Some(*wanted)))
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
            assert_eq!(roll_up(&jobs), expected, "{jobs:?}");
        }
    }
}
