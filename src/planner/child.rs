//! The child: it answers requests on its standard streams, within bounds of memory and time that it sets itself.

use std::collections::BTreeSet;
use std::io::{stdin, stdout};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::wire::{self, Answer, Received, Reply};
use super::{MEMORY, TIME_LIMIT};
use crate::domain::Trigger;
use crate::plan::{self, Commit, Settings, SourceFile};
use crate::travis::import::Imports;

/// Number of requests after which a child is replaced, so that no leak and no fragmented heap lasts.
const MAX_REQUESTS: usize = 100;
/// Growth of the address space, in bytes, with which a child is replaced: the next plan may need the whole bound.
const MAX_KEPT: u64 = MEMORY / 4;

/// Answers requests until the service closes the input, or until it is time for another child.
///
/// # Errors
/// Fails when a bound cannot be set, and when a request or an answer is cut off.
pub fn serve() -> anyhow::Result<()> {
    let at_start = address_space()?;
    bound(Resource::As, at_start + MEMORY)?;
    // A child that runs out of memory aborts. Its core would only fill the disk.
    bound(Resource::Core, 0)?;
    plan_something();
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    for served in 1..=MAX_REQUESTS {
        // The service measures the time on the clock, and kills. This bound ends a child whose service is gone.
        let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
        bound(Resource::Cpu, used + TIME_LIMIT.as_secs() + 1)?;
        let Some(request) = wire::receive(&mut input).context("reading a request")? else { return Ok(()) };
        let answer = answer(&request);
        drop(request);
        let is_last = served == MAX_REQUESTS || address_space()? > at_start + MAX_KEPT;
        wire::reply(Reply { answer: Some(answer), is_last }, &mut output).context("writing an answer")?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Plans a small commit, so that the first request finds the tables that are read at the first use.
fn plan_something() {
    let (Ok(repo), Ok(sha)) = ("a/b".parse(), "0".repeat(40).parse()) else { return };
    let files = [SourceFile { path: plan::CONFIG.to_owned(), text: b"script: true".to_vec() }];
    plan::plan(&files, &Imports::new(), &Trigger::push(repo, "main", sha), &Settings::default());
}

fn answer(request: &Received) -> Answer {
    let Received { trigger, settings, files, imports, paths, changed } = request;
    let wanted = plan::wanted_imports(files, imports, trigger, settings);
    if !wanted.is_empty() {
        return Answer::Wanted(wanted);
    }
    let paths: Vec<&str> = paths.split_terminator('\0').collect();
    let changed: Option<BTreeSet<&str>> = changed.as_ref().map(|changed| changed.split_terminator('\0').collect());
    let only_smoke = settings.trainings.as_ref().and_then(|request| request.config.as_deref());
    let commit = Commit { files, paths: &paths, changed: changed.as_ref(), only_smoke };
    Answer::Planned(Box::new(plan::plan(commit, imports, trigger, settings)))
}

/// Lowers a limit of this process, as far as it is not lower already.
fn bound(resource: Resource, most: u64) -> anyhow::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| maximum.min(most)));
    setrlimit(resource, Rlimit { current, maximum }).with_context(|| format!("setting the limit {resource:?}"))
}

/// Returns the size of this process's address space, in bytes.
fn address_space() -> anyhow::Result<u64> {
    let facts = std::fs::read_to_string("/proc/self/statm").context("reading /proc/self/statm")?;
    let pages: u64 = facts.split(' ').next().unwrap_or_default().parse().context("reading /proc/self/statm")?;
    Ok(pages * rustix::param::page_size() as u64)
}
