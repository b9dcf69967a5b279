//! The program `nvidia-smi` on the machine of a runner.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::check::{self, MOST_OUTPUT};
use crate::child;
use crate::domain::GpuUse;
use crate::executor::docker::{Docker, Endpoint, Tunnel};
use crate::gpu::{self, APPS_QUERY, DRIVER_QUERY, Device, GPU_QUERY, GpuConfig, USE_QUERY};

/// The time for an answer. Without its persistence mode, the driver takes seconds to wake up each GPU.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which an engine without GPUs is not tried again, since each try makes a container.
const NONE_FOR: Duration = Duration::from_secs(60);
const FORMAT: &str = "--format=csv,noheader,nounits";
/// Time limit for tidying up at the end of the process.
const TIDY_UP: Duration = Duration::from_secs(2);

/// The program that reports a runner's GPUs, on the machine of the GPUs.
#[derive(Debug, Clone)]
pub struct NvidiaSmi {
    program: PathBuf,
    idle_memory: ByteSize,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// The machine on which Trainyard runs.
    Here,
    /// The machine that ssh reaches.
    There(Tunnel),
    /// A container on the engine, where no other way to the machine exists.
    Container {
        docker: Box<Docker>,
        image: String,
        /// The time at which the engine was last found to have no GPUs. Each query holds the lock: two queries at once
        /// would each make the container again, and remove the other's.
        none: Arc<Mutex<Option<Instant>>>,
    },
}

impl NvidiaSmi {
    /// The configured program on the engine's machine; where only the engine can be reached, in a container of `image`.
    pub fn new(settings: &GpuConfig, docker: &Docker, image: &str) -> Self {
        let place = match (docker.endpoint(), &docker.tunnel) {
            (Endpoint::Tls { .. }, _) => {
                Place::Container { docker: Box::new(docker.clone()), image: image.to_owned(), none: Arc::default() }
            }
            (_, Some(tunnel)) => Place::There(tunnel.clone()),
            (_, None) => Place::Here,
        };
        Self { program: settings.nvidia_smi.clone(), idle_memory: settings.idle_memory, place }
    }

    /// Removes the container that was made for the queries.
    pub async fn tidy_up(&self) {
        if let Place::Container { docker, .. } = &self.place {
            // A container that stays is used by the next start.
            let _ = tokio::time::timeout(TIDY_UP, check::remove(docker)).await;
        }
    }

    /// Returns the GPUs of the machine, and what is on them; `None` when the program does not exist.
    ///
    /// # Errors
    /// Returns an error for the operator when the program fails.
    pub async fn devices(&self) -> anyhow::Result<Option<Vec<Device>>> {
        let Some(gpus) = self.ask(&[GPU_QUERY, FORMAT]).await? else { return Ok(None) };
        let list = self.ask(&["-L"]).await?.unwrap_or_default();
        let apps = self.ask(&[APPS_QUERY, FORMAT]).await?.unwrap_or_default();
        Ok(Some(gpu::devices(&gpus, &list, &apps, self.idle_memory)))
    }

    /// Returns what these GPUs do now, all together; `None` when `nvidia-smi` cannot tell.
    ///
    /// # Errors
    /// See [`NvidiaSmi::devices`].
    pub async fn in_use(&self, uuids: &[String]) -> anyhow::Result<Option<GpuUse>> {
        Ok(self.ask(&[USE_QUERY, FORMAT]).await?.and_then(|told| gpu::in_use(&told, uuids)))
    }

    /// Returns the version of the driver; `None` when there is no `nvidia-smi`, or no GPU.
    ///
    /// # Errors
    /// See [`NvidiaSmi::devices`].
    pub async fn driver(&self) -> anyhow::Result<Option<String>> {
        Ok(self.ask(&[DRIVER_QUERY, FORMAT]).await?.and_then(|told| gpu::driver(&told)))
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Option<String>> {
        let name = self.program.display();
        let answer = match &self.place {
            Place::Here => {
                let mut command = child::command(&self.program, &[]);
                command.args(arguments);
                output(command).await?.map(|Ended { status, told, .. }| (status, told))
            }
            Place::There(tunnel) => {
                let command = tunnel.command(&self.program.to_string_lossy(), arguments).await?;
                match output(command).await?.context("cannot start ssh: install the package openssh-client")? {
                    // The shell ends with 127 for a program that does not exist, and ssh ends with 255 for its own
                    // failures.
                    Ended { status: Some(127), .. } => None,
                    Ended { status: Some(255), complaint, .. } => {
                        bail!("ssh cannot run {name}: {}", first_line(&complaint))
                    }
                    Ended { status, told, .. } => Some((status, told)),
                }
            }
            Place::Container { docker, image, none } => {
                let mut none = none.lock().await;
                if none.is_some_and(|since| since.elapsed() < NONE_FOR) {
                    return Ok(None);
                }
                let program = self.program.to_string_lossy();
                let asked = check::ask(docker, image, &program, arguments);
                let answer =
                    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.with_context(|| silent(&self.program))??;
                *none = answer.is_none().then(Instant::now);
                answer
            }
        };
        let Some((status, told)) = answer else { return Ok(None) };
        match status {
            Some(0) => Ok(Some(told)),
            // No GPU was found.
            Some(6) => Ok(Some(String::new())),
            Some(9) => bail!("{name}: the NVIDIA driver is not loaded (exit status 9)"),
            Some(12) => bail!("{name}: the library NVML is not found (exit status 12)"),
            Some(15) => bail!("{name}: a GPU has fallen off the bus (exit status 15): restart the machine"),
            Some(status) => bail!("{name} ended with exit status: {status}: {}", first_line(&told)),
            None => bail!("{name} was killed"),
        }
    }
}

fn first_line(told: &str) -> &str {
    told.lines().next().unwrap_or_default().trim()
}

fn silent(program: &Path) -> String {
    format!("{} does not answer within {} s: the driver may hang", program.display(), ANSWER_TIMEOUT.as_secs())
}

/// A command that has ended.
struct Ended {
    /// The exit status; `None` when the command was killed.
    status: Option<i64>,
    /// Standard output.
    told: String,
    /// Standard error.
    complaint: String,
}

/// Runs a command. Returns `None` when the program does not exist.
async fn output(mut command: Command) -> anyhow::Result<Option<Ended>> {
    let name = PathBuf::from(command.as_std().get_program());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("running {}", name.display())),
    };
    let (mut told, mut complaint) = (Vec::new(), Vec::new());
    let answered = async {
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        // Both are read at once, or a full pipe of one would block the other.
        tokio::try_join!(read(output, &mut told), read(errors, &mut complaint))?;
        child.wait().await
    };
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, answered).await.with_context(|| silent(&name))?;
    let status = answered.with_context(|| format!("running {}", name.display()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Some(Ended { status: status.code().map(i64::from), told: text(told), complaint: text(complaint) }))
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> std::io::Result<()> {
    if let Some(pipe) = pipe {
        pipe.take(MOST_OUTPUT).read_to_end(into).await?;
    }
    Ok(())
}
