//! The choice of GPUs for waiting jobs.
//!
//! Jobs that require GPUs are served in the order of the queue. A job that has to wait reserves every GPU of the runner
//! that it could use: a later job gets only GPUs that no earlier job waits for. So a job that wants eight GPUs does not
//! starve behind jobs that want one. Jobs without requirements are in another queue and take whatever slots are left.
//!
//! Preemptible jobs come after all others and fill the gaps. They may use GPUs that another job reserves, since that
//! job gets them back as soon as they are enough for it to begin. From then on, these GPUs are reserved against
//! preemptible jobs, too.

use chrono::{DateTime, Utc};

use crate::domain::{AttemptId, GpuRequest, GpuState};

/// A GPU of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// UUID that nvidia-smi and Docker use.
    pub uuid: String,
    /// Bytes of memory.
    pub memory: i64,
    pub class: String,
    pub state: GpuState,
    /// Reason for the quarantine.
    pub reason: Option<String>,
    /// True when the GPU is quarantined only until the check that follows each job.
    pub is_settling: bool,
    pub held: Option<Held>,
}

/// The job that holds a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The job, as `owner/name #12.3`.
    pub by: String,
    pub attempt: AttemptId,
    pub since: DateTime<Utc>,
    /// True when a waiting job may preempt this one.
    pub preemptible: bool,
    /// True when the job is already being preempted.
    pub is_preempted: bool,
}

impl Gpu {
    fn is_free(&self) -> bool {
        self.state == GpuState::Free
    }

    fn meets(&self, request: &GpuRequest) -> bool {
        self.memory >= request.memory && request.class.as_ref().is_none_or(|class| *class == self.class)
    }

    /// Returns true if the GPU can be free within seconds of a request.
    fn is_at_hand(&self) -> bool {
        self.is_free() || self.is_settling || self.held.as_ref().is_some_and(|held| held.preemptible)
    }
}

/// Returns the number of GPUs that a job requests.
fn count(request: &GpuRequest) -> usize {
    usize::try_from(request.count).unwrap_or(0)
}

/// A waiting job.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The requested GPUs; `None` when the job requires labels only.
    pub request: Option<&'a GpuRequest>,
    /// True when other jobs may preempt this one.
    pub preemptible: bool,
}

/// The decision about a runner's GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The first of the waiting jobs that can begin, as its position among them, and the GPUs that it gets.
    pub begins: Option<(usize, Vec<String>)>,
    /// The attempts that give way, each with the place of the job that it gives way to.
    /// The attempts to preempt, each with the position of the job that it makes room for.
    pub preempt: Vec<(AttemptId, usize)>,
}

/// Chooses the waiting job that begins on a runner with these GPUs, and the attempts that are preempted for a waiting
/// job. In `waiting`, preemptible jobs come after all others.
pub fn choose(gpus: &[Gpu], waiting: &[Candidate<'_>]) -> Choice {
    let mut choice = Choice::default();
    // The GPUs that are reserved against usual jobs, and those that are reserved against preemptible jobs.
    let (mut kept, mut promised): (Vec<&Gpu>, Vec<&Gpu>) = (Vec::new(), Vec::new());
    for (place, Candidate { request, preemptible }) in waiting.iter().enumerate() {
        let Some(request) = request else {
            choice.begins = Some((place, Vec::new()));
            return choice;
        };
        let closed = if *preemptible { &promised } else { &kept };
        let open: Vec<&Gpu> = usable(gpus, request).filter(|gpu| !is_among(gpu, closed)).collect();
        let mut free: Vec<&Gpu> = open.iter().copied().filter(|gpu| gpu.is_free()).collect();
        if free.len() >= count(request) {
            // The smallest suitable GPUs: the larger ones are left for jobs that need them.
            free.sort_by(|a, b| (a.memory, &a.uuid).cmp(&(b.memory, &b.uuid)));
            choice.begins = Some((place, free.iter().take(count(request)).map(|gpu| gpu.uuid.clone()).collect()));
            return choice;
        }
        let can_be_had = |gpu: &&Gpu| gpu.state != GpuState::Quarantined || gpu.is_settling;
        if usable(gpus, request).filter(can_be_had).count() < count(request) {
            continue;
        }
        if *preemptible {
            promised.extend(usable(gpus, request));
            continue;
        }
        kept.extend(usable(gpus, request));
        let at_hand: Vec<&Gpu> = open.into_iter().filter(|gpu| gpu.is_at_hand()).collect();
        if at_hand.len() >= count(request) {
            choice.preempt.extend(holders(&at_hand, count(request)).into_iter().map(|attempt| (attempt, place)));
            promised.extend(at_hand);
        }
    }
    choice
}

/// Returns the attempts to preempt so that `count` of these GPUs become free. GPUs that become free anyway count, too.
/// The latest attempts are preempted first, since they lose the least.
fn holders(at_hand: &[&Gpu], count: usize) -> Vec<AttemptId> {
    let (mut held, coming): (Vec<&Held>, usize) = (
        at_hand.iter().filter_map(|gpu| gpu.held.as_ref()).filter(|held| !held.is_preempted).collect(),
        at_hand.iter().filter(|gpu| gpu.held.as_ref().is_none_or(|held| held.is_preempted)).count(),
    );
    held.sort_by_key(|held| (std::cmp::Reverse(held.since), held.attempt));
    let mut missing = count.saturating_sub(coming);
    let mut attempts: Vec<AttemptId> = Vec::new();
    while missing > 0
        && let Some(attempt) = held.first().map(|held| held.attempt)
    {
        missing = missing.saturating_sub(held.iter().filter(|held| held.attempt == attempt).count());
        held.retain(|held| held.attempt != attempt);
        attempts.push(attempt);
    }
    attempts
}

fn is_among(gpu: &Gpu, gpus: &[&Gpu]) -> bool {
    gpus.iter().any(|other| other.uuid == gpu.uuid)
}

fn usable<'a>(gpus: &'a [Gpu], request: &'a GpuRequest) -> impl Iterator<Item = &'a Gpu> {
    gpus.iter().filter(|gpu| gpu.meets(request))
}

/// The reason why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The resource that the job waits for, in words.
    For(String),
    /// The requirements that no runner meets, in words: the job would wait forever.
    Never(String),
}

/// Explains why a job waits whose request only the runners with these GPUs can meet; `runners` has one list of GPUs per
/// runner. Returns `None` when the job could begin, so that it waits only for a slot.
pub fn wait_in_words(request: &GpuRequest, runners: &[Vec<Gpu>]) -> Option<Wait> {
    let able: Vec<&Vec<Gpu>> = runners.iter().filter(|gpus| usable(gpus, request).count() >= count(request)).collect();
    if able.is_empty() {
        return Some(Wait::Never(format!("no runner has {}", in_words(request))));
    }
    let is_free = |gpu: &&Gpu| gpu.state == GpuState::Free;
    if able.iter().any(|gpus| usable(gpus, request).filter(is_free).count() >= count(request)) {
        return None;
    }
    let wanted = || able.iter().flat_map(|gpus| usable(gpus, request));
    let mut holders: Vec<&Held> = wanted().filter_map(|gpu| gpu.held.as_ref()).collect();
    holders.sort_by(|a, b| (a.since, &a.by).cmp(&(b.since, &b.by)));
    holders.dedup_by(|a, b| a.by == b.by);
    let words = match holders.first() {
        Some(Held { by, since, .. }) => {
            let more = match holders.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            format!("waiting for GPU: held by {by} since {}{more}", since.format("%Y-%m-%d %H:%M UTC"))
        }
        None => {
            let quarantined = wanted().find(|gpu| gpu.state == GpuState::Quarantined);
            let (uuid, reason) = quarantined.map(|gpu| (gpu.uuid.as_str(), gpu.reason.as_deref())).unwrap_or_default();
            format!("waiting for GPU: {uuid} is quarantined: {}", reason.unwrap_or_default())
        }
    };
    Some(Wait::For(words))
}

fn in_words(request: &GpuRequest) -> String {
    let count = if request.count == 1 { "a GPU".to_owned() } else { format!("{} GPUs", request.count) };
    let class = request.class.as_ref().map(|class| format!(" of class {class}")).unwrap_or_default();
    let memory = match u64::try_from(request.memory) {
        Ok(bytes) if bytes > 0 => format!(" with {} of memory", bytesize::ByteSize::b(bytes).display().si()),
        _ => String::new(),
    };
    format!("{count}{class}{memory}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    fn gpu(uuid: &str, gigabytes: i64, class: &str, state: GpuState) -> Gpu {
        let reason = (state == GpuState::Quarantined).then(|| "a process is on it".to_owned());
        let held = (state == GpuState::Held).then(|| holder(3, false));
        let memory = gigabytes * 1_000_000_000;
        Gpu { uuid: uuid.to_owned(), memory, class: class.to_owned(), state, reason, is_settling: false, held }
    }

    fn holder(job: i64, preemptible: bool) -> Held {
        let since = DateTime::from_timestamp(1_700_000_000 + job, 0).expect("a time");
        let by = format!("acme/styles #12.{job}");
        Held { by, attempt: AttemptId { job: JobId(job), number: 1 }, since, preemptible, is_preempted: false }
    }

    fn held_by(uuid: &str, held: Held) -> Gpu {
        Gpu { held: Some(held), ..gpu(uuid, 16, "a", Taken) }
    }

    fn request(count: i32, gigabytes: i64, class: &str) -> GpuRequest {
        let class = Some(class.to_owned()).filter(|class| !class.is_empty());
        GpuRequest { count, memory: gigabytes * 1_000_000_000, class }
    }

    fn usual(request: &GpuRequest) -> Candidate<'_> {
        Candidate { request: Some(request), preemptible: false }
    }

    fn begins(gpus: &[Gpu], waiting: &[Candidate<'_>]) -> Option<(usize, Vec<String>)> {
        choose(gpus, waiting).begins
    }

    fn place(place: usize, uuids: &[&str]) -> Option<(usize, Vec<String>)> {
        Some((place, uuids.iter().map(|&uuid| uuid.to_owned()).collect()))
    }

    use GpuState::{Free, Held as Taken, Quarantined};

    #[test]
    fn the_smallest_gpus_that_will_do_and_all_or_none() {
        let gpus = [gpu("big", 80, "a", Free), gpu("small", 16, "a", Free), gpu("other", 16, "b", Free)];
        let one = |request| begins(&gpus, &[usual(&request)]);
        assert_eq!(one(request(1, 0, "a")), place(0, &["small"]));
        assert_eq!(one(request(1, 24, "")), place(0, &["big"]));
        assert_eq!(one(request(2, 0, "a")), place(0, &["small", "big"]));
        assert_eq!(one(request(3, 0, "a")), None);
        let labels_only = Candidate { request: None, preemptible: false };
        assert_eq!(begins(&[], &[usual(&request(1, 0, "")), labels_only]), place(1, &[]));
    }

    #[test]
    fn who_waits_keeps_back_what_it_could_use_and_no_more() {
        let gpus = [gpu("a1", 16, "a", Free), gpu("a2", 16, "a", Taken), gpu("b1", 16, "b", Free)];
        let (pair, one, any) = (request(2, 0, "a"), request(1, 0, "a"), request(1, 0, ""));
        assert_eq!(begins(&gpus, &[usual(&pair), usual(&one)]), None, "it would starve the pair");
        assert_eq!(begins(&gpus, &[usual(&pair), usual(&any)]), place(1, &["b1"]));
        let broken = [gpu("a1", 16, "a", Free), gpu("a2", 16, "a", Quarantined)];
        assert_eq!(
            begins(&broken, &[usual(&pair), usual(&one)]),
            place(1, &["a1"]),
            "a quarantined GPU is not waited for"
        );
        let settling = [gpu("a1", 16, "a", Free), Gpu { is_settling: true, ..gpu("a2", 16, "a", Quarantined) }];
        assert_eq!(begins(&settling, &[usual(&pair), usual(&one)]), None, "but a GPU that settles is");
    }

    #[test]
    fn a_preemptible_job_fills_gaps_and_gives_way_when_that_is_enough() {
        let (pair, one) = (request(2, 0, "a"), request(1, 0, "a"));
        let gap = Candidate { request: Some(&one), preemptible: true };
        // The pair waits for a long job, so the other GPU is a gap.
        let taken = [gpu("a1", 16, "a", Free), held_by("a2", holder(1, false))];
        assert_eq!(choose(&taken, &[usual(&pair), gap]), Choice { begins: place(1, &["a1"]), preempt: Vec::new() });
        // That job is over, and the job in the gap is preempted. No other job may take GPUs that are on their way to
        // the pair.
        let over = [gpu("a1", 16, "a", Free), held_by("a2", holder(2, true))];
        let is_preempted = vec![(AttemptId { job: JobId(2), number: 1 }, 0)];
        assert_eq!(choose(&over, &[usual(&pair), gap]), Choice { begins: None, preempt: is_preempted });
        let told = [gpu("a1", 16, "a", Free), held_by("a2", Held { is_preempted: true, ..holder(2, true) })];
        assert_eq!(choose(&told, &[usual(&pair), gap]), Choice::default());
        let gone = [gpu("a1", 16, "a", Free), Gpu { is_settling: true, ..gpu("a2", 16, "a", Quarantined) }];
        assert_eq!(choose(&gone, &[usual(&pair), gap]), Choice::default());
    }

    #[test]
    fn as_few_give_way_as_will_do_and_the_latest_first() {
        let one = request(1, 0, "a");
        let gpus = [held_by("a1", holder(1, true)), held_by("a2", holder(2, true)), held_by("a3", holder(3, false))];
        assert_eq!(choose(&gpus, &[usual(&one)]).preempt, [(AttemptId { job: JobId(2), number: 1 }, 0)]);
        assert_eq!(
            choose(&gpus, &[usual(&one), usual(&one)]).preempt,
            [(AttemptId { job: JobId(2), number: 1 }, 0)],
            "the second waits its turn"
        );
        assert_eq!(choose(&gpus, &[usual(&request(2, 0, "a"))]).preempt.len(), 2);
        assert_eq!(choose(&gpus, &[usual(&request(3, 0, "a"))]).preempt, [], "it could not begin anyway");
        let other = Candidate { request: Some(&one), preemptible: true };
        assert_eq!(choose(&gpus, &[other]).preempt, [], "not for a job that is preemptible itself");
    }

    #[test]
    fn a_wait_is_told_by_who_holds_the_gpu() {
        let words = |request, gpus: &[Gpu]| match wait_in_words(&request, &[gpus.to_vec(), Vec::new()]) {
            None => String::new(),
            Some(Wait::For(words)) => words,
            Some(Wait::Never(words)) => format!("never: {words}"),
        };
        let held = gpu("a", 16, "a", Taken);
        assert_eq!(
            words(request(1, 0, ""), std::slice::from_ref(&held)),
            "waiting for GPU: held by acme/styles #12.3 since 2023-11-14 22:13 UTC"
        );
        assert_eq!(words(request(1, 0, ""), &[held.clone(), gpu("b", 16, "b", Free)]), "");
        assert_eq!(
            words(request(1, 0, ""), &[gpu("b", 16, "b", Quarantined)]),
            "waiting for GPU: b is quarantined: a process is on it"
        );
        assert_eq!(
            words(request(2, 40, "a"), &[held]),
            "never: no runner has 2 GPUs of class a with 40.0 GB of memory"
        );
    }
}
