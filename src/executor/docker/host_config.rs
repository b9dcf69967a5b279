//! The rights and limits of containers on their machine.

use std::collections::HashMap;

use bollard::models::{
    HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    ResourcesUlimits,
};

use crate::executor::Spec;

/// Capabilities that `apt-get` and `pip` need as root; all others are dropped.
const CAPABILITIES: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"];
/// The size at which the engine would rotate its log file of a container, which loses bytes and confuses the followers
/// of the log. A job is stopped long before for the size of its log. This size only protects the disk when no worker
/// can stop the job.
const LOG_FILE: &str = "8g";
/// Open files of one process. Some engines set no limit, and then programs that close all possible files take minutes.
/// A limit above the engine's own, which is often low, is refused.
const OPEN_FILES: i64 = 16_384;
/// Memory and processes of a helper.
const HELPER_MEMORY: i64 = 64 << 20;
const HELPER_PROCESSES: i64 = 8;

/// Returns the configuration of a job's container in this network, with a disk quota if the engine supports quotas.
pub(in crate::executor::docker) fn of_job(
    spec: &Spec,
    network: &str,
    runtime: Option<&str>,
    quota: bool,
) -> HostConfig {
    let limits = &spec.limits;
    let bytes = |size: bytesize::ByteSize| i64::try_from(size.as_u64()).unwrap_or(i64::MAX);
    let ulimit =
        |name: &str, most| ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) };
    HostConfig {
        nano_cpus: Some((limits.cpus * 1e9) as i64),
        memory: Some(bytes(limits.memory)),
        memory_swap: Some(bytes(limits.memory)),
        shm_size: Some(bytes(limits.shared_memory)),
        pids_limit: Some(limits.processes),
        // A single file is limited to the size of all together. This also holds for an open file that was deleted.
        ulimits: Some(vec![ulimit("core", 0), ulimit("nofile", OPEN_FILES), ulimit("fsize", bytes(limits.disk))]),
        storage_opt: quota.then(|| HashMap::from([("size".to_owned(), limits.disk.as_u64().to_string())])),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        network_mode: Some(network.to_owned()),
        mounts: Some(spec.mounts.iter().chain(&spec.inputs).map(read_only).collect()),
        runtime: runtime.map(str::to_owned),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE.to_owned()),
                ("max-file".to_owned(), "1".to_owned()),
            ])),
        }),
        ..confined()
    }
}

/// Returns the configuration of a helper, in this network and with these capabilities.
pub(in crate::executor::docker) fn of_helper(network: &str, capabilities: &[&str]) -> HostConfig {
    HostConfig {
        memory: Some(HELPER_MEMORY),
        memory_swap: Some(HELPER_MEMORY),
        pids_limit: Some(HELPER_PROCESSES),
        readonly_rootfs: Some(true),
        cap_add: Some(capabilities.iter().map(ToString::to_string).collect()),
        network_mode: Some(network.to_owned()),
        ..confined()
    }
}

/// Returns the configuration that holds for every container. Devices, namespaces and seccomp stay at the engine's
/// defaults.
fn confined() -> HostConfig {
    HostConfig {
        init: Some(true),
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ipc_mode: Some("private".to_owned()),
        ..Default::default()
    }
}

fn read_only(mount: &crate::executor::Mount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.host.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(true),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            // On older kernels, other mounts below the folder would not be read-only.
            non_recursive: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}
