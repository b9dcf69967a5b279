//! Images that have most files of a large repository, so that its jobs write only those that differ.
//!
//! One is made in the background when a job had to write many files: of a commit that was pushed to the default branch, on
//! top of the job's image. Later jobs in that image begin on it whose own history has that commit.

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
use crate::storage::Room;
use crate::store::builds::BuildFacts;

/// How many files a job has to write for an image to be worth its while, or how much.
const MIN_FILES: usize = 2_000;
/// See [`MIN_FILES`].
const MIN_BYTES: ByteSize = ByteSize::mib(256);
/// The attribute by which another program writes a file.
const FILTER: &[u8] = b"filter";
/// How often those are removed that are not wanted any more.
const TIDY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Names a repository: with its id, since a name may be given to another one, and with its name, which the folder has.
fn key_of(repo: &RepoName, facts: &BuildFacts) -> String {
    format!("{} {repo}", facts.repo_id)
}

/// The checkout images of one engine. They are made and removed by a task of their own, [`CheckoutImages::keep`].
#[derive(Debug)]
pub(super) struct CheckoutImages {
    known: KnownImages,
    docker: Docker,
    engine: Engine,
    mirrors: Mirrors,
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
            // What goes wrong here goes wrong with the checkout too, and is told there.
            ensure_fetched(&self.mirrors, repo, facts).await?;
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
                    debug!(runner = self.runner, "cannot look at the images: {error:#}");
                }
                while let Some(asked) = self.known.next() {
                    if let Err(error) = self.make(&asked, health).await {
                        warn!(runner = self.runner, "cannot make an image of the files of {}: {error:#}", asked.repo);
                    }
                }
                // Nobody waits for one.
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
            // It may be gone from the mirror.
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
            debug!(runner = self.runner, "no image is made of the files of {repo}: {why}");
            return Ok(());
        }
        let begin = Instant::now();
        let folder = tempfile::tempdir_in(&self.scratch).context("making a scratch folder")?;
        let wanted = Checkout { depth: Some(1), ..Checkout::default() };
        let new = NewHistory { sha: commit, base: None, wanted: &wanted, origin };
        self.mirrors.history(repo, new, folder.path()).await?;
        let upload = Upload::default().folder(folder.path().to_owned(), &checkout_folder(repo));
        let spec = checkout_image_spec(image, repo, commit, &self.limits);
        let index = format!("{}/.git/index", checkout_folder(repo));
        let new = NewCheckoutImage { spec: &spec, upload, product: &index, repo: key, commit };
        let Some(base) = checkout_image::make(&self.docker, new).await? else {
            debug!(runner = self.runner, "no image is made of the files of {repo}: they would be in volumes");
            return Ok(());
        };
        let (count, took) = (files.len(), begin.elapsed().as_secs_f64());
        info!(runner = self.runner, "an image has the {count} files of {repo} at {commit}, made in {took:.1} s");
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

/// Why an image could not have files of these names as git writes them for a job, if it could not. The texts are those of the
/// files that say how git writes.
fn why_unfit(names: &[Vec<u8>], attributes: &[Vec<u8>]) -> Option<&'static str> {
    let is_whiteout = |name: &Vec<u8>| name.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh."));
    // In a layer such a name, also of a folder, says that another file is gone.
    if names.iter().any(is_whiteout) {
        return Some("one has a name that means something else in a layer of an image");
    }
    // Such a folder may have attributes that are not among the texts.
    if names.iter().any(|name| std::str::from_utf8(name).is_err()) {
        return Some("one has a name that is not UTF-8");
    }
    // Such as those of git-lfs, which fetches what it writes.
    let has_filter = |text: &Vec<u8>| text.windows(FILTER.len()).any(|word| word == FILTER);
    attributes.iter().any(has_filter).then_some("filters write them")
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
