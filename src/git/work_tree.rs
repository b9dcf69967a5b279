//! A person's work tree: its current content, committed or not.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use url::Url;

use super::checkout::History;
use super::{LOCAL_LIMIT, git, run};
use crate::domain::{RepoName, Sha};

/// The folder may belong to another user. That is fine: the person who names it wants it read, and nothing in it is
/// executed.
const TRUSTED: &str = "safe.directory=*";

/// A folder in a work tree.
#[derive(Debug, Clone)]
pub struct WorkTree {
    folder: PathBuf,
    is_top: bool,
}

/// The commit that is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub sha: Sha,
    /// Branch; `None` when the head is detached.
    pub branch: Option<String>,
    /// Message of the commit.
    pub message: String,
}

impl WorkTree {
    /// Finds the work tree that `folder` is in. Returns `None` if it is in no repository.
    ///
    /// # Errors
    /// Fails when git is not installed or cannot read the repository.
    pub async fn around(folder: &Path) -> anyhow::Result<Option<Self>> {
        let tree = Self { folder: folder.to_owned(), is_top: false };
        match tree.ask(&["rev-parse", "--show-prefix"]).await {
            Ok(prefix) => Ok(Some(Self { is_top: prefix.is_empty(), ..tree })),
            Err(error) if format!("{error:#}").contains("not a git repository") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the files below the folder that git tracks or would add, as paths relative to the folder. A path may not
    /// exist, when the file was deleted, or may be a folder, when that is a nested repository.
    ///
    /// # Errors
    /// Fails when git cannot read its index.
    pub async fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let listed = self.bytes(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).await?;
        let paths = listed.split(|b| *b == 0).filter(|path| !path.is_empty());
        // A nested repository is listed with a slash at its end.
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec())).components().collect();
        let mut files: Vec<PathBuf> = paths.map(path).collect();
        // A file with a merge conflict is listed once for each side.
        files.dedup();
        Ok(files)
    }

    /// Returns the commit that is checked out, or `None` before the first commit.
    ///
    /// # Errors
    /// Fails when git cannot read the repository.
    pub async fn head(&self) -> anyhow::Result<Option<Head>> {
        let Ok(sha) = self.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await else { return Ok(None) };
        let branch = self.ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]).await.ok();
        let message = self.ask(&["log", "-1", "--format=%B", "--no-show-signature"]).await?;
        Ok(Some(Head { sha: sha.parse()?, branch, message }))
    }

    /// Returns the address of the remote `origin`, if there is one, without a user name or password in it.
    pub async fn origin(&self) -> Option<String> {
        let address = self.ask(&["config", "--local", "--get", "remote.origin.url"]).await.ok()?;
        let Ok(mut url) = Url::parse(&address) else {
            return Some(address).filter(|address| !address.contains(char::is_control));
        };
        // Both fail for addresses that cannot have them.
        let _ = (url.set_username(""), url.set_password(None));
        Some(url.into())
    }

    /// Writes a `.git` with the last `depth` commits up to `head` into the empty folder `into`, as a clone of `origin`
    /// would have it. Returns false when the folder is not the top of its work tree, because the history would not fit
    /// it.
    ///
    /// # Errors
    /// Fails when the history cannot be read, as in a clone that lacks objects.
    pub async fn history(&self, head: &Sha, depth: u32, origin: &str, into: &Path) -> anyhow::Result<bool> {
        if !self.is_top {
            return Ok(false);
        }
        let folder = tokio::fs::canonicalize(&self.folder).await?;
        let from = Url::from_file_path(&folder).map_err(|()| anyhow!("no file URL for {}", folder.display()))?;
        let upload_pack = format!("git -c {TRUSTED} -c uploadpack.allowAnySHA1InWant=true upload-pack");
        let upload_pack = upload_pack.replace('*', "'*'");
        let history =
            History { sha: head, depth: Some(depth), origin, upload_pack: &upload_pack, base: None, bound: None };
        history.fetch(from.as_str(), into).await?;
        for args in [["update-ref", "--no-deref", "HEAD", head.as_str()].as_slice(), &["read-tree", "HEAD"]] {
            let mut git = git(into);
            git.args(args);
            run(git, LOCAL_LIMIT, None).await?;
        }
        Ok(true)
    }

    /// Returns git's output without the newlines at its end.
    async fn ask(&self, args: &[&str]) -> anyhow::Result<String> {
        let text = String::from_utf8_lossy(&self.bytes(args).await?).into_owned();
        Ok(text.trim_end_matches('\n').to_owned())
    }

    async fn bytes(&self, args: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut git = git(&self.folder);
        git.args(["-c", TRUSTED]).args(args);
        run(git, LOCAL_LIMIT, None).await.with_context(|| format!("reading {}", self.folder.display()))
    }
}

/// Returns the repository that a remote's address names by its last two parts, in any form that git accepts.
pub fn repo_of(address: &str) -> Option<RepoName> {
    let address = address.trim_end_matches('/');
    let address = address.strip_suffix(".git").unwrap_or(address);
    let mut parts = address.rsplit(['/', ':']);
    let (name, owner) = (parts.next()?, parts.next()?);
    format!("{owner}/{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_names_its_repository() {
        let named = |address| repo_of(address).map(|repo| repo.to_string());
        for address in [
            "https://github.com/acme/styles.git",
            "https://user@github.com/acme/styles/",
            "git@github.com:acme/styles.git",
            "ssh://git@host:22/acme/styles",
            "/srv/git/acme/styles.git",
        ] {
            assert_eq!(named(address).as_deref(), Some("acme/styles"), "{address}");
        }
        assert_eq!(named("styles"), None);
        assert_eq!(named("https://host/a b"), None);
    }
}
