//! What a job's container needs of the server: the facts of its build, and the checkout.

use anyhow::Context as _;
use url::Url;

use super::Worker;
use super::cache::JobCache;
use super::secrets::Secrets;
use crate::attempt::{HOME, NewContainer, SmokeJob};
use crate::domain::{Checkout, RepoName};
use crate::executor::{ExecError, Image, Limits, Mount};
use crate::git::Remote;
use crate::lora::smoke::Smoke;
use crate::plan::{Commit, Sources};
use crate::store::builds::{self, BuildFacts};
use crate::store::queue::{self, Claimed};
use crate::travis::extensions::fails_when_lost;
use crate::travis::script::{self, Facts, Files, Numbered, PullRequestFacts};

impl Worker {
    /// Makes and starts a job's container. `made` hears of the container as soon as there is one to remove.
    pub(super) async fn start(
        &self,
        job: &Claimed,
        facts: BuildFacts,
        secrets: Secrets,
        cache: Option<&JobCache>,
        (smoke, limits): (Option<&SmokeJob>, &Limits),
        made: impl Fn(String),
    ) -> Result<String, ExecError> {
        let repo = facts.repo()?;
        let smoke = match smoke {
            Some(asked) => Some(self.training(asked, &repo, &facts).await?),
            None => None,
        };
        let name = self.settings.images.of(&job.config).map_err(ExecError::Job)?;
        self.gpus_are_fit(job, &facts, &name).await?;
        let image = self.docker.image(&name).await?;
        let wanted = script::checkout_of(&job.config);
        let base = self.checkout_image_of(&repo, &facts, &image, &wanted).await;
        let files = match &base {
            Some(base) => Files::OfCheckoutImage(base.commit.clone()),
            None if image.has_git => Files::InHistory,
            None => Files::InPlace,
        };
        let checkout = self.checkout(&repo, &facts, &wanted, &files);
        let (mounts, trusted) = (self.mounts_of(&repo, &secrets), secrets.allowed);
        let known = self.script_facts(job, &facts, secrets, cache, (&repo, (&name, &image), &files, smoke.as_ref()));
        let new = NewContainer {
            attempt: job.attempt_id(),
            repo: &repo,
            trust_domain: trust_domain(&facts, trusted),
            image: base.as_ref().map_or(&image.id, |base| &base.id),
            script: script::compile(&job.config, &known),
            cache: cache.and_then(|cache| cache.found.clone()),
            smoke,
            limits,
            mounts: &mounts,
            gpus: &job.gpus,
        };
        let with = (&self.settings.images, Some(&self.pool));
        let once = self.only_once(job, &known).map(|why| self.record_only_once(job, why));
        let first = (checkout, once);
        let container = new.start(&self.docker, with, first, made).await;
        self.pool.job_began();
        self.request_checkout_image(&repo, &facts, (&image, &wanted));
        container
    }

    /// The folders of the machine that a job may read; none of one that gets no secrets, as its code is a stranger's.
    fn mounts_of(&self, repo: &RepoName, secrets: &Secrets) -> Vec<&Mount> {
        self.settings.mounts.iter().filter(|mount| secrets.allowed && mount.is_for(repo)).collect()
    }

    /// What a job may take.
    pub(super) fn limits_of(&self, smoke: Option<&SmokeJob>) -> Limits {
        smoke.map_or_else(|| self.settings.limits.clone(), |smoke| smoke.limits(&self.settings.limits))
    }

    pub(super) async fn facts_of(&self, job: &Claimed) -> anyhow::Result<BuildFacts> {
        let mut db = self.db.acquire().await?;
        builds::facts_of(&mut db, job.id).await.context("reading the job's build")
    }

    /// Derives a smoke job's training again, as the plan did.
    async fn training(&self, asked: &SmokeJob, repo: &RepoName, facts: &BuildFacts) -> Result<Smoke, ExecError> {
        self.ensure_fetched(repo, facts).await?;
        let tree = self.mirrors.files(repo, &facts.built_sha).await?;
        let sources = Sources::of(&tree, |file| (&file.path, file.size));
        let texts = self.mirrors.read(repo, &sources.readable).await?;
        let files = sources.with_texts(texts, |file| file.path.clone());
        let paths: Vec<String> = tree.into_iter().map(|file| file.path).collect();
        let commit = Commit { files: &files, paths: &paths, ..Commit::default() };
        // It was fit when it was planned.
        commit.smoke(&asked.config, &asked.ask()).map_err(|unfit| ExecError::Job(unfit.to_string()))
    }

    /// Makes sure that this machine's mirror has the commit: another machine's intake took the delivery, maybe.
    pub(super) async fn ensure_fetched(&self, repo: &RepoName, facts: &BuildFacts) -> anyhow::Result<()> {
        let url = Url::parse(&facts.clone_url).context("the repository's address")?;
        self.mirrors.fetch_commit(&Remote { repo, url: &url }, &facts.built_sha).await
    }

    /// Puts a checkout together: with its files, or, for a job that gets these out of it with its own git, without. git
    /// writes many files faster than an engine does, and the job's processors are the ones that are kept busy then.
    async fn checkout(
        &self,
        repo: &RepoName,
        facts: &BuildFacts,
        wanted: &Checkout,
        files: &Files,
    ) -> anyhow::Result<tempfile::TempDir> {
        tokio::fs::create_dir_all(&self.settings.scratch).await.context("making the scratch folder")?;
        let attempt = async || {
            let folder = tempfile::tempdir_in(&self.settings.scratch).context("making a scratch folder")?;
            if wanted.clone {
                let (sha, origin) = (&facts.built_sha, &facts.clone_url);
                let base = if let Files::OfCheckoutImage(base) = files { Some(base) } else { None };
                self.mirrors.history(repo, (sha, base), wanted, origin, folder.path()).await?;
                if *files == Files::InPlace {
                    self.mirrors.check_out(sha, folder.path()).await?;
                }
            }
            anyhow::Ok(folder)
        };
        let error = match attempt().await {
            Ok(folder) => return Ok(folder),
            Err(error) => error,
        };
        self.ensure_fetched(repo, facts).await.context(error.to_string())?;
        attempt().await
    }

    /// Why a job must not begin again by itself once its script runs: that it publishes, when nobody could say how far it had
    /// come, or that its author says so.
    fn only_once(&self, job: &Claimed, known: &Facts) -> Option<&'static str> {
        if script::may_deploy(&job.config, known) {
            Some("it may have deployed, so it is not run again")
        } else {
            fails_when_lost(&job.config).then_some("it is not run again, as `lost: fail` says")
        }
    }

    async fn record_only_once(&self, job: &Claimed, why: &str) -> anyhow::Result<()> {
        let is_ours = queue::run_only_once(&self.db, job.attempt_id(), Some(why)).await?;
        anyhow::ensure!(is_ours, "the lease was lost before the job began");
        Ok(())
    }

    fn script_facts(
        &self,
        job: &Claimed,
        facts: &BuildFacts,
        secrets: Secrets,
        cache: Option<&JobCache>,
        (repo, (name, image), files, smoke): (&RepoName, (&str, &Image), &Files, Option<&Smoke>),
    ) -> Facts {
        let base = self.settings.public_url.as_str().trim_end_matches('/');
        let build_url = format!("{base}/{repo}/builds/{}", facts.number);
        // A pull request's range ends at its own head, not at the merge commit that is built.
        let range = facts.before_sha.as_ref().map(|before| format!("{before}...{}", facts.sha)).unwrap_or_default();
        let pull_request = facts.pull_request.map(|number| PullRequestFacts {
            number: number.into(),
            branch: facts.head_branch.clone().unwrap_or_default(),
            sha: facts.sha.to_string(),
            slug: facts.head_repo.clone().unwrap_or_default(),
            draft: facts.draft,
        });
        Facts {
            home: HOME.to_owned(),
            image: name.to_owned(),
            image_id: image.id.clone(),
            files: files.clone(),
            host: self.settings.public_url.to_string(),
            repo: repo.clone(),
            private: facts.private,
            event: facts.kind,
            branch: facts.branch.clone().unwrap_or_default(),
            tag: facts.tag.clone(),
            commit: facts.built_sha.to_string(),
            commit_range: range,
            commit_message: facts.message.clone().unwrap_or_default(),
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
            github_api: Some(self.settings.github_api.to_string()),
            cache: cache.map(JobCache::in_words),
            decrypted: secrets.decrypted,
            smoke: smoke.map(|smoke| smoke.changes.clone()),
        }
    }
}

/// Whose code a job runs: the repository's own people's, or those of a fork of it. Of a fork that is deleted nobody knows.
fn trust_domain(facts: &BuildFacts, trusted: bool) -> String {
    match (trusted, &facts.head_repo) {
        (true, _) => format!("{}", facts.repo_id),
        (false, Some(fork)) => format!("{} by {fork}", facts.repo_id),
        (false, None) => format!("build {}", facts.id.0),
    }
}
