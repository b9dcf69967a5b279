//! Repositories on the Hub: their state, their commits and their tags.

use std::collections::HashMap;

use http::Method;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;

use super::{Hub, HubError, Uploaded};
use crate::storage::OutgoingFile;

/// The state of a repository's branch `main`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct State {
    /// Id of the last commit.
    pub sha: String,
    /// True if the repository is not public.
    #[serde(default)]
    pub private: bool,
}

/// The files at the top of a repository at one commit.
#[derive(Debug)]
pub struct Tree {
    files: HashMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    path: String,
    /// Id of the blob in git.
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    /// SHA-256 of the file.
    oid: String,
    size: u64,
}

/// A commit to make.
#[derive(Debug)]
pub struct Change<'a> {
    /// Id of the commit before it. If another commit is the last one, the Hub refuses.
    pub parent: &'a str,
    /// First line of the message.
    pub summary: &'a str,
    /// The rest of the message.
    pub description: &'a str,
    pub files: Vec<Uploaded>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

/// Maximum number of pages of a tree that are read. A page has a thousand files.
const MAX_PAGES: usize = 20;

impl Hub {
    /// Returns the address at which people see a commit of a repository.
    pub fn page(&self, repo: &str, commit: &str) -> String {
        self.address(&format!("/{repo}/tree/{commit}"))
    }

    /// Makes a repository for a model. If there is one already, that is fine.
    ///
    /// # Errors
    /// Fails when the Hub does not make it.
    pub async fn create(&self, repo: &str, private: bool) -> Result<(), HubError> {
        let Some((owner, name)) = repo.split_once('/') else {
            return Err(HubError::Refused(format!("{repo} is not OWNER/NAME")));
        };
        let visibility = if private { "private" } else { "public" };
        let asked = json!({"name": name, "organization": owner, "type": "model", "visibility": visibility});
        match self.send(self.request(Method::POST, "/api/repos/create").json(&asked)).await {
            Ok(_) | Err(HubError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the state of a repository.
    ///
    /// # Errors
    /// Fails with [`HubError::Missing`] when there is no such repository.
    pub async fn state(&self, repo: &str) -> Result<State, HubError> {
        let state: State = self.ask(self.request(Method::GET, &format!("/api/models/{repo}/revision/main"))).await?;
        is_commit(&state.sha).then_some(state).ok_or_else(|| super::unexpected("a commit"))
    }

    /// Reads the files at the top of a repository at a commit.
    ///
    /// # Errors
    /// Fails when the Hub does not answer.
    pub async fn tree(&self, repo: &str, commit: &str) -> Result<Tree, HubError> {
        let mut files = HashMap::new();
        let mut request = self.request(Method::GET, &format!("/api/models/{repo}/tree/{commit}"));
        for _ in 0..MAX_PAGES {
            let answer = self.send(request).await?;
            let entries: Vec<Entry> = super::parse(&answer.body)?;
            files.extend(entries.into_iter().map(|entry| (entry.path.clone(), entry)));
            let link = answer.headers.get("link").and_then(|link| link.to_str().ok()).and_then(next_page);
            let Some(next) = link else { return Ok(Tree { files }) };
            request = self.follow(Method::GET, next)?;
        }
        Err(HubError::Refused("the repository has too many files at its top".to_owned()))
    }

    /// Returns the id of a commit among the last ones whose message has this text.
    ///
    /// # Errors
    /// Fails when the Hub does not answer.
    pub async fn find_commit(&self, repo: &str, text: &str) -> Result<Option<String>, HubError> {
        let request = self.request(Method::GET, &format!("/api/models/{repo}/commits/main"));
        let commits: Vec<Listed> = self.ask(request).await?;
        let is_it = |commit: &Listed| commit.message.contains(text) || commit.title.contains(text);
        Ok(commits.into_iter().find(is_it).map(|commit| commit.id).filter(|id| is_commit(id)))
    }

    /// Makes a commit, and returns its id. If the answer is lost, the commit may have been made: compare the tree before
    /// another try.
    ///
    /// # Errors
    /// Fails with [`HubError::Conflict`] when another commit came first.
    pub async fn commit(&self, repo: &str, change: Change<'_>) -> Result<String, HubError> {
        let Change { parent, summary, description, files } = change;
        let header = json!({"summary": summary, "description": description, "parentCommit": parent});
        let header = json!({"key": "header", "value": header});
        let mut lines = String::new();
        for line in std::iter::once(header).chain(files.into_iter().map(|file| file.line)) {
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        let request = self.request(Method::POST, &format!("/api/models/{repo}/commit/main"));
        let committed: Committed = self.ask(request.header(CONTENT_TYPE, "application/x-ndjson").body(lines)).await?;
        Some(committed.commit_oid).filter(|id| is_commit(id)).ok_or_else(|| super::unexpected("a commit"))
    }

    /// Gives a commit a name. If the name is taken already, nothing changes.
    ///
    /// # Errors
    /// Fails when the Hub does not make the tag.
    pub async fn tag(&self, repo: &str, commit: &str, tag: &str) -> Result<(), HubError> {
        let request = self.request(Method::POST, &format!("/api/models/{repo}/tag/{commit}"));
        match self.send(request.json(&json!({"tag": tag}))).await {
            Ok(_) | Err(HubError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Tree {
    /// Returns true if all these files are in the tree with the same bytes.
    ///
    /// # Errors
    /// Fails when one of our files cannot be read.
    pub async fn has(&self, files: &[OutgoingFile]) -> Result<bool, HubError> {
        for file in files {
            let is_same = match self.files.get(&file.path) {
                None => false,
                Some(Entry { lfs: Some(lfs), .. }) => lfs.oid == file.sha256 && lfs.size == file.size,
                Some(Entry { oid, size, lfs: None, .. }) => {
                    *size == file.size && *oid == file.git_oid().await.map_err(HubError::File)?
                }
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns true for the id of a commit. It becomes a part of addresses.
pub(super) fn is_commit(id: &str) -> bool {
    id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the address of the next page in a header `Link`.
pub(super) fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (address, relation) = part.trim().split_once('>')?;
        relation.contains("rel=\"next\"").then(|| address.trim_start_matches('<'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_the_next_page() {
        let next = "<https://hub/api/models/a/b/tree/x?cursor=2>; rel=\"next\"";
        assert_eq!(next_page(next), Some("https://hub/api/models/a/b/tree/x?cursor=2"));
        assert_eq!(next_page("<https://hub/x>; rel=\"prev\", <https://hub/y>; rel=\"next\""), Some("https://hub/y"));
        assert_eq!(next_page("<https://hub/x>; rel=\"prev\""), None);
        assert_eq!(next_page("nonsense"), None);
    }

    #[tokio::test]
    async fn a_tree_has_files_by_their_bytes() {
        let file = OutgoingFile::text("a.md", "what is up, doc?".to_owned());
        let tree = |oid: &str, lfs: Option<&str>| {
            let lfs = lfs.map(|oid| Lfs { oid: oid.to_owned(), size: 16 });
            let entry = Entry { path: "a.md".to_owned(), oid: oid.to_owned(), size: 16, lfs };
            Tree { files: [("a.md".to_owned(), entry)].into() }
        };
        let files = [file.clone()];
        assert!(tree("bd9dbf5aae1a3862dd1526723246b20206e5fc37", None).has(&files).await.unwrap());
        assert!(!tree("0000000000000000000000000000000000000000", None).has(&files).await.unwrap());
        assert!(tree("pointer", Some(&file.sha256)).has(&files).await.unwrap());
        assert!(!tree("pointer", Some(&"0".repeat(64))).has(&files).await.unwrap());
        assert!(!Tree { files: HashMap::new() }.has(&files).await.unwrap());
    }
}
