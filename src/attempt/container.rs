//! A job's container, with everything in it that the job needs.

use std::path::Path;

use anyhow::Context as _;
use tracing::warn;

use super::Images;
use crate::domain::{JobId, RepoName};
use crate::executor::{Docker, ExecError, Limits, Mount, Spec, Upload};
use crate::lora::smoke::Smoke;
use crate::plan::SMOKE_FOLDER;
use crate::storage::Cached;

/// Where the job's home is in every image.
pub const HOME: &str = "/home/travis";
const SCRIPT: &str = "/home/travis/build.sh";
const AUTHORITIES: &str = "/etc/trainyard/ca-certificates.crt";
/// Variables by which programs of many kinds find the authorities to trust.
const AUTHORITY_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"];

/// A container to be made for one attempt at a job.
#[derive(Debug, Clone)]
pub struct NewContainer<'a> {
    /// The job.
    pub job: JobId,
    /// The attempt at it.
    pub attempt: i32,
    /// The repository, which names the checkout's folder.
    pub repo: &'a RepoName,
    /// The image's name.
    pub image: &'a str,
    /// The compiled script.
    pub script: String,
    /// The cache that it begins with.
    pub cache: Option<Cached>,
    /// The training that it tries.
    pub smoke: Option<Smoke>,
    /// What the job may take.
    pub limits: &'a Limits,
    /// The folders of the machine that it may read.
    pub mounts: &'a [&'a Mount],
    /// The GPUs that it holds.
    pub gpus: &'a [String],
}

impl NewContainer<'_> {
    /// Makes and starts the container. `made` hears of it before there can be one to remove; `checkout` is put together
    /// meanwhile and gives the folder.
    ///
    /// # Errors
    /// [`ExecError::Job`] when the image is absent or cannot run the script.
    pub async fn start<F: AsRef<Path>>(
        self,
        docker: &Docker,
        images: &Images,
        checkout: impl Future<Output = anyhow::Result<F>>,
        made: impl Fn(String),
    ) -> Result<String, ExecError> {
        let mut environment = vec![
            ("HOME", HOME),
            ("USER", "travis"),
            // The init passes a signal on to every process of the job, not to the script's shell alone.
            ("TINI_KILL_PROCESS_GROUP", "1"),
        ];
        let (variables, files) = self.smoke.map(|smoke| (smoke.environment, smoke.files)).unwrap_or_default();
        environment.extend(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let authorities = authorities(images).await?;
        if authorities.is_some() {
            environment.extend(AUTHORITY_VARIABLES.map(|name| (name, AUTHORITIES)));
        }
        let spec = Spec {
            job: self.job,
            attempt: self.attempt,
            image: self.image,
            command: &["bash", SCRIPT],
            environment: &environment,
            limits: self.limits,
            mounts: self.mounts,
            helper: &images.generic,
            gpus: self.gpus,
        };
        let container = docker.name_of(&spec);
        made(container.clone());
        let checkout = async { checkout.await.map_err(ExecError::System) };
        // The network takes the longest, as the kernel makes interfaces for it; all else is done meanwhile.
        let create = async {
            docker.create_network(&spec).await?;
            let open = async { docker.open_network(&container, self.limits).await.map_err(ExecError::System) };
            tokio::try_join!(open, docker.create(&spec))
        };
        let (_, checkout) = tokio::try_join!(create, checkout)?;
        let folder = format!("{HOME}/build/{}", self.repo);
        let mut upload = Upload::default()
            .file(SCRIPT, self.script.into_bytes(), 0o755)
            .folder(checkout.as_ref().to_owned(), &folder);
        for file in files {
            upload = upload.file(&format!("{SMOKE_FOLDER}/{}", file.path), file.bytes, 0o644);
        }
        if let Some(authorities) = authorities {
            upload = upload.file(AUTHORITIES, authorities, 0o644);
        }
        docker.put(&container, upload).await?;
        if let Some(cached) = self.cache
            && let Err(error) = restore(docker, &container, cached).await
        {
            // A job has to work without its cache too.
            warn!(job = %self.job, "the cache of job {} is not restored: {error:#}", self.job);
        }
        docker.start(&container).await?;
        Ok(container)
    }
}

async fn restore(docker: &Docker, container: &str, cached: Cached) -> anyhow::Result<()> {
    let opened = tokio::task::spawn_blocking(move || cached.open()).await??;
    docker.put_tar(container, opened).await
}

async fn authorities(images: &Images) -> anyhow::Result<Option<Vec<u8>>> {
    let path = &images.ca_certificates;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = tokio::fs::read(path).await.with_context(|| format!("images.ca_certificates: {}", path.display()))?;
    Ok(Some(text))
}
