//! Everything that a container needs before it starts: image, script, checkout.

use anyhow::Context as _;
use url::Url;

use super::Worker;
use super::secrets::Secrets;
use crate::domain::RepoName;
use crate::executor::{ExecError, Spec, Upload};
use crate::git::Remote;
use crate::store::builds::{self, BuildFacts};
use crate::store::jobs::Claimed;
use crate::travis::script::{self, Facts, Numbered, PullRequestFacts};

/// Where the job's home is in every image.
const HOME: &str = "/home/travis";
const SCRIPT: &str = "/home/travis/build.sh";
const AUTHORITIES: &str = "/etc/trainyard/ca-certificates.crt";
/// Variables by which programs of many kinds find the authorities to trust.
const AUTHORITY_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"];
/// Commits that the job's clone has, as with Travis.
const DEPTH: u32 = 50;

impl Worker {
    /// Makes and starts a job's container. `made` hears of the container as soon as there is one to remove.
    pub(super) async fn start(
        &self,
        job: &Claimed,
        facts: BuildFacts,
        secrets: Secrets,
        made: impl Fn(String),
    ) -> Result<String, ExecError> {
        let repo = facts.repo()?;
        let image = self.settings.images.of(&job.config).map_err(ExecError::Job)?;
        let mut environment = vec![
            ("HOME", HOME),
            ("USER", "travis"),
            // The init passes a signal on to every process of the job, not to the script's shell alone.
            ("TINI_KILL_PROCESS_GROUP", "1"),
        ];
        let authorities = self.authorities().await?;
        if authorities.is_some() {
            environment.extend(AUTHORITY_VARIABLES.map(|name| (name, AUTHORITIES)));
        }
        let spec = Spec {
            job: job.id,
            attempt: job.attempt,
            image: &image,
            command: &["bash", SCRIPT],
            environment: &environment,
            limits: &self.settings.limits,
        };
        let create = async {
            let container = self.docker.create(&spec).await?;
            made(container.clone());
            Ok::<_, ExecError>(container)
        };
        let checkout = async { self.checkout(&repo, &facts).await.map_err(ExecError::System) };
        let (container, checkout) = tokio::try_join!(create, checkout)?;
        let folder = format!("{HOME}/build/{repo}");
        let script = self.script(job, facts, secrets, repo, &image);
        let mut upload =
            Upload::default().file(SCRIPT, script.into_bytes(), 0o755).folder(checkout.path().to_owned(), &folder);
        if let Some(authorities) = authorities {
            upload = upload.file(AUTHORITIES, authorities, 0o644);
        }
        self.docker.put(&container, upload).await?;
        self.docker.start(&container).await?;
        Ok(container)
    }

    pub(super) async fn facts_of(&self, job: &Claimed) -> anyhow::Result<BuildFacts> {
        let mut db = self.db.acquire().await?;
        builds::facts_of(&mut db, job.id).await.context("reading the job's build")
    }

    async fn authorities(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let path = &self.settings.images.ca_certificates;
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let text =
            tokio::fs::read(path).await.with_context(|| format!("images.ca_certificates: {}", path.display()))?;
        Ok(Some(text))
    }

    async fn checkout(&self, repo: &RepoName, facts: &BuildFacts) -> anyhow::Result<tempfile::TempDir> {
        tokio::fs::create_dir_all(&self.settings.scratch).await.context("making the scratch folder")?;
        let folder = tempfile::tempdir_in(&self.settings.scratch).context("making a scratch folder")?;
        let first = self.mirrors.checkout(repo, &facts.built_sha, DEPTH, &facts.clone_url, folder.path()).await;
        let Err(error) = first else { return Ok(folder) };
        // The mirror of this machine may not have the commit yet: another machine's intake took the delivery.
        let url = Url::parse(&facts.clone_url).context("the repository's address")?;
        let remote = Remote { repo, url: &url };
        self.mirrors.fetch_commit(&remote, &facts.built_sha).await.context(error.to_string())?;
        let folder = tempfile::tempdir_in(&self.settings.scratch).context("making a scratch folder")?;
        self.mirrors.checkout(repo, &facts.built_sha, DEPTH, &facts.clone_url, folder.path()).await?;
        Ok(folder)
    }

    fn script(&self, job: &Claimed, facts: BuildFacts, secrets: Secrets, repo: RepoName, image: &str) -> String {
        let base = self.settings.public_url.as_str().trim_end_matches('/');
        let build_url = format!("{base}/{repo}/builds/{}", facts.number);
        // A pull request's range ends at its own head, not at the merge commit that is built.
        let range = facts.before_sha.as_ref().map(|before| format!("{before}...{}", facts.sha)).unwrap_or_default();
        let pull_request = facts.pull_request.map(|number| PullRequestFacts {
            number: number.into(),
            branch: facts.head_branch.unwrap_or_default(),
            sha: facts.sha.to_string(),
            slug: facts.head_repo.unwrap_or_default(),
            draft: facts.draft,
        });
        let known = Facts {
            home: HOME.to_owned(),
            image: image.to_owned(),
            host: self.settings.public_url.to_string(),
            repo,
            private: facts.private,
            event: facts.kind,
            branch: facts.branch.unwrap_or_default(),
            tag: facts.tag,
            commit: facts.built_sha.to_string(),
            commit_range: range,
            commit_message: facts.message.unwrap_or_default(),
            pull_request,
            build: Numbered { id: facts.id.0, number: facts.number.to_string(), url: build_url.clone() },
            job: Numbered {
                id: job.id.0,
                number: format!("{}.{}", facts.number, job.number),
                url: format!("{build_url}/jobs/{}", job.number),
            },
            restarted: false,
            secrets_allowed: secrets.allowed,
            settings: Vec::new(),
            decrypted: secrets.decrypted,
        };
        script::compile(&job.config, &known)
    }
}
