//! The files of an input as its place lists them, before they are fetched.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use url::Url;

use super::download::{Expected, patiently};
use super::error::InputError;
use super::folder::{self, LocalFile, MAX_FILES, Survey};
use super::lfs::Lfs;
use super::manifest::is_plain;
use super::progress::Progress;
use super::{Inputs, Wanted, kind_of};
use crate::domain::RepoName;
use crate::hub::{Hub, RemoteFile, RepositoryKind};
use crate::lora::input::{HubSource, Source};
use crate::storage::{Bucket, BucketFile};

/// The files of an input, before they are fetched.
pub(super) struct Listing {
    pub(super) is_single: bool,
    /// `None` if only the content tells it.
    pub(super) revision: Option<String>,
    pub(super) place: Place,
    pub(super) files: Vec<ListedFile>,
}

/// The place at which the files of an input are.
pub(super) enum Place {
    Hub {
        hub: Hub,
        kind: RepositoryKind,
        repo: String,
        commit: String,
    },
    /// A commit of a git repository: its own files in a folder, and the server of the large ones. `known` has the hashes of
    /// those that this server has sent before.
    Commit {
        folder: TempDir,
        lfs: Arc<Lfs>,
        known: HashSet<String>,
    },
    Web(Url),
    Bucket(Bucket),
    Local(PathBuf),
}

pub(super) struct ListedFile {
    /// Path in the input.
    pub(super) path: String,
    pub(super) expected: Expected,
}

impl Listing {
    /// Returns the number of bytes, as far as it is known.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.expected.size).fold(0, u64::saturating_add)
    }
}

impl Inputs {
    /// Lists the files of an opened folder of this machine.
    pub(super) async fn survey(&self, repo: &RepoName, path: &str) -> Result<Listing, InputError> {
        let refused = || InputError::NotAllowed(format!("{path} is in no inputs.folder that is for {repo}"));
        // The name alone is checked first: nobody learns what else there is.
        if !self.0.config.opens(repo, Path::new(path)) {
            return Err(refused());
        }
        let at = path.to_owned();
        let real = tokio::task::spawn_blocking(move || std::fs::canonicalize(at)).await.context("reading a folder")?;
        let real = real.map_err(|error| InputError::Refused(format!("cannot read {path}: {error}")))?;
        if !self.0.config.opens(repo, &real) {
            return Err(refused());
        }
        let place = real.clone();
        let survey = tokio::task::spawn_blocking(move || folder::survey(&real)).await.context("reading a folder")??;
        let Survey { is_single, revision, files } = survey;
        let listed = |file: LocalFile| {
            let expected = Expected { path: file.path.clone(), size: Some(file.size), ..Expected::default() };
            ListedFile { path: file.path, expected }
        };
        let files = files.into_iter().map(listed).collect();
        Ok(Listing { is_single, revision: Some(revision), place: Place::Local(place), files })
    }

    /// Lists the files of a remote input.
    pub(super) async fn list(&self, wanted: Wanted<'_>, progress: &Progress) -> Result<Listing, InputError> {
        match wanted.from {
            Source::Hub(source) => {
                let commit = wanted.revision.or(source.revision.as_deref()).context("a commit")?;
                self.list_on_hub(wanted.repo, source, commit).await
            }
            Source::Git(source) => self.list_in_git(wanted, source, progress).await,
            Source::Web(address) => {
                let name = wanted.from.file_name().unwrap_or("file").to_owned();
                let address = Url::parse(address)
                    .map_err(|error| InputError::Refused(format!("{address} is no address: {error}")))?;
                let sha256 = wanted.revision.map(str::to_owned);
                let expected = Expected { path: name.clone(), sha256: sha256.clone(), ..Expected::default() };
                let files = vec![ListedFile { path: name, expected }];
                Ok(Listing { is_single: true, revision: sha256, place: Place::Web(address), files })
            }
            Source::Bucket { .. } | Source::File(_) => {
                Err(InputError::System(anyhow::anyhow!("its state was to be listed before")))
            }
        }
    }

    async fn list_on_hub(&self, repo: &RepoName, source: &HubSource, commit: &str) -> Result<Listing, InputError> {
        let (hub, kind) = (self.hub(repo, source)?, kind_of(source));
        let ask = || async { Ok(hub.list(kind, &source.repo, commit).await?) };
        let listed = patiently(&Progress::default(), ask).await?;
        let mut is_single = false;
        let mut files = Vec::new();
        for file in listed {
            let RemoteFile { path, size, git_oid, sha256 } = file;
            let name = match &source.path {
                None => path.clone(),
                Some(wanted) if *wanted == path => {
                    is_single = true;
                    path.rsplit('/').next().unwrap_or(&path).to_owned()
                }
                Some(folder) => match path.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/')) {
                    Some(below) => below.to_owned(),
                    None => continue,
                },
            };
            if !is_plain(&path) || files.len() >= MAX_FILES {
                return Err(InputError::Refused(format!("more than {MAX_FILES} files, or a path that is not allowed")));
            }
            files.push(ListedFile { path: name, expected: Expected { path, size: Some(size), sha256, git_oid } });
        }
        if let (Some(path), true) = (&source.path, files.is_empty()) {
            return Err(InputError::Missing(format!("{} has no {path} at {commit}", source.repo)));
        }
        let place = Place::Hub { hub, kind, repo: source.repo.clone(), commit: commit.to_owned() };
        Ok(Listing { is_single, revision: Some(commit.to_owned()), place, files })
    }

    /// Lists the files of a bucket.
    pub(super) async fn list_in_bucket(&self, repo: &RepoName, name: &str, key: &str) -> Result<Listing, InputError> {
        let Some(entry) = self.0.config.bucket_for(repo, name) else {
            return Err(InputError::NotAllowed(format!("{name} is in no inputs.s3 that is for {repo}")));
        };
        let bucket = entry.open()?;
        let ask = || async { Ok(bucket.list(key, MAX_FILES).await?) };
        let mut found = patiently(&Progress::default(), ask).await?;
        found.sort_by(|one, other| one.key.cmp(&other.key));
        let is_single = matches!(found.as_slice(), [file] if file.key == key);
        let (mut hash, mut files) = (Sha256::new(), Vec::new());
        for BucketFile { key: at, size, version } in found {
            hash.update(format!("{at}\0{size}\0{version}\n"));
            let below = if key.is_empty() {
                Some(at.as_str())
            } else {
                at.strip_prefix(key).map(|rest| rest.strip_prefix('/').unwrap_or(rest))
            };
            let path = if is_single { at.rsplit('/').next() } else { below }.unwrap_or_default().to_owned();
            if !is_plain(&path) || files.len() >= MAX_FILES {
                return Err(InputError::Refused(format!("more than {MAX_FILES} files, or a path that is not allowed")));
            }
            files.push(ListedFile { path, expected: Expected { path: at, size: Some(size), ..Expected::default() } });
        }
        if files.is_empty() {
            return Err(InputError::Refused(format!("the bucket {name} has nothing at {key:?}")));
        }
        let revision = Some(hex::encode(hash.finalize()));
        Ok(Listing { is_single, revision, place: Place::Bucket(bucket), files })
    }
}
