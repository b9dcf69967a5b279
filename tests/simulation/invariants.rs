//! The invariants of `ARCHITECTURE.md`, as far as they are about rows: checked between two states of the queue, without
//! the functions that lead from one to the other.

use trainyard::domain::{BuildState, JobState, Priority, Verdict};

use crate::gpus::Gpu;
use crate::model::{Job, Model};
use crate::schedule::Op;

/// Returns an error that says which invariant does not hold.
macro_rules! hold {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// Checks a state, and the step that led to it.
pub fn check(before: &Model, op: &Op, after: &Model) -> Result<(), String> {
    for (id, job) in after.jobs.iter().enumerate() {
        hold!((job.state == JobState::Finished) == job.verdict.is_some(), "job {id}: a verdict is the end");
        hold!(
            job.attempt - job.earlier_attempts - job.preemptions <= 3,
            "job {id} began more often than a lost worker excuses"
        );
        hold!(job.preempted_by.is_none() || job.state == JobState::Running, "job {id} gives way and does not run");
        if let Some(old) = before.jobs.get(id) {
            if is_restart(op, id, job) && old.earlier != job.earlier {
                restarted(id, old, job)?;
            } else {
                step(id, old, job)?;
            }
        }
        stage(after, id, job)?;
    }
    gpus(after)?;
    limits(before, after)?;
    fair(before, after)?;
    builds(before, op, after)?;
    if let Op::Finish { job, attempt, .. } | Op::Requeue { job, attempt } | Op::Preempt { job, attempt } = op {
        let had = before.jobs[*job].attempt == *attempt && before.jobs[*job].state == JobState::Running;
        hold!(had || before == after, "a stale attempt of job {job} changed a row");
    }
    Ok(())
}

fn is_restart(op: &Op, id: usize, job: &Job) -> bool {
    match op {
        Op::RestartBuild(build) => *build == job.build,
        Op::RestartJob(job) => *job == id,
        _ => false,
    }
}

/// A restart follows the end of a job, and keeps its verdict.
fn restarted(id: usize, old: &Job, new: &Job) -> Result<(), String> {
    let kept: Vec<Verdict> = old.earlier.iter().copied().chain(old.verdict).collect();
    hold!(old.state == JobState::Finished, "job {id} was restarted before its end");
    hold!(new.earlier == kept, "job {id}: a restart lost a verdict");
    hold!(matches!(new.state, JobState::Queued | JobState::Waiting), "job {id} was restarted and does not wait");
    hold!(new.attempt == old.attempt, "job {id}: an attempt without a claim");
    Ok(())
}

fn step(id: usize, old: &Job, new: &Job) -> Result<(), String> {
    use JobState::{Finished, Queued, Running, Waiting};
    hold!(old.earlier == new.earlier, "job {id}: the verdict of an earlier run changed");
    hold!(old.verdict.is_none() || old.verdict == new.verdict, "job {id}: a verdict changed");
    hold!(old.state != Finished || new.state == Finished, "job {id} began after its end");
    let is_claim = old.state == Queued && new.state == Running;
    hold!(new.attempt == old.attempt + i32::from(is_claim), "job {id}: an attempt without a claim");
    let may = match (old.state, new.state) {
        (a, b) if a == b => true,
        (Waiting, Queued | Finished) | (Queued, Running | Finished) | (Running, Queued | Finished) => true,
        _ => false,
    };
    hold!(may, "job {id} went from {:?} to {:?}", old.state, new.state);
    hold!(!(old.cancel_requested && new.state == Queued), "job {id} was canceled and queued again");
    Ok(())
}

fn stage(model: &Model, id: usize, job: &Job) -> Result<(), String> {
    if job.state == JobState::Waiting {
        let begins = |other: &Job| matches!(other.state, JobState::Queued | JobState::Running);
        let mut before = model.jobs.iter().filter(|other| other.build == job.build && other.stage < job.stage);
        hold!(before.any(begins), "job {id} waits for nothing");
    }
    if !matches!(job.state, JobState::Queued | JobState::Running) {
        return Ok(());
    }
    let earlier = model.jobs.iter().filter(|other| other.build == job.build && other.stage < job.stage);
    for other in earlier {
        let is_past = other.verdict == Some(Verdict::Passed) || (other.allow_failure && other.verdict.is_some());
        hold!(is_past, "job {id} is in the queue before its stage is");
    }
    Ok(())
}

fn gpus(model: &Model) -> Result<(), String> {
    let mut held = vec![0; model.jobs.len()];
    for gpu in &model.gpus {
        let Gpu::Held { job, attempt } = gpu else { continue };
        let holder = &model.jobs[*job];
        hold!(holder.state == JobState::Running && holder.attempt == *attempt, "job {job} is over and holds a GPU");
        held[*job] += 1;
    }
    for (id, job) in model.jobs.iter().enumerate().filter(|(_, job)| job.state == JobState::Running) {
        hold!(held[id] == job.gpus, "job {id} runs with {} GPUs of {}", held[id], job.gpus);
    }
    Ok(())
}

fn running(model: &Model, is_meant: impl Fn(&Job) -> bool) -> usize {
    model.jobs.iter().filter(|job| job.state == JobState::Running && is_meant(job)).count()
}

fn limits(before: &Model, after: &Model) -> Result<(), String> {
    let most = after.limits.slots_per_repository as usize;
    for repo in 0..after.served.len() {
        hold!(most == 0 || running(after, |job| job.repo == repo) <= most, "repository {repo} exceeds its limit");
    }
    let is_fork = |job: &Job| job.priority == Priority::Fork;
    let (forks, had) = (running(after, is_fork), running(before, is_fork));
    let most = after.limits.slots_for_forks as usize;
    hold!(most == 0 || forks <= most.max(had), "forks exceed their limit");
    Ok(())
}

/// While a repository waits with a job that could take any slot, none with a larger share gets one.
fn fair(before: &Model, after: &Model) -> Result<(), String> {
    let began = |(id, job): &(usize, &Job)| {
        before.jobs.get(*id).is_some_and(|old| old.state == JobState::Queued) && job.state == JobState::Running
    };
    for (_, begun) in after.jobs.iter().enumerate().filter(began).filter(|(_, job)| job.gpus == 0) {
        let share = running(before, |job| job.repo == begun.repo);
        for other in before.jobs.iter().filter(|job| job.state == JobState::Queued && job.gpus == 0) {
            let its = running(before, |job| job.repo == other.repo);
            let waits = before.may_begin(other.repo, other.priority);
            hold!(
                !waits || share <= its,
                "repository {} waited with {its} slots while {} had {share}",
                other.repo,
                begun.repo
            );
            let same = other.repo == begun.repo;
            hold!(!(same && waits) || begun.priority >= other.priority, "a job of higher priority waited");
        }
    }
    Ok(())
}

fn builds(before: &Model, op: &Op, after: &Model) -> Result<(), String> {
    for (id, build) in after.builds.iter().enumerate() {
        hold!(build.sent <= build.wanted, "build {id}: GitHub was sent more than was wanted");
        if build.sent == build.wanted {
            hold!(build.shown == Some(build.state), "build {id}: GitHub shows another state than ours");
        }
        let jobs = || after.jobs.iter().filter(|job| job.build == id);
        let is_over = jobs().all(|job| job.state == JobState::Finished);
        hold!(!is_over || build.state.is_finished(), "build {id} goes on without a job");
        let counts = jobs().any(|job| !job.allow_failure && job.state != JobState::Finished);
        hold!(!counts || !build.state.is_finished(), "build {id} ended before its jobs");
        let Some(old) = before.builds.get(id) else { continue };
        let mut jobs = after.jobs.iter().enumerate().filter(|(_, job)| job.build == id);
        let is_restarted = jobs.any(|(job, new)| is_restart(op, job, new) && before.jobs[job].earlier != new.earlier);
        let was_over = old.state.is_finished() && !is_restarted;
        hold!(!was_over || old.state == build.state, "build {id} changed after its end");
        hold!(old.wanted <= build.wanted && old.sent <= build.sent, "build {id}: an older status follows a newer one");
        hold!(old.state == build.state || old.wanted < build.wanted, "build {id} changed, and no status was wished");
        hold!(is_restarted || !old.has_begun || build.state != BuildState::Queued, "build {id} is queued again");
    }
    Ok(())
}
