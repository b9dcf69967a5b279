//! The files that a job leaves: read out of its ended container as they pass, and stored before the verdict.
//!
//! Nothing is unpacked: a file goes from the engine's tar into an object, and its name is only ever a text. Nothing that
//! goes wrong here changes a job's verdict.

mod take;

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio_util::io::{StreamReader, SyncIoBridge};
use tracing::warn;

use self::take::Taken;
use super::Worker;
use crate::attempt::{HOME, Judgement, output_folder};
use crate::domain::{RepoId, Verdict};
use crate::store::output::artifacts::NewArtifact;
use crate::store::queue::Claimed;
use crate::travis::artifacts;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What the script's list may have, in bytes and in lines.
const MAX_LIST: u64 = 256 * 1024;
const MAX_PATHS: usize = 1000;

/// Whose job it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) repo: RepoId,
    /// Whether somebody else's code ran.
    pub(super) is_fork: bool,
}

/// Files or folders of a container that are kept, and the folder at which their names start.
struct Declared {
    base: PathBuf,
    paths: Vec<String>,
    /// How many more there are.
    left_out: usize,
}

impl Worker {
    /// Stores what a job declares as its outputs, and says so at the end of its log.
    pub(super) async fn store_artifacts(
        &self,
        job: &Claimed,
        origin: Origin,
        is_smoke: bool,
        container: &str,
        judgement: &mut Judgement,
    ) -> Vec<NewArtifact> {
        // What was stopped has not come to the end of its script, which writes down what to keep.
        let wants = is_smoke || job.config.as_object().is_some_and(|config| artifacts::wanted(config).is_some());
        if !wants || !matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) {
            return Vec::new();
        }
        match self.store_until_done(job, origin, is_smoke, container).await {
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

    /// Tries again when the engine was away: keys are made of attempt and name, so what is there already is replaced.
    async fn store_until_done(
        &self,
        job: &Claimed,
        origin: Origin,
        is_smoke: bool,
        container: &str,
    ) -> anyhow::Result<Taken> {
        ensure!(
            self.settings.objects.is_some(),
            "this runner is another machine's than the server's, which needs a bucket for them (storage.url)"
        );
        let mut tries = 0;
        loop {
            let stored = tokio::time::timeout(LIMIT, self.try_store_artifacts(job, origin, is_smoke, container)).await;
            match stored {
                Ok(Ok(taken)) => return Ok(taken),
                Ok(Err(error)) => self.try_again(error, &mut tries).await?,
                Err(_) => bail!("that took longer than {}", humantime::format_duration(LIMIT)),
            }
        }
    }

    async fn try_store_artifacts(
        &self,
        job: &Claimed,
        origin: Origin,
        is_smoke: bool,
        container: &str,
    ) -> anyhow::Result<Taken> {
        let declared = if is_smoke {
            let folder = output_folder();
            Declared { base: PathBuf::from(&folder), paths: vec![folder], left_out: 0 }
        } else {
            self.declared(container).await?
        };
        let (objects, keys) = self.settings.objects.clone().context("a place for objects")?;
        let limit = self.settings.limits.artifacts;
        let mut taken = Taken::new(objects, keys, origin, job.attempt_id(), limit);
        for path in declared.paths {
            let tar = self.docker.tar_of(container, &path).await.with_context(|| format!("reading {path}"))?;
            let Some(tar) = tar else { continue };
            let tar = SyncIoBridge::new(StreamReader::new(tar));
            let base = declared.base.clone();
            taken = tokio::task::spawn_blocking(move || taken.take(&base, &path, tar).map(|()| taken)).await??;
        }
        for _ in 0..declared.left_out {
            taken.leave_out(format!("at most {MAX_PATHS} paths are looked at"));
        }
        Ok(taken)
    }

    /// What the script has written down; nothing when it did not get so far.
    async fn declared(&self, container: &str) -> anyhow::Result<Declared> {
        let nothing = Declared { base: PathBuf::from("/"), paths: Vec::new(), left_out: 0 };
        let Some(tar) = self.docker.tar_of(container, &format!("{HOME}/.travis/artifacts")).await? else {
            return Ok(nothing);
        };
        let tar = SyncIoBridge::new(StreamReader::new(tar));
        let read = move || -> anyhow::Result<String> {
            let mut list = Vec::new();
            if let Some(entry) = tar::Archive::new(tar).entries()?.next() {
                entry?.take(MAX_LIST).read_to_end(&mut list)?;
            }
            Ok(String::from_utf8_lossy(&list).into_owned())
        };
        let mut list = tokio::task::spawn_blocking(read).await?.context("reading the list of artifacts")?;
        if list.len() as u64 >= MAX_LIST {
            // The last line is cut, and might name something else now.
            list.truncate(list.rfind('\n').unwrap_or(0));
        }
        let mut lines = list.lines().filter(|path| path.starts_with('/')).map(str::to_owned);
        let Some(base) = lines.next() else { return Ok(nothing) };
        let paths: Vec<String> = lines.by_ref().take(MAX_PATHS).collect();
        Ok(Declared { base: PathBuf::from(base), paths, left_out: lines.count() })
    }
}
