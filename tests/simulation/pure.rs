//! The model alone, over many schedules.

use trainyard::domain::{JobState, Verdict};

use crate::invariants::check;
use crate::model::Model;
use crate::random::{Random, first_seed};
use crate::schedule::{Op, apply, begin, next};

const SCHEDULES: u64 = 100_000;
const STEPS: usize = 24;
const THREADS: u64 = 4;
/// Most steps in which every job of a schedule has to end once nothing more goes wrong.
const MOST_TO_END: usize = 2000;

fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut model = begin(&mut random);
    let mut done = Vec::new();
    for _ in 0..STEPS {
        let op = next(&mut random, &model);
        let before = model.clone();
        apply(&mut model, &op);
        done.push(op);
        check(&before, &done[done.len() - 1], &model).map_err(|why| format!("{why}\n{done:#?}"))?;
    }
    end(&mut model).map_err(|why| format!("{why}\n{done:#?}"))
}

/// Lets every job that can begin do so and pass, until none is left but those that ask for more GPUs than there are.
fn end(model: &mut Model) -> Result<(), String> {
    for _ in 0..MOST_TO_END {
        let before = model.clone();
        let running = model.jobs.iter().position(|job| job.state == JobState::Running);
        let op = match running {
            Some(job) => Op::Finish { job, attempt: model.jobs[job].attempt, verdict: Verdict::Passed },
            None => Op::Claim,
        };
        apply(model, &op);
        check(&before, &op, model)?;
        if running.is_some() || model.jobs != before.jobs {
            continue;
        }
        apply(model, &Op::Look);
        apply(model, &Op::ClaimGpu);
        if model.jobs == before.jobs {
            let is_left = |job: &&crate::model::Job| job.state != JobState::Finished && job.gpus <= model.gpus.len();
            let stuck = model.jobs.iter().filter(is_left).find(|job| job.state == JobState::Queued);
            return stuck.map_or(Ok(()), |job| Err(format!("a job never ends: {job:?}")));
        }
    }
    Err("the jobs do not end".to_owned())
}

#[test]
fn a_hundred_thousand_schedules_keep_the_invariants() {
    let first = first_seed();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for seed in (first + thread..first + SCHEDULES).step_by(THREADS as usize) {
                    if let Err(why) = run(seed) {
                        panic!("SIMULATION_SEED={seed}: {why}");
                    }
                }
            });
        }
    });
}

#[test]
fn the_invariants_notice_a_queue_that_breaks_them() {
    let mut random = Random::new(1);
    let mut noticed = [false; 3];
    for _ in 0..200 {
        let mut model = begin(&mut random);
        for _ in 0..STEPS {
            let op = next(&mut random, &model);
            apply(&mut model, &op);
        }
        for (fault, noticed) in noticed.iter_mut().enumerate() {
            let mut broken = model.clone();
            let Some(id) = (0..broken.jobs.len()).find(|id| match fault {
                0 => broken.jobs[*id].verdict.is_some(),
                1 => broken.jobs[*id].state == JobState::Waiting,
                _ => broken.jobs[*id].state == JobState::Running,
            }) else {
                continue;
            };
            match fault {
                0 => broken.jobs[id].verdict = broken.jobs[id].verdict.map(other),
                1 => broken.jobs[id].state = JobState::Running,
                _ => broken.jobs[id].attempt += 1,
            }
            assert!(check(&model, &Op::Look, &broken).is_err(), "fault {fault} was not noticed");
            *noticed = true;
        }
    }
    assert_eq!(noticed, [true; 3]);
}

fn other(verdict: Verdict) -> Verdict {
    if verdict == Verdict::Passed { Verdict::Failed } else { Verdict::Passed }
}
