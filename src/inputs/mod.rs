//! Data sets and models that train jobs read: fetched by the service, so that no token gets into a job, kept in a store
//! of the machine, and mounted read-only.
//!
//! [`Inputs::resolve`] finds what an address means now, and [`Inputs::fetch`] brings it here. `download` knows the parts of
//! a file, `remote`, `web` and `lfs` the servers, `folder` this machine's own data, `repository` git, `listing` the files
//! before they are here, and `store` what was fetched.

mod config;
mod download;
mod error;
mod folder;
mod hash;
mod lfs;
mod listing;
mod manifest;
mod partial;
mod progress;
mod remote;
mod repository;
mod store;
mod web;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use bytesize::ByteSize;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use reqwest::dns::Resolve;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::sync::{RwLock, RwLockReadGuard, Semaphore};
use url::Url;

pub use self::config::{BucketConfig, FolderConfig, InputsConfig, TokenConfig};
use self::download::{Bounds, Download, Downloaded, Expected, patiently};
pub use self::error::InputError;
use self::hash::sha256_of;
use self::lfs::LfsFile;
use self::listing::{ListedFile, Listing, Place};
use self::manifest::{Manifest, StoredFile};
pub use self::progress::Progress;
use self::remote::{Remote, Server};
use self::store::Store;
use self::web::Web;
use crate::domain::RepoName;
use crate::hub::{Hub, RepositoryKind};
use crate::lora::input::{GitSource, HubSource, InputKind, Source};
use crate::lora::{Unusable, check_fetched};
use crate::storage::Room;

/// Number of files that are fetched at once.
const AT_ONCE: usize = 8;
/// Number of connections of a process. With their pieces, they have about 20 MB.
const MOST_CONNECTIONS: usize = 8;

/// A fetch of one input at a time.
type Turn = Arc<(tokio::sync::Mutex<()>, Progress)>;

/// The data sets and models of a machine.
#[derive(Debug, Clone)]
pub struct Inputs(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    config: InputsConfig,
    web: Web,
    /// The client for buckets.
    trusting: Web,
    store: Store,
    bounds: Bounds,
    /// The inputs that are being fetched, by their keys.
    turns: Mutex<HashMap<String, Turn>>,
    /// Held for reading from the moment at which an input is found until a row says that it is in use.
    pruning: RwLock<()>,
}

/// An input that a job asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The repository of the job, which decides on tokens and folders.
    pub repo: &'a RepoName,
    pub kind: InputKind,
    pub from: &'a Source,
    /// The commit of a repository, or the SHA-256 of a file, if it is decided.
    pub revision: Option<&'a str>,
}

/// An input that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The folder, or the file.
    pub path: PathBuf,
    /// Name of the file, if it is one.
    pub file_name: Option<String>,
    /// The commit, the SHA-256 or the state that is there.
    pub revision: String,
    /// SHA-256 of the file; of several, that of the list that `sha256sum` prints.
    pub digest: String,
    pub files: usize,
    pub bytes: u64,
    /// The kind of the files, such as `12 images with captions`; empty if there is nothing to say.
    pub contents: String,
}

impl Inputs {
    /// Returns the inputs in this folder of the machine.
    ///
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub fn new(folder: PathBuf, config: InputsConfig, room: Room, names: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let (web, trusting) = (Web::new(&config.allow, names)?, Web::trusting()?);
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let bounds = Bounds { room, folder: folder.clone(), max_size: config.max_size, connections };
        let (store, turns) = (Store::new(folder), Mutex::default());
        Ok(Self(Arc::new(Parts { config, web, trusting, store, bounds, turns, pruning: RwLock::default() })))
    }

    /// Finds the revision that an address means now. Returns `None` where only the content tells it.
    ///
    /// # Errors
    /// Fails when its server does not have it, or not for this repository's token.
    pub async fn resolve(&self, wanted: Wanted<'_>) -> Result<Option<String>, InputError> {
        match wanted.from {
            Source::Hub(source) if source.is_at_commit() => Ok(source.revision.clone()),
            Source::Git(source) if source.is_at_commit() => Ok(source.revision.clone()),
            Source::Hub(source) => {
                let (hub, kind) = (self.hub(wanted.repo, source)?, kind_of(source));
                let revision = source.revision.as_deref().unwrap_or("main");
                let ask = || async { Ok(hub.resolve_revision(kind, &source.repo, revision).await?) };
                patiently(&Progress::default(), ask).await.map(Some)
            }
            Source::Git(source) => self.resolve_in_git(wanted.repo, source).await.map(Some),
            Source::Web(_) | Source::Bucket { .. } | Source::File(_) => Ok(wanted.revision.map(str::to_owned)),
        }
    }

    /// Brings an input here, unless it is. Only one job fetches it, others wait. A fetch that was cut goes on where it was.
    ///
    /// # Errors
    /// Fails with the reason for the job's verdict.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> Result<Fetched, InputError> {
        let (key, turn) = self.turn(wanted);
        let fetched = {
            let _mine = turn.0.lock().await;
            let limit = self.0.config.timeout;
            match tokio::time::timeout(limit, self.fetch_alone(wanted, &key, &turn.1).boxed()).await {
                Ok(fetched) => fetched,
                Err(_) => {
                    let last = turn.1.take_trouble().unwrap_or_else(|| "what is here is kept for the next try".into());
                    Err(InputError::Timeout { after: limit, last })
                }
            }
        };
        drop(turn);
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        fetched
    }

    /// Returns the bytes that are here of an input that is being fetched, those of all of it, and the last failure.
    pub fn progress(&self, wanted: Wanted<'_>) -> Option<((u64, u64), Option<String>)> {
        let turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(&self.key(wanted)).map(|turn| (turn.1.bytes(), turn.1.take_trouble()))
    }

    /// Keeps what was fetched from being removed while the guard lives: until a row says that it is in use.
    pub async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.0.pruning.read().await
    }

    /// Removes the least recently used inputs above the size that all may have. `in_use` returns the digests of those that
    /// running jobs see. Returns the number of removed ones.
    ///
    /// # Errors
    /// Fails when the rows or the store cannot be read.
    pub async fn prune<F: Future<Output = anyhow::Result<HashSet<String>>>>(
        &self,
        now: SystemTime,
        in_use: impl FnOnce() -> F,
    ) -> anyhow::Result<usize> {
        let _alone = self.0.pruning.write().await;
        let in_use = in_use().await?;
        let (store, most) = (self.0.store.clone(), self.0.config.total_size.as_u64());
        tokio::task::spawn_blocking(move || store.prune(most, &in_use, now)).await?.context("the data of train jobs")
    }

    fn turn(&self, wanted: Wanted<'_>) -> (String, Turn) {
        let key = self.key(wanted);
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(turns.entry(key.clone()).or_default());
        (key, turn)
    }

    /// Returns the name of an input in the store. It has the token's entry, so that nobody sees what another's token has
    /// fetched.
    fn key(&self, Wanted { repo, kind, from, revision }: Wanted<'_>) -> String {
        let (with, from) = match from {
            Source::Hub(hub) => {
                let at = HubSource { revision: revision.map(str::to_owned).or(hub.revision.clone()), ..hub.clone() };
                let entry = self.0.config.token_for(repo, &hub.repo);
                (entry.map_or("", |entry| entry.name.as_str()), Source::Hub(at))
            }
            Source::Git(git) => {
                let at = GitSource { revision: revision.map(str::to_owned).or(git.revision.clone()), ..git.clone() };
                let url = Url::parse(&git.url).ok();
                let entry = url.and_then(|url| self.0.config.git_token_for(repo, &url));
                (entry.map_or("", |entry| entry.name.as_str()), Source::Git(at))
            }
            Source::Bucket { bucket, .. } => {
                let entry = self.0.config.bucket_for(repo, bucket);
                (entry.map_or("", |entry| entry.name.as_str()), from.clone())
            }
            Source::Web(_) | Source::File(_) => ("", from.clone()),
        };
        let revision = revision.unwrap_or_default();
        // What one repository has fetched without a pin is not what another one would get.
        let owner = if let (Source::Web(_), "") = (&from, revision) { repo.to_string() } else { String::new() };
        let named = format!("{}\0{with}\0{from}\0{revision}\0{owner}", kind.key());
        hex::encode(&Sha256::digest(named)[..20])
    }

    async fn find_by(&self, key: &str) -> Result<Option<Fetched>, InputError> {
        let (store, key) = (self.0.store.clone(), key.to_owned());
        let find = move || -> io::Result<Option<Fetched>> {
            let manifest = store.find(&key)?;
            Ok(manifest.map(|manifest| fetched(&store, &key, &manifest)))
        };
        Ok(tokio::task::spawn_blocking(find).await.context("looking for data")??)
    }

    async fn fetch_alone(&self, wanted: Wanted<'_>, key: &str, progress: &Progress) -> Result<Fetched, InputError> {
        // Without a pin, the file may be another one by now.
        let is_decided = wanted.revision.is_some() || !matches!(wanted.from, Source::Web(_));
        self.0.store.prepare()?;
        let listing = match wanted.from {
            Source::File(path) => Some(self.survey(wanted.repo, path).await?),
            Source::Bucket { bucket, key } => Some(self.list_in_bucket(wanted.repo, bucket, key).await?),
            Source::Hub(_) | Source::Git(_) | Source::Web(_) => None,
        };
        let key = match &listing {
            // The state of a folder or a bucket is in the name of what was read of it.
            Some(listing) => key_of_state(key, listing),
            None => key.to_owned(),
        };
        if is_decided && let Some(found) = self.find_by(&key).await? {
            return Ok(found);
        }
        let listing = match listing {
            Some(listing) => listing,
            None => self.list(wanted, progress).await?,
        };
        let here = listing.files.iter().filter_map(|file| self.listed_here(&listing.place, &file.expected));
        self.check_size(listing.bytes(), here.map(|(_, size)| size).sum())?;
        let mut tries = 0;
        loop {
            let files = self.fetch_files(&key, &listing, progress).await?;
            match self.keep(wanted, &key, &listing, files).await {
                // The files of an input that was removed meanwhile are fetched again.
                Err(InputError::Changed) if tries < 2 => tries += 1,
                kept => return kept,
            }
        }
    }

    fn hub(&self, repo: &RepoName, source: &HubSource) -> anyhow::Result<Hub> {
        let token: Option<&SecretString> =
            self.0.config.token_for(repo, &source.repo).and_then(|entry| entry.token.as_ref());
        Hub::reader(&self.0.config.hub, token)
    }

    /// Rejects an input that is too large, of which so many bytes are here.
    fn check_size(&self, size: u64, here: u64) -> Result<(), InputError> {
        let Bounds { room, folder, max_size, .. } = &self.0.bounds;
        if size > max_size.as_u64() {
            return Err(InputError::too_large(size, *max_size));
        }
        match room.has_for_at(folder, ByteSize::b(size.saturating_sub(here)))? {
            true => Ok(()),
            false => {
                let words =
                    format!("there is no room for {} in the data folder", ByteSize::b(size.saturating_sub(here)));
                Err(InputError::DiskFull(words))
            }
        }
    }

    /// Returns the hash and the size of a file that is here already. Only a server that lists the file decides that it may
    /// be used: a web server lists nothing, and the pointers of a commit are anybody's.
    fn listed_here(&self, place: &Place, expected: &Expected) -> Option<(String, u64)> {
        let (sha256, size) = (expected.sha256.as_ref()?, expected.size?);
        if let Place::Commit { known, .. } = place
            && !known.contains(sha256)
        {
            return None;
        }
        (self.0.store.size_of(sha256) == Some(size)).then(|| (sha256.clone(), size))
    }

    async fn fetch_files(
        &self,
        key: &str,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<Vec<StoredFile>, InputError> {
        progress.begin(listing.bytes());
        let (mut waiting, mut running, mut stored) = (listing.files.iter(), FuturesUnordered::new(), Vec::new());
        loop {
            while running.len() < AT_ONCE
                && let Some(file) = waiting.next()
            {
                running.push(self.fetch_file(key, listing, file, progress));
            }
            match running.next().await {
                Some(fetched) => stored.push(fetched?),
                None => return Ok(stored),
            }
        }
    }

    async fn fetch_file(
        &self,
        key: &str,
        Listing { is_single, place, .. }: &Listing,
        ListedFile { path, expected }: &ListedFile,
        progress: &Progress,
    ) -> Result<StoredFile, InputError> {
        if let Some((sha256, size)) = self.listed_here(place, expected) {
            progress.add(size);
            return Ok(StoredFile { path: path.clone(), size, sha256 });
        }
        let partial = self.0.store.partial(&hex::encode(&Sha256::digest(format!("{key}\0{path}"))[..20]));
        let server = match place {
            Place::Hub { hub, kind, repo, commit } => {
                Server::Hub(hub.clone(), hub.file_address(*kind, repo, commit, &expected.path)?)
            }
            Place::Commit { folder, lfs, .. } => match &expected.sha256 {
                Some(sha256) => Server::Lfs(LfsFile::new(Arc::clone(lfs), sha256.clone(), expected.path.clone())),
                None => {
                    return self.copy(folder.path().join(&expected.path), path, expected.size, partial, progress).await;
                }
            },
            Place::Web(address) => Server::Web(self.0.web.clone(), address.clone()),
            Place::Bucket(bucket) => Server::Web(self.0.trusting.clone(), bucket.address(&expected.path).await?),
            Place::Local(base) => {
                let from = if *is_single { base.clone() } else { base.join(path) };
                return self.copy(from, path, expected.size, partial, progress).await;
            }
        };
        let remote = Remote::new(server);
        let download = Download { remote: &remote, expected, partial, bounds: &self.0.bounds, progress };
        let Downloaded { sha256, size } = download.run().await?;
        self.0.store.adopt(&download.partial, &sha256)?;
        Ok(StoredFile { path: path.clone(), size, sha256 })
    }

    /// Copies a file of this machine into the store.
    async fn copy(
        &self,
        from: PathBuf,
        path: &str,
        size: Option<u64>,
        partial: PathBuf,
        progress: &Progress,
    ) -> Result<StoredFile, InputError> {
        let to = partial.clone();
        let copy = move || folder::copy(&from, size, &to).and_then(|copied| Ok(sha256_of(&copied)?));
        let (sha256, size) = tokio::task::spawn_blocking(copy).await.context("copying a file")??;
        progress.add(size);
        self.0.store.adopt(&partial, &sha256)?;
        Ok(StoredFile { path: path.to_owned(), size, sha256 })
    }

    /// Checks the files, and makes them an input. Returns [`InputError::Changed`] if one was removed meanwhile.
    async fn keep(
        &self,
        wanted: Wanted<'_>,
        key: &str,
        listing: &Listing,
        files: Vec<StoredFile>,
    ) -> Result<Fetched, InputError> {
        let content = match files.as_slice() {
            [file] if listing.is_single => file.sha256.clone(),
            _ => String::new(),
        };
        let revision = listing.revision.clone().unwrap_or(content);
        // What was fetched without a pin is pinned from here on.
        let key = match listing.revision {
            Some(_) => key.to_owned(),
            None => self.key(Wanted { revision: Some(&revision), ..wanted }),
        };
        let mut manifest = Manifest::new(wanted.from.to_string(), revision, listing.is_single, files);
        let (store, kind) = (self.0.store.clone(), wanted.kind);
        let keep = move || -> Result<Fetched, InputError> {
            manifest.contents = check(&store, kind, &manifest)?;
            match store.keep(&key, &mut manifest) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(InputError::Changed),
                kept => {
                    kept?;
                    Ok(fetched(&store, &key, &manifest))
                }
            }
        };
        tokio::task::spawn_blocking(keep).await.context("keeping data")?
    }
}

impl Fetched {
    /// Returns false if it was removed since.
    pub fn is_here(&self) -> bool {
        self.path.exists()
    }
}

fn kind_of(source: &HubSource) -> RepositoryKind {
    if source.is_dataset { RepositoryKind::Dataset } else { RepositoryKind::Model }
}

fn key_of_state(key: &str, listing: &Listing) -> String {
    let named = format!("{key}\0{}", listing.revision.as_deref().unwrap_or_default());
    hex::encode(&Sha256::digest(named)[..20])
}

fn fetched(store: &Store, key: &str, manifest: &Manifest) -> Fetched {
    let file_name = manifest.files.first().filter(|_| manifest.is_single).map(|file| file.path.clone());
    Fetched {
        path: store.place(key, manifest),
        file_name,
        revision: manifest.revision.clone(),
        digest: manifest.digest.clone(),
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        contents: manifest.contents.clone(),
    }
}

/// Checks that a training can read the files. Returns what they are. Blocks.
fn check(store: &Store, kind: InputKind, manifest: &Manifest) -> Result<String, InputError> {
    let hashes: HashMap<&str, &str> =
        manifest.files.iter().map(|file| (file.path.as_str(), file.sha256.as_str())).collect();
    let files: Vec<(&str, u64)> = manifest.files.iter().map(|file| (file.path.as_str(), file.size)).collect();
    let open = |path: &str| store.open(hashes.get(path).copied().unwrap_or_default());
    match check_fetched(kind, &files, open) {
        Ok(contents) => Ok(contents.to_string()),
        Err(empty @ Unusable::Empty(_)) => Err(InputError::Empty(empty.to_string())),
        Err(Unusable::Broken(words)) => Err(InputError::Unusable(words)),
        Err(Unusable::Read(error)) if error.kind() == io::ErrorKind::NotFound => Err(InputError::Changed),
        Err(Unusable::Read(error)) => Err(error.into()),
    }
}
