//! The last phase: the cache and the artifacts, stored before the verdict.
//!
//! Nothing is unpacked: the bytes of a file go from the engine's tar into an object, and its name is never used as a
//! path. No failure here changes a job's verdict.

mod provenance;
mod take;
mod trackers;

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::take::Taken;
use super::prepare::{Origin, Prepared};
use super::{End, Run, cache};
use crate::attempt::{Ended, Examined, HOME, Judged, Judgement, Training};
use crate::domain::{RepoName, Verdict};
use crate::executor::Engine;
use crate::provenance::FILES;
use crate::store::builds::BuildFacts;
use crate::store::output::artifacts::NewArtifact;
use crate::travis::artifacts;
use crate::worker::Handles;

/// The time that storing all artifacts may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The limits of the script's list, in bytes and in lines.
const MAX_LIST: u64 = 256 * 1024;
const MAX_PATHS: usize = 1000;

/// Files or folders of a container that are kept, and the folder at which their names start.
struct Declared {
    base: PathBuf,
    paths: Vec<String>,
    /// Number of further paths that are not kept.
    left_out: usize,
}

/// An attempt with everything that is recorded of it.
pub(super) struct Finished {
    pub(super) judgement: Judgement,
    pub(super) examined: Option<Examined>,
    pub(super) artifacts: Vec<NewArtifact>,
}

impl Finished {
    pub(super) fn without_outputs(judgement: Judgement) -> Self {
        Self { judgement, examined: None, artifacts: Vec::new() }
    }
}

/// The facts about an ended attempt whose artifacts are stored.
struct Keeping<'a> {
    run: &'a Run,
    facts: &'a BuildFacts,
    repo: &'a RepoName,
    origin: Origin,
    container: &'a str,
    ended_at: DateTime<Utc>,
    duration: Duration,
    has_passed: bool,
    examined: Option<&'a Examined>,
}

/// Stores the outputs of a judged attempt, and reports them at the end of its log.
pub(super) async fn keep(run: &Run, prepared: Prepared, ended: &Ended, judged: Judged) -> Result<Finished, End> {
    let Judged { mut judgement, examined } = judged;
    // A job that was stopped has not reached the end of its script, which lists the files to keep.
    if !matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) {
        return Ok(Finished { judgement, examined, artifacts: Vec::new() });
    }
    let duration = run.progress.lock().started.map_or(Duration::ZERO, |started| started.elapsed());
    let Handles { engine, settings, .. } = &*run.handles;
    // The cache is stored before the verdict, since the jobs of the next stage may need it.
    if let Some(cache) = prepared.cache {
        judgement.closing.push_str(&cache::store(engine, settings, &ended.container, cache).await);
    }
    let keeping = Keeping {
        run,
        facts: &prepared.facts,
        repo: &prepared.facts.repo()?,
        origin: prepared.origin,
        container: &ended.container,
        ended_at: Utc::now(),
        duration,
        has_passed: judgement.verdict == Verdict::Passed,
        examined: examined.as_ref(),
    };
    let artifacts = keeping.store_artifacts(&mut judgement).await;
    Ok(Finished { judgement, examined, artifacts })
}

impl Keeping<'_> {
    async fn store_artifacts(&self, judgement: &mut Judgement) -> Vec<NewArtifact> {
        let job = &self.run.job;
        let declares = || job.config.as_object().is_some_and(|config| artifacts::wanted(config).is_some());
        if !matches!(self.run.training, Ok(Some(_))) && !declares() {
            return Vec::new();
        }
        match self.store_until_done().await {
            Ok(taken) => {
                judgement.closing.push_str(&taken.in_words());
                taken.artifacts
            }
            Err(error) => {
                warn!(job = %job.id, "cannot store the artifacts of job {}: {error:#}", job.id);
                judgement.closing.push_str(&format!("\nThe artifacts are not stored: {error:#}.\n"));
                Vec::new()
            }
        }
    }

    /// Stores the artifacts, and tries again when the engine was away. Keys are made of attempt and name, so a second try
    /// replaces the objects of the first.
    async fn store_until_done(&self) -> anyhow::Result<Taken> {
        let Handles { settings, health, .. } = &*self.run.handles;
        ensure!(settings.objects.is_some(), "artifacts from a remote runner need object storage: set storage.url");
        let mut tries = 0;
        loop {
            match tokio::time::timeout(LIMIT, self.try_store()).await {
                Ok(Ok(taken)) => return Ok(taken),
                Ok(Err(error)) => health.wait_to_retry(error, &mut tries).await?,
                Err(_) => bail!("this took longer than {}", humantime::format_duration(LIMIT)),
            }
        }
    }

    async fn try_store(&self) -> anyhow::Result<Taken> {
        let Self { run, container, .. } = *self;
        let stop = CancellationToken::new();
        let _ends_reading = stop.clone().drop_guard();
        let Handles { engine, settings, .. } = &*run.handles;
        let training = run.training.as_ref().ok().and_then(Option::as_ref);
        let declared = match training {
            Some(training) => {
                let folder = training.output_folder(self.repo);
                Declared { base: PathBuf::from(&folder), paths: vec![folder], left_out: 0 }
            }
            None => declared(engine, container, &stop).await?,
        };
        let (objects, keys) = settings.objects.clone().context("a place for objects")?;
        let limit = settings.limits.artifacts;
        let mut taken = Taken::new(objects, keys, self.origin, run.attempt, limit);
        let whole = training.and_then(Training::whole);
        if whole.is_some() {
            // What a job writes under our names must not pass for our statement.
            FILES.iter().for_each(|name| taken.reserve(name));
            trackers::FOLDERS.iter().for_each(|name| taken.reserve_folder(name));
        }
        for path in declared.paths {
            let tar = engine.copy_out(container, &path, &stop).await.with_context(|| format!("reading {path}"))?;
            let Some(tar) = tar else { continue };
            let base = declared.base.clone();
            taken = tokio::task::spawn_blocking(move || taken.take(&base, &path, tar).map(|()| taken)).await??;
        }
        for _ in 0..declared.left_out {
            taken.leave_out(format!("at most {MAX_PATHS} paths are read"));
        }
        if let (Some(_), Some(examined)) = (whole, self.examined) {
            let files = trackers::files(self, examined);
            let add = move || -> anyhow::Result<Taken> {
                for (name, bytes) in files {
                    taken.add(&name, &bytes)?;
                }
                Ok(taken)
            };
            taken = tokio::task::spawn_blocking(add).await??;
        }
        if let Some(train) = whole.filter(|_| self.has_passed && !taken.artifacts.is_empty()) {
            let files = provenance::prove(self, train, &taken.artifacts).await.context("the provenance")?;
            let add = move || -> anyhow::Result<Taken> {
                for (name, text) in files {
                    taken.add(name, text.as_bytes())?;
                }
                Ok(taken)
            };
            taken = tokio::task::spawn_blocking(add).await??;
        }
        Ok(taken)
    }
}

/// Returns the paths that the script listed; no paths when the script did not get that far.
async fn declared(engine: &Engine, container: &str, stop: &CancellationToken) -> anyhow::Result<Declared> {
    let nothing = Declared { base: PathBuf::from("/"), paths: Vec::new(), left_out: 0 };
    let Some(tar) = engine.copy_out(container, &format!("{HOME}/.travis/artifacts"), stop).await? else {
        return Ok(nothing);
    };
    let read = move || -> anyhow::Result<String> {
        let mut list = Vec::new();
        if let Some(entry) = tar::Archive::new(tar).entries()?.next() {
            entry?.take(MAX_LIST).read_to_end(&mut list)?;
        }
        Ok(String::from_utf8_lossy(&list).into_owned())
    };
    let mut list = tokio::task::spawn_blocking(read).await?.context("reading the list of artifacts")?;
    if list.len() as u64 >= MAX_LIST {
        // The last line is cut off, and might name another file now.
        list.truncate(list.rfind('\n').unwrap_or(0));
    }
    let mut lines = list.lines().filter(|path| path.starts_with('/')).map(str::to_owned);
    let Some(base) = lines.next() else { return Ok(nothing) };
    let paths: Vec<String> = lines.by_ref().take(MAX_PATHS).collect();
    Ok(Declared { base: PathBuf::from(base), paths, left_out: lines.count() })
}
