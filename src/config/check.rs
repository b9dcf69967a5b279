//! Checks on the values of a configuration whose form is right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use secrecy::ExposeSecret as _;

use super::Config;
use crate::domain::RepoName;
use crate::github::{ForgeConfig, GITHUB};
use crate::worker::RunnerGpus;
use crate::{executor, web};

impl Config {
    /// Rejects mounts that would expose the machine or the service to jobs.
    fn check_mount(&self, mount: &executor::Mount) -> anyhow::Result<()> {
        let host = match self.runner.iter().any(|runner| runner.endpoint.starts_with("unix:")) {
            true => mount.host.canonicalize().context("there is no such folder")?,
            // The folder is on other machines, where this process cannot check it.
            false => mount.host.clone(),
        };
        let plain = |path: &Path| path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(host.is_absolute() && plain(&host), "it must be an absolute path");
        ensure!(host == mount.host, "its real path is {}: use that one", host.display());
        ensure!(host.is_dir() || !host.exists(), "it is not a folder");
        let tls = self.runner.iter().filter_map(|runner| runner.tls.as_ref()).flat_map(|files| files.all());
        let tls = tls.map(|(_, file)| file.clone());
        let secret = THE_MACHINE.iter().map(PathBuf::from).chain([self.server.data_dir.clone()]).chain(tls);
        let sockets =
            self.runner.iter().filter_map(|runner| runner.endpoint.strip_prefix("unix://")).map(PathBuf::from);
        // Both forms of each path are compared, since a part of it may be a symbolic link.
        for kept in secret.chain(sockets) {
            let real = kept.canonicalize().unwrap_or_else(|_| kept.clone());
            ensure!(
                !overlap(&host, &kept) && !overlap(&host, &real),
                "jobs must not see {}: mount a folder that holds nothing but data",
                kept.display()
            );
        }
        for glob in &mount.repos {
            globset::Glob::new(glob).with_context(|| format!("repos: {glob:?} is not a pattern such as acme/*"))?;
        }
        let target = &mount.target;
        ensure!(target.is_absolute() && plain(target), "target must be an absolute path");
        let taken = ["/bin", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys", "/usr", crate::attempt::HOME];
        ensure!(
            !taken.iter().any(|taken| overlap(target, Path::new(taken))),
            "target {} would hide a part of the image or the checkout; choose another one such as /data",
            target.display()
        );
        Ok(())
    }

    /// Rejects values that would fail later, with a message for the operator.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            matches!(self.server.public_url.scheme(), "http" | "https"),
            "server.public_url must be an http or https address, not {}",
            self.server.public_url
        );
        // Each of the posters may hold two at once.
        ensure!((8..=1000).contains(&self.database.connections), "database.connections must be from 8 to 1000");
        ensure!(self.limits.cpus > 0.0, "limits.cpus must be more than 0");
        for (place, forge) in self.forge.iter().enumerate() {
            check_forge(forge, &self.forge[..place]).with_context(|| format!("forge {:?}", forge.name))?;
        }
        self.notifications.check()?;
        if let Some(provider) = &self.auth.oidc {
            provider.check().context("auth.oidc")?;
        }
        self.publish.check()?;
        self.inputs.check()?;
        self.trackers.check()?;
        for (name, token) in &self.auth.tokens {
            let length = token.expose_secret().chars().count();
            ensure!(
                length >= web::SHORTEST_TOKEN,
                "auth.tokens: the token of {name:?} is shorter than {} characters and could be guessed; make one with \
                 `openssl rand -hex 32`",
                web::SHORTEST_TOKEN
            );
        }
        for (place, runner) in self.runner.iter().enumerate() {
            ensure!((1..=1000).contains(&runner.slots), "runner {:?}: slots must be from 1 to 1000", runner.name);
            let twice = self.runner[..place].iter().any(|earlier| earlier.name == runner.name);
            runner.endpoint().with_context(|| format!("runner {:?}", runner.name))?;
            let (cpus, memory) = (runner.cpus.unwrap_or(1.0), runner.memory.unwrap_or(bytesize::ByteSize::gib(1)));
            ensure!(cpus > 0.0, "runner {:?}: cpus must be more than 0", runner.name);
            ensure!(memory.as_u64() >= LEAST_MEMORY, "runner {:?}: memory must be at least 6 MiB", runner.name);
            ensure!(!twice, "two runners are named {:?}; names must differ", runner.name);
            ensure!(
                runner.keeps_to_routes() || self.limits.network != executor::Network::Egress,
                "runner {:?}: jobs of the runtime {} would get past the rules of limits.network = \"egress\"; set it to \
                 \"none\", or to \"full\" behind a firewall of the host",
                runner.name,
                runner.runtime
            );
        }
        for mount in &self.mount {
            self.check_mount(mount).with_context(|| format!("mount {}", mount.host.display()))?;
        }
        for (place, budget) in (1..).zip(&self.budget) {
            budget.check().with_context(|| format!("budget {place}"))?;
        }
        self.github.app_keys()?;
        self.github.oauth()?;
        self.check_egress()?;
        self.check_gpus()?;
        self.travis.check()?;
        self.forks.check()?;
        self.storage.check()?;
        self.retention.check()?;
        let authorities = &self.images.ca_certificates;
        ensure!(
            authorities.as_os_str().is_empty() || authorities.is_file(),
            "images.ca_certificates: there is no file {}",
            authorities.display()
        );
        Ok(())
    }

    /// Rejects rules that would close nothing, although they look as if they did.
    fn check_egress(&self) -> anyhow::Result<()> {
        let network = self.limits.network;
        ensure!(
            network == executor::Network::Egress || (self.egress.is_empty() && self.limits.egress_deny.is_empty()),
            "[[egress]] and limits.egress_deny have no effect unless limits.network = \"egress\""
        );
        for glob in self.egress.iter().flat_map(|rule| &rule.repos) {
            let parsed = executor::EgressRule::glob(glob);
            parsed.with_context(|| format!("egress: {glob:?} is not a pattern such as acme/*"))?;
        }
        Ok(())
    }

    fn check_gpus(&self) -> anyhow::Result<()> {
        let mut known = BTreeSet::new();
        for runner in &self.runner {
            let RunnerGpus::Listed(listed) = &runner.gpus else { continue };
            for gpu in listed {
                let is_uuid = gpu.uuid.starts_with("GPU-") || gpu.uuid.starts_with("MIG-");
                ensure!(
                    is_uuid && !gpu.uuid.contains(','),
                    "runner {:?}: {:?} is not a UUID of a GPU as nvidia-smi -L lists it",
                    runner.name,
                    gpu.uuid
                );
                ensure!(known.insert(&gpu.uuid), "the GPU {} is listed twice", gpu.uuid);
            }
        }
        for (name, size) in &self.gpu.sizes {
            ensure!(size.count <= 64, "gpu.sizes: {name}: count must be from 0 to 64");
        }
        for pattern in &self.gpu.images {
            globset::Glob::new(pattern).with_context(|| format!("gpu.images: {pattern:?}"))?;
        }
        Ok(())
    }
}

/// Folders that belong to the machine itself and hold no data of jobs.
const THE_MACHINE: [&str; 13] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/docker",
    "/var/run",
];

/// Returns true if one path is inside the other, or both are the same.
fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Minimum memory of a container, in bytes: Docker does not accept less.
const LEAST_MEMORY: u64 = 6 << 20;

/// Rejects a server that cannot be told from an earlier one, or whose webhooks cannot be verified.
fn check_forge(forge: &ForgeConfig, earlier: &[ForgeConfig]) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        (1..=40).contains(&forge.name.len()) && forge.name.chars().all(is_plain) && forge.name != GITHUB,
        "its name must be of a-z, 0-9 and -, at most 40 characters, and not {GITHUB:?}"
    );
    ensure!(earlier.iter().all(|other| other.name != forge.name), "two forges have this name");
    ensure!(matches!(forge.url.scheme(), "http" | "https"), "its url must be an http or https address");
    ensure!(!forge.webhook_secret.is_empty(), "it needs a webhook_secret: make one with `openssl rand -hex 32`");
    ensure!(!forge.owners.is_empty(), "it needs owners, whose repositories it has");
    for owner in &forge.owners {
        ensure!(format!("{owner}/any").parse::<RepoName>().is_ok(), "{owner:?} is not the name of an owner");
        let other = earlier.iter().find(|other| other.has(owner));
        ensure!(other.is_none(), "the owner {owner} is also one of the forge {:?}", other.map(|other| &other.name));
    }
    Ok(())
}
