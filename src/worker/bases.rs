//! Images that have most files of a large repository, so that its jobs write only those that differ.
//!
//! One is made in the background when a job had to write many files: of a commit that was pushed to the repository itself,
//! on top of the job's image. Later jobs in that image begin on it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytesize::ByteSize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Worker;
use crate::attempt::{base_spec, checkout_folder};
use crate::domain::{RepoName, Sha, TriggerKind};
use crate::executor::{Base, Image, Upload};
use crate::git::TreeFile;
use crate::store::builds::BuildFacts;
use crate::travis::script::Checkout;

/// How many files a job has to write for an image to be worth its while, or how much.
const MANY_FILES: usize = 2_000;
/// See [`MANY_FILES`].
const MUCH: ByteSize = ByteSize::mib(256);
/// How long it is not asked again whether a repository's jobs in an image write many files.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// How long one is kept that no job uses.
const MAX_UNUSED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many are kept.
const MOST: usize = 8;
/// How often those are removed that are not wanted any more.
const TIDY: Duration = Duration::from_secs(10 * 60);

/// Those of one engine.
#[derive(Debug, Default)]
pub(super) struct Bases {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    known: Vec<Known>,
    /// When it was looked last what jobs in an image have to write of a repository.
    looked: HashMap<(String, String), Instant>,
    /// The latest job that might want one.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Known {
    base: Base,
    last_used: Instant,
    /// Whether there is a newer one for the same jobs.
    is_replaced: bool,
}

/// A job that might want one for those after it.
#[derive(Debug)]
struct Asked {
    image: String,
    repo: RepoName,
    /// See [`key_of`].
    key: String,
    commit: Sha,
    origin: String,
}

/// Names a repository: with its id, since a name may be given to another one, and with its name, which the folder has.
fn key_of(repo: &RepoName, facts: &BuildFacts) -> String {
    format!("{} {repo}", facts.repo_id)
}

impl Worker {
    /// The image on which a job begins that would begin on `image`, if there is a better one.
    pub(super) async fn base_of(
        &self,
        repo: &RepoName,
        facts: &BuildFacts,
        image: &Image,
        wanted: &Checkout,
    ) -> Option<Base> {
        if !wanted.is_plain() {
            return None;
        }
        let base = self.bases.of(&image.id, &key_of(repo, facts))?;
        let (is_there, fits) = tokio::join!(
            self.docker.has_image(&base.id),
            self.mirrors.are_written_alike(repo, &base.commit, &facts.built_sha)
        );
        if !is_there.unwrap_or(false) {
            self.bases.forget(&base);
            return None;
        }
        fits.then(|| {
            self.bases.note_use(&base);
            base
        })
    }

    /// Says that a job has begun whose files may be worth an image. Only what a repository's own people pushed gets there.
    pub(super) fn may_want_base(
        &self,
        repo: &RepoName,
        facts: &BuildFacts,
        (image, wanted): (&Image, &Checkout),
        trusted: bool,
    ) {
        if trusted && image.has_git && wanted.is_plain() && facts.kind == TriggerKind::Push {
            self.bases.ask(Asked {
                image: image.id.clone(),
                repo: repo.clone(),
                key: key_of(repo, facts),
                commit: facts.built_sha.clone(),
                origin: facts.clone_url.clone(),
            });
        }
    }

    /// Makes and removes them until `shutdown`.
    pub async fn keep_bases(self: Arc<Self>, shutdown: CancellationToken) {
        let work = async {
            loop {
                self.until_there().await;
                match self.docker.bases().await {
                    Ok(found) => break self.bases.start_with(found),
                    Err(error) => debug!(runner = self.name, "cannot list the images yet: {error:#}"),
                }
                tokio::time::sleep(super::ENGINE_RETRY).await;
            }
            loop {
                self.remove_unwanted_bases().await;
                if let Some(asked) = self.bases.next()
                    && let Err(error) = self.make_base_for(&asked).await
                {
                    warn!(runner = self.name, "cannot make an image of the files of {}: {error:#}", asked.repo);
                }
                // Nobody waits for one.
                let _ = tokio::time::timeout(TIDY, self.bases.asked.notified()).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn make_base_for(&self, asked: &Asked) -> anyhow::Result<()> {
        let Asked { image, repo, key, commit, origin } = asked;
        let files = self.mirrors.files(repo, commit).await?;
        let old = self.bases.of(image, key);
        let there = match &old {
            // It may be gone from the mirror.
            Some(old) => self.mirrors.files(repo, &old.commit).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let has_room = self.settings.room.wanting()?.is_none() && self.wanting_room()?.is_none();
        if !has_room || !are_many(&files, &there) || total(&files) > self.settings.limits.disk.as_u64() {
            return Ok(());
        }
        let attributes: Vec<TreeFile> =
            files.iter().filter(|file| name_of(file) == ".gitattributes").cloned().collect();
        if let Some(why) = why_unfit(&files, &self.mirrors.read(repo, &attributes).await?) {
            debug!(runner = self.name, "no image is made of the files of {repo}: {why}");
            return Ok(());
        }
        let begin = Instant::now();
        let folder = tempfile::tempdir_in(&self.settings.scratch).context("making a scratch folder")?;
        let wanted = Checkout { depth: Some(1), ..Checkout::default() };
        self.mirrors.history(repo, (commit, None), &wanted, origin, folder.path()).await?;
        let upload = Upload::default().folder(folder.path().to_owned(), &checkout_folder(repo));
        let spec = base_spec(image, (repo, commit), &self.settings.limits, &self.settings.images);
        let base = self.docker.make_base(&spec, upload, (key, commit)).await?;
        let (count, took) =
            (files.len(), humantime::format_duration(Duration::from_millis(begin.elapsed().as_millis() as u64)));
        info!(runner = self.name, "an image has the {count} files of {repo} at {commit}, made in {took}");
        self.bases.add(base);
        Ok(())
    }

    async fn remove_unwanted_bases(&self) {
        for base in self.bases.unwanted() {
            match self.docker.remove_base(&base).await {
                Ok(true) => self.bases.forget(&base),
                Ok(false) => {}
                Err(error) => debug!(runner = self.name, "cannot remove an image: {error:#}"),
            }
        }
    }
}

impl Bases {
    fn start_with(&self, found: Vec<Base>) {
        for base in found {
            self.add(base);
        }
    }

    /// Takes one in; others for the same jobs are replaced by it.
    fn add(&self, base: Base) {
        let mut state = self.lock();
        for known in &mut state.known {
            known.is_replaced |= (&known.base.image, &known.base.repo) == (&base.image, &base.repo);
        }
        state.known.push(Known { base, last_used: Instant::now(), is_replaced: false });
    }

    fn of(&self, image: &str, key: &str) -> Option<Base> {
        let state = self.lock();
        let fits = |known: &&Known| !known.is_replaced && known.base.image == image && known.base.repo == key;
        state.known.iter().find(fits).map(|known| known.base.clone())
    }

    fn note_use(&self, base: &Base) {
        if let Some(known) = self.lock().known.iter_mut().find(|known| known.base == *base) {
            known.last_used = Instant::now();
        }
    }

    fn forget(&self, base: &Base) {
        let mut state = self.lock();
        state.known.retain(|known| known.base != *base);
        state.looked.remove(&(base.image.clone(), base.repo.clone()));
    }

    fn ask(&self, asked: Asked) {
        self.lock().asked = Some(asked);
        self.asked.notify_one();
    }

    /// The job that asked last, unless its like was looked at lately.
    fn next(&self) -> Option<Asked> {
        let mut state = self.lock();
        let asked = state.asked.take()?;
        state.looked.retain(|_, at| at.elapsed() < LOOK_AGAIN);
        let is_new = state.looked.insert((asked.image.clone(), asked.key.clone()), Instant::now()).is_none();
        is_new.then_some(asked)
    }

    /// Those that are replaced or unused for long, and the least used ones of too many.
    fn unwanted(&self) -> Vec<Base> {
        let state = self.lock();
        let mut wanted: Vec<&Known> = state.known.iter().filter(|known| !known.is_replaced).collect();
        wanted.sort_by_key(|known| known.last_used.elapsed());
        let is_wanted = |known: &&Known| known.last_used.elapsed() < MAX_UNUSED;
        let wanted: HashSet<&str> =
            wanted.into_iter().filter(is_wanted).take(MOST).map(|known| known.base.id.as_str()).collect();
        let all = state.known.iter().map(|known| &known.base);
        all.filter(|base| !wanted.contains(base.id.as_str())).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a job that has to make `files` of what is `there` writes so many that an image is worth its while.
fn are_many(files: &[TreeFile], there: &[TreeFile]) -> bool {
    let there: HashSet<&TreeFile> = there.iter().collect();
    let written: Vec<&TreeFile> = files.iter().filter(|file| !there.contains(file)).collect();
    written.len() >= MANY_FILES || written.iter().map(|file| file.size).sum::<u64>() >= MUCH.as_u64()
}

fn total(files: &[TreeFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// Why an image could not have these files as git writes them for a job, if it could not. The texts are those of the files
/// that say how git writes.
fn why_unfit(files: &[TreeFile], attributes: &[Vec<u8>]) -> Option<&'static str> {
    // In a layer such a name, also of a folder, says that another file is gone.
    if files.iter().any(|file| file.path.split('/').any(|part| part.starts_with(".wh."))) {
        return Some("one has a name that means something else in a layer of an image");
    }
    // Such as those of git-lfs, which fetches what it writes.
    let has_filter = |text: &Vec<u8>| text.windows(FILTER.len()).any(|word| word == FILTER);
    attributes.iter().any(has_filter).then_some("filters write them")
}

const FILTER: &[u8] = b"filter";

fn name_of(file: &TreeFile) -> &str {
    file.path.rsplit('/').next().unwrap_or(&file.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(id: &str, image: &str, repo: &str) -> Base {
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
        Base { id: id.to_owned(), image: image.to_owned(), repo: repo.to_owned(), commit }
    }

    fn ids(bases: &[Base]) -> Vec<&str> {
        bases.iter().map(|base| base.id.as_str()).collect()
    }

    #[test]
    fn a_newer_one_replaces_those_for_the_same_jobs() {
        let bases = Bases::default();
        for (id, image, repo) in
            [("1", "a", "acme/x"), ("2", "b", "acme/x"), ("3", "a", "acme/y"), ("4", "a", "acme/x")]
        {
            bases.add(base(id, image, repo));
        }
        let found = [("a", "acme/x"), ("b", "acme/x"), ("a", "acme/y"), ("b", "acme/y")]
            .map(|(image, repo)| bases.of(image, repo).map(|base| base.id));
        assert_eq!(found.each_ref().map(Option::as_deref), [Some("4"), Some("2"), Some("3"), None]);
        assert_eq!(ids(&bases.unwanted()), ["1"]);
        bases.forget(&base("1", "a", "acme/x"));
        assert!(bases.unwanted().is_empty());
    }

    #[test]
    fn of_too_many_the_least_used_go() {
        let bases = Bases::default();
        for n in 0..=MOST {
            bases.add(base(&n.to_string(), "image", &format!("acme/{n}")));
        }
        bases.note_use(&base("0", "image", "acme/0"));
        assert_eq!(ids(&bases.unwanted()), ["1"]);
    }

    #[test]
    fn the_same_jobs_are_looked_at_once_in_a_while() {
        let bases = Bases::default();
        let ask = |key: &str| {
            let Base { commit, image, .. } = base("", "image", key);
            let repo = "acme/x".parse().expect("a repository");
            bases.ask(Asked { image, repo, key: key.to_owned(), commit, origin: String::new() });
            bases.next().is_some()
        };
        assert_eq!(["1 acme/x", "2 acme/x", "1 acme/x"].map(ask), [true, true, false]);
        // One that is gone is made again at once.
        bases.forget(&base("", "image", "1 acme/x"));
        assert!(ask("1 acme/x"));
    }

    #[test]
    fn files_are_many_by_their_number_or_size_without_those_that_are_there() {
        let file = |path: usize, size| TreeFile::new(&path.to_string(), size);
        let small: Vec<TreeFile> = (0..MANY_FILES).map(|n| file(n, 1)).collect();
        assert!(are_many(&small, &[]) && !are_many(&small[1..], &[]) && !are_many(&small, &small[..1]));
        let large = [file(0, MUCH.as_u64())];
        assert!(are_many(&large, &[]) && !are_many(&large, &large) && are_many(&large, &[file(0, 1)]));
    }

    #[test]
    fn files_that_a_layer_would_not_have_as_git_writes_them_are_unfit() {
        let why =
            |path: &str, attributes: &str| why_unfit(&[TreeFile::new(path, 1)], &[attributes.as_bytes().to_vec()]);
        assert_eq!(why("data/.whale/x", "*.txt text"), None);
        assert!(why("data/.wh.x", "").is_some() && why(".wh..wh..opq/x", "").is_some());
        assert!(why("a", "*.safetensors filter=lfs diff=lfs").is_some());
    }
}
