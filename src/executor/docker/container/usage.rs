//! Resource usage of a container, as the engine reads it from the container's control group.

use std::time::Duration;

use anyhow::Context as _;
use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures::StreamExt as _;

use crate::domain::Usage;
use crate::executor::docker::errors::is_status;
use crate::executor::docker::{Docker, PROMPT};

/// Returns what a container has used so far; `None` when it does not run. A sample takes some milliseconds, because the
/// engine is asked not to wait for a second one, as it does for a rate. Engines may slow down clients that ask more
/// than once a second.
///
/// # Errors
/// Fails when the engine does not answer.
pub async fn sample(docker: &Docker, container: &str) -> anyhow::Result<Option<Usage>> {
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let mut answers = std::pin::pin!(docker.client()?.stats(container, Some(options)));
    let answer = tokio::time::timeout(PROMPT, answers.next()).await.context("no answer in time")?;
    let Some(answer) = answer else { return Ok(None) };
    if is_status(&answer, 404) {
        return Ok(None);
    }
    Ok(of(&answer.context("asking what the container uses")?))
}

fn of(stats: &ContainerStatsResponse) -> Option<Usage> {
    let (memory, cpu) = (stats.memory_stats.as_ref()?, stats.cpu_stats.as_ref()?);
    let networks = || stats.networks.iter().flat_map(|networks| networks.values());
    let disk = |direction| stats.blkio_stats.as_ref().map_or(0, |disk| moved(disk, direction));
    Some(Usage {
        cpu: Duration::from_nanos(cpu.cpu_usage.as_ref()?.total_usage?),
        memory: held(memory)?,
        disk_read: disk("read"),
        disk_written: disk("write"),
        network_in: networks().filter_map(|network| network.rx_bytes).sum(),
        network_out: networks().filter_map(|network| network.tx_bytes).sum(),
        // The engine does not measure GPUs.
        gpus: None,
    })
}

/// Returns the memory as `docker stats` counts it: without the pages of files that were not used for a while.
fn held(memory: &ContainerMemoryStats) -> Option<u64> {
    // Version 1 of control groups has a sum over the groups within.
    let idle = memory.stats.as_ref().and_then(|stats| stats.get("total_inactive_file").or(stats.get("inactive_file")));
    Some(memory.usage?.saturating_sub(idle.copied().unwrap_or(0)))
}

/// Returns the bytes of all devices in a direction, whose name is in another case in each version of control groups.
fn moved(disk: &ContainerBlkioStats, direction: &str) -> u64 {
    let entries = disk.io_service_bytes_recursive.iter().flatten();
    let wanted = entries.filter(|entry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(direction)));
    wanted.filter_map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Usage> {
        of(&serde_json::from_str(json).expect("the engine's form"))
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let first = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 1500000000}},
            "memory_stats": {"usage": 1000, "stats": {"total_inactive_file": 300, "inactive_file": 5}},
            "blkio_stats": {"io_service_bytes_recursive": [{"major": 8, "minor": 0, "op": "Read", "value": 7},
                {"major": 8, "minor": 16, "op": "Read", "value": 3}, {"major": 8, "minor": 0, "op": "Total", "value": 7}]},
            "networks": {"eth0": {"rx_bytes": 20, "tx_bytes": 10}, "eth1": {"rx_bytes": 2}}}"#;
        let second = first.replace(r#""total_inactive_file": 300, "#, "").replace("\"Read\"", "\"write\"");
        let cpu = Duration::from_millis(1500);
        let (network_in, network_out) = (22, 10);
        let expected = Usage { cpu, memory: 700, disk_read: 10, disk_written: 0, network_in, network_out, gpus: None };
        assert_eq!(read(first), Some(expected));
        assert_eq!(read(&second), Some(Usage { memory: 995, disk_read: 0, disk_written: 10, ..expected }));
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing() {
        assert_eq!(
            read(r#"{"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}, "blkio_stats": {}}"#),
            None
        );
        assert_eq!(read("{}"), None);
    }
}
