//! Checkpoints of whole trainings: copied out of the container while it runs, and into the container of the next attempt.
//!
//! The job's script names a checkpoint once its files no longer change (`travis_watch_checkpoints`). No failure here
//! changes a verdict: the next attempt then goes on from an older checkpoint, or begins anew.

use std::io::{self, Read as _, Write};
use std::path::{Component, Path};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Run;
use crate::attempt::{Archive, HOME};
use crate::domain::AttemptId;
use crate::lora::series::LogReader;
use crate::storage::{Limits, NewObject, Objects, Packer};
use crate::store::builds::BuildFacts;
use crate::store::output::checkpoints::{self, Checkpoint, Stale};

const INTERVAL: Duration = Duration::from_secs(3);
/// The file in which the script names a checkpoint, and its largest size in bytes.
const MARK: &str = "/home/travis/.travis/checkpoint";
const MAX_MARK: u64 = 4096;
/// Maximum number of files and folders of a checkpoint.
const MOST_ENTRIES: usize = 10_000;

/// Stores the newest checkpoint of a running training, over and over, until the future is dropped. Never returns.
pub(super) async fn keep(run: &Run, facts: &BuildFacts) {
    let folder = run.training.as_ref().ok().and_then(Option::as_ref).zip(facts.repo().ok());
    let folder = folder.and_then(|(training, repo)| training.checkpoint_folder(&repo));
    if let (Some(folder), Some((objects, keys))) = (folder, &run.handles.settings.objects) {
        let mut seen = String::new();
        for number in 1_u32.. {
            tokio::time::sleep(INTERVAL).await;
            let key = keys.checkpoint(facts.repo_id, run.attempt, number);
            match store_new(run, objects, &folder, &key, &mut seen).await {
                Ok(()) => {}
                Err(error) => warn!(job = %run.job.id, "cannot store a checkpoint of job {}: {error:#}", run.job.id),
            }
        }
    }
    std::future::pending().await
}

/// Stores the checkpoint that the script names, if it is a new one.
async fn store_new(run: &Run, objects: &Objects, folder: &str, key: &str, seen: &mut String) -> anyhow::Result<()> {
    let container = {
        let progress = run.progress.lock();
        progress.container.clone().filter(|_| progress.started.is_some())
    };
    let Some(container) = container else { return Ok(()) };
    let engine = &run.handles.engine;
    let stop = CancellationToken::new();
    let _ends_reading = stop.clone().drop_guard();
    let Some(tar) = engine.copy_out(&container, MARK, &stop).await? else { return Ok(()) };
    let mark = tokio::task::spawn_blocking(move || first_file(tar)).await??;
    if mark == *seen {
        return Ok(());
    }
    let path = mark.lines().next().unwrap_or_default().to_owned();
    // Also a checkpoint that cannot be stored, such as one that is too large, is read once.
    *seen = mark;
    if !is_below(&path, folder) {
        bail!("the script names {path:?}, which is not in {folder}");
    }
    let Some(tar) = engine.copy_out(&container, &path, &stop).await? else { return Ok(()) };
    let limits = Limits { size: run.limits.artifacts, entries: MOST_ENTRIES };
    let (object, named) = (objects.begin(key), path.clone());
    let size = tokio::task::spawn_blocking(move || pack(object, limits, &named, tar)).await??;
    match checkpoints::record(&run.handles.db, run.attempt, &path, key, size).await? {
        Ok(Some(old)) => objects.remove(&old).await?,
        Ok(None) => {}
        Err(Stale) => objects.remove(key).await?,
    }
    debug!(job = %run.job.id, "stored the checkpoint {path} of job {}, {size} bytes", run.job.id);
    Ok(())
}

/// Writes a folder into an object. Returns the number of bytes that were written. Blocks.
fn pack(object: NewObject, limits: Limits, path: &str, tar: impl io::Read) -> anyhow::Result<u64> {
    let mut writer = Writer { object: Some(object), written: 0, runtime: Handle::current() };
    let packed = Packer::new(&mut writer, limits).map_err(anyhow::Error::from).and_then(|mut packer| {
        packer.add(path, tar)?;
        packer.finish()
    });
    let object = writer.object.take().context("an object")?;
    match packed {
        Ok(_) => writer.runtime.block_on(object.finish())?,
        Err(error) => {
            writer.runtime.block_on(object.abort());
            return Err(error);
        }
    }
    Ok(writer.written)
}

/// An object as code that blocks writes it.
struct Writer {
    object: Option<NewObject>,
    written: u64,
    runtime: Handle,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(object) = &mut self.object {
            self.runtime.block_on(object.write(Bytes::copy_from_slice(bytes))).map_err(io::Error::other)?;
        }
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn first_file(tar: impl io::Read) -> anyhow::Result<String> {
    let mut text = Vec::new();
    if let Some(entry) = tar::Archive::new(tar).entries()?.next() {
        entry?.take(MAX_MARK).read_to_end(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns true if a path leads into a folder of the job's home, and is not that folder.
fn is_below(path: &str, folder: &str) -> bool {
    let is_plain = |path: &Path| path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let inside = Path::new(path).strip_prefix(folder).is_ok_and(|rest| rest.components().next().is_some());
    inside && folder.starts_with(HOME) && is_plain(Path::new(path)) && !path.chars().any(char::is_control)
}

/// Opens the checkpoint from which an attempt goes on. Returns its tar, and its row.
///
/// # Errors
/// Fails when Postgres or the object storage does not answer.
pub(super) async fn open(run: &Run) -> anyhow::Result<Option<(Checkpoint, Archive)>> {
    let Some((objects, _)) = &run.handles.settings.objects else { return Ok(None) };
    let Some(checkpoint) = checkpoints::of(&run.handles.db, run.job.id).await? else { return Ok(None) };
    let size = u64::try_from(checkpoint.size).unwrap_or_default();
    let Some(stream) = objects.read(&checkpoint.key, 0..size).await? else {
        warn!(job = %run.job.id, "the checkpoint of job {} is gone, so it begins anew", run.job.id);
        return Ok(None);
    };
    let bytes = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
    // The head of the stream is read here, which may wait for the storage.
    let tar = tokio::task::spawn_blocking(move || zstd::Decoder::new(bytes)).await??;
    checkpoints::record_resumption(&run.handles.db, run.attempt, checkpoint.since_attempt).await?;
    Ok(Some((checkpoint, Box::new(tar))))
}

/// Reads the logs of the earlier attempts whose training this attempt goes on with.
pub(super) async fn read_earlier_logs(run: &Run, reader: &mut LogReader) -> anyhow::Result<()> {
    let Some(checkpoint) = checkpoints::of(&run.handles.db, run.job.id).await? else { return Ok(()) };
    for number in checkpoint.since_attempt..run.attempt.number {
        let attempt = AttemptId { job: run.job.id, number };
        reader.feed(&run.handles.settings.logs.read(attempt, 0, usize::MAX).await?.bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_checkpoints_of_its_output_folder_only() {
        let folder = "/home/travis/build/acme/styles/out";
        assert!(is_below("/home/travis/build/acme/styles/out/checkpoint-60", folder));
        for path in [
            "",
            "/",
            folder,
            "/etc/checkpoint-1",
            "/home/travis/build/acme/styles/out/../../x/checkpoint-1",
            "/home/travis/build/acme/styles/output/checkpoint-1",
            "home/travis/build/acme/styles/out/checkpoint-1",
            "/home/travis/build/acme/styles/out/a\u{1b}[2J",
        ] {
            assert!(!is_below(path, folder), "{path:?}");
        }
    }
}
