//! The download of artifacts, with their progress. A file has its name only when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::place::{make_folders, place};
use super::{Artifact, Source};
use crate::cli::problems::number_of;
use crate::cli::remote::client::Error;
use crate::cli::table::inert;
use crate::cli::{FINE, PROBLEMS, print};

/// Number of connections for one file that may be cut off.
const MAX_TRIES: u32 = 5;
/// Number of bytes that are hashed at a time.
const PIECE: usize = 1 << 16;

/// Downloads artifacts into a folder. One that has no place there, or is no longer at the server, does not keep the
/// others from being fetched.
pub(super) async fn all(source: &Source, wanted: Vec<Artifact>, folder: &Path) -> anyhow::Result<u8> {
    let (mut fetched, mut same, mut failed) = (0, 0, 0);
    let total = wanted.iter().map(|artifact| artifact.size).fold(0, u64::saturating_add);
    check_room(folder, total)?;
    let bar = progress(total);
    for artifact in &wanted {
        bar.set_message(inert(&artifact.path));
        let before = bar.position();
        let outcome = one(source, artifact, folder, &bar).await;
        bar.set_position(before.saturating_add(artifact.size));
        match outcome {
            Ok(true) => fetched += 1,
            Ok(false) => same += 1,
            // Nothing else can be fetched either.
            Err(error)
                if error.downcast_ref::<Error>().is_some_and(|error| !matches!(error, Error::Missing { .. })) =>
            {
                bar.finish_and_clear();
                return Err(error);
            }
            Err(error) => {
                failed += 1;
                bar.suspend(|| eprintln!("trainyard: {}: {error:#}", inert(&artifact.path)));
            }
        }
    }
    bar.finish_and_clear();
    let same = if same > 0 { format!(", {same} were there already") } else { String::new() };
    let failed_words = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    print(&format!("{} fetched into {}{same}{failed_words}.\n", number_of(fetched, "file"), folder.display()))?;
    Ok(if failed > 0 { PROBLEMS } else { FINE })
}

/// Refuses a download for which the disk has no room.
fn check_room(folder: &Path, total: u64) -> anyhow::Result<()> {
    let existing = folder.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let disk =
        rustix::fs::statvfs(existing).with_context(|| format!("looking at the disk of {}", existing.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(total <= free, "the files have {}, and the disk has room for {}", ByteSize::b(total), ByteSize::b(free));
    Ok(())
}

/// Returns the bar, which is only shown on a terminal.
fn progress(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = "{bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// Fetches a file. Returns false if it is there already.
async fn one(source: &Source, artifact: &Artifact, folder: &Path, bar: &ProgressBar) -> anyhow::Result<bool> {
    if let Some(why) = &artifact.removed {
        bail!("it is no longer at the server: {}", inert(why));
    }
    let file = place(folder, &artifact.path)?;
    make_folders(folder, &file)?;
    match fs::symlink_metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("looking for the file"),
        Ok(metadata) => {
            ensure!(metadata.is_file(), "{} is not a regular file", file.display());
            let is_same = metadata.len() == artifact.size && hash_of(&mut File::open(&file)?)? == artifact.sha256;
            ensure!(is_same, "{} has another content: remove it, or choose another folder with --to", file.display());
            return Ok(false);
        }
    }
    let mut part = Part::open(part_of(&file, &artifact.sha256)?, artifact.size)?;
    let mut tries = 0;
    while part.length < artifact.size {
        match part.fetch(source, artifact, bar).await {
            Ok(()) => {}
            Err(error) if error.downcast_ref::<Error>().is_some_and(Error::may_pass) && tries < MAX_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
    if hash_of(&mut part.file)? != artifact.sha256 {
        let _ = fs::remove_file(&part.path);
        bail!("what the server sent is not the file with its hash");
    }
    part.file.sync_all().context("writing the file")?;
    fs::rename(&part.path, &file).with_context(|| format!("writing {}", file.display()))?;
    Ok(true)
}

/// Returns the path of an incomplete file. It is that of this content alone.
fn part_of(file: &Path, sha256: &str) -> anyhow::Result<PathBuf> {
    ensure!(
        sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "the server gives no hash of it"
    );
    Ok(file.with_file_name(format!(".{}.part", &sha256[..32])))
}

fn hash_of(file: &mut File) -> anyhow::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).context("reading the file")? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&piece[..read]),
        }
    }
}

/// A file that is not complete yet.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Part {
    fn open(path: PathBuf, size: u64) -> anyhow::Result<Self> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let mut file = opened.with_context(|| format!("making {}", path.display()))?;
        let mut length = file.seek(SeekFrom::End(0))?;
        if length > size {
            file.set_len(0)?;
            length = 0;
        }
        Ok(Self { path, file, length })
    }

    /// Fetches the rest of the file, or all of it from a server that gives no parts.
    async fn fetch(&mut self, source: &Source, artifact: &Artifact, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        if self.length > 0 {
            headers.insert(RANGE, HeaderValue::from_str(&format!("bytes={}-", self.length))?);
        }
        let client = &source.session.client;
        let path: Vec<&str> = ["jobs", &source.job, "artifacts"].into_iter().chain(artifact.path.split('/')).collect();
        let mut response = client.open(&path, &source.query(), headers).await?;
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT && {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.length)))
        };
        if !goes_on {
            self.file.set_len(0)?;
            self.length = 0;
        }
        self.file.seek(SeekFrom::Start(self.length))?;
        let before = bar.position();
        bar.set_position(before.saturating_add(self.length));
        let fetched = loop {
            match client.chunk(&mut response).await {
                Ok(Some(bytes)) => {
                    self.length += bytes.len() as u64;
                    ensure!(self.length <= artifact.size, "the server sends more than the size of the file");
                    self.file.write_all(&bytes).context("writing the file")?;
                    bar.inc(bytes.len() as u64);
                }
                Ok(None) if self.length < artifact.size => {
                    break Err(Error::Unavailable("the server has sent a part of the file".to_owned()).into());
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        bar.set_position(before);
        fetched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_file_is_of_one_content() {
        let hash = "ab".repeat(32);
        let path = part_of(Path::new("to/out/w.safetensors"), &hash).expect("a path");
        assert_eq!(path, Path::new("to/out").join(format!(".{}.part", "ab".repeat(16))));
        for wrong in ["", "../../x", &"zz".repeat(32), &"a".repeat(63)] {
            assert!(part_of(Path::new("x"), wrong).is_err(), "{wrong}");
        }
    }
}
