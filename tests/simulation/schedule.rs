//! Random schedules: the operations of a run, chosen from a seed and from the state of the model.

use trainyard::domain::{JobState, Priority, Verdict};
use trainyard::store::queue::QueueConfig;

use crate::model::{Model, NewJob, Push};
use crate::random::Random;

/// An operation on the queue. Jobs and builds are numbered from 0 in the order of their insertion.
#[derive(Debug, Clone)]
pub enum Op {
    Push(Push),
    Claim,
    ClaimGpu,
    MarkPreemptions,
    Look,
    Beat {
        job: usize,
        attempt: i32,
    },
    RunOnlyOnce {
        job: usize,
        attempt: i32,
    },
    Finish {
        job: usize,
        attempt: i32,
        verdict: Verdict,
    },
    /// The worker is lost, and the janitor rescues the job.
    Lose {
        job: usize,
    },
    Requeue {
        job: usize,
        attempt: i32,
    },
    /// The container of a preempted job was stopped.
    Preempt {
        job: usize,
        attempt: i32,
    },
    CancelBuild(usize),
    CancelJob(usize),
    RestartBuild(usize),
    RestartJob(usize),
    Send {
        build: usize,
        is_accepted: bool,
    },
}

pub const REPOS: usize = 4;

/// Begins a schedule: the empty queue under random limits.
pub fn begin(random: &mut Random) -> Model {
    let limits = match random.below(4) {
        0 => QueueConfig { slots_per_repository: 2, slots_for_forks: 0, has_own_limits: false },
        1 => QueueConfig { slots_per_repository: 3, slots_for_forks: 1, has_own_limits: false },
        _ => QueueConfig::default(),
    };
    Model::new(REPOS, if random.once_in(8) { 0 } else { 1 + random.below(3) }, limits)
}

/// Chooses the next operation.
pub fn next(random: &mut Random, model: &Model) -> Op {
    if model.jobs.is_empty() {
        return Op::Push(push(random));
    }
    let job = random.below(model.jobs.len());
    // Most attempts are the current one, and most jobs are running ones.
    let running: Vec<usize> = (0..model.jobs.len()).filter(|id| model.jobs[*id].state == JobState::Running).collect();
    let job = if running.is_empty() || random.once_in(8) { job } else { running[random.below(running.len())] };
    let attempt = model.jobs[job].attempt - i32::from(random.once_in(8));
    // A preempted job is rare, and its worker soon hears of it.
    if let Some(job) = model.jobs.iter().position(|job| job.preempted_by.is_some())
        && random.once_in(2)
    {
        let attempt = model.jobs[job].attempt;
        return if random.once_in(2) { Op::Beat { job, attempt } } else { Op::Preempt { job, attempt } };
    }
    if let Some(op) = towards_preemption(random, model) {
        return op;
    }
    let build = random.below(model.builds.len());
    match random.below(36) {
        0..3 => Op::Push(push(random)),
        3..9 => Op::Claim,
        9..13 => Op::ClaimGpu,
        13 => Op::MarkPreemptions,
        14..17 => Op::Look,
        17 => Op::Beat { job, attempt },
        18 => Op::RunOnlyOnce { job, attempt },
        19..24 => Op::Finish { job, attempt, verdict: verdict(random) },
        24..26 => Op::Lose { job },
        26 => Op::Requeue { job, attempt },
        27 => Op::Preempt { job, attempt },
        28 => Op::CancelBuild(build),
        29 => Op::CancelJob(job),
        30..33 => restart(random, model),
        _ => Op::Send { build, is_accepted: !random.once_in(3) },
    }
}

/// Chooses a step towards a preemption now and then: by chance alone, few schedules would come to one.
fn towards_preemption(random: &mut Random, model: &Model) -> Option<Op> {
    let runs = model.jobs.iter().any(|job| job.state == JobState::Running && job.preemptible);
    if !runs || !random.once_in(6) {
        return None;
    }
    let waits = model.jobs.iter().any(|job| job.state == JobState::Queued && job.gpus > 0 && !job.preemptible);
    Some(match waits {
        true if random.once_in(2) => Op::MarkPreemptions,
        true => Op::ClaimGpu,
        false => Op::Push(push_of(random, 1 + model.gpus.len() / 2, false)),
    })
}

/// Chooses a restart, most often of something that has ended.
fn restart(random: &mut Random, model: &Model) -> Op {
    let ended = |id: &usize| model.jobs[*id].state == JobState::Finished;
    let ended: Vec<usize> = (0..model.jobs.len()).filter(ended).collect();
    let any = random.below(model.jobs.len());
    let job = if ended.is_empty() || random.once_in(8) { any } else { ended[random.below(ended.len())] };
    if random.once_in(2) { Op::RestartJob(job) } else { Op::RestartBuild(model.jobs[job].build) }
}

fn verdict(random: &mut Random) -> Verdict {
    match random.below(8) {
        0 => Verdict::Failed,
        1 => Verdict::Errored,
        2 => Verdict::TimedOut,
        3 => Verdict::Canceled,
        _ => Verdict::Passed,
    }
}

fn push(random: &mut Random) -> Push {
    match random.below(8) {
        0..3 => push_of(random, 1, true),
        3 => {
            let gpus = 1 + random.below(2);
            push_of(random, gpus, false)
        }
        _ => push_of(random, 0, false),
    }
}

/// Makes a push most of whose jobs require this number of GPUs.
fn push_of(random: &mut Random, gpus: usize, preemptible: bool) -> Push {
    let (line, priority) = match random.below(5) {
        0 => (Some(0), Priority::Fork),
        1 => (Some(1), Priority::PullRequest),
        2 => (Some(2), Priority::Push),
        3 => (Some(3), Priority::DefaultBranch),
        _ => (None, Priority::DefaultBranch),
    };
    let mut jobs = Vec::new();
    for stage in 0..=random.below(3) {
        for _ in 0..=random.below(3) {
            let (stage, allow_failure) = (i32::try_from(stage).unwrap(), random.once_in(5));
            let gpus = if random.once_in(4) { 0 } else { gpus };
            jobs.push(NewJob { stage, allow_failure, gpus, preemptible: preemptible && gpus > 0 });
        }
    }
    Push { repo: random.below(REPOS), line, priority, fast_finish: random.once_in(4), jobs }
}

/// Applies an operation to the model. Returns its result in words, for a comparison with the real queue.
pub fn apply(model: &mut Model, op: &Op) -> String {
    match op {
        Op::Push(new) => {
            model.push(new);
            String::new()
        }
        Op::Claim => format!("{:?}", model.claim()),
        Op::ClaimGpu => format!("{:?}", model.claim_gpu()),
        Op::MarkPreemptions => {
            model.mark_preemptions();
            String::new()
        }
        Op::Look => {
            model.look();
            String::new()
        }
        Op::Beat { job, attempt } => format!("{:?}", model.beat(*job, *attempt)),
        Op::RunOnlyOnce { job, attempt } => model.run_only_once(*job, *attempt).to_string(),
        Op::Finish { job, attempt, verdict } => model.finish(*job, *attempt, *verdict).to_string(),
        Op::Lose { job } => model.give_back(*job, model.jobs[*job].attempt, false).to_string(),
        Op::Requeue { job, attempt } => model.give_back(*job, *attempt, false).to_string(),
        Op::Preempt { job, attempt } => model.give_back(*job, *attempt, true).to_string(),
        Op::CancelBuild(build) => {
            model.cancel(*build, None);
            String::new()
        }
        Op::CancelJob(job) => {
            model.cancel(model.jobs[*job].build, Some(*job));
            String::new()
        }
        Op::RestartBuild(build) => format!("{:?}", model.restart(*build, None)),
        Op::RestartJob(job) => format!("{:?}", model.restart(model.jobs[*job].build, Some(*job))),
        Op::Send { build, is_accepted } => {
            model.send(*build, *is_accepted);
            String::new()
        }
    }
}
