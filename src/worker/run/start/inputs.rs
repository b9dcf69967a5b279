//! The data of a train job: fetched before its container is made, and mounted there read-only.
//!
//! The log shows the progress. A stop that is requested meanwhile ends the fetch, of which the next one makes use.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytesize::ByteSize;
use futures::future::BoxFuture;

use crate::attempt::{Shared, TrainJob, checkout_folder, judge_unstarted};
use crate::domain::{BuildId, RepoName};
use crate::executor::{Limits, Mount};
use crate::inputs::{Fetched, InputError, Inputs, Wanted};
use crate::lora::input::{Input, Source};
use crate::store::inputs::{self, FetchedInput};
use crate::worker::run::log::{Log, Lost};
use crate::worker::run::prepare::Prepared;
use crate::worker::run::{End, Run};

/// Interval at which a requested stop is looked for.
const TICK: Duration = Duration::from_millis(200);
/// The first pause between two lines about the progress, and the longest one.
const FIRST_REPORT: Duration = Duration::from_secs(2);
const MAX_REPORT: Duration = Duration::from_secs(60);
/// Maximum number of times that an input is fetched again which was removed before it was used.
const MOST_TRIES: usize = 3;

/// Brings the data of a train job here. Returns the folders and files for its container.
pub(super) fn provide<'a>(
    run: &'a Run,
    prepared: &'a Prepared,
    order: &'a TrainJob,
    log: &'a mut Log,
) -> BoxFuture<'a, Result<Vec<Mount>, End>> {
    // A fetch has many steps, and other jobs should not have its size.
    Box::pin(provide_all(run, prepared, order, log))
}

async fn provide_all(run: &Run, prepared: &Prepared, order: &TrainJob, log: &mut Log) -> Result<Vec<Mount>, End> {
    let mut mounts = Vec::new();
    let repo = prepared.facts.repo()?;
    for input in &order.inputs {
        if prepared.origin.is_fork {
            return Err(End::CouldNotBegin("jobs of forks get no data sets and no models".to_owned()));
        }
        if !run.handles.engine.is_local() {
            return Err(End::CouldNotBegin(format!(
                "the {} {} cannot be mounted on the runner {}, which is another machine: run `trainyard work` there, or give \
                 the training a runner of the server's machine",
                input.kind.in_words(),
                input.from,
                run.handles.presence.name
            )));
        }
        let fetch = Fetch { run, repo: &repo, build: run.job.build_id, input };
        let fetched = fetch.carry_out(log).await?;
        mounts.push(fetch.mount(&fetched)?);
    }
    Ok(mounts)
}

/// The fetch of one input for a job.
struct Fetch<'a> {
    run: &'a Run,
    repo: &'a RepoName,
    build: BuildId,
    input: &'a Input,
}

impl Fetch<'_> {
    fn inputs(&self) -> &Inputs {
        &self.run.handles.settings.inputs
    }

    async fn carry_out(&self, log: &mut Log) -> Result<Fetched, End> {
        let begun = Instant::now();
        let what = format!("{} {}", self.input.kind.in_words(), self.input.from);
        log.say(&format!("Fetching the {what}.\n")).await?;
        let revision = self.watched(Box::pin(self.decide()), None, log).await?;
        let wanted = self.wanted(revision.as_deref());
        let fetched = self.watched(Box::pin(self.fetch(wanted)), Some(wanted), log).await?;
        let Fetched { revision, digest, files, bytes, contents, .. } = &fetched;
        let (size, took) = (ByteSize::b(*bytes), humantime::format_duration(rounded(begun.elapsed())));
        let at = if revision == digest { String::new() } else { format!(" at {revision}") };
        let count = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        let contents = if contents.is_empty() { String::new() } else { format!(" ({contents})") };
        let line = format!("The {what}{at} is here: {count}{contents}, {size}, SHA-256 {digest}, after {took}.\n");
        log.say(&line).await?;
        Ok(fetched)
    }

    fn wanted<'r>(&'r self, revision: Option<&'r str>) -> Wanted<'r> {
        Wanted { repo: self.repo, kind: self.input.kind, from: &self.input.from, revision }
    }

    /// Returns the revision of the build, if one can be known before the content is.
    async fn decide(&self) -> Result<Option<String>, InputError> {
        if let Some(pin) = &self.input.sha256 {
            return Ok(Some(pin.clone()));
        }
        let (db, source) = (&self.run.handles.db, self.input.from.to_string());
        let known = inputs::decided(db, self.build, &source).await.context("reading the data of the build")?;
        if known.is_some() {
            // A folder or a bucket has no older states: `fetch` finds out if it is still the same.
            return Ok(known.filter(|_| matches!(self.input.from, Source::Hub(_) | Source::Git(_) | Source::Web(_))));
        }
        let Some(found) = self.inputs().resolve(self.wanted(None)).await? else { return Ok(None) };
        let decided = inputs::decide(db, self.run.attempt, &source, &found).await.context("recording the revision")?;
        Ok(Some(decided.unwrap_or(found)))
    }

    /// Fetches the input, and records that the job uses it before it can be removed again.
    async fn fetch(&self, wanted: Wanted<'_>) -> Result<Fetched, InputError> {
        for _ in 0..MOST_TRIES {
            let fetched = self.inputs().fetch(wanted).await?;
            let _hold = self.inputs().hold().await;
            if !fetched.is_here() {
                continue;
            }
            let row = FetchedInput {
                source: self.input.from.to_string(),
                revision: fetched.revision.clone(),
                digest: fetched.digest.clone(),
                files: i64::try_from(fetched.files).unwrap_or(i64::MAX),
                bytes: i64::try_from(fetched.bytes).unwrap_or(i64::MAX),
            };
            let counts = inputs::record(&self.run.handles.db, self.run.attempt, &row).await;
            // The lease is lost if there is none.
            let counts = counts.context("recording the data of the build")?.unwrap_or_else(|| row.digest.clone());
            return match counts == row.digest {
                true => Ok(fetched),
                false => Err(InputError::Checksum {
                    path: "it".to_owned(),
                    found: format!("the SHA-256 {}", row.digest),
                    wanted: format!("{counts}, with which this build has begun"),
                }),
            };
        }
        Err(InputError::Refused("it is removed again before the job can use it: raise inputs.total_size".to_owned()))
    }

    /// Waits for a step, reports its progress, and ends it when the job is to stop.
    async fn watched<T>(
        &self,
        mut step: BoxFuture<'_, Result<T, InputError>>,
        wanted: Option<Wanted<'_>>,
        log: &mut Log,
    ) -> Result<T, End> {
        let mut report = Report { pause: FIRST_REPORT, due: Instant::now() + FIRST_REPORT, before: 0 };
        loop {
            tokio::select! {
                done = &mut step => return done.map_err(|error| self.explain(error)),
                () = tokio::time::sleep(TICK) => {}
            }
            stopped(&self.run.progress, &self.run.limits)?;
            if let Some(wanted) = wanted {
                report.tell(self.inputs(), wanted, log).await?;
            }
        }
    }

    fn explain(&self, error: InputError) -> End {
        match error {
            InputError::System(error) => End::GivenBack(error),
            error => {
                let (kind, from) = (self.input.kind.in_words(), &self.input.from);
                End::CouldNotBegin(format!("cannot fetch the {kind} {from}: {error}"))
            }
        }
    }

    fn mount(&self, fetched: &Fetched) -> anyhow::Result<Mount> {
        let Input { to, .. } = self.input;
        let file = fetched.file_name.as_deref().filter(|_| to.ends_with('/')).unwrap_or_default();
        let target = format!("{}/{to}{file}", checkout_folder(self.repo));
        let host = std::path::absolute(&fetched.path).context("the place of the data")?;
        Ok(Mount { host, target: target.trim_end_matches('/').into(), repos: Vec::new() })
    }
}

/// Ends the attempt if it is to stop.
fn stopped(progress: &Shared, limits: &Limits) -> Result<(), End> {
    match judge_unstarted(progress, limits) {
        None => Ok(()),
        Some(Ok(judgement)) => Err(End::Stopped(judgement)),
        Some(Err(unjudged)) => Err(unjudged.into()),
    }
}

/// The lines about the progress. Their pauses get longer, so that a long fetch does not fill the log.
struct Report {
    pause: Duration,
    due: Instant,
    /// Number of bytes at the last line.
    before: u64,
}

impl Report {
    async fn tell(&mut self, inputs: &Inputs, wanted: Wanted<'_>, log: &mut Log) -> Result<(), Lost> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let Some(((done, total), trouble)) = inputs.progress(wanted) else { return Ok(()) };
        if let Some(trouble) = trouble {
            log.say(&format!("  Trying again: {trouble}\n")).await?;
        }
        let rate = ByteSize::b((done.saturating_sub(self.before) as f64 / self.pause.as_secs_f64()) as u64);
        let of = if total > 0 { format!(" of {}", ByteSize::b(total)) } else { String::new() };
        log.say(&format!("  {}{of}, {rate} each second\n", ByteSize::b(done))).await?;
        self.before = done;
        self.pause = (self.pause * 3 / 2).min(MAX_REPORT);
        self.due = Instant::now() + self.pause;
        Ok(())
    }
}

fn rounded(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
