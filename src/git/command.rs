//! The git program: its start, its time and output, and bounds on what it writes to the disk.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytesize::ByteSize;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use url::Url;

use super::Credentials;
use crate::child;
use crate::storage::Room;

/// Maximum length of git's output. The list of half a million files is shorter. A few small objects can stand for a
/// tree with more files than fit into memory, when it contains the same folder again and again.
const MOST_OUTPUT: u64 = 64 << 20;
/// Maximum length of git's error output that is read.
const MOST_COMPLAINTS: u64 = 64 << 10;
/// Part of git's message about a redirect that it may not follow.
const REDIRECT: &str = "The requested URL returned error: 30";
/// Environment variables of this process that git gets besides the usual ones: the way to the network.
const KEPT_ENVIRONMENT: [&str; 9] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
/// Time after which a folder that git writes to is measured for the first time. Most commands end earlier.
pub(super) const FIRST_MEASURE: Duration = Duration::from_millis(100);
/// Least time between two measures, and the least ratio of that time to the time that a measure takes.
const MEASURE_INTERVAL: Duration = Duration::from_millis(250);
const MEASURE_RATIO: u32 = 10;

/// Error that a retry cannot mend.
#[derive(Debug, thiserror::Error)]
pub enum Permanent {
    #[error("git printed more than {}", ByteSize::b(MOST_OUTPUT))]
    TooMuchOutput,
    /// The text names the setting.
    #[error("git wrote more than {0} to the disk ({1})")]
    TooLarge(ByteSize, &'static str),
    #[error(
        "the repository has moved: the server answers with a redirect, and a token is not sent after one. A push under \
         the new name is built"
    )]
    Moved,
}

/// Parts of git's messages about a server that does not accept its credentials.
const UNAUTHORIZED: [&str; 2] = ["could not read Username", "Authentication failed"];

/// Returns true if the remote did not accept the credentials, or wants some and got none.
pub fn is_unauthorized(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    UNAUTHORIZED.iter().any(|words| said.contains(words))
}

/// Error: a folder has grown beyond the total of its bound.
#[derive(Debug, thiserror::Error)]
#[error("{0} are exceeded")]
pub(super) struct Full(ByteSize);

/// Error: the disk has no room, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoRoom(pub(super) String);

/// A bound on what a git command adds to a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) folder: &'a Path,
    /// Size of the folder before; `None` for the size when it is first measured.
    pub(super) before: Option<u64>,
    /// The most bytes that git may add.
    pub(super) most: ByteSize,
    /// Name of the setting with these bytes.
    pub(super) setting: &'static str,
    /// The most bytes that the folder may have.
    pub(super) total: ByteSize,
    /// Check of the folder's disk.
    pub(super) room: &'a Room,
}

impl Bound<'_> {
    /// Watches the folder. Returns the error when git has written too much, or the disk has no room left.
    ///
    /// A command that ends before the first measure is not slowed down. It has written little.
    async fn watch(&self) -> anyhow::Error {
        let mut before = self.before;
        tokio::time::sleep(FIRST_MEASURE).await;
        let mut next_measure = Instant::now();
        loop {
            match self.room.wanting_at(self.folder) {
                Ok(None) => {}
                Ok(Some(wanting)) => return NoRoom(wanting).into(),
                Err(error) => return error,
            }
            // The check of the disk is one system call. The measure reads the whole folder, and may be due less often.
            let began = Instant::now();
            if began < next_measure {
                tokio::time::sleep(MEASURE_INTERVAL).await;
                continue;
            }
            let size = match size_of(self.folder).await {
                Ok(size) => size,
                Err(error) => return error,
            };
            if size.saturating_sub(*before.get_or_insert(size)) > self.most.as_u64() {
                return Permanent::TooLarge(self.most, self.setting).into();
            }
            if size > self.total.as_u64() {
                return Full(self.total).into();
            }
            next_measure = Instant::now() + began.elapsed() * MEASURE_RATIO;
            tokio::time::sleep(MEASURE_INTERVAL).await;
        }
    }
}

/// Returns the bytes that a folder takes on its disk.
pub(super) async fn size_of(folder: &Path) -> anyhow::Result<u64> {
    /// Files that vanish meanwhile do not count.
    fn measure(folder: &Path) -> std::io::Result<u64> {
        let mut size = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let is_gone = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
            let used = |facts: Metadata| facts.blocks().saturating_mul(512);
            let part = entry.metadata().and_then(|facts| match facts.is_dir() {
                true => Ok(used(facts) + measure(&entry.path())?),
                false => Ok(used(facts)),
            });
            size += if part.as_ref().is_err_and(is_gone) { 0 } else { part? };
        }
        Ok(size)
    }
    let path = folder.to_owned();
    let measured = tokio::task::spawn_blocking(move || measure(&path)).await?;
    measured.with_context(|| format!("measuring {}", folder.display()))
}

/// Returns a git command in `folder` that only our own arguments control.
pub(super) fn git(folder: &Path) -> Command {
    let mut git = child::command("git", &KEPT_ENVIRONMENT);
    git.envs([
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "true"),
        ("LC_ALL", "C"),
        // The passwords of the service's user for hosts (.netrc) are not for repositories.
        ("HOME", "/nonexistent"),
    ]);
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "core.fsmonitor=false"]);
    git.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // git starts programs that would go on without it, such as the one that writes what arrives.
    git.process_group(0);
    git
}

/// Returns a git command that may connect to a remote, with its token if that is for the remote's host.
pub(super) fn over_network(folder: &Path, url: &Url, credentials: Option<&Credentials>) -> anyhow::Result<Command> {
    ensure!(matches!(url.scheme(), "http" | "https"), "{url} is not an http or https address");
    let mut git = git(folder);
    git.env("GIT_ALLOW_PROTOCOL", "http:https");
    if let Some(Credentials { origin, token }) = credentials.filter(|known| known.is_for(url)) {
        let basic = BASE64_STANDARD.encode(format!("x-access-token:{}", token.expose_secret()));
        git.env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", format!("http.{}/.extraHeader", origin.ascii_serialization()))
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"));
        // After a redirect git would send the header with its next request, to any host.
        git.args(["-c", "http.followRedirects=false"]);
    }
    git.args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]);
    Ok(git)
}

/// A git that runs, with the programs that it has started. They are killed together when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The id is `None` once git has ended and was waited for.
        if let Some(group) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs git within a time limit and a bound on what it writes. Returns its output.
pub(super) async fn run_within(git: Command, limit: Duration, bound: Bound<'_>) -> anyhow::Result<Vec<u8>> {
    tokio::select! {
        ended = run(git, limit, None) => ended,
        error = bound.watch() => Err(error),
    }
}

/// Runs git within a time limit. Returns its output.
pub(super) async fn run(mut git: Command, limit: Duration, input: Option<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    if input.is_some() {
        git.stdin(Stdio::piped());
    }
    let mut running = Running(git.spawn().context("cannot start git: is it installed?")?);
    let child = &mut running.0;
    let stdin = child.stdin.take();
    // Written while the output is read: git may answer before it has read all input.
    let feed = async move {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // If git ended early, its error output has the reason.
            let _ = stdin.write_all(&input).await;
        }
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err, ()) = tokio::join!(read_some(out, MOST_OUTPUT), read_start(err, MOST_COMPLAINTS), feed);
        let (stdout, stderr) = (out?, err?);
        if stdout.len() as u64 > MOST_OUTPUT {
            return Err(Permanent::TooMuchOutput.into());
        }
        anyhow::Ok((child.wait().await?, stdout, stderr))
    };
    let Ok(ended) = tokio::time::timeout(limit, work).await else {
        bail!("git took longer than {}", humantime::format_duration(limit));
    };
    let (status, stdout, stderr) = ended?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        if said.contains(REDIRECT) {
            return Err(Permanent::Moved.into());
        }
        let said = said.lines().filter(|line| !line.trim().is_empty()).take(5).collect::<Vec<_>>().join("; ");
        bail!("git failed: {}", if said.is_empty() { status.to_string() } else { said });
    }
    Ok(stdout)
}

/// Reads at most one byte more than `most`; longer output is cut off.
async fn read_some(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Reads the first `most` bytes of the error output, and discards the rest.
async fn read_start(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(most).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}
