//! Restarts in the model.

use trainyard::domain::{BuildState, JobState, Verdict};

use crate::model::{Job, Model};

impl Model {
    /// Restarts a job that has ended, or all jobs of a build that has. Returns their number, or the reason for none.
    pub fn restart(&mut self, build: usize, only: Option<usize>) -> Result<usize, &'static str> {
        let of_build: Vec<usize> = (0..self.jobs.len()).filter(|id| self.jobs[*id].build == build).collect();
        let meant: Vec<usize> = of_build.iter().copied().filter(|id| only.is_none_or(|only| only == *id)).collect();
        let has_ended = |id: &usize| self.jobs[*id].state == JobState::Finished;
        if !meant.iter().all(has_ended) {
            return Err("Unfinished");
        }
        let is_over = of_build.iter().all(has_ended);
        if let Some(only) = only {
            let stage = self.jobs[only].stage;
            let any = |is_it: &dyn Fn(&Job) -> bool| of_build.iter().any(|id| is_it(&self.jobs[*id]));
            let stops = |job: &Job| job.verdict.is_some_and(|it| it != Verdict::Passed) && !job.allow_failure;
            if any(&|job| job.stage < stage && stops(job)) {
                return Err("EarlierStage");
            }
            if any(&|job| job.stage > stage && matches!(job.state, JobState::Queued | JobState::Running)) {
                return Err("LaterStage");
            }
        }
        for id in &meant {
            let stage = self.jobs[*id].stage;
            let waits = of_build
                .iter()
                .map(|id| &self.jobs[*id])
                .any(|job| job.stage < stage && (only.is_none() || job.state != JobState::Finished));
            let job = &mut self.jobs[*id];
            job.state = if waits { JobState::Waiting } else { JobState::Queued };
            job.earlier.extend(job.verdict.take());
            (job.cancel_requested, job.preemptions, job.earlier_attempts) = (false, 0, job.attempt);
        }
        if is_over {
            let build = &mut self.builds[build];
            (build.state, build.has_begun) = (BuildState::Queued, false);
        }
        self.refresh(build);
        Ok(meant.len())
    }
}
