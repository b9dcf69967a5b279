//! Bare mirrors of repositories: fetch a commit, read its files, export a checkout. Also single commits of repositories with
//! data, and people's work trees in their current state. The only module that starts `git`.
//!
//! **Invariant:** a token reaches git only through its environment, never as an argument, a remote or a config file.
//! Hooks, filters and the machine's own git configuration have no effect here, since repositories may be hostile.

mod changes;
mod checkout;
mod command;
mod heads;
mod maintenance;
mod merge;
mod remote_file;
mod single_commit;
mod tree;
mod work_tree;

pub use checkout::NewHistory;
pub use command::{Permanent, is_unauthorized};
pub use merge::Proposal;
pub use remote_file::RemoteFileError;
pub use single_commit::{Bounds, CommitError, RemoteRepository, SingleCommit};
pub use tree::{Tree, TreeFile};
pub use work_tree::{Head, WorkTree, repo_of};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use secrecy::SecretString;
use serde::Deserialize;
use url::{Origin, Url};

use self::command::{Bound, FIRST_MEASURE, Full, git, over_network, run, run_within, size_of};
use crate::domain::{RepoName, Sha, Trigger, bounded, pg_text};
use crate::storage::Room;

/// Time limit for a fetch.
const FETCH_LIMIT: Duration = Duration::from_secs(600);
/// Time limit for a list of refs.
const LS_REMOTE_LIMIT: Duration = Duration::from_secs(60);
/// Time limit for other commands, which work on local data.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);
/// Size of a mirror, in fetches of the largest size, above which it is fetched anew.
const MIRROR_FACTOR: u64 = 4;

/// `[git]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitConfig {
    /// The most that a fetch may write to the disk.
    pub max_fetch: ByteSize,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self { max_fetch: ByteSize::gib(4) }
    }
}

/// Source of a repository.
#[derive(Debug, Clone)]
pub struct Remote<'a> {
    /// Name of the repository, which also names its mirror.
    pub repo: &'a RepoName,
    /// An `http` or `https` address.
    pub url: &'a Url,
    /// Credentials for it, if there are any.
    pub credentials: Option<&'a Credentials>,
}

/// A token, and the only origin that may see it.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Scheme, host and port, as in `https://github.com`. An address with another origin is fetched without the token.
    pub origin: Origin,
    pub token: SecretString,
}

impl Credentials {
    fn is_for(&self, url: &Url) -> bool {
        self.origin == url.origin()
    }
}

/// Content of a commit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub parents: Vec<Sha>,
    /// Name of the author.
    pub author: String,
    /// Subject and body, at most [`Trigger::MAX_MESSAGE`] bytes.
    pub message: String,
}

/// All mirrors in a folder.
#[derive(Debug, Clone)]
pub struct Mirrors {
    folder: PathBuf,
    max_fetch: ByteSize,
    room: Room,
    // One fetch at a time for each mirror: two would compete for the same refs.
    fetching: Arc<Mutex<HashMap<RepoName, Arc<tokio::sync::Mutex<()>>>>>,
    /// Held while a mirror is packed: git then writes files that look like half-fetched ones.
    packing: Arc<tokio::sync::Mutex<()>>,
}

impl Mirrors {
    /// Returns the mirrors in `folder`, which is created when it is first needed. Nothing is fetched when `room` finds
    /// too little space.
    pub fn new(folder: PathBuf, config: &GitConfig, room: Room) -> Self {
        let max_fetch = config.max_fetch;
        Self { folder, max_fetch, room, fetching: Arc::default(), packing: Arc::default() }
    }

    /// Returns the lack of room that keeps commits from being fetched, in words; `None` when there is enough.
    ///
    /// # Errors
    /// Fails when the disk cannot be asked.
    pub fn wanting_room(&self) -> anyhow::Result<Option<String>> {
        self.room.wanting()
    }

    /// Returns the folder of a repository's mirror.
    fn path(&self, repo: &RepoName) -> PathBuf {
        self.folder.join(repo.owner()).join(format!("{}.git", repo.name()))
    }

    /// Makes sure that the mirror has a commit. If it already does, the remote is not contacted.
    ///
    /// # Errors
    /// Fails when the remote is unreachable, rejects the request, or does not have the commit.
    pub async fn fetch_commit(&self, remote: &Remote<'_>, sha: &Sha) -> anyhow::Result<()> {
        if self.has_commit(remote.repo, sha).await {
            return Ok(());
        }
        // Kept under its own ref, so that a forced push does not make it garbage while jobs need it.
        self.fetch(remote, &[format!("+{sha}:refs/trainyard/commit/{sha}")]).await
    }

    /// Fetches a pull request's merge commit as GitHub has prepared it. Returns `None` if there is none, as with
    /// conflicts.
    ///
    /// # Errors
    /// Fails when the remote is unreachable or rejects the request.
    pub async fn fetch_merge(&self, remote: &Remote<'_>, number: i64) -> anyhow::Result<Option<Sha>> {
        let merge = format!("refs/trainyard/pull/{number}/merge");
        let fetched = self.fetch(remote, &[format!("+refs/pull/{number}/merge:{merge}")]).await;
        match fetched {
            Ok(()) => {}
            Err(error) if format!("{error:#}").contains("couldn't find remote ref") => return Ok(None),
            Err(error) => return Err(error),
        }
        let text = self.local(remote.repo, &["rev-parse", "--verify", &merge]).await?;
        Ok(Some(String::from_utf8_lossy(&text).trim().parse()?))
    }

    /// Returns the commit that a branch or tag of the remote points to now, or `None` if there is no such ref. The mirror
    /// is not used.
    ///
    /// # Errors
    /// Fails when the remote is unreachable or rejects the request.
    pub async fn tip(&self, remote: &Remote<'_>, reference: &str) -> anyhow::Result<Option<Sha>> {
        let mut git = over_network(Path::new("/"), remote.url, remote.credentials)?;
        // The server sends only refs of this kind, and git prints those that match.
        let kind = if reference.starts_with("refs/tags/") { "--tags" } else { "--heads" };
        // The commit of an annotated tag has a line of its own, the last one.
        let peeled = format!("{reference}^{{}}");
        git.args(["ls-remote", "--quiet", kind, "--", remote.url.as_str(), reference, &peeled]);
        let listed = run(git, LS_REMOTE_LIMIT, None).await;
        let listed = listed.with_context(|| format!("asking {} for the refs of {}", remote.url, remote.repo))?;
        let listed = String::from_utf8_lossy(&listed);
        // OBJECT TAB REF. A pattern also matches the ends of longer names.
        let mut lines = listed.lines().rev().filter_map(|line| line.split_once('\t'));
        let tip = lines.find(|(_, name)| *name == reference || *name == peeled);
        Ok(tip.map(|(object, _)| object.parse()).transpose()?)
    }

    /// Returns true if `ancestor` is the commit `of`, or is in its history. The mirror must have both.
    ///
    /// # Errors
    /// Fails when the mirror cannot be read.
    pub async fn contains(&self, repo: &RepoName, of: &Sha, ancestor: &Sha) -> anyhow::Result<bool> {
        let outside = ["rev-list", "--max-count=1", ancestor.as_str(), "--not", of.as_str()];
        Ok(self.local(repo, &outside).await?.is_empty())
    }

    /// Returns true if the mirror has a commit.
    pub async fn has_commit(&self, repo: &RepoName, sha: &Sha) -> bool {
        self.path(repo).join("HEAD").exists()
            && self.local(repo, &["cat-file", "-e", &format!("{sha}^{{commit}}")]).await.is_ok()
    }

    async fn fetch(&self, remote: &Remote<'_>, refspecs: &[String]) -> anyhow::Result<()> {
        let lock = self.lock_of(remote.repo);
        let _one_at_a_time = lock.lock().await;
        let mut fetched = self.try_fetch(remote, refspecs).await;
        if fetched.as_ref().is_err_and(anyhow::Error::is::<Full>) {
            self.discard(remote.repo).await?;
            fetched = self.try_fetch(remote, refspecs).await;
        }
        fetched.with_context(|| format!("fetching {} from {}", remote.repo, remote.url))
    }

    async fn try_fetch(&self, remote: &Remote<'_>, refspecs: &[String]) -> anyhow::Result<()> {
        let mirror = self.path(remote.repo);
        if let Some(wanting) = self.room.wanting()? {
            bail!(wanting);
        }
        let is_new = self.init(remote.repo).await?;
        let mut git = over_network(&mirror, remote.url, remote.credentials)?;
        git.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--"])
            .arg(remote.url.as_str())
            .args(refspecs);
        let bound = Bound { before: is_new.then_some(0), total: self.max_mirror(), ..self.bound(&mirror) };
        let began = Instant::now();
        // git asks the remote first, so it writes nothing before the measure ends.
        let (before, fetched) = tokio::join!(size_of(&mirror), run_within(git, FETCH_LIMIT, bound));
        let is_slow = began.elapsed() >= FIRST_MEASURE;
        let error = match fetched {
            // A fast fetch may end between two measures.
            Ok(_) if is_slow && size_of(&mirror).await?.saturating_sub(before?) > self.max_fetch.as_u64() => {
                Permanent::TooLarge(self.max_fetch, "git.max_fetch").into()
            }
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // The next try would find a commit that has come although it is too large.
        match error.downcast_ref() {
            Some(Permanent::TooLarge(..)) => self.discard(remote.repo).await?,
            _ => self.remove_half_fetched(remote.repo).await?,
        }
        Err(error)
    }

    /// Returns the size of a mirror that counts as too large. Commits of old builds may have filled it.
    fn max_mirror(&self) -> ByteSize {
        ByteSize::b(self.max_fetch.as_u64().saturating_mul(MIRROR_FACTOR))
    }

    /// Returns the bound of a fetch into a folder.
    fn bound<'a>(&'a self, folder: &'a Path) -> Bound<'a> {
        let total = ByteSize::b(u64::MAX);
        Bound { folder, before: None, most: self.max_fetch, setting: "git.max_fetch", total, room: &self.room }
    }

    /// Returns the lock that is held during a fetch into a mirror, and during its removal.
    fn lock_of(&self, repo: &RepoName) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(fetching.entry(repo.clone()).or_default())
    }

    /// Makes the mirror if there is none. Returns true if it is new.
    async fn init(&self, repo: &RepoName) -> anyhow::Result<bool> {
        let path = self.path(repo);
        if path.join("HEAD").exists() {
            return Ok(false);
        }
        // Private code must not be readable for other users of this machine.
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).await;
        made.with_context(|| format!("making the mirror {}", path.display()))?;
        let mut init = git(&path);
        init.args(["init", "--quiet", "--bare", "--template=", "."]);
        run(init, LOCAL_LIMIT, None).await?;
        // Lets a checkout request any commit of the mirror by its id.
        self.local(repo, &["config", "uploadpack.allowAnySHA1InWant", "true"]).await?;
        Ok(true)
    }

    /// Lists the regular files of a commit's tree.
    ///
    /// # Errors
    /// Fails with [`Permanent`] for more than about half a million files, and when the mirror does not have the commit.
    pub async fn files(&self, repo: &RepoName, sha: &Sha) -> anyhow::Result<Vec<TreeFile>> {
        let listing = self.local(repo, &["ls-tree", "-r", "-z", "-l", "--full-tree", sha.as_str()]).await;
        Ok(Tree::read(&listing.with_context(|| format!("listing the files of {}", sha.short()))?)?.files)
    }

    /// Lists the names of everything in a commit's tree, in any encoding and of any type.
    ///
    /// # Errors
    /// Fails as [`Mirrors::files`] does.
    pub async fn names(&self, repo: &RepoName, sha: &Sha) -> anyhow::Result<Vec<Vec<u8>>> {
        let listing = self.local(repo, &["ls-tree", "-r", "-z", "--name-only", "--full-tree", sha.as_str()]).await?;
        Ok(listing.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Reads the contents of files, in their order.
    ///
    /// # Errors
    /// Fails when the mirror cannot be read.
    pub async fn read(&self, repo: &RepoName, files: &[&TreeFile]) -> anyhow::Result<Vec<Vec<u8>>> {
        let objects: Vec<&str> = files.iter().map(|file| file.object.as_str()).collect();
        self.objects(repo, &objects).await
    }

    /// Reads a commit object.
    ///
    /// # Errors
    /// Fails when the mirror does not have the commit.
    pub async fn commit(&self, repo: &RepoName, sha: &Sha) -> anyhow::Result<Commit> {
        let raw = self.objects(repo, &[sha.as_str()]).await?.pop().context("no such commit")?;
        let text = String::from_utf8_lossy(&raw);
        let (headers, message) = text.split_once("\n\n").context("a commit object without a message")?;
        let values = |name: &'static str| {
            headers.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
        };
        let parents = values("parent").map(|parent| parent.parse()).collect::<Result<_, _>>()?;
        let author = values("author").next().unwrap_or_default();
        let author = author.split(" <").next().unwrap_or_default().to_owned();
        let message = bounded(pg_text(message.trim_end()), Trigger::MAX_MESSAGE);
        Ok(Commit { parents, author, message })
    }

    async fn local(&self, repo: &RepoName, args: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut git = git(&self.path(repo));
        git.args(args);
        run(git, LOCAL_LIMIT, None).await
    }

    async fn objects(&self, repo: &RepoName, names: &[&str]) -> anyhow::Result<Vec<Vec<u8>>> {
        tree::objects(&self.path(repo), names).await
    }
}

/// Returns the version of git on this machine.
///
/// # Errors
/// Fails when git is not installed.
pub async fn version() -> anyhow::Result<String> {
    let mut git = git(Path::new("/"));
    git.arg("--version");
    let said = run(git, LOCAL_LIMIT, None).await?;
    Ok(String::from_utf8_lossy(&said).trim().trim_start_matches("git version ").to_owned())
}
