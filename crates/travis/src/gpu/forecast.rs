//! A forecast of when waiting jobs begin: the queue is played on with the time that each job takes.
//!
//! A job whose time is not known keeps its slot and its GPUs for ever here. So a forecast is rather late than early, and a
//! job that waits for the end of such a job has none.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::{GpuRequest, RepoId};

/// A runner with its slots and GPUs.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    pub slots: usize,
    pub labels: Vec<String>,
    pub cards: Vec<Card>,
}

/// A GPU that jobs can have, now or later.
#[derive(Debug, Clone)]
pub struct Card {
    /// Bytes of memory.
    pub memory: i64,
    pub class: String,
    /// The running job that holds it, as its position among these.
    pub holder: Option<usize>,
}

/// A job that runs.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its runner, as the position among these.
    pub machine: usize,
    pub repo: RepoId,
    /// True if it belongs to a pull request from a fork.
    pub is_fork: bool,
    /// True if another job may have its GPUs.
    pub preemptible: bool,
    /// Time until its end, if that is known.
    pub left: Option<Duration>,
}

/// A job that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub repo: RepoId,
    pub is_fork: bool,
    pub preemptible: bool,
    pub request: Option<GpuRequest>,
    pub labels: Vec<String>,
    /// Number of jobs of its repository that may run at once; `None` for any.
    pub most: Option<usize>,
    /// Time that it takes, if that is known.
    pub takes: Option<Duration>,
}

/// The runners and the jobs on them.
#[derive(Debug, Clone)]
pub struct World {
    pub machines: Vec<Machine>,
    pub active: Vec<Active>,
    /// Number of jobs of forks that may run at once; `None` for any.
    pub most_forks: Option<usize>,
}

/// Returns the time until each of the waiting jobs begins. They come in the order in which they are claimed.
pub fn forecast(world: World, waiting: &[Waiting]) -> Vec<Option<Duration>> {
    let active = world.active.into_iter().map(|job| Some((job.left, job))).collect();
    let mut play = Play { machines: world.machines, active, most_forks: world.most_forks };
    let mut begins = vec![None; waiting.len()];
    let mut now = Duration::ZERO;
    loop {
        play.start_all(now, waiting, &mut begins);
        let Some(end) = play.next_end().filter(|_| begins.contains(&None)) else { return begins };
        now = end.max(now);
        play.end_until(now);
    }
}

/// The state of the queue at one moment of the forecast.
struct Play {
    machines: Vec<Machine>,
    /// The jobs with their ends; `None` for one that has ended.
    active: Vec<Option<(Option<Duration>, Active)>>,
    most_forks: Option<usize>,
}

impl Play {
    /// Starts each waiting job that can begin. One that waits for GPUs keeps those that it could use from later jobs.
    fn start_all(&mut self, now: Duration, waiting: &[Waiting], begins: &mut [Option<Duration>]) {
        let mut slots: Vec<usize> = self.machines.iter().map(|machine| machine.slots).collect();
        let mut shares: HashMap<RepoId, usize> = HashMap::new();
        let mut forks = 0;
        for (_, job) in self.active.iter().flatten() {
            slots[job.machine] = slots[job.machine].saturating_sub(1);
            *shares.entry(job.repo).or_default() += 1;
            forks += usize::from(job.is_fork);
        }
        let mut reserved: Vec<(usize, usize)> = Vec::new();
        for (job, begin) in waiting.iter().zip(begins).filter(|(_, begin)| begin.is_none()) {
            if slots.iter().all(|free| *free == 0) {
                return;
            }
            let share = shares.entry(job.repo).or_default();
            let is_over = job.most.is_some_and(|most| *share >= most)
                || (job.is_fork && self.most_forks.is_some_and(|most| forks >= most));
            if is_over {
                continue;
            }
            let found = (0..slots.len())
                .filter(|machine| slots[*machine] > 0)
                .find_map(|machine| Some((machine, self.cards_for(job, machine, &reserved)?)));
            let Some((machine, cards)) = found else {
                if !job.preemptible {
                    reserved.extend(self.usable(job));
                }
                continue;
            };
            slots[machine] -= 1;
            *share += 1;
            forks += usize::from(job.is_fork);
            *begin = Some(now);
            let active =
                Active { machine, repo: job.repo, is_fork: job.is_fork, preemptible: job.preemptible, left: job.takes };
            self.begin(now, active, &cards);
        }
    }

    fn begin(&mut self, now: Duration, job: Active, cards: &[usize]) {
        let (machine, place) = (job.machine, self.active.len());
        for card in cards {
            if let Some(holder) = self.machines[machine].cards[*card].holder {
                self.end(holder);
            }
            self.machines[machine].cards[*card].holder = Some(place);
        }
        self.active.push(Some((job.left.map(|takes| now + takes), job)));
    }

    /// Returns the GPUs of a runner that a job gets now; `None` if the runner is not for it, or has too few.
    fn cards_for(&self, job: &Waiting, machine: usize, reserved: &[(usize, usize)]) -> Option<Vec<usize>> {
        let Machine { labels, cards, .. } = &self.machines[machine];
        if !job.labels.iter().all(|label| labels.contains(label)) {
            return None;
        }
        let Some(request) = &job.request else { return Some(Vec::new()) };
        let can_take = |place: &usize| {
            let card = &cards[*place];
            let is_preempted = |holder: usize| {
                !job.preemptible && self.active[holder].as_ref().is_some_and(|(_, holder)| holder.preemptible)
            };
            let is_open = job.preemptible || !reserved.contains(&(machine, *place));
            meets(card, request) && is_open && card.holder.is_none_or(is_preempted)
        };
        let mut open: Vec<usize> = (0..cards.len()).filter(can_take).collect();
        // Free GPUs come before those of preemptible jobs, and small ones before large ones.
        open.sort_by_key(|place| (cards[*place].holder.is_some(), cards[*place].memory));
        let count = usize::try_from(request.count).ok()?;
        open.truncate(count);
        (open.len() == count).then_some(open)
    }

    /// Lists the GPUs that a job could use, of the runners that have enough of them.
    fn usable(&self, job: &Waiting) -> Vec<(usize, usize)> {
        let Some(request) = &job.request else { return Vec::new() };
        let mut usable = Vec::new();
        for (machine, Machine { cards, .. }) in self.machines.iter().enumerate() {
            let fit: Vec<_> = (0..cards.len()).filter(|place| meets(&cards[*place], request)).collect();
            if fit.len() >= usize::try_from(request.count).unwrap_or(usize::MAX) {
                usable.extend(fit.into_iter().map(|place| (machine, place)));
            }
        }
        usable
    }

    fn next_end(&self) -> Option<Duration> {
        self.active.iter().flatten().filter_map(|(end, _)| *end).min()
    }

    fn end_until(&mut self, now: Duration) {
        let has_ended = |job: &Option<(Option<Duration>, Active)>| {
            job.as_ref().and_then(|(end, _)| *end).is_some_and(|end| end <= now)
        };
        let ended: Vec<usize> = (0..self.active.len()).filter(|place| has_ended(&self.active[*place])).collect();
        ended.into_iter().for_each(|place| self.end(place));
    }

    fn end(&mut self, place: usize) {
        let Some((_, job)) = self.active[place].take() else { return };
        for card in &mut self.machines[job.machine].cards {
            card.holder = card.holder.filter(|holder| *holder != place);
        }
    }
}

fn meets(card: &Card, request: &GpuRequest) -> bool {
    card.memory >= request.memory && request.class.as_ref().is_none_or(|class| *class == card.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RepoId = RepoId(1);
    const OTHER: RepoId = RepoId(2);

    fn minutes(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(60 * count))
    }

    fn machine(slots: usize, holders: &[Option<usize>]) -> Machine {
        let card = |holder: &Option<usize>| Card { memory: 16, class: "t4".to_owned(), holder: *holder };
        Machine { slots, labels: Vec::new(), cards: holders.iter().map(card).collect() }
    }

    fn active(left: Option<Duration>) -> Active {
        Active { machine: 0, repo: ONE, is_fork: false, preemptible: false, left }
    }

    fn waiting(gpus: i32, takes: Option<Duration>) -> Waiting {
        let request = (gpus > 0).then_some(GpuRequest { count: gpus, memory: 0, class: None });
        let labels = Vec::new();
        Waiting { repo: ONE, is_fork: false, preemptible: false, request, labels, most: None, takes }
    }

    fn of(machines: &[Machine], active: &[Active], waiting: &[Waiting]) -> Vec<Option<Duration>> {
        let world = World { machines: machines.to_vec(), active: active.to_vec(), most_forks: None };
        forecast(world, waiting)
    }

    #[test]
    fn jobs_begin_as_slots_become_free() {
        let jobs = [waiting(0, minutes(10)), waiting(0, minutes(1)), waiting(0, None), waiting(0, minutes(1))];
        let begins = of(&[machine(2, &[])], &[active(minutes(5)), active(minutes(7))], &jobs);
        assert_eq!(begins, [minutes(5), minutes(7), minutes(8), minutes(15)]);
        assert_eq!(of(&[machine(3, &[])], &[active(None)], &jobs[..2]), [minutes(0), minutes(0)]);
    }

    #[test]
    fn what_waits_for_a_job_of_unknown_length_has_no_forecast() {
        let jobs = [waiting(0, None), waiting(0, minutes(1))];
        assert_eq!(of(&[machine(1, &[])], &[active(minutes(5))], &jobs), [minutes(5), None]);
        assert_eq!(of(&[machine(1, &[])], &[active(None)], &jobs), [None, None]);
        assert_eq!(of(&[], &[], &jobs), [None, None], "no runner is there");
    }

    #[test]
    fn a_job_that_waits_for_gpus_keeps_them_from_later_ones() {
        let jobs = [waiting(2, minutes(30)), waiting(1, minutes(1)), waiting(0, minutes(1))];
        // One of the two GPUs is held for ten minutes.
        let begins = of(&[machine(4, &[Some(0), None])], &[active(minutes(10))], &jobs);
        assert_eq!(begins, [minutes(10), minutes(40), minutes(0)]);
        let small =
            Waiting { request: Some(GpuRequest { count: 1, memory: 24, class: None }), ..waiting(1, minutes(1)) };
        assert_eq!(of(&[machine(4, &[None])], &[], &[small]), [None], "no runner has such a GPU");
    }

    #[test]
    fn a_preemptible_job_fills_gaps_and_gives_way() {
        let preemptible = Active { preemptible: true, ..active(None) };
        assert_eq!(of(&[machine(2, &[Some(0)])], &[preemptible], &[waiting(1, None)]), [minutes(0)]);
        let jobs = [waiting(2, minutes(30)), Waiting { preemptible: true, ..waiting(1, minutes(5)) }];
        assert_eq!(of(&[machine(4, &[Some(0), None])], &[active(minutes(10))], &jobs), [minutes(10), minutes(0)]);
    }

    #[test]
    fn limits_of_repositories_and_forks_hold_jobs_back() {
        let bounded = Waiting { most: Some(1), ..waiting(0, minutes(3)) };
        let other = Waiting { repo: OTHER, ..waiting(0, minutes(1)) };
        let begins = of(&[machine(3, &[])], &[active(minutes(5))], &[bounded.clone(), other.clone(), bounded]);
        assert_eq!(begins, [minutes(5), minutes(0), minutes(8)]);
        let fork = Waiting { is_fork: true, ..other };
        let world = World { machines: vec![machine(3, &[])], active: Vec::new(), most_forks: Some(1) };
        assert_eq!(forecast(world, &[fork.clone(), fork]), [minutes(0), minutes(1)]);
    }

    #[test]
    fn labels_choose_the_runner() {
        let arm = Machine { labels: vec!["arm64".to_owned()], ..machine(1, &[]) };
        let job = Waiting { labels: vec!["arm64".to_owned()], ..waiting(0, minutes(2)) };
        let begins = of(&[machine(1, &[]), arm], &[], &[job.clone(), job]);
        assert_eq!(begins, [minutes(0), minutes(2)]);
    }
}
