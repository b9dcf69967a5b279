//! A job's container, with everything that the job needs in it.

use std::path::Path;

use anyhow::Context as _;
use tracing::warn;

use super::{ImagesConfig, Shared};
use crate::domain::{AttemptId, RepoName, Sha};
use crate::executor::{Engine, ExecError, Exit, Filling, Limits, Mount, Network, Spec, Upload};
use crate::lora::smoke::Smoke;
use crate::plan::SMOKE_FOLDER;
use crate::storage::Cached;

/// Where the job's home is in every image.
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
/// See [`COMMAND`].
const NOT_BEGUN: i64 = 86;
/// Written when the script starts, so that a container that died while being filled can be told from one whose job ran.
const BEGUN: &str = "/etc/trainyard/begun";
/// Checks a commit (`$2`) out in a folder (`$1`) for jobs to come, which bring their own history. An index vouches only for
/// files that are older than itself by whole seconds, and git would read all others.
const CHECK_OUT: &str = "cd \"$1\" && git -c core.logAllRefUpdates=false checkout -qf \"$2\" && rm -f .git/shallow && \
                         sleep 1 && touch .git/index";
const AUTHORITIES: &str = "/etc/trainyard/ca-certificates.crt";
/// Variables by which programs of many kinds find the authorities to trust.
const AUTHORITY_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"];

/// A container to be made for one attempt at a job.
#[derive(Debug, Clone)]
pub struct NewContainer<'a> {
    pub attempt: AttemptId,
    /// The repository, which names the checkout's folder.
    pub repo: &'a RepoName,
    /// Whose code it runs: those who may know of each other's jobs.
    pub trust_domain: String,
    /// The image, by its id.
    pub image: &'a str,
    /// The compiled script.
    pub script: String,
    /// The cache that it begins with.
    pub cache: Option<Cached>,
    /// The training that it tries.
    pub smoke: Option<Smoke>,
    pub limits: &'a Limits,
    /// The folders of the machine that it may read.
    pub mounts: &'a [&'a Mount],
    /// The GPUs that it holds.
    pub gpus: &'a [String],
}

/// The work that has to be done before the script of a job can begin.
pub struct Preparation<C, B> {
    /// Puts the checkout together and returns its folder.
    pub checkout: C,
    /// Runs last, if it is there; its failure keeps the script from beginning.
    pub before: Option<B>,
}

impl NewContainer<'_> {
    /// Starts the container and its script, and notes the container in `progress` before there is one to remove. The
    /// folder of `checkout` is put together meanwhile. The script begins only after `before` has succeeded.
    ///
    /// # Errors
    /// [`ExecError::Job`] when the image is absent or cannot run the script.
    pub async fn start<F: AsRef<Path>>(
        self,
        engine: &Engine,
        images: &ImagesConfig,
        progress: &Shared,
        Preparation { checkout, before }: Preparation<
            impl Future<Output = anyhow::Result<F>>,
            impl Future<Output = anyhow::Result<()>>,
        >,
    ) -> Result<String, ExecError> {
        let authorities = authorities(images).await?;
        let container = &engine.name_of(self.attempt);
        progress.lock().container = Some(container.clone());
        let spec = self.spec(images, authorities.is_some());
        let folder = &checkout_folder(self.repo);
        let Self { script, smoke, cache, trust_domain, .. } = self;
        let is_all = cache.is_none() && before.is_none();
        let fill = |checkout: F| async move {
            let mut upload =
                Upload::default().file(SCRIPT, script.into_bytes(), 0o755).folder(checkout.as_ref().to_owned(), folder);
            for file in smoke.map(|smoke| smoke.files).unwrap_or_default() {
                upload = upload.file(&format!("{SMOKE_FOLDER}/{}", file.path), file.bytes, 0o644);
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
                // A job has to work without its cache too.
                warn!("the cache is not restored into {container}: {error:#}");
            }
            Ok(())
        };
        let filling = Filling { prepare: async { checkout.await.map_err(ExecError::System) }, fill };
        let staged = engine.start(&spec, container, &trust_domain, filling).await?;
        if !is_all {
            // From then on the script begins whenever the wait ends, so what has to come before it comes before that.
            if let Some(before) = before {
                before.await?;
            }
            engine.copy_in(container, Upload::default().last_file(BEGIN)).await?;
        }
        staged.release().await?;
        Ok(container.clone())
    }

    fn spec(&self, images: &ImagesConfig, has_authorities: bool) -> Spec {
        let mut environment = vec![
            HOME_VARIABLE,
            USER_VARIABLE,
            // The init passes a signal on to every process of the job, not to the script's shell alone.
            ("TINI_KILL_PROCESS_GROUP", "1"),
        ];
        let variables = self.smoke.iter().flat_map(|smoke| &smoke.environment);
        environment.extend(variables.map(|(name, value)| (name.as_str(), value.as_str())));
        if has_authorities {
            environment.extend(AUTHORITY_VARIABLES.map(|name| (name, AUTHORITIES)));
        }
        Spec {
            image: self.image.to_owned(),
            command: ["bash", "-c", COMMAND].map(str::to_owned).to_vec(),
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            limits: self.limits.clone(),
            mounts: self.mounts.iter().copied().cloned().collect(),
            helper: images.generic.clone(),
            gpus: self.gpus.to_vec(),
        }
    }
}

/// Where a job finds the files of its repository.
pub fn checkout_folder(repo: &RepoName) -> String {
    format!("{HOME}/build/{repo}")
}

/// A container without a network that checks out a commit of a repository, whose history is in its folder, as the jobs do
/// that run in this image.
pub fn checkout_image_spec(image: &str, repo: &RepoName, commit: &Sha, limits: &Limits) -> Spec {
    let folder = checkout_folder(repo);
    Spec {
        image: image.to_owned(),
        command: ["bash", "-c", CHECK_OUT, "base", &folder, commit.as_str()].map(str::to_owned).to_vec(),
        environment: [HOME_VARIABLE, USER_VARIABLE].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        limits: Limits { network: Network::None, ..limits.clone() },
        mounts: Vec::new(),
        // Of a network, which there is none of.
        helper: String::new(),
        gpus: Vec::new(),
    }
}

/// Returns true when a container that ended like this never began its job, because the process that filled it died.
///
/// # Errors
/// When the engine does not answer.
pub async fn never_began(engine: &Engine, container: &str, exit: &Exit) -> anyhow::Result<bool> {
    Ok(exit.status == NOT_BEGUN && engine.copy_out(container, BEGUN).await?.is_none())
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
