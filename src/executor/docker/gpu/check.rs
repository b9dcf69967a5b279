//! The GPU check: a container that sees all GPUs of an engine and does nothing, in which `nvidia-smi` runs where no
//! login is possible.
//!
//! NVIDIA's runtime puts the program of the host's driver into the container. The container sees the host's processes,
//! since the check is about those that use a GPU. It has neither a network nor rights.

use anyhow::{Context as _, bail};
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, DeviceRequest, ExecConfig, HostConfig};
use futures::StreamExt as _;

use crate::executor::docker::Docker;
use crate::executor::docker::labels::HELPS;
use crate::executor::docker::{create, host_config};
use crate::executor::{ExecError, Life};

/// A limit above the output of `nvidia-smi` on the largest machines.
pub(super) const MOST_OUTPUT: u64 = 1024 * 1024;
/// Memory for `nvidia-smi`, which maps the whole driver.
const MEMORY: i64 = 256 << 20;
/// Error messages of an engine without an NVIDIA runtime.
const NO_DRIVER: [&str; 2] = ["could not select device driver", "unknown device driver"];
/// The engine's exit status for a program that is not in the container.
const NOT_THERE: i64 = 127;

/// Runs a program in the container. Returns its exit status and its output; `None` when the engine has no GPUs, or when
/// the program does not exist.
pub(super) async fn ask(
    docker: &Docker,
    image: &str,
    program: &str,
    arguments: &[&str],
) -> anyhow::Result<Option<(Option<i64>, String)>> {
    let name = container_name(docker);
    let is_new = !matches!(docker.life(&name).await?, Life::Running(_));
    if is_new && !start(docker, &name, image).await? {
        return Ok(None);
    }
    let (status, told) = exec(docker, &name, program, arguments).await?;
    match status {
        Some(0 | 6) => Ok(Some((status, told))),
        // An older container had the program before, so such a container must be replaced.
        Some(NOT_THERE) if is_new => Ok(None),
        // A container loses its devices when the host's driver or init is renewed. The next check makes a new
        // container.
        _ => docker.remove_one(&name).await.map(|()| Some((status, told))),
    }
}

pub(super) fn container_name(docker: &Docker) -> String {
    format!("{}gpus", docker.prefix())
}

/// Returns true when a container is the one that checks GPUs.
pub fn is_gpu_check(docker: &Docker, container: &str) -> bool {
    container == container_name(docker)
}

pub(super) async fn remove(docker: &Docker) -> anyhow::Result<()> {
    docker.remove_one(&container_name(docker)).await
}

/// Starts the container. Returns false when the engine has no GPUs.
async fn start(docker: &Docker, name: &str, image: &str) -> anyhow::Result<bool> {
    let devices = DeviceRequest {
        driver: Some("nvidia".to_owned()),
        device_ids: Some(vec!["all".to_owned()]),
        capabilities: Some(vec![vec!["gpu".to_owned(), "utility".to_owned()]]),
        ..Default::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(Vec::new()),
        cmd: Some(["sleep", "infinity"].map(str::to_owned).to_vec()),
        working_dir: Some("/".to_owned()),
        labels: Some(docker.labels((HELPS, "yes".to_owned()))),
        host_config: Some(HostConfig {
            device_requests: Some(vec![devices]),
            pid_mode: Some("host".to_owned()),
            // The runtime writes into the file system.
            readonly_rootfs: Some(false),
            // There are no ended processes to collect, and in the host's process namespace an init would not be the
            // first process.
            init: Some(false),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            ..host_config::of_helper("none", &[])
        }),
        ..Default::default()
    };
    create::make(docker, name, body).await.context("making the container that checks GPUs")?;
    let error = match docker.start(name).await {
        Ok(()) => return Ok(true),
        Err(ExecError::Job(why)) => anyhow::Error::msg(why),
        Err(ExecError::System(error)) => error,
    };
    docker.remove_one(name).await?;
    let said = format!("{error:#}");
    if NO_DRIVER.iter().any(|words| said.contains(words)) {
        return Ok(false);
    }
    Err(error.context("starting the container that checks GPUs"))
}

async fn exec(docker: &Docker, name: &str, program: &str, arguments: &[&str]) -> anyhow::Result<(Option<i64>, String)> {
    let client = docker.client()?;
    let command = [program].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
    let config = ExecConfig { cmd: Some(command), attach_stdout: Some(true), ..Default::default() };
    let made = client.create_exec(name, config).await.context("checking GPUs")?;
    let started = client.start_exec(&made.id, None::<StartExecOptions>).await;
    let mut told = Vec::new();
    match started.context("checking GPUs")? {
        StartExecResults::Attached { mut output, .. } => {
            while let Some(frame) = output.next().await {
                told.extend_from_slice(&frame?.into_bytes());
                if told.len() as u64 > MOST_OUTPUT {
                    bail!("{program} does not stop printing");
                }
            }
        }
        StartExecResults::Detached => {}
    }
    let status = client.inspect_exec(&made.id).await.context("checking GPUs")?.exit_code;
    Ok((status, String::from_utf8_lossy(&told).into_owned()))
}
