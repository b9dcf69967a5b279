//! A job's container, with everything that the job needs in it.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Additions, ImagesConfig, Shared, Started};
use crate::domain::{AttemptId, RepoName, Sha};
use crate::executor::{Engine, ExecError, Exit, Filling, IpNetwork, Limits, Mount, Network, Spec, Upload};
use crate::storage::Cached;

/// The job's home in every image.
pub const HOME: &str = "/home/travis";
const HOME_VARIABLE: (&str, &str) = ("HOME", HOME);
const USER_VARIABLE: (&str, &str) = ("USER", "travis");
const SCRIPT: &str = "/home/travis/build.sh";
/// Uploaded last; its presence means that the upload is complete.
const BEGIN: &str = "/etc/trainyard/begin";
/// The command of a container: it waits for the end of its standard input, and then runs the job if the upload is
/// complete. The input also ends when the process that fills the container dies, at whatever point.
const COMMAND: &str = "read -r _; test -e /etc/trainyard/begin || exit 86; : >/etc/trainyard/begun; \
                       exec bash /home/travis/build.sh </dev/null";
/// The exit status of [`COMMAND`] when the job did not begin.
const NOT_BEGUN: i64 = 86;
/// Written when the script starts, so that a container that died while being filled can be told from one whose job ran.
const BEGUN: &str = "/etc/trainyard/begun";
/// Checks out a commit (`$2`) in a folder (`$1`) for later jobs, which bring their own history. Git trusts an index
/// only for files that are older than the index by whole seconds, and would read all others again.
const CHECK_OUT: &str = "cd \"$1\" && git -c core.logAllRefUpdates=false checkout -qf \"$2\" && rm -f .git/shallow && \
                         sleep 1 && touch .git/index";
const AUTHORITIES: &str = "/etc/trainyard/ca-certificates.crt";
/// Variables that name the trusted authorities for many kinds of programs.
const AUTHORITY_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"];

/// A container to be made for an attempt at a job.
#[derive(Debug, Clone)]
pub struct NewContainer<'a> {
    pub attempt: AttemptId,
    /// The repository, which names the checkout's folder.
    pub repo: &'a RepoName,
    /// The people whose code runs in the container: their jobs may know of each other.
    pub trust_domain: String,
    /// Id of the image.
    pub image: &'a str,
    pub script: String,
    /// The cache that the job begins with.
    pub cache: Option<Cached>,
    /// Files and variables for the job's training, besides the checkout.
    pub additions: Additions,
    pub limits: &'a Limits,
    /// The folders of the machine that the job may read.
    pub mounts: &'a [&'a Mount],
    /// The data that was brought for this job.
    pub inputs: &'a [Mount],
    /// The only networks that the job reaches; `None` for all that are not closed.
    pub egress_only: Option<&'a [IpNetwork]>,
    /// UUIDs of the GPUs that the job holds.
    pub gpus: &'a [String],
}

/// A tar that is read as it is needed.
pub type Archive = Box<dyn Read + Send>;

/// The work that must be done before the script of a job can begin.
pub struct Preparation<C, B> {
    /// Makes the checkout and returns its folder.
    pub checkout: C,
    /// A tar of absolute paths that the job goes on from.
    pub checkpoint: Option<Archive>,
    /// Runs last, if there is one. If it fails, the script does not begin.
    pub before: Option<B>,
}

impl NewContainer<'_> {
    /// Starts the container and its script. The container's name is put into `progress` before the container exists, so
    /// that it can always be removed. The folder of `checkout` is made meanwhile. The script begins only after `before`
    /// has succeeded.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the image is absent or cannot run the script, and when the checkout is too large.
    pub async fn start<F: AsRef<Path>>(
        self,
        engine: &Engine,
        images: &ImagesConfig,
        progress: &Shared,
        Preparation { checkout, checkpoint, before }: Preparation<
            impl Future<Output = Result<F, ExecError>>,
            impl Future<Output = anyhow::Result<()>>,
        >,
    ) -> Result<Started, ExecError> {
        let authorities = authorities(images).await?;
        let container = &engine.name_of(self.attempt);
        progress.lock().container = Some(container.clone());
        let spec = self.spec(images, authorities.is_some());
        let folder = &checkout_folder(self.repo);
        let Self { script, additions, cache, trust_domain, .. } = self;
        let is_all = cache.is_none() && checkpoint.is_none() && before.is_none();
        let fill = |checkout: F| async move {
            let mut upload =
                Upload::default().file(SCRIPT, script.into_bytes(), 0o755).folder(checkout.as_ref().to_owned(), folder);
            for (path, bytes) in additions.files {
                upload = upload.file(&path, bytes, 0o644);
            }
            if let Some(authorities) = authorities {
                upload = upload.file(AUTHORITIES, authorities, 0o644);
            }
            if is_all {
                upload = upload.last_file(BEGIN);
            }
            engine.copy_in(container, upload).await?;
            if let Some(cached) = cache
                && let Err(error) = restore(engine, container, cached).await
            {
                // A job must also work without its cache.
                warn!("the cache is not restored into {container}: {error:#}");
            }
            if let Some(checkpoint) = checkpoint {
                engine.copy_tar_in(container, checkpoint).await.context("restoring the checkpoint")?;
            }
            Ok(())
        };
        let filling = Filling { prepare: checkout, fill };
        let staged = engine.start(&spec, container, &trust_domain, filling).await?;
        if !is_all {
            // From here on the script begins whenever the wait ends, so `before` must have succeeded already.
            if let Some(before) = before {
                before.await?;
            }
            engine.copy_in(container, Upload::default().last_file(BEGIN)).await?;
        }
        staged.release().await?;
        Ok(Started { container: container.clone(), ended_before: false })
    }

    fn spec(&self, images: &ImagesConfig, has_authorities: bool) -> Spec {
        let mut environment = vec![
            HOME_VARIABLE,
            USER_VARIABLE,
            // The init passes a signal on to every process of the job, and not only to the script's shell.
            ("TINI_KILL_PROCESS_GROUP", "1"),
        ];
        environment.extend(self.additions.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if has_authorities {
            environment.extend(AUTHORITY_VARIABLES.map(|name| (name, AUTHORITIES)));
        }
        Spec {
            image: self.image.to_owned(),
            command: ["bash", "-c", COMMAND].map(str::to_owned).to_vec(),
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            limits: self.limits.clone(),
            mounts: self.mounts.iter().copied().cloned().collect(),
            inputs: self.inputs.to_vec(),
            egress_only: self.egress_only.map(<[IpNetwork]>::to_vec),
            helper: images.generic.clone(),
            gpus: self.gpus.to_vec(),
        }
    }
}

/// Returns the folder in which a job finds the files of its repository.
pub fn checkout_folder(repo: &RepoName) -> String {
    format!("{HOME}/build/{repo}")
}

/// Returns the spec of a container without a network that checks out a commit, whose history is in its folder, in the
/// same way as the jobs that run in this image.
pub fn checkout_image_spec(image: &str, repo: &RepoName, commit: &Sha, limits: &Limits) -> Spec {
    let folder = checkout_folder(repo);
    Spec {
        image: image.to_owned(),
        command: ["bash", "-c", CHECK_OUT, "base", &folder, commit.as_str()].map(str::to_owned).to_vec(),
        environment: [HOME_VARIABLE, USER_VARIABLE].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        limits: Limits { network: Network::None, ..limits.clone() },
        mounts: Vec::new(),
        inputs: Vec::new(),
        egress_only: None,
        // The helper would set up a network, and this container has none.
        helper: String::new(),
        gpus: Vec::new(),
    }
}

/// Returns true when a container that ended like this never began its job, because the process that filled it died.
///
/// # Errors
/// Fails when the engine does not answer.
pub async fn never_began(engine: &Engine, container: &str, exit: &Exit) -> anyhow::Result<bool> {
    Ok(exit.status == NOT_BEGUN && engine.copy_out(container, BEGUN, &CancellationToken::new()).await?.is_none())
}

async fn restore(engine: &Engine, container: &str, cached: Cached) -> anyhow::Result<()> {
    let opened = tokio::task::spawn_blocking(move || cached.open()).await??;
    engine.copy_tar_in(container, opened).await
}

async fn authorities(images: &ImagesConfig) -> anyhow::Result<Option<Vec<u8>>> {
    let path = &images.ca_certificates;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = tokio::fs::read(path).await.with_context(|| format!("images.ca_certificates: {}", path.display()))?;
    Ok(Some(text))
}
