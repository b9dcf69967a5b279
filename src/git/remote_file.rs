//! A remote file: a single file of another repository, or of another commit than the one that is built.

use std::path::Path;

use anyhow::Context as _;

use super::command::Bound;
use super::{
    FETCH_LIMIT, LOCAL_LIMIT, Mirrors, Permanent, Remote, git, is_unauthorized, over_network, run, run_within,
};
use crate::domain::Revision;

/// Ref of the fetched commit.
const FETCHED: &str = "refs/trainyard/peek";

/// Reason why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RemoteFileError {
    /// The file does not exist, or this build may not read it.
    #[error("{0}")]
    Refused(String),
    /// A retry may succeed.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Mirrors {
    /// Fetches the bytes of a file. Nothing is kept, and no mirror is read: each time, the host decides again who may read
    /// what.
    ///
    /// # Errors
    /// Fails when the host does not allow access to the commit, or cannot be reached; when the file does not exist, or
    /// is larger than `max_bytes`.
    pub async fn remote_file(
        &self,
        remote: &Remote<'_>,
        revision: &Revision,
        path: &str,
        max_bytes: usize,
    ) -> Result<Vec<u8>, RemoteFileError> {
        let folder = tempfile::tempdir().context("making a temporary folder")?;
        let folder = folder.path();
        let mut init = git(folder);
        init.args(["init", "--quiet", "--bare", "--template=", "."]);
        run(init, LOCAL_LIMIT, None).await?;
        let names = match revision {
            Revision::Built | Revision::Default => vec!["HEAD".to_owned()],
            Revision::Named(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Revision::Commit(sha) => vec![sha.to_string()],
        };
        for name in &names {
            if self.fetch_shallow(folder, remote, name, max_bytes).await? {
                return file(folder, path, max_bytes).await;
            }
        }
        let why = match revision {
            Revision::Named(name) => format!("{} has no branch or tag {name}", remote.repo),
            _ => format!("{} is empty", remote.repo),
        };
        Err(RemoteFileError::Refused(why))
    }

    /// Fetches a commit without its history and its large files. Returns false when there is no such name.
    async fn fetch_shallow(
        &self,
        folder: &Path,
        remote: &Remote<'_>,
        name: &str,
        max_bytes: usize,
    ) -> Result<bool, RemoteFileError> {
        let mut fetch = over_network(folder, remote.url, remote.credentials)?;
        // A redirect could lead to another repository, which the token is not meant for.
        fetch.args(["-c", "http.followRedirects=false", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        fetch.args(["--no-auto-maintenance", "--no-recurse-submodules", "--depth=1"]);
        fetch.arg(format!("--filter=blob:limit={}", max_bytes + 1));
        fetch.args(["--", remote.url.as_str(), &format!("+{name}:{FETCHED}")]);
        let bound = Bound { before: Some(0), ..self.bound(folder) };
        let Err(error) = run_within(fetch, FETCH_LIMIT, bound).await else { return Ok(true) };
        let said = format!("{error:#}");
        let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
        let repo = remote.repo;
        if says(&["couldn't find remote ref"]) {
            return Ok(false);
        }
        let why = if is_unauthorized(&error) || says(&["not found", "returned error: 403"]) {
            // The host makes no difference between these, so that nobody learns which private repositories exist.
            format!("there is no repository {repo}, or this build may not read it")
        } else if says(&["not our ref"]) {
            format!("{repo} has no such commit")
        } else if let Some(Permanent::Moved) = error.downcast_ref() {
            format!("{repo} has moved: use its new name")
        } else if error.is::<Permanent>() {
            said
        } else {
            return Err(error.context(format!("fetching {repo}")).into());
        };
        Err(RemoteFileError::Refused(why))
    }
}

/// Reads a regular file of the fetched commit.
async fn file(folder: &Path, path: &str, max_bytes: usize) -> Result<Vec<u8>, RemoteFileError> {
    let refused = |why: &str| Err(RemoteFileError::Refused(why.to_owned()));
    // Objects that the filter left out must not be fetched now.
    let local = |args: &[&str]| {
        let mut git = git(folder);
        git.envs([("GIT_ALLOW_PROTOCOL", "none"), ("GIT_NO_LAZY_FETCH", "1"), ("GIT_LITERAL_PATHSPECS", "1")]);
        git.args(args);
        git
    };
    let listed = run(local(&["ls-tree", "-z", "--full-tree", FETCHED, "--", path]), LOCAL_LIMIT, None).await?;
    // MODE SP TYPE SP OBJECT TAB PATH
    let listed = String::from_utf8_lossy(&listed);
    let facts = listed.split('\t').next().unwrap_or_default();
    let object = match facts.split(' ').collect::<Vec<_>>()[..] {
        ["100644" | "100755", "blob", object] => object,
        [""] => return refused("there is no such file"),
        _ => return refused("it is not a regular file"),
    };
    let size = local(&["cat-file", "--batch-check=%(objectsize)"]);
    let size = run(size, LOCAL_LIMIT, Some(format!("{object}\n").into_bytes())).await?;
    let size: Option<usize> = String::from_utf8_lossy(&size).trim().parse().ok();
    if size.is_none_or(|size| size > max_bytes) {
        return refused(&format!("it is larger than {max_bytes} bytes"));
    }
    Ok(run(local(&["cat-file", "blob", object]), LOCAL_LIMIT, None).await?)
}
