//! The repositories of the stand-in, and what was uploaded for them.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub bytes: Bytes,
    /// True if the repository has a pointer in its place.
    pub is_lfs: bool,
}

impl Blob {
    pub fn regular(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), is_lfs: false }
    }

    pub fn large(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), is_lfs: true }
    }

    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }

    /// Returns the text that git has in place of a large file.
    pub fn pointer(&self) -> String {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", self.sha256(), self.bytes.len())
    }

    /// Returns the id in git.
    pub fn oid(&self) -> String {
        let of = |bytes: &[u8]| {
            let head = format!("blob {}\0", bytes.len());
            hex::encode(Sha1::new().chain_update(head).chain_update(bytes).finalize())
        };
        if self.is_lfs { of(self.pointer().as_bytes()) } else { of(&self.bytes) }
    }
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    pub title: String,
    pub message: String,
    pub tree: BTreeMap<String, Blob>,
}

#[derive(Debug, Clone)]
pub struct Repository {
    pub private: bool,
    /// The commits, oldest first. The first one is the Hub's own.
    pub commits: Vec<Commit>,
    pub tags: BTreeMap<String, String>,
}

impl Repository {
    pub fn last(&self) -> &Commit {
        self.commits.last().unwrap()
    }

    /// Adds a commit, and returns its id.
    pub fn add(&mut self, title: &str, message: &str, tree: BTreeMap<String, Blob>) -> String {
        let files: Vec<(&String, String)> = tree.iter().map(|(path, blob)| (path, blob.oid())).collect();
        let id = format!("{title} {message} {files:?} {}", self.commits.len());
        let id = hex::encode(Sha1::digest(id));
        self.commits.push(Commit { id: id.clone(), title: title.to_owned(), message: message.to_owned(), tree });
        id
    }

    /// Finds a commit by its id, a tag or `main`.
    pub fn at(&self, revision: &str) -> Option<&Commit> {
        if revision == "main" {
            return self.commits.last();
        }
        let id = self.tags.get(revision).map_or(revision, String::as_str);
        self.commits.iter().find(|commit| commit.id == id)
    }

    /// Returns the files of the last commit that are not the Hub's own, with their ids in git.
    pub fn files(&self) -> BTreeMap<String, String> {
        let own = |path: &str| path == ".gitattributes";
        self.last().tree.iter().filter(|(path, _)| !own(path)).map(|(path, blob)| (path.clone(), blob.oid())).collect()
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) endpoint: String,
    pub(super) repositories: BTreeMap<String, Repository>,
    /// Large files that are whole, by their SHA-256.
    pub(super) stored: BTreeMap<String, Bytes>,
    /// The uploads that the client has let be verified.
    pub(super) verified: BTreeSet<String>,
    /// Parts of large files: hash, number, bytes.
    pub(super) parts: BTreeMap<(String, usize), Bytes>,
}

impl Model {
    pub(super) fn make(&mut self, repo: &str, private: bool) {
        let mut repository = Repository { private, commits: Vec::new(), tags: BTreeMap::new() };
        let attributes = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n";
        let tree = [(".gitattributes".to_owned(), Blob::regular(attributes))].into();
        repository.add("initial commit", "", tree);
        self.repositories.insert(repo.to_owned(), repository);
    }
}
