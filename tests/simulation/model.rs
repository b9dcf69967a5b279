//! The queue in plain Rust: what each operation of `store::queue` does to the rows.

use std::cmp::Reverse;

use trainyard::domain::{BuildState, JobState, JobSummary, Priority, Verdict, roll_up};
use trainyard::store::queue::{MAX_ATTEMPTS, QueueConfig};

use crate::gpus::Gpu;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub build: usize,
    pub repo: usize,
    pub stage: i32,
    pub allow_failure: bool,
    pub priority: Priority,
    /// Number of GPUs that it requires.
    pub gpus: usize,
    pub preemptible: bool,
    pub state: JobState,
    pub verdict: Option<Verdict>,
    pub attempt: i32,
    pub preemptions: i32,
    /// Number of attempts before the last restart, and the verdicts that restarts have followed.
    pub earlier_attempts: i32,
    pub earlier: Vec<Verdict>,
    pub cancel_requested: bool,
    pub only_once: bool,
    pub preempted_by: Option<usize>,
    /// Time of the last claim.
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub repo: usize,
    /// Builds of one line of a repository, such as a branch, supersede each other.
    pub line: Option<usize>,
    pub fast_finish: bool,
    pub state: BuildState,
    pub has_begun: bool,
    /// The version of the status that GitHub should show, and the one that it has accepted.
    pub wanted: u64,
    pub sent: u64,
    /// State that GitHub shows.
    pub shown: Option<BuildState>,
}

/// A build to be inserted.
#[derive(Debug, Clone)]
pub struct Push {
    pub repo: usize,
    pub line: Option<usize>,
    pub priority: Priority,
    pub fast_finish: bool,
    pub jobs: Vec<NewJob>,
}

#[derive(Debug, Clone)]
pub struct NewJob {
    pub stage: i32,
    pub allow_failure: bool,
    pub gpus: usize,
    pub preemptible: bool,
}

/// Answer to a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Ours,
    Canceled,
    Preempted,
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub limits: QueueConfig,
    /// Time of the last end of an attempt, for each repository.
    pub served: Vec<Option<u64>>,
    pub builds: Vec<Build>,
    pub jobs: Vec<Job>,
    pub gpus: Vec<Gpu>,
    pub clock: u64,
}

impl Model {
    pub fn new(repos: usize, gpus: usize, limits: QueueConfig) -> Self {
        let (served, gpus) = (vec![None; repos], vec![Gpu::Free; gpus]);
        Self { limits, served, builds: Vec::new(), jobs: Vec::new(), gpus, clock: 0 }
    }

    pub fn push(&mut self, push: &Push) {
        let build = self.builds.len();
        for new in &push.jobs {
            let state = if new.stage == 0 { JobState::Queued } else { JobState::Waiting };
            self.jobs.push(Job {
                build,
                repo: push.repo,
                stage: new.stage,
                allow_failure: new.allow_failure,
                priority: push.priority,
                gpus: new.gpus,
                preemptible: new.preemptible,
                state,
                verdict: None,
                attempt: 0,
                preemptions: 0,
                earlier_attempts: 0,
                earlier: Vec::new(),
                cancel_requested: false,
                only_once: false,
                preempted_by: None,
                since: 0,
            });
        }
        let (repo, line, fast_finish) = (push.repo, push.line, push.fast_finish);
        let state = BuildState::Queued;
        self.builds.push(Build { repo, line, fast_finish, state, has_begun: false, wanted: 1, sent: 0, shown: None });
        for older in 0..build {
            let Build { repo: its, line: other, state, .. } = self.builds[older];
            if its == repo && line.is_some() && other == line && state == BuildState::Queued {
                self.cancel(older, None);
            }
        }
    }

    pub fn cancel(&mut self, build: usize, only: Option<usize>) {
        let mut concerned = false;
        for (id, job) in self.jobs.iter_mut().enumerate() {
            let is_meant = job.build == build && only.is_none_or(|only| only == id);
            if !is_meant || job.state == JobState::Finished || job.cancel_requested {
                continue;
            }
            concerned = true;
            job.cancel_requested = true;
            if job.state != JobState::Running {
                (job.state, job.verdict) = (JobState::Finished, Some(Verdict::Canceled));
            }
        }
        if concerned {
            self.refresh(build);
        }
    }

    /// Returns the running jobs of a repository.
    pub fn share(&self, repo: usize) -> usize {
        self.jobs.iter().filter(|job| job.repo == repo && job.state == JobState::Running).count()
    }

    /// Returns true if the limits let another job of this repository and priority begin.
    pub fn may_begin(&self, repo: usize, priority: Priority) -> bool {
        let QueueConfig { slots_per_repository: most, slots_for_forks: forks, .. } = self.limits;
        let running = |job: &&Job| job.state == JobState::Running && job.priority == Priority::Fork;
        (most == 0 || self.share(repo) < most as usize)
            && (forks == 0 || priority != Priority::Fork || self.jobs.iter().filter(running).count() < forks as usize)
    }

    /// Returns the queued jobs of a repository that may begin, in its own order.
    fn queue_of(&self, repo: usize, with_gpus: bool) -> Vec<usize> {
        let is_next = |job: &Job| {
            job.repo == repo
                && job.state == JobState::Queued
                && (job.gpus > 0) == with_gpus
                && self.may_begin(repo, job.priority)
        };
        let mut queue: Vec<usize> = (0..self.jobs.len()).filter(|id| is_next(&self.jobs[*id])).collect();
        queue.sort_by_key(|id| (self.jobs[*id].preemptible, Reverse(self.jobs[*id].priority), *id));
        queue
    }

    /// Claims a job without requirements. Returns its number.
    pub fn claim(&mut self) -> Option<usize> {
        let heads = (0..self.served.len()).filter_map(|repo| Some((repo, *self.queue_of(repo, false).first()?)));
        let turn = |(repo, head): &(usize, usize)| {
            let priority = self.jobs[*head].priority;
            (self.share(*repo), priority == Priority::Fork, self.served[*repo], Reverse(priority), *repo)
        };
        let (_, id) = heads.min_by_key(turn)?;
        self.begin(id);
        let build = self.jobs[id].build;
        let build = &mut self.builds[build];
        if build.state == BuildState::Queued {
            build.state = BuildState::Running;
            build.wanted += 1;
        }
        build.has_begun = true;
        Some(id)
    }

    pub fn begin(&mut self, id: usize) {
        self.clock += 1;
        let job = &mut self.jobs[id];
        job.attempt += 1;
        (job.state, job.only_once, job.since) = (JobState::Running, false, self.clock);
    }

    /// Returns the jobs with requirements in the order in which a runner considers them.
    pub fn candidates(&self) -> Vec<usize> {
        let mut all = Vec::new();
        for repo in 0..self.served.len() {
            let share = self.share(repo);
            for (place, id) in self.queue_of(repo, true).into_iter().enumerate() {
                let Job { preemptible, priority, .. } = self.jobs[id];
                let turn = (priority == Priority::Fork, self.served[repo], Reverse(priority), repo);
                all.push(((preemptible, share + place, turn), id));
            }
        }
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Returns true if this attempt has the job.
    fn has(&self, id: usize, attempt: i32) -> bool {
        self.jobs[id].state == JobState::Running && self.jobs[id].attempt == attempt
    }

    pub fn beat(&self, id: usize, attempt: i32) -> Answer {
        match &self.jobs[id] {
            _ if !self.has(id, attempt) => Answer::Lost,
            job if job.cancel_requested => Answer::Canceled,
            job if job.preempted_by.is_some() => Answer::Preempted,
            _ => Answer::Ours,
        }
    }

    pub fn run_only_once(&mut self, id: usize, attempt: i32) -> bool {
        let has = self.has(id, attempt);
        if has {
            self.jobs[id].only_once = true;
        }
        has
    }

    pub fn finish(&mut self, id: usize, attempt: i32, verdict: Verdict) -> bool {
        if !self.has(id, attempt) {
            return false;
        }
        let job = &mut self.jobs[id];
        (job.state, job.verdict, job.preempted_by) = (JobState::Finished, Some(verdict), None);
        self.end(id);
        true
    }

    /// Gives up an attempt without a verdict.
    pub fn give_back(&mut self, id: usize, attempt: i32, is_preemption: bool) -> bool {
        if !self.has(id, attempt) {
            return false;
        }
        let job = &mut self.jobs[id];
        job.verdict = if job.cancel_requested {
            Some(Verdict::Canceled)
        } else if !is_preemption
            && (job.only_once || job.attempt - job.earlier_attempts - job.preemptions >= MAX_ATTEMPTS)
        {
            Some(Verdict::Errored)
        } else {
            None
        };
        job.state = if job.verdict.is_some() { JobState::Finished } else { JobState::Queued };
        job.preemptions += i32::from(is_preemption);
        job.preempted_by = None;
        self.end(id);
        true
    }

    fn end(&mut self, id: usize) {
        self.release(id);
        self.clock += 1;
        let Job { build, repo, .. } = self.jobs[id];
        self.served[repo] = Some(self.clock);
        self.refresh(build);
    }

    /// Rolls a build up, as every change of a job does.
    pub fn refresh(&mut self, build: usize) {
        self.start_next_stage(build);
        let mut jobs: Vec<&Job> = self.jobs.iter().filter(|job| job.build == build).collect();
        jobs.sort_by_key(|job| job.stage);
        let summary = |job: &&Job| JobSummary {
            stage_order: job.stage,
            state: job.state,
            verdict: job.verdict,
            allow_failure: job.allow_failure,
        };
        let summaries: Vec<JobSummary> = jobs.iter().map(summary).collect();
        let build = &mut self.builds[build];
        build.state = match roll_up(&summaries, build.fast_finish) {
            BuildState::Queued if build.has_begun => BuildState::Running,
            state => state,
        };
        build.has_begun |= build.state != BuildState::Queued;
        build.wanted += 1;
    }

    fn start_next_stage(&mut self, build: usize) {
        let of_build = |job: &&Job| job.build == build;
        let waiting = self.jobs.iter().filter(of_build).filter(|job| job.state == JobState::Waiting);
        let Some(next) = waiting.map(|job| job.stage).min() else { return };
        let mut before = self.jobs.iter().filter(of_build).filter(|job| job.stage < next);
        if !before.clone().all(|job| job.state == JobState::Finished) {
            return;
        }
        let passed = before.all(|job| job.verdict == Some(Verdict::Passed) || job.allow_failure);
        let waiting = |job: &&mut Job| job.build == build && job.state == JobState::Waiting;
        for job in self.jobs.iter_mut().filter(waiting) {
            if !passed {
                (job.state, job.verdict) = (JobState::Finished, Some(Verdict::Canceled));
            } else if job.stage == next {
                job.state = JobState::Queued;
            }
        }
    }

    /// Posts the status of a build. GitHub may refuse it.
    pub fn send(&mut self, build: usize, is_accepted: bool) {
        let build = &mut self.builds[build];
        if is_accepted {
            (build.sent, build.shown) = (build.wanted, Some(build.state));
        }
    }
}
