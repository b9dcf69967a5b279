//! The runners: their Docker engines, images, limits and GPUs.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Findings, machine, number_of, tls};
use crate::attempt::{ImagesConfig, version_in};
use crate::child;
use crate::config::Config;
use crate::executor::docker::examine::examine;
use crate::executor::{Docker, Endpoint, EngineReport, Limits, NvidiaSmi};
use crate::worker::{GpuKeyword, RunnerConfig, RunnerGpus};

/// Storage drivers that copy the whole image for each container, or that are no longer maintained.
const SLOW_DRIVERS: [&str; 3] = ["vfs", "devicemapper", "aufs"];
/// First version of runc in each release line with no known way to break out of a container. Distributions patch older
/// versions, and give them their own version strings.
const SAFE_RUNC: [(u32, u32, u32); 2] = [(1, 2, 8), (1, 3, 3)];
/// First version of NVIDIA's container toolkit with no known way for an image to take over the machine.
const SAFE_TOOLKIT: (u32, u32, u32) = (1, 17, 8);
/// Time limit for nvidia-smi, which waits for the driver and may hang.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn check(config: &Config, found: &mut Findings) {
    let mut has_runtime = false;
    let mut is_here = false;
    for runner in &config.runner {
        let what = format!("runner {}", runner.name);
        if let Some(files) = &runner.tls {
            tls::check(&what, files, found);
        }
        // No container or folder is created or looked up under this name.
        let docker = match runner.docker("doctor") {
            Ok(docker) => docker,
            Err(error) => {
                found.failure(&what, &error);
                continue;
            }
        };
        match examine(&docker).await {
            Err(error) => found.failure(&what, &error),
            Ok(mut engine) => {
                if matches!(docker.endpoint(), Endpoint::Unix(_)) {
                    is_here = true;
                    has_runtime |= engine.has_nvidia_runtime;
                } else {
                    // The folder is on another machine.
                    engine.root = None;
                    gpus_there(&what, runner, &docker, config, found).await;
                }
                engine_of(&what, runner, &engine, config.storage.least_free, found);
                limits(&what, runner, &runner.limits(&config.limits), &engine, found);
                images(&what, &config.images, &engine, found);
            }
        }
    }
    if !is_here {
        return;
    }
    if has_runtime {
        toolkit(found).await;
    }
    match (gpus().await, has_runtime) {
        (Gpus::None, false) => found.ok("GPUs", "none: no nvidia-smi, and no NVIDIA runtime in Docker"),
        (Gpus::None, true) => {
            let told = "Docker has NVIDIA's runtime, but this machine has no nvidia-smi";
            found.warning("GPUs", told, "Install NVIDIA's driver, or check the runner's own machine.");
        }
        (Gpus::Broken(said), _) => {
            let advice = "Load NVIDIA's driver; after a driver update, restart the machine.";
            found.problem("GPUs", format!("nvidia-smi fails: {said}"), advice);
        }
        (Gpus::There(told), false) => {
            let advice = "Install the NVIDIA container toolkit, run nvidia-ctk runtime configure, and restart Docker.";
            found.warning("GPUs", format!("{told}; but Docker lacks NVIDIA's runtime for containers"), advice);
        }
        (Gpus::There(told), true) => found.ok("GPUs", told),
    }
}

/// Checks the GPUs of another machine, as far as that is possible without creating anything there.
async fn gpus_there(what: &str, runner: &RunnerConfig, docker: &Docker, config: &Config, found: &mut Findings) {
    if !matches!(docker.endpoint(), Endpoint::Ssh(_)) || runner.gpus == RunnerGpus::Keyword(GpuKeyword::None) {
        return;
    }
    match NvidiaSmi::new(&config.gpu, docker, &config.images.generic).devices().await {
        Ok(Some(devices)) => found.ok(what, format!("{} listed by nvidia-smi", number_of(devices.len(), "GPU"))),
        Ok(None) => found.ok(what, "its machine has no nvidia-smi, so it has no GPUs"),
        Err(error) => found.problem(what, format!("{error:#}"), "Run nvidia-smi there by hand."),
    }
}

fn engine_of(what: &str, runner: &RunnerConfig, engine: &EngineReport, least_free: ByteSize, found: &mut Findings) {
    let EngineReport { version, storage_driver, .. } = engine;
    let runc = engine.runc.as_deref().unwrap_or("unknown");
    let cgroups = engine.cgroups.map_or_else(|| "unknown".to_owned(), |version| format!("version {version}"));
    let slots = runner.slots;
    found.ok(
        what,
        format!(
            "Docker {version} at {}, {slots} slots; runc {runc}, storage {storage_driver}, control groups {cgroups}",
            runner.endpoint
        ),
    );
    if engine.cgroups == Some(1) {
        let advice = "Boot it with version 2, the default of newer distributions.";
        found.warning(
            what,
            "the machine has version 1 of control groups: reads and writes of jobs are not counted",
            advice,
        );
    }
    if engine.runc.as_deref().is_some_and(breaks) {
        let advice = "Update runc: in this one, jobs can break out of containers (CVE-2025-31133, CVE-2024-21626).";
        found.warning(what, format!("runc {runc} is old"), advice);
    }
    if SLOW_DRIVERS.contains(&storage_driver.as_str()) {
        let advice = "Switch Docker to overlay2: \"storage-driver\" in /etc/docker/daemon.json.";
        found.warning(what, format!("the storage driver {storage_driver} is slow or no longer maintained"), advice);
    }
    for limit in &engine.cannot_limit {
        let advice = "Enable what the kernel lacks; docker info names it.";
        found.problem(what, format!("Docker cannot enforce the limit of {limit} here"), advice);
    }
    for warning in &engine.warnings {
        let told = warning.trim_start_matches("WARNING: ");
        found.warning(what, format!("Docker warns: {told}"), "See Docker's documentation.");
    }
    // The engine's folder may be on another machine, or unreadable for this user.
    if let Some(root) = engine.root.as_deref().filter(|root| Path::exists(root)) {
        machine::room(&format!("disk of {what}"), root, least_free, found);
    }
}

/// Returns true if the version string is one of runc's own releases, and too old.
fn breaks(version: &str) -> bool {
    let Some((major, minor, patch)) = release(version) else { return false };
    let safe = SAFE_RUNC.iter().find(|safe| (safe.0, safe.1) >= (major, minor));
    safe.is_some_and(|safe| (major, minor, patch) < *safe)
}

/// Returns the numbers of a version string that has nothing else.
fn release(version: &str) -> Option<(u32, u32, u32)> {
    let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
    let [major, minor, patch] = numbers[..] else { return None };
    Some((major, minor, patch))
}

/// Checks the version of NVIDIA's container toolkit, if its program is on the PATH.
async fn toolkit(found: &mut Findings) {
    const WHAT: &str = "NVIDIA container toolkit";
    let mut asked = child::command("nvidia-ctk", &[]);
    asked.arg("--version").kill_on_drop(true);
    let Ok(Ok(output)) = tokio::time::timeout(TIMEOUT, asked.output()).await else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(version) = said.split_whitespace().find(|word| release(word).is_some()) else { return };
    if is_old_toolkit(version) {
        let advice = "Update it: with this one, an image can take over the machine (CVE-2024-0132, CVE-2025-23266).";
        found.warning(WHAT, format!("{version} is old"), advice);
    } else {
        found.ok(WHAT, version);
    }
}

fn is_old_toolkit(version: &str) -> bool {
    release(version).is_some_and(|version| version < SAFE_TOOLKIT)
}

fn limits(what: &str, runner: &RunnerConfig, limits: &Limits, engine: &EngineReport, found: &mut Findings) {
    if let Some(processors) = engine.processors.filter(|processors| limits.cpus > f64::from(*processors)) {
        let told = format!("limits.cpus is {}, and this machine has {processors}: no job can start", limits.cpus);
        found.problem(what, told, "Lower limits.cpus.");
    }
    let Some(memory) = engine.memory.map(ByteSize::b) else { return };
    let all = limits.memory.as_u64().saturating_mul(runner.slots as u64);
    if all > memory.as_u64() {
        let slots = runner.slots;
        let told = format!("{slots} jobs of {} each exceed the machine's {memory} of memory", limits.memory);
        found.warning(
            what,
            told,
            "Lower limits.memory or the runner's slots, or one job may be killed because of another.",
        );
    }
}

fn images(what: &str, images: &ImagesConfig, engine: &EngineReport, found: &mut Findings) {
    let configured: BTreeSet<&str> =
        [&images.python, &images.generic].into_iter().chain(images.languages.values()).map(String::as_str).collect();
    for pattern in configured {
        let there: Vec<&str> =
            engine.images.iter().map(String::as_str).filter(|image| is_one(image, pattern)).take(8).collect();
        if there.is_empty() {
            let advice = "Build it there (make image builds ours) or pull it: Trainyard does not pull images.";
            found.problem(what, format!("the image {pattern} is missing; jobs that need it fail"), advice);
        } else {
            found.ok(what, format!("has {}", there.join(", ")));
        }
    }
}

/// Returns true if an image is the one that a setting names, in any version.
fn is_one(image: &str, pattern: &str) -> bool {
    let tagged = |name: &str| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let pattern = if tagged(pattern) { pattern.to_owned() } else { format!("{pattern}:latest") };
    match pattern.split_once("{version}") {
        None => image == pattern,
        Some(_) => version_in(image, &pattern).is_some(),
    }
}

enum Gpus {
    None,
    Broken(String),
    There(String),
}

async fn gpus() -> Gpus {
    let mut asked = child::command("nvidia-smi", &[]);
    asked.args(["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]).kill_on_drop(true);
    match tokio::time::timeout(TIMEOUT, asked.output()).await {
        // Permission denied: this user may not read a folder of the PATH, and no other folder has the program.
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Gpus::None,
        Ok(Err(error)) => Gpus::Broken(error.to_string()),
        Err(_) => Gpus::Broken("it does not answer".to_owned()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            if output.status.success() && !lines.is_empty() {
                Gpus::There(lines.join("; "))
            } else {
                let said = if lines.is_empty() { String::from_utf8_lossy(&output.stderr) } else { said.clone() };
                Gpus::Broken(said.lines().next().unwrap_or("no output").to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_in_any_version() {
        assert!(is_one("trainyard/cpu:3.11", "trainyard/cpu:{version}"));
        assert!(
            !is_one("trainyard/cpu:", "trainyard/cpu:{version}")
                && !is_one("trainyard/gpu:1", "trainyard/cpu:{version}")
        );
        assert!(is_one("acme/go:latest", "acme/go") && is_one("host:5000/go:latest", "host:5000/go"));
    }

    #[test]
    fn a_toolkit_with_known_holes_is_old() {
        assert!(is_old_toolkit("1.16.1") && is_old_toolkit("1.17.7"));
        assert!(!is_old_toolkit("1.17.8") && !is_old_toolkit("1.18.0") && !is_old_toolkit("unknown"));
    }

    #[test]
    fn only_a_runc_that_nobody_has_mended_is_old() {
        assert!(breaks("1.1.5") && breaks("1.0.0") && breaks("1.2.7") && breaks("1.3.0"));
        assert!(!breaks("1.2.8") && !breaks("1.1.5+ds1-1+deb12u1") && !breaks("1.3.3") && !breaks("1.4.0"));
    }
}
