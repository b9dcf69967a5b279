//! The network of a job that reaches the internet and nothing else.
//!
//! A separate container, the egress gateway, holds the network. Only the gateway may change routes. It sets rules that
//! close private networks and the host, and then sleeps. The job's container joins the network without that right. So
//! nothing has to be set up on the host, and no process of Trainyard needs rights there.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bollard::models::ContainerCreateBody;
use futures::StreamExt as _;

use crate::executor::docker::Docker;
use crate::executor::docker::create::make;
use crate::executor::docker::errors::is_no_image;
use crate::executor::docker::host_config::of_helper;
use crate::executor::docker::labels::{HELPS, gateway_of, probe_of};
use crate::executor::{ExecError, IpNetwork, Spec};

/// The program of the gateway.
const GATEWAY: &str = include_str!("egress_gateway.pl");
/// A script that prints the addresses of the network in which it runs.
const PROBE: &str = "while (<>) { $a = $1 if /-- ([0-9.]+)$/; $own{$a} = 1 if m{/32 host LOCAL} } print map { qq($_\\n) } sort keys %own";
/// All networks that are not the internet: this network, private networks, carriers' own, loopback, link-local with the
/// metadata of clouds, protocol assignments, tests of devices, multicast and reserved ones. Also the address at which
/// Azure's machines have their name server, since it also serves keys.
const CLOSED: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "168.63.129.16/32",
    "224.0.0.0/3",
];
/// The gateway's output once its rules are set.
const READY: &str = "ready\n";
/// The limits of a helper: its time, and its output in bytes.
const HELPER_TIME: Duration = Duration::from_secs(30);
const HELPER_OUTPUT: usize = 64 * 1024;
/// The time for which the host's addresses count as known.
const ADDRESSES_AGE: Duration = Duration::from_secs(5 * 60);

/// Makes the gateway of a job's container, without starting it.
pub(in crate::executor::docker) async fn create(docker: &Docker, spec: &Spec, container: &str) -> anyhow::Result<()> {
    let host = host_addresses(docker, spec, container).await?;
    let join = |networks: &[IpNetwork]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let (allowed, denied) = (join(&spec.limits.egress_allow), join(&spec.limits.egress_deny));
    let closed: Vec<&str> =
        CLOSED.into_iter().chain(host.iter().map(String::as_str)).chain([denied.as_str()]).collect();
    let (closed, only) = (closed.join(" "), spec.egress_only.as_deref().map(join));
    let command = ["perl", "-e", GATEWAY, &allowed, closed.trim_end()];
    let command: Vec<&str> = command.into_iter().chain(only.as_deref()).collect();
    make_helper(
        docker,
        spec,
        &gateway_of(container),
        &command,
        Rights { network: "bridge", capabilities: &["NET_ADMIN"] },
    )
    .await
}

/// Starts the gateway of a container and waits until its rules are set.
pub(in crate::executor::docker) async fn open(docker: &Docker, container: &str) -> anyhow::Result<()> {
    let gateway = gateway_of(container);
    start_helper(docker, &gateway).await?;
    let said = said(docker, &gateway, READY).await.context("the network of the job")?;
    if said != READY {
        bail!(
            "the network of the job cannot be closed to private addresses: {}; if limits.network = \"egress\" cannot \
             work here, set another",
            said.trim()
        );
    }
    Ok(())
}

/// Returns the addresses at which the host answers, besides private ones: they do not lead through the network's
/// gateway.
async fn host_addresses(docker: &Docker, spec: &Spec, container: &str) -> anyhow::Result<Vec<String>> {
    // The lock is held meanwhile, so that jobs that begin together ask once.
    let mut known = docker.host.0.lock().await;
    if let Some((since, addresses)) = &*known
        && since.elapsed() < ADDRESSES_AGE
    {
        return Ok(addresses.clone());
    }
    let probe = probe_of(container);
    let command = ["perl", "-ne", PROBE, "/proc/net/fib_trie"];
    make_helper(docker, spec, &probe, &command, Rights { network: "host", capabilities: &[] }).await?;
    start_helper(docker, &probe).await?;
    let said = said(docker, &probe, "").await.context("finding the host's addresses")?;
    docker.remove_one(&probe).await?;
    let parse = |line: &str| line.parse::<std::net::Ipv4Addr>().map(|address| format!("{address}/32"));
    let addresses: Result<Vec<String>, _> = said.lines().map(parse).collect();
    let addresses = addresses.with_context(|| format!("finding the host's addresses: {}", said.trim()))?;
    if addresses.is_empty() {
        bail!("the host's addresses are not known: {PROBE} found none");
    }
    *known = Some((Instant::now(), addresses.clone()));
    Ok(addresses)
}

/// The network and the capabilities of a helper.
struct Rights<'a> {
    network: &'a str,
    capabilities: &'a [&'a str],
}

async fn make_helper(
    docker: &Docker,
    spec: &Spec,
    name: &str,
    command: &[&str],
    Rights { network, capabilities }: Rights<'_>,
) -> anyhow::Result<()> {
    let mut host_config = of_helper(network, capabilities);
    // With user namespaces, the engine must be asked to put a container of the host's network outside of them.
    host_config.userns_mode = (network == "host").then(|| "host".to_owned());
    let body = ContainerCreateBody {
        image: Some(spec.helper.clone()),
        entrypoint: Some(Vec::new()),
        cmd: Some(command.iter().map(ToString::to_string).collect()),
        // The working folder of an image is for jobs, and not for helpers.
        working_dir: Some("/".to_owned()),
        labels: Some(docker.labels((HELPS, "yes".to_owned()))),
        host_config: Some(host_config),
        ..Default::default()
    };
    let made = make(docker, name, body).await;
    if made.as_ref().is_err_and(is_no_image) {
        bail!("the image {} is not on this runner: images.generic also sets up the network of jobs", spec.helper);
    }
    made.context("creating a helper")
}

async fn start_helper(docker: &Docker, name: &str) -> anyhow::Result<()> {
    match docker.start(name).await {
        Ok(()) => Ok(()),
        Err(ExecError::Job(why)) => {
            bail!("{why}: images.generic has to have perl, which sets up the network of jobs")
        }
        Err(ExecError::System(error)) => Err(error),
    }
}

/// Returns the output of a helper until it equals `enough`, or until the helper ends.
async fn said(docker: &Docker, name: &str, enough: &str) -> anyhow::Result<String> {
    let mut output = docker.logs(name, 0)?;
    let read = async {
        let mut said = Vec::new();
        while let Some(frame) = output.next().await {
            said.extend_from_slice(&frame?);
            if said.len() > HELPER_OUTPUT || (!enough.is_empty() && said == enough.as_bytes()) {
                break;
            }
        }
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&said).into_owned())
    };
    tokio::time::timeout(HELPER_TIME, read).await.context("a helper did not answer")?
}
