//! The checkout images that exist, and those that are still wanted.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::domain::{RepoName, Sha};
use crate::executor::CheckoutImage;

/// The time for which the files that jobs of a repository write in an image are not counted again.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// The time for which an image is kept that no job uses.
const MAX_UNUSED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The largest number of images that are kept.
const MOST: usize = 8;

/// The checkout images of one engine.
#[derive(Debug, Default)]
pub(super) struct KnownImages {
    state: Mutex<State>,
    /// Rings when a job asks for an image.
    pub(super) asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    known: Vec<Known>,
    /// The times at which the files were last counted that jobs of a repository write, by image and repository.
    looked: HashMap<(String, String), Instant>,
    /// The latest jobs for which an image may be worth making, by their image and repository.
    asked: HashMap<(String, String), Request>,
}

#[derive(Debug)]
struct Known {
    base: CheckoutImage,
    last_used: Instant,
    /// True when there is a newer image for the same jobs.
    is_replaced: bool,
}

/// A job after which an image may be worth making, for the jobs that follow it.
#[derive(Debug)]
pub(super) struct Request {
    /// Id of the job's image.
    pub(super) image: String,
    pub(super) repo: RepoName,
    /// A name of the repository that survives a rename.
    pub(super) key: String,
    pub(super) commit: Sha,
    /// The address from which the commit is fetched.
    pub(super) origin: String,
}

impl KnownImages {
    /// Replaces the known images by `found`, which is all that the engine has, with the latest last.
    pub(super) fn see(&self, found: &[CheckoutImage]) {
        let missing = {
            let mut state = self.lock();
            state.known.retain(|known| found.contains(&known.base));
            let is_known = |base: &&CheckoutImage| state.known.iter().any(|known| known.base == **base);
            found.iter().filter(|base| !is_known(base)).cloned().collect::<Vec<_>>()
        };
        for base in missing {
            self.add(base);
        }
    }

    /// Adds an image. It replaces those for the same jobs.
    pub(super) fn add(&self, base: CheckoutImage) {
        let mut state = self.lock();
        for known in &mut state.known {
            known.is_replaced |= (&known.base.image, &known.base.repo) == (&base.image, &base.repo);
        }
        state.known.push(Known { base, last_used: Instant::now(), is_replaced: false });
    }

    /// Returns the current image for the jobs of a repository in an image.
    pub(super) fn of(&self, image: &str, key: &str) -> Option<CheckoutImage> {
        let state = self.lock();
        let fits = |known: &&Known| !known.is_replaced && known.base.image == image && known.base.repo == key;
        state.known.iter().find(fits).map(|known| known.base.clone())
    }

    /// Records that a job begins on the image.
    pub(super) fn record_use(&self, base: &CheckoutImage) {
        if let Some(known) = self.lock().known.iter_mut().find(|known| known.base == *base) {
            known.last_used = Instant::now();
        }
    }

    /// Forgets an image that is gone. It may be made again at once.
    pub(super) fn forget(&self, base: &CheckoutImage) {
        let mut state = self.lock();
        state.known.retain(|known| known.base != *base);
        state.looked.remove(&(base.image.clone(), base.repo.clone()));
    }

    /// Records that an image may be worth making for such jobs, unless that was checked lately.
    pub(super) fn ask(&self, asked: Request) {
        let jobs = (asked.image.clone(), asked.key.clone());
        let mut state = self.lock();
        if state.looked.get(&jobs).is_none_or(|at| at.elapsed() >= LOOK_AGAIN) {
            state.asked.insert(jobs, asked);
            self.asked.notify_one();
        }
    }

    /// Returns a job that has asked. Jobs with the same image and repository are checked only once in a while.
    pub(super) fn next(&self) -> Option<Request> {
        let mut state = self.lock();
        let jobs = state.asked.keys().next()?.clone();
        state.looked.retain(|_, at| at.elapsed() < LOOK_AGAIN);
        state.looked.insert(jobs.clone(), Instant::now());
        state.asked.remove(&jobs)
    }

    /// Returns images to remove: replaced ones, long unused ones, and the least used of too many; all when the disk is
    /// full.
    pub(super) fn unwanted(&self, has_room: bool) -> Vec<CheckoutImage> {
        let state = self.lock();
        let mut wanted: Vec<&Known> = state.known.iter().filter(|known| !known.is_replaced).collect();
        wanted.sort_by_key(|known| known.last_used.elapsed());
        let is_wanted = |known: &&Known| has_room && known.last_used.elapsed() < MAX_UNUSED;
        let wanted: HashSet<&str> =
            wanted.into_iter().filter(is_wanted).take(MOST).map(|known| known.base.id.as_str()).collect();
        let all = state.known.iter().map(|known| &known.base);
        all.filter(|base| !wanted.contains(base.id.as_str())).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(id: &str, image: &str, repo: &str) -> CheckoutImage {
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
        CheckoutImage { id: id.to_owned(), image: image.to_owned(), repo: repo.to_owned(), commit }
    }

    fn ids(images: &[CheckoutImage]) -> Vec<&str> {
        images.iter().map(|base| base.id.as_str()).collect()
    }

    #[test]
    fn a_newer_one_replaces_those_for_the_same_jobs() {
        let images = KnownImages::default();
        for (id, image, repo) in
            [("1", "a", "acme/x"), ("2", "b", "acme/x"), ("3", "a", "acme/y"), ("4", "a", "acme/x")]
        {
            images.add(base(id, image, repo));
        }
        let found = [("a", "acme/x"), ("b", "acme/x"), ("a", "acme/y"), ("b", "acme/y")]
            .map(|(image, repo)| images.of(image, repo).map(|base| base.id));
        assert_eq!(found.each_ref().map(Option::as_deref), [Some("4"), Some("2"), Some("3"), None]);
        assert_eq!(ids(&images.unwanted(true)), ["1"]);
        images.forget(&base("1", "a", "acme/x"));
        assert!(images.unwanted(true).is_empty());
    }

    #[test]
    fn what_the_engine_has_is_what_there_is() {
        let images = KnownImages::default();
        let (one, two) = (base("1", "a", "acme/x"), base("2", "a", "acme/x"));
        // The latest is listed last, and counts.
        images.see(&[one.clone(), two.clone()]);
        assert_eq!(images.of("a", "acme/x"), Some(two.clone()));
        assert_eq!(ids(&images.unwanted(true)), ["1"]);
        images.see(&[one]);
        assert_eq!(images.of("a", "acme/x"), None, "it was removed, and the other one is old");
        images.see(&[two]);
        assert!(images.of("a", "acme/x").is_some() && images.unwanted(true).is_empty());
    }

    #[test]
    fn of_too_many_the_least_used_go() {
        let images = KnownImages::default();
        for n in 0..=MOST {
            images.add(base(&n.to_string(), "image", &format!("acme/{n}")));
        }
        images.record_use(&base("0", "image", "acme/0"));
        assert_eq!(ids(&images.unwanted(true)), ["1"]);
        assert_eq!(images.unwanted(false).len(), MOST + 1, "none is worth a job that cannot begin");
    }

    #[test]
    fn the_same_jobs_are_looked_at_once_in_a_while() {
        let images = KnownImages::default();
        let ask = |key: &str| {
            let CheckoutImage { commit, image, .. } = base("", "image", key);
            let repo = "acme/x".parse().expect("a repository");
            images.ask(Request { image, repo, key: key.to_owned(), commit, origin: String::new() });
            images.next().is_some()
        };
        assert_eq!(["1 acme/x", "2 acme/x", "1 acme/x"].map(ask), [true, true, false]);
        // An image that is gone is made again at once.
        images.forget(&base("", "image", "1 acme/x"));
        assert!(ask("1 acme/x"));
    }
}
