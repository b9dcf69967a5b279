//! `nvidia-smi`, as it is on this machine.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::gpu::{self, APPS_QUERY, Device, GPU_QUERY, Settings};

/// Without its persistence mode the driver takes seconds to wake each GPU up.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than it prints for the largest machines.
const MOST_OUTPUT: u64 = 1024 * 1024;

/// The program that tells of the GPUs of the machine on which Trainyard runs.
#[derive(Debug, Clone)]
pub struct NvidiaSmi {
    program: PathBuf,
    idle_memory: ByteSize,
}

impl NvidiaSmi {
    /// The configured program.
    pub fn new(settings: &Settings) -> Self {
        Self { program: settings.nvidia_smi.clone(), idle_memory: settings.idle_memory }
    }

    /// The GPUs of this machine, and what is on them. None when there is no such program.
    ///
    /// # Errors
    /// When it cannot tell, in words for the operator.
    pub async fn devices(&self) -> anyhow::Result<Option<Vec<Device>>> {
        const FORMAT: &str = "--format=csv,noheader,nounits";
        let Some(gpus) = self.ask(&[GPU_QUERY, FORMAT]).await? else { return Ok(None) };
        let list = self.ask(&["-L"]).await?.unwrap_or_default();
        let apps = self.ask(&[APPS_QUERY, FORMAT]).await?.unwrap_or_default();
        Ok(Some(gpu::devices(&gpus, &list, &apps, self.idle_memory)))
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Option<String>> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("running {}", self.program.display())),
        };
        let mut told = Vec::new();
        let answered = async {
            if let Some(output) = child.stdout.take() {
                output.take(MOST_OUTPUT).read_to_end(&mut told).await?;
            }
            child.wait().await
        };
        let name = self.program.display();
        let status = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(status) => status.with_context(|| format!("running {name}"))?,
            Err(_) => bail!("{name} does not answer within {} s: the driver hangs, maybe", PATIENCE.as_secs()),
        };
        let told = String::from_utf8_lossy(&told).into_owned();
        match status.code() {
            Some(0) => Ok(Some(told)),
            // No GPU was found.
            Some(6) => Ok(Some(String::new())),
            Some(9) => bail!("{name}: the NVIDIA driver is not loaded (exit status 9)"),
            Some(12) => bail!("{name}: the library NVML is not found (exit status 12)"),
            Some(15) => bail!("{name}: a GPU has fallen off the bus (exit status 15): restart the machine"),
            _ => bail!("{name} ended with {status}: {}", told.lines().next().unwrap_or_default().trim()),
        }
    }
}
