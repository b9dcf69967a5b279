//! The creation of containers: limits, rights, network and name.

use std::sync::atomic::Ordering;

use anyhow::Context as _;
use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RenameContainerOptionsBuilder};

use super::host_config;
use crate::executor::docker::Docker;
use crate::executor::docker::errors::{is_no_image, is_status};
use crate::executor::docker::labels::{GPUS, blank_checkout_labels, gateway_of};
use crate::executor::{ExecError, Network, Spec};

/// Creates a container with all limits, without starting it. Its network must exist already. An older container of the
/// same name is replaced.
pub(in crate::executor::docker) async fn create(docker: &Docker, spec: &Spec, name: &str) -> Result<(), ExecError> {
    let network = match spec.limits.network {
        Network::Egress => format!("container:{}", gateway_of(name)),
        Network::Full => "bridge".to_owned(),
        Network::None => "none".to_owned(),
    };
    let quota = !docker.no_quota.load(Ordering::Relaxed);
    let mut made = make(docker, name, body(docker, spec, &network, quota)).await;
    // Each storage driver reports the lack of quotas with a different error.
    if quota && made.as_ref().is_err_and(|error| !is_no_image(error)) {
        made = make(docker, name, body(docker, spec, &network, false)).await;
        docker.no_quota.store(made.is_ok(), Ordering::Relaxed);
    }
    Ok(made.context("creating the container")?)
}

/// Returns true when two containers would be created in the same way, apart from their names.
pub(in crate::executor::docker) fn are_alike(docker: &Docker, one: &Spec, other: &Spec) -> bool {
    body(docker, one, "", true) == body(docker, other, "", true) && have_like_networks(one, other)
}

/// Returns true when the networks of two containers would be created in the same way.
pub(in crate::executor::docker) fn have_like_networks(one: &Spec, other: &Spec) -> bool {
    fn network(spec: &Spec) -> impl PartialEq + use<'_> {
        let Spec { limits, egress_only, helper, .. } = spec;
        (limits.network, &limits.egress_allow, &limits.egress_deny, egress_only, helper)
    }
    network(one) == network(other)
}

/// Creates a container of this name; an older one is replaced.
pub(in crate::executor::docker) async fn make(
    docker: &Docker,
    name: &str,
    body: ContainerCreateBody,
) -> anyhow::Result<()> {
    let client = docker.client()?;
    let options = || CreateContainerOptionsBuilder::new().name(name).build();
    let mut made = client.create_container(Some(options()), body.clone()).await;
    if is_status(&made, 409) {
        docker.remove_one(name).await?;
        made = client.create_container(Some(options()), body).await;
    }
    made?;
    Ok(())
}

fn body(docker: &Docker, spec: &Spec, network: &str, quota: bool) -> ContainerCreateBody {
    let gpus = spec.gpus.join(",");
    // CUDA images set this variable to `all`. Where NVIDIA's runtime is the default one, a job would then see all GPUs.
    let visible = if gpus.is_empty() { "void" } else { &gpus };
    let environment = spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let environment = environment.chain([("NVIDIA_VISIBLE_DEVICES", visible)]);
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        // The job's script runs, whatever entry point an image has.
        entrypoint: Some(Vec::new()),
        env: Some(environment.map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(docker.labels((GPUS, gpus)).into_iter().chain(blank_checkout_labels()).collect()),
        // Without a terminal the engine frames the output, so that its bytes can be read back exactly.
        tty: Some(false),
        // The container waits for the end of this input. The process at the other end decides when it ends, also by
        // dying.
        attach_stdin: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        host_config: Some(HostConfig {
            device_requests: gpu_request(&spec.gpus),
            ..host_config::of_job(spec, network, docker.runtime.as_deref(), quota)
        }),
        ..Default::default()
    }
}

/// Renames a container, and its gateway if its network has one. An older container of the name is replaced: it was
/// never used, or the job would have been adopted.
pub(in crate::executor::docker) async fn rename(
    docker: &Docker,
    from: &str,
    to: &str,
    network: Network,
) -> anyhow::Result<()> {
    if network == Network::Egress {
        let (gateway_from, gateway_to) = (gateway_of(from), gateway_of(to));
        tokio::try_join!(rename_one(docker, from, to), rename_one(docker, &gateway_from, &gateway_to))?;
        Ok(())
    } else {
        rename_one(docker, from, to).await
    }
}

pub(in crate::executor::docker) async fn rename_one(docker: &Docker, from: &str, to: &str) -> anyhow::Result<()> {
    let client = docker.client()?;
    let options = || RenameContainerOptionsBuilder::new().name(to).build();
    let mut renamed = client.rename_container(from, options()).await;
    if is_status(&renamed, 409) {
        docker.remove_one(to).await?;
        renamed = client.rename_container(from, options()).await;
    }
    renamed.context("renaming a container")
}

/// Requests GPUs by their UUIDs. With a count the engine would choose, and it does not know which job holds which GPU.
fn gpu_request(gpus: &[String]) -> Option<Vec<DeviceRequest>> {
    (!gpus.is_empty()).then(|| {
        vec![DeviceRequest {
            driver: Some("nvidia".to_owned()),
            device_ids: Some(gpus.to_vec()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..Default::default()
        }]
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::executor::{Endpoint, Limits, Mount};

    #[test]
    fn containers_are_alike_when_nothing_tells_them_apart() {
        let docker = Docker::new(Endpoint::Unix("/nowhere".into()), "0123456789");
        let spec = Spec {
            image: "sha256:1".to_owned(),
            command: vec!["true".to_owned()],
            environment: vec![("HOME".to_owned(), "/home/travis".to_owned())],
            limits: Limits::default(),
            mounts: Vec::new(),
            inputs: Vec::new(),
            egress_only: None,
            helper: "minimal".to_owned(),
            gpus: Vec::new(),
        };
        let changed = |change: &dyn Fn(&mut Spec)| {
            let mut other = spec.clone();
            change(&mut other);
            are_alike(&docker, &spec, &other)
        };
        // Limits that are watched from outside make no difference.
        assert!(changed(&|other| other.limits.time = Duration::from_secs(1)));
        assert!(changed(&|other| other.limits.log = bytesize::ByteSize::b(1)));
        let mount = Mount { host: "/srv".into(), target: "/data".into(), repos: Vec::new() };
        assert!(!changed(&|other| other.image = "sha256:2".to_owned()));
        assert!(!changed(&|other| other.environment.clear()));
        assert!(!changed(&|other| other.limits.memory = bytesize::ByteSize::gib(1)));
        assert!(!changed(&|other| other.limits.network = Network::Full));
        assert!(!changed(&|other| other.limits.egress_allow = vec!["10.1.2.3/32".parse().expect("a network")]));
        assert!(!changed(&|other| other.limits.egress_deny = vec!["203.0.113.0/24".parse().expect("a network")]));
        assert!(!changed(&|other| other.egress_only = Some(Vec::new())));
        assert!(!changed(&|other| other.mounts = vec![mount.clone()]));
        assert!(!changed(&|other| other.gpus = vec!["GPU-1".to_owned()]));
        assert!(!changed(&|other| other.helper = "other".to_owned()));
    }
}
