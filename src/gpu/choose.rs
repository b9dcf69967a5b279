//! Who gets which GPUs.
//!
//! Jobs that need GPUs are served in the order of the queue. One that has to wait keeps back every GPU of the runner that
//! it could use: a later job gets only what no earlier one waits for. So a job that wants eight GPUs does not starve
//! behind jobs that want one. Jobs without needs are in another queue and take whatever slots are left.

use chrono::{DateTime, Utc};

use crate::domain::{GpuState, GpuWish};

/// A GPU of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// As nvidia-smi and Docker know it.
    pub uuid: String,
    /// Bytes of memory.
    pub memory: i64,
    /// Its class.
    pub class: String,
    /// Whether it is to be had.
    pub state: GpuState,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// Who holds it.
    pub held: Option<Held>,
}

/// Who holds a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The job, as `owner/name #12.3`.
    pub by: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl GpuWish {
    fn takes(&self, gpu: &Gpu) -> bool {
        gpu.memory >= self.memory && self.class.as_ref().is_none_or(|class| *class == gpu.class)
    }

    fn count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }
}

/// The first of the waiting jobs that can begin on a runner with these GPUs, as its place among them, and the GPUs that
/// it gets. A job without a wish can always begin.
pub fn choose(gpus: &[Gpu], waiting: &[Option<GpuWish>]) -> Option<(usize, Vec<String>)> {
    let mut kept: Vec<&Gpu> = Vec::new();
    for (place, wish) in waiting.iter().enumerate() {
        let Some(wish) = wish else { return Some((place, Vec::new())) };
        let mut free: Vec<&Gpu> = usable(gpus, wish)
            .filter(|gpu| gpu.state == GpuState::Free && !kept.iter().any(|kept| kept.uuid == gpu.uuid))
            .collect();
        if free.len() >= wish.count() {
            // The smallest that will do: the larger ones stay for those who need them.
            free.sort_by(|a, b| (a.memory, &a.uuid).cmp(&(b.memory, &b.uuid)));
            return Some((place, free.into_iter().take(wish.count()).map(|gpu| gpu.uuid.clone()).collect()));
        }
        if usable(gpus, wish).filter(|gpu| gpu.state != GpuState::Quarantined).count() >= wish.count() {
            kept.extend(usable(gpus, wish));
        }
    }
    None
}

fn usable<'a>(gpus: &'a [Gpu], wish: &'a GpuWish) -> impl Iterator<Item = &'a Gpu> {
    gpus.iter().filter(|gpu| wish.takes(gpu))
}

/// Why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// For what it needs, in words.
    For(String),
    /// No runner has what it needs, in words: it would wait for ever.
    Never(String),
}

/// Why a job waits whose wish only the runners with these GPUs can meet, each runner's together. None when it could begin,
/// so that it waits for a slot and nothing else.
pub fn wait_in_words(wish: &GpuWish, runners: &[Vec<Gpu>]) -> Option<Waiting> {
    let able: Vec<&Vec<Gpu>> = runners.iter().filter(|gpus| usable(gpus, wish).count() >= wish.count()).collect();
    if able.is_empty() {
        return Some(Waiting::Never(format!("no runner has {}", in_words(wish))));
    }
    let is_free = |gpu: &&Gpu| gpu.state == GpuState::Free;
    if able.iter().any(|gpus| usable(gpus, wish).filter(is_free).count() >= wish.count()) {
        return None;
    }
    let wanted = || able.iter().flat_map(|gpus| usable(gpus, wish));
    let mut holders: Vec<&Held> = wanted().filter_map(|gpu| gpu.held.as_ref()).collect();
    holders.sort_by(|a, b| (a.since, &a.by).cmp(&(b.since, &b.by)));
    holders.dedup_by(|a, b| a.by == b.by);
    let words = match holders.first() {
        Some(Held { by, since }) => {
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
    Some(Waiting::For(words))
}

fn in_words(wish: &GpuWish) -> String {
    let count = if wish.count == 1 { "a GPU".to_owned() } else { format!("{} GPUs", wish.count) };
    let class = wish.class.as_ref().map(|class| format!(" of class {class}")).unwrap_or_default();
    let memory = match u64::try_from(wish.memory) {
        Ok(bytes) if bytes > 0 => format!(" with {} of memory", bytesize::ByteSize::b(bytes).display().si()),
        _ => String::new(),
    };
    format!("{count}{class}{memory}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(uuid: &str, gigabytes: i64, class: &str, state: GpuState) -> Gpu {
        let reason = (state == GpuState::Quarantined).then(|| "a process is on it".to_owned());
        let held = (state == GpuState::Held).then(|| Held {
            by: "acme/styles #12.3".to_owned(),
            since: DateTime::from_timestamp(1_700_000_000, 0).expect("a time"),
        });
        Gpu { uuid: uuid.to_owned(), memory: gigabytes * 1_000_000_000, class: class.to_owned(), state, reason, held }
    }

    fn wish(count: i32, gigabytes: i64, class: &str) -> GpuWish {
        let class = Some(class.to_owned()).filter(|class| !class.is_empty());
        GpuWish { count, memory: gigabytes * 1_000_000_000, class }
    }

    use GpuState::{Free, Held as Taken, Quarantined};

    #[test]
    fn the_smallest_gpus_that_will_do_and_all_or_none() {
        let gpus = [gpu("big", 80, "a", Free), gpu("small", 16, "a", Free), gpu("other", 16, "b", Free)];
        let one = |wish| choose(&gpus, &[Some(wish)]).map(|(_, uuids)| uuids);
        assert_eq!(one(wish(1, 0, "a")), Some(vec!["small".to_owned()]));
        assert_eq!(one(wish(1, 24, "")), Some(vec!["big".to_owned()]));
        assert_eq!(one(wish(2, 0, "a")), Some(vec!["small".to_owned(), "big".to_owned()]));
        assert_eq!(one(wish(3, 0, "a")), None);
        assert_eq!(choose(&[], &[Some(wish(1, 0, "")), None]), Some((1, vec![])), "a job with labels only");
    }

    #[test]
    fn who_waits_keeps_back_what_it_could_use_and_no_more() {
        let gpus = [gpu("a1", 16, "a", Free), gpu("a2", 16, "a", Taken), gpu("b1", 16, "b", Free)];
        let pair = Some(wish(2, 0, "a"));
        assert_eq!(choose(&gpus, &[pair.clone(), Some(wish(1, 0, "a"))]), None, "it would starve the pair");
        assert_eq!(choose(&gpus, &[pair.clone(), Some(wish(1, 0, ""))]), Some((1, vec!["b1".to_owned()])));
        let broken = [gpu("a1", 16, "a", Free), gpu("a2", 16, "a", Quarantined)];
        assert_eq!(
            choose(&broken, &[pair, Some(wish(1, 0, "a"))]),
            Some((1, vec!["a1".to_owned()])),
            "what is quarantined is not waited for"
        );
    }

    #[test]
    fn a_wait_is_told_by_who_holds_the_gpu() {
        let words = |wish, gpus: &[Gpu]| match wait_in_words(&wish, &[gpus.to_vec(), Vec::new()]) {
            None => String::new(),
            Some(Waiting::For(words)) => words,
            Some(Waiting::Never(words)) => format!("never: {words}"),
        };
        let held = gpu("a", 16, "a", Taken);
        assert_eq!(
            words(wish(1, 0, ""), std::slice::from_ref(&held)),
            "waiting for GPU: held by acme/styles #12.3 since 2023-11-14 22:13 UTC"
        );
        assert_eq!(words(wish(1, 0, ""), &[held.clone(), gpu("b", 16, "b", Free)]), "");
        assert_eq!(
            words(wish(1, 0, ""), &[gpu("b", 16, "b", Quarantined)]),
            "waiting for GPU: b is quarantined: a process is on it"
        );
        assert_eq!(words(wish(2, 40, "a"), &[held]), "never: no runner has 2 GPUs of class a with 40.0 GB of memory");
    }
}
