//! A single commit of any repository: fetched without its history and without a mirror, and written to files.
//!
//! Its address is one that a `.travis.yml` names. So git connects only to addresses that were checked before, follows no
//! redirect, and gets no credentials but those that are passed to it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use tempfile::TempDir;
use tokio::process::Command;
use url::{Host, Url};

use super::command::{Bound, NoRoom};
use super::tree::{Tree, TreeFile, objects};
use super::{
    Credentials, LOCAL_LIMIT, LS_REMOTE_LIMIT, Permanent, git, is_unauthorized, over_network, run, run_within, version,
};
use crate::domain::Sha;
use crate::storage::Room;

/// Ref of the fetched commit.
const FETCHED: &str = "refs/trainyard/commit";
/// The first version of git that connects to given addresses.
const LEAST_VERSION: (u32, u32) = (2, 37);
/// Number of bytes of small files that are read at once, each with what git says about it.
const GROUP: u64 = 16 << 20;
const HEAD: u64 = 128;

/// A repository on a server.
#[derive(Debug, Clone)]
pub struct RemoteRepository {
    /// An `http` or `https` address.
    pub url: Url,
    pub credentials: Option<Credentials>,
    /// The addresses of its host. There are none if the host is an address.
    pub addresses: Vec<IpAddr>,
}

/// Bounds on what is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// Maximum size on the disk, and the name of the setting with it.
    pub most: ByteSize,
    pub setting: &'static str,
    pub room: &'a Room,
    pub limit: Duration,
}

/// Reason why a commit could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the server wants other credentials, or has no such repository")]
    Unauthorized,
    #[error("the server has no such repository")]
    Missing,
    #[error("the repository has no such commit, branch or tag")]
    Revision,
    #[error("the server answers with a redirect, which is not followed")]
    Moved,
    #[error("{0}")]
    NoRoom(String),
    #[error(transparent)]
    Permanent(Permanent),
    /// A retry may succeed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// A fetched commit. Its repository is removed with this value.
#[derive(Debug)]
pub struct SingleCommit {
    repository: TempDir,
    limit: Duration,
}

impl RemoteRepository {
    /// Returns the commit of a branch or a tag; without one, that of the default branch.
    ///
    /// # Errors
    /// Fails when the server is unreachable, or has no such branch and tag.
    pub async fn resolve(&self, revision: Option<&str>) -> Result<Sha, CommitError> {
        self.find(revision).await.map_err(judge)?.ok_or(CommitError::Revision)
    }

    async fn find(&self, revision: Option<&str>) -> anyhow::Result<Option<Sha>> {
        let names = match revision {
            None => vec!["HEAD".to_owned()],
            // The commit of an annotated tag has a line of its own.
            Some(name) => {
                ["refs/heads/NAME", "refs/tags/NAME^{}", "refs/tags/NAME"].map(|form| form.replace("NAME", name)).into()
            }
        };
        let mut git = self.command(Path::new("/")).await?;
        // The server sends only refs of these kinds.
        let kinds: &[&str] = if revision.is_some() { &["--heads", "--tags"] } else { &[] };
        git.args(["ls-remote", "--quiet"]).args(kinds).args(["--", self.url.as_str()]).args(&names);
        let listed = run(git, LS_REMOTE_LIMIT, None).await?;
        let listed = String::from_utf8_lossy(&listed);
        // OBJECT TAB REF. A pattern also matches the ends of longer names.
        let object = |wanted: &String| {
            let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(_, name)| name == wanted).map(|(object, _)| object)
        };
        Ok(names.iter().find_map(object).map(str::parse).transpose()?)
    }

    /// Fetches a commit without its history into a new folder in `inside`.
    ///
    /// # Errors
    /// Fails when the server is unreachable, does not give the commit, or when that is too large.
    pub async fn fetch(&self, sha: &Sha, inside: &Path, bounds: Bounds<'_>) -> Result<SingleCommit, CommitError> {
        self.try_fetch(sha, inside, bounds).await.map_err(judge)
    }

    async fn try_fetch(&self, sha: &Sha, inside: &Path, bounds: Bounds<'_>) -> anyhow::Result<SingleCommit> {
        let Bounds { most, setting, room, limit } = bounds;
        let repository = tempfile::tempdir_in(inside).context("making a folder for a commit")?;
        let folder = repository.path();
        let mut init = git(folder);
        init.args(["init", "--quiet", "--bare", "--template=", "."]);
        run(init, LOCAL_LIMIT, None).await?;
        let mut fetch = self.command(folder).await?;
        // A single pack is faster to write than its objects, and after a crash this folder is useless.
        fetch.args([
            "-c",
            "fetch.unpackLimit=1",
            "-c",
            "core.fsync=none",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--depth=1",
        ]);
        fetch.args(["--no-auto-maintenance", "--no-recurse-submodules", "--", self.url.as_str()]);
        fetch.arg(format!("+{sha}:{FETCHED}"));
        let bound = Bound { folder, before: Some(0), most, setting, total: ByteSize::b(u64::MAX), room };
        run_within(fetch, limit, bound).await?;
        Ok(SingleCommit { repository, limit })
    }

    /// Returns a git command that connects to the addresses of the server alone.
    async fn command(&self, folder: &Path) -> anyhow::Result<Command> {
        let mut git = over_network(folder, &self.url, self.credentials.as_ref())?;
        // A proxy would resolve the name itself.
        git.args(["-c", "http.followRedirects=false", "-c", "http.proxy="]);
        if let (Some(Host::Domain(name)), Some(port)) = (self.url.host(), self.url.port_or_known_default()) {
            ensure!(!self.addresses.is_empty(), "{name} has no address");
            let version = version().await?;
            let (major, minor) = LEAST_VERSION;
            ensure!(is_at_least(&version, LEAST_VERSION), "git {version} is too old: install {major}.{minor} or newer");
            let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
            git.args(["-c", &format!("http.curloptResolve={name}:{port}:{}", addresses.join(","))]);
        }
        Ok(git)
    }
}

impl SingleCommit {
    /// Lists the tree, or what is at a path in it.
    ///
    /// # Errors
    /// Fails with [`Permanent`] for more than about half a million files.
    pub async fn tree(&self, path: Option<&str>) -> anyhow::Result<Tree> {
        let mut git = git(self.repository.path());
        git.env("GIT_LITERAL_PATHSPECS", "1");
        git.args(["ls-tree", "-r", "-z", "-l", "--full-tree", FETCHED, "--"]).args(path);
        Tree::read(&run(git, LOCAL_LIMIT, None).await.context("listing the files of a commit")?)
    }

    /// Writes files, byte for byte as the commit has them, to new places.
    ///
    /// # Errors
    /// Fails when a place cannot be written.
    pub async fn write(&self, files: &[(&TreeFile, PathBuf)]) -> Result<(), CommitError> {
        self.write_all(files).await.map_err(judge)
    }

    async fn write_all(&self, files: &[(&TreeFile, PathBuf)]) -> anyhow::Result<()> {
        let (large, small): (Vec<_>, Vec<_>) = files.iter().partition(|(file, _)| file.size + HEAD > GROUP);
        for (file, to) in large {
            make_parent(to)?;
            let mut git = git(self.repository.path());
            git.args(["cat-file", "blob", &file.object]);
            git.stdout(std::fs::File::create(to).with_context(|| format!("writing {}", to.display()))?);
            run(git, self.limit, None).await.with_context(|| format!("writing {}", file.path))?;
        }
        let mut rest = small.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |(file, _): &&&(&TreeFile, PathBuf)| {
                size += file.size + HEAD;
                size <= GROUP
            };
            let count = rest.iter().take_while(fits).count();
            let (group, later) = rest.split_at(count);
            rest = later;
            let names: Vec<&str> = group.iter().map(|(file, _)| file.object.as_str()).collect();
            let contents = objects(self.repository.path(), &names).await?;
            let places: Vec<PathBuf> = group.iter().map(|(_, to)| to.clone()).collect();
            let write = move || -> anyhow::Result<()> {
                for (to, bytes) in places.iter().zip(contents) {
                    make_parent(to)?;
                    std::fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))?;
                }
                Ok(())
            };
            tokio::task::spawn_blocking(write).await??;
        }
        Ok(())
    }
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))
}

/// Returns true if a version, such as `2.47.3`, is this one or a later one.
fn is_at_least(version: &str, least: (u32, u32)) -> bool {
    let mut parts = version.split(['.', ' ']).map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) >= least
}

fn judge(error: anyhow::Error) -> CommitError {
    let error = match error.downcast::<Permanent>() {
        Ok(Permanent::Moved) => return CommitError::Moved,
        Ok(permanent) => return CommitError::Permanent(permanent),
        Err(error) => error,
    };
    if let Some(NoRoom(words)) = error.downcast_ref() {
        return CommitError::NoRoom(words.clone());
    }
    let said = format!("{error:#}");
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let is_full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let was_full = error.chain().filter_map(|cause| cause.downcast_ref()).any(is_full);
    if was_full || says(&["No space left on device", "Disk quota exceeded"]) {
        CommitError::NoRoom("the disk of the data folder has no room".to_owned())
    } else if is_unauthorized(&error) || says(&["returned error: 403"]) {
        CommitError::Unauthorized
    } else if says(&["not our ref", "unadvertised object", "couldn't find remote ref"]) {
        CommitError::Revision
    } else if says(&["not found"]) {
        CommitError::Missing
    } else {
        CommitError::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for new in ["2.37.0", "2.47.3", "2.100.1 (Apple Git-154)", "3.0.0"] {
            assert!(is_at_least(new, LEAST_VERSION), "{new}");
        }
        for old in ["2.36.9", "2.4.0", "1.99", ""] {
            assert!(!is_at_least(old, LEAST_VERSION), "{old}");
        }
    }
}
