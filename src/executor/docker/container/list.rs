//! The lists of this installation's containers on an engine.

use std::collections::HashMap;

use anyhow::Context as _;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::domain::{AttemptId, JobId};
use crate::executor::Found;
use crate::executor::docker::Docker;
use crate::executor::docker::labels::{GPUS, HELPS, INSTANCE};

/// Lists the containers of all attempts of this installation, in any state.
pub async fn attempts(docker: &Docker) -> anyhow::Result<Vec<Found>> {
    let all = list_all(docker).await?;
    Ok(all.into_iter().filter_map(|(name, container)| found(docker, name, container)).collect())
}

/// Lists the containers of this installation that belong to no attempt: those that wait for a job, and those that were
/// being made when a process died.
pub async fn ready(docker: &Docker) -> anyhow::Result<Vec<String>> {
    let all = list_all(docker).await?;
    let is_ready =
        |(name, container): &(String, _)| found(docker, name.clone(), ContainerSummary::clone(container)).is_none();
    Ok(all.into_iter().filter(is_ready).map(|(name, _)| name).collect())
}

async fn list_all(docker: &Docker) -> anyhow::Result<Vec<(String, ContainerSummary)>> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{INSTANCE}={}", docker.instance)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = docker.client()?.list_containers(Some(options)).await.context("listing the containers")?;
    let named = |container: ContainerSummary| {
        let name = container.names.as_ref()?.first()?.trim_start_matches('/').to_owned();
        Some((name, container))
    };
    Ok(listed.into_iter().filter_map(named).collect())
}

fn found(docker: &Docker, name: String, container: ContainerSummary) -> Option<Found> {
    let labels = container.labels.unwrap_or_default();
    let mut parts = name.strip_prefix(&docker.prefix())?.split('-');
    let state = container.state.map(|state| state.to_string()).unwrap_or_default();
    Some(Found {
        attempt: AttemptId { job: JobId(parts.next()?.parse().ok()?), number: parts.next()?.parse().ok()? },
        runs_job: !labels.contains_key(HELPS),
        started: !matches!(state.as_str(), "" | "created"),
        ended: matches!(state.as_str(), "exited" | "dead"),
        gpus: labels.get(GPUS).map(|gpus| split_list(gpus)).unwrap_or_default(),
        container: name,
    })
}

fn split_list(list: &str) -> Vec<String> {
    list.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
