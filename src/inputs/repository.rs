//! Data from git repositories. The files of git are read from the fetched commit, and large files come from the server of
//! Git LFS.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use url::Url;

use super::download::{Expected, patiently};
use super::error::InputError;
use super::folder::MAX_FILES;
use super::lfs::{Lfs, Pointer};
use super::listing::{ListedFile, Listing, Place};
use super::manifest::is_plain;
use super::progress::Progress;
use super::{Inputs, Wanted};
use crate::domain::{RepoName, Sha, bounded};
use crate::git::{Bounds, CommitError, Credentials, Permanent, RemoteRepository, SingleCommit, Tree, TreeFile};
use crate::lora::input::GitSource;

/// Maximum length of git's words, in bytes.
const MAX_WORDS: usize = 300;
/// Number of names in a message.
const NAMED: usize = 3;

impl Inputs {
    /// Finds the commit that an address means now.
    pub(super) async fn resolve_in_git(&self, repo: &RepoName, source: &GitSource) -> Result<String, InputError> {
        let ask = || async {
            let repository = self.repository(repo, source).await?;
            let found = repository.resolve(source.revision.as_deref()).await;
            found.map_err(|error| explain(error, source, &repository))
        };
        Ok(patiently(&Progress::default(), ask).await?.to_string())
    }

    /// Fetches a commit, and lists its files. Those of git are then on this machine.
    pub(super) async fn list_in_git(
        &self,
        wanted: Wanted<'_>,
        source: &GitSource,
        progress: &Progress,
    ) -> Result<Listing, InputError> {
        let commit = wanted.revision.or(source.revision.as_deref()).context("a commit")?;
        let sha = Sha::from_str(commit).context("a commit")?;
        let fetch = || async {
            let repository = self.repository(wanted.repo, source).await?;
            let fetched = repository.fetch(&sha, &self.0.store.unfinished(), self.git_bounds()).await;
            let fetched = fetched.map_err(|error| explain(error, source, &repository))?;
            Ok((repository, fetched))
        };
        let (repository, fetched) = patiently(progress, fetch).await?;
        let Tree { files, others } = fetched.tree(source.path.as_deref()).await.map_err(too_many)?;
        check_paths(&files, &others)?;
        if let (Some(path), true) = (&source.path, files.is_empty()) {
            return Err(InputError::Missing(format!("{} has no {path} at {commit}", source.url)));
        }
        self.check_size(files.iter().fold(0, |sum, file| sum.saturating_add(file.size)), 0)?;
        let folder = tempfile::tempdir_in(self.0.store.unfinished()).context("making a folder for files of git")?;
        write(&fetched, &files, folder.path()).await?;
        let is_single = matches!(files.as_slice(), [file] if source.path.as_ref() == Some(&file.path));
        let (files, folder) = read_pointers(files, folder).await?;
        let large: Vec<Pointer> = files.iter().filter_map(|(_, pointer)| pointer.clone()).collect();
        if let Some(large) = large.iter().find(|large| large.size > self.0.bounds.max_size.as_u64()) {
            return Err(InputError::too_large(large.size, self.0.bounds.max_size));
        }
        let known = if large.is_empty() { HashSet::new() } else { self.fetched_before(source).await? };
        let lfs = Lfs::new(self.0.web.clone(), repository.url.clone(), authorization(&repository), large);
        let listed = |(TreeFile { path, size, .. }, pointer): (TreeFile, Option<Pointer>)| {
            let (size, sha256) = pointer.map_or((size, None), |pointer| (pointer.size, Some(pointer.sha256)));
            let below =
                source.path.as_ref().filter(|_| !is_single).and_then(|folder| path.strip_prefix(folder.as_str()));
            let name = match below {
                Some(below) => below.trim_start_matches('/'),
                None if is_single => path.rsplit('/').next().unwrap_or(&path),
                None => &path,
            };
            ListedFile {
                path: name.to_owned(),
                expected: Expected { path: path.clone(), size: Some(size), sha256, git_oid: None },
            }
        };
        let files = files.into_iter().map(listed).collect();
        let place = Place::Commit { folder, lfs: Arc::new(lfs), known };
        Ok(Listing { is_single, revision: Some(commit.to_owned()), place, files })
    }

    /// Returns the repository at an address, with its token if it is for the job's repository. Its host is checked.
    async fn repository(&self, repo: &RepoName, source: &GitSource) -> Result<RemoteRepository, InputError> {
        let url = Url::parse(&source.url)
            .map_err(|error| InputError::Refused(format!("{} is no address: {error}", source.url)))?;
        let addresses = self.0.web.addresses(&url).await?;
        let token = self.0.config.git_token_for(repo, &url).and_then(|entry| entry.secret());
        let credentials = token.map(|token| Credentials { origin: url.origin(), token });
        Ok(RemoteRepository { url, credentials, addresses })
    }

    fn git_bounds(&self) -> Bounds<'_> {
        let limit = self.0.config.timeout;
        Bounds { most: self.0.bounds.max_size, setting: "inputs.max_size", room: &self.0.bounds.room, limit }
    }

    /// Lists the hashes of the files that earlier inputs have of the same repository. A pointer in another one proves
    /// nothing: who writes it may know no more than a hash.
    async fn fetched_before(&self, source: &GitSource) -> Result<HashSet<String>, InputError> {
        let whole = GitSource { revision: None, path: None, ..source.clone() }.to_string();
        let store = self.0.store.clone();
        let is_of_it = move |known: &str| {
            known
                .strip_prefix(&whole)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('@') || rest.starts_with("//"))
        };
        let find = move || store.hashes_of(is_of_it);
        Ok(tokio::task::spawn_blocking(find).await.context("looking for earlier data")??)
    }
}

/// Returns the reason in words for people.
fn explain(error: CommitError, source: &GitSource, repository: &RemoteRepository) -> InputError {
    let url = &source.url;
    match error {
        CommitError::Unauthorized if repository.credentials.is_some() => {
            InputError::Token(format!("{url} does not let it in"))
        }
        CommitError::Unauthorized | CommitError::Missing => {
            InputError::Missing(format!("{url} does not exist, or is not for everybody"))
        }
        CommitError::Revision => {
            let wanted = source.revision.as_deref().unwrap_or("HEAD");
            InputError::Revision(format!("{url} has no {wanted}, or does not give it out"))
        }
        CommitError::Moved => {
            let advice = "it has moved, or wants `.git` at the end of its address";
            InputError::Refused(format!("{url} answers with a redirect, and a token is not sent after one: {advice}"))
        }
        CommitError::Permanent(Permanent::TooLarge(most, _)) => {
            InputError::TooLarge("git has to write more".to_owned(), most)
        }
        CommitError::Permanent(error) => InputError::Refused(error.to_string()),
        CommitError::NoRoom(words) => InputError::DiskFull(words),
        // A fault of this machine is none of the server.
        CommitError::Failed(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => {
            InputError::System(error)
        }
        CommitError::Failed(error) => InputError::Away(bounded(format!("{error:#}"), MAX_WORDS), None),
    }
}

/// Returns the header with which the server of large files lets the token in, as git sends it.
fn authorization(repository: &RemoteRepository) -> Option<HeaderValue> {
    let Credentials { token, .. } = repository.credentials.as_ref()?;
    let basic = BASE64_STANDARD.encode(format!("x-access-token:{}", token.expose_secret()));
    let mut value = HeaderValue::try_from(format!("Basic {basic}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn too_many(error: anyhow::Error) -> InputError {
    match error.downcast::<Permanent>() {
        Ok(permanent) => InputError::Refused(format!("it has too many files: {permanent}")),
        Err(error) => InputError::System(error),
    }
}

/// Rejects a tree that is no tree of plain files, or that would leave its folder.
fn check_paths(files: &[TreeFile], others: &[String]) -> Result<(), InputError> {
    let named = |paths: &[&str]| {
        let shown: Vec<String> = paths.iter().take(NAMED).map(|path| bounded(format!("{path:?}"), 100)).collect();
        format!("{}{}", shown.join(", "), if paths.len() > NAMED { ", …" } else { "" })
    };
    if !others.is_empty() {
        let (count, names) = (others.len(), named(&others.iter().map(String::as_str).collect::<Vec<_>>()));
        return Err(InputError::Refused(format!(
            "{count} entries of the commit are links or submodules, which are not fetched: {names}; name a folder without \
             them, as in …//FOLDER"
        )));
    }
    if files.len() > MAX_FILES {
        return Err(InputError::Refused(format!("it has more than {MAX_FILES} files")));
    }
    let is_git = |path: &str| path.split('/').any(|part| part.eq_ignore_ascii_case(".git"));
    let paths: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let is_in_a_file = |path: &str| path.match_indices('/').any(|(at, _)| paths.contains(&path[..at]));
    let mut seen = HashSet::new();
    let wrong = files.iter().map(|file| file.path.as_str()).filter(|path| {
        let is_twice = !seen.insert(*path);
        is_twice || !is_plain(path) || is_git(path) || is_in_a_file(path)
    });
    let wrong: Vec<&str> = wrong.collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(InputError::Refused(format!("the commit has paths that are not allowed: {}", named(&wrong)))),
    }
}

/// Writes the files of a commit into a folder.
async fn write(commit: &SingleCommit, files: &[TreeFile], folder: &Path) -> Result<(), InputError> {
    let places: Vec<(&TreeFile, PathBuf)> = files.iter().map(|file| (file, folder.join(&file.path))).collect();
    commit.write(&places).await.map_err(|error| match error {
        CommitError::NoRoom(words) => InputError::DiskFull(words),
        error => InputError::System(error.into()),
    })
}

/// Finds the pointers among written files.
async fn read_pointers(
    files: Vec<TreeFile>,
    folder: tempfile::TempDir,
) -> Result<(Vec<(TreeFile, Option<Pointer>)>, tempfile::TempDir), InputError> {
    let read = move || -> std::io::Result<_> {
        let read = |file: TreeFile| {
            let may_be = file.size < Pointer::MAX_SIZE;
            let pointer = if may_be { Pointer::read(&fs::read(folder.path().join(&file.path))?) } else { None };
            Ok((file, pointer))
        };
        Ok((files.into_iter().map(read).collect::<std::io::Result<Vec<_>>>()?, folder))
    };
    Ok(tokio::task::spawn_blocking(read).await.context("reading files of git")??)
}
