//! Checkout images: images that hold most files of a large repository, so that its jobs write only the files that
//! differ.
//!
//! An image is made in the background when a job had to write many files. It holds a commit that was pushed to the
//! default branch, on top of the job's image. Later jobs that would begin on the job's image begin on the checkout
//! image instead, if their own history contains its commit.

mod known;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytesize::ByteSize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::known::{KnownImages, Request};
use super::Settings;
use super::engine::EngineHealth;
use super::fetch::ensure_fetched;
use crate::attempt::{checkout_folder, checkout_image_spec};
use crate::domain::{Checkout, RepoName, TriggerKind};
use crate::executor::docker::checkout_image::{self, NewCheckoutImage};
use crate::executor::{CheckoutImage, Docker, Engine, Image, Limits, Upload};
use crate::git::{Mirrors, NewHistory, TreeFile};
use crate::github::Client;
use crate::storage::Room;
use crate::store::builds::BuildFacts;

/// The number of files from which an image is worth making. [`MIN_BYTES`] is the other limit.
const MIN_FILES: usize = 2_000;
/// The size of the files from which an image is worth making, even when they are few.
const MIN_BYTES: ByteSize = ByteSize::mib(256);
/// The git attribute by which another program writes a file.
const FILTER: &[u8] = b"filter";
/// The interval at which images are removed that no job wants any more.
const TIDY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Returns the key of a repository: its id, since a name may later belong to another repository, and its name, since
/// the folder of the checkout has it.
fn key_of(repo: &RepoName, facts: &BuildFacts) -> String {
    format!("{} {repo}", facts.repo_id)
}

/// The checkout images of one engine. A separate task makes and removes them: [`CheckoutImages::keep`].
#[derive(Debug)]
pub(super) struct CheckoutImages {
    known: KnownImages,
    docker: Docker,
    engine: Engine,
    mirrors: Mirrors,
    github: Client,
    runner: String,
    room: Room,
    limits: Limits,
    scratch: PathBuf,
}

impl CheckoutImages {
    pub(super) fn new(docker: Docker, engine: Engine, mirrors: Mirrors, runner: &str, settings: &Settings) -> Self {
        Self {
            known: KnownImages::default(),
            docker,
            engine,
            mirrors,
            github: settings.github.clone(),
            runner: runner.to_owned(),
            room: settings.room.clone(),
            limits: settings.limits.clone(),
            scratch: settings.scratch.clone(),
        }
    }

    /// Finds the checkout image for a job that would begin on `image`, if there is one.
    pub(super) async fn find(
        &self,
        repo: &RepoName,
        facts: &BuildFacts,
        image: &Image,
        wanted: &Checkout,
    ) -> Option<CheckoutImage> {
        let base = wanted.is_plain().then(|| self.known.of(&image.id, &key_of(repo, facts))).flatten()?;
        let fits = async {
            // The checkout fails for the same reason if this fails, and reports it.
            ensure_fetched(&self.mirrors, &self.github, repo, facts).await?;
            self.mirrors.leads_to(repo, &base.commit, &facts.built_sha).await
        };
        let (is_there, fits) = tokio::join!(checkout_image::exists(&self.docker, &base.id), fits);
        match (is_there, fits) {
            (Ok(true), Ok(true)) => {
                self.known.record_use(&base);
                Some(base)
            }
            (Ok(false), _) => {
                self.known.forget(&base);
                self.engine.forget_image(&base.id);
                None
            }
            _ => None,
        }
    }

    /// Requests an image after a job that may have written many files. Only the default branch gets one.
    pub(super) fn request(&self, repo: &RepoName, facts: &BuildFacts, image: &Image, wanted: &Checkout) {
        let is_of_default = facts.kind == TriggerKind::Push && facts.branch.as_ref() == Some(&facts.default_branch);
        if is_of_default && image.has_git && wanted.is_plain() {
            self.known.ask(Request {
                image: image.id.clone(),
                repo: repo.clone(),
                key: key_of(repo, facts),
                commit: facts.built_sha.clone(),
                origin: facts.clone_url.clone(),
            });
        }
    }

    /// Makes and removes images until `shutdown`.
    pub(super) async fn keep(&self, health: &EngineHealth, shutdown: CancellationToken) {
        let work = async {
            loop {
                health.until_reachable().await;
                if let Err(error) = self.tidy(health).await {
                    debug!(runner = self.runner, "cannot list the checkout images: {error:#}");
                }
                while let Some(asked) = self.known.next() {
                    if let Err(error) = self.make(&asked, health).await {
                        warn!(runner = self.runner, "cannot make a checkout image of {}: {error:#}", asked.repo);
                    }
                }
                // No job waits for an image.
                let _ = tokio::time::timeout(TIDY_INTERVAL, self.known.asked.notified()).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn make(&self, asked: &Request, health: &EngineHealth) -> anyhow::Result<()> {
        let Request { image, repo, key, commit, origin } = asked;
        let files = self.mirrors.files(repo, commit).await?;
        let old = self.known.of(image, key);
        let there = match &old {
            // The old commit may be gone from the mirror.
            Some(old) => self.mirrors.files(repo, &old.commit).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let size = files.iter().map(|file| file.size).sum();
        if !are_many(&files, &there) || size > self.limits.disk.as_u64() || !self.has_room_for(size, health)? {
            return Ok(());
        }
        let names = self.mirrors.names(repo, commit).await?;
        let attributes = files.iter().filter(|file| file.path.rsplit('/').next() == Some(".gitattributes"));
        let attributes = self.mirrors.read(repo, &attributes.collect::<Vec<_>>()).await?;
        if let Some(why) = why_unfit(&names, &attributes) {
            debug!(runner = self.runner, "no checkout image is made of {repo}: {why}");
            return Ok(());
        }
        let begin = Instant::now();
        let folder = tempfile::tempdir_in(&self.scratch).context("making a scratch folder")?;
        let wanted = Checkout { depth: Some(1), ..Checkout::default() };
        let new = NewHistory { sha: commit, base: None, wanted: &wanted, origin, max_size: self.limits.disk };
        self.mirrors.history(repo, new, folder.path()).await?;
        let upload = Upload::default().folder(folder.path().to_owned(), &checkout_folder(repo));
        let spec = checkout_image_spec(image, repo, commit, &self.limits);
        let index = format!("{}/.git/index", checkout_folder(repo));
        let new = NewCheckoutImage { spec: &spec, upload, product: &index, repo: key, commit };
        let Some(base) = checkout_image::make(&self.docker, new).await? else {
            debug!(runner = self.runner, "no checkout image is made of {repo}: its files would be in volumes");
            return Ok(());
        };
        let (count, took) = (files.len(), begin.elapsed().as_secs_f64());
        info!(runner = self.runner, "made a checkout image: {count} files of {repo} at {commit}, in {took:.1} s");
        self.known.add(base);
        Ok(())
    }

    /// Returns true when there is room for this many bytes, which are on the disk twice for a moment.
    fn has_room_for(&self, bytes: u64, health: &EngineHealth) -> anyhow::Result<bool> {
        let more = ByteSize::b(bytes.saturating_mul(2));
        Ok(self.room.has_for(more)? && health.has_room_for(more)?)
    }

    /// Lists the images of the engine, and removes the unwanted. A process that died may have left some.
    async fn tidy(&self, health: &EngineHealth) -> anyhow::Result<()> {
        self.known.see(&checkout_image::list(&self.docker).await?);
        let has_room = self.room.wanting()?.is_none() && health.wanting_room()?.is_none();
        for base in self.known.unwanted(has_room) {
            self.engine.forget_image(&base.id);
            // Images in use are left for the next pass.
            if checkout_image::remove(&self.docker, &base).await? {
                self.known.forget(&base);
            }
        }
        Ok(())
    }
}

/// Returns true when a job that has to write `files`, of which some are `there`, writes enough to justify an image.
fn are_many(files: &[TreeFile], there: &[TreeFile]) -> bool {
    let there: HashSet<&TreeFile> = there.iter().collect();
    let written: Vec<&TreeFile> = files.iter().filter(|file| !there.contains(file)).collect();
    written.len() >= MIN_FILES || written.iter().map(|file| file.size).sum::<u64>() >= MIN_BYTES.as_u64()
}

/// Returns why an image cannot hold files of these names as git writes them for a job; `None` when it can. `attributes`
/// are the texts of the `.gitattributes` files, which control how git writes files.
fn why_unfit(names: &[Vec<u8>], attributes: &[Vec<u8>]) -> Option<&'static str> {
    let is_whiteout = |name: &Vec<u8>| name.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh."));
    // In a layer, such a name of a file or folder means that another file is deleted.
    if names.iter().any(is_whiteout) {
        return Some("the name of a file has another meaning in a layer of an image");
    }
    // Such a folder may contain a `.gitattributes` file whose text was not read.
    if names.iter().any(|name| std::str::from_utf8(name).is_err()) {
        return Some("the name of a file is not UTF-8");
    }
    // An example is the filter of git-lfs, which downloads the files that it writes.
    let has_filter = |text: &Vec<u8>| text.windows(FILTER.len()).any(|word| word == FILTER);
    attributes.iter().any(has_filter).then_some("filters write some files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_many_by_their_number_or_size_without_those_that_are_there() {
        let file = |path: usize, size| TreeFile::new(&path.to_string(), size);
        let small: Vec<TreeFile> = (0..MIN_FILES).map(|n| file(n, 1)).collect();
        assert!(are_many(&small, &[]) && !are_many(&small[1..], &[]) && !are_many(&small, &small[..1]));
        let large = [file(0, MIN_BYTES.as_u64())];
        assert!(are_many(&large, &[]) && !are_many(&large, &large) && are_many(&large, &[file(0, 1)]));
    }

    #[test]
    fn files_that_a_layer_would_not_have_as_git_writes_them_are_unfit() {
        let why = |name: &[u8], attributes: &str| why_unfit(&[name.to_vec()], &[attributes.as_bytes().to_vec()]);
        assert_eq!(why(b"data/.whale/x", "*.txt text"), None);
        assert!(why(b"data/.wh.x", "").is_some() && why(b".wh..wh..opq/x", "").is_some());
        assert!(why(b"a\xff/.gitattributes", "").is_some());
        assert!(why(b"a", "*.safetensors filter=lfs diff=lfs").is_some());
    }
}
