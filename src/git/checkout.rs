//! A job's checkout: the history up to its commit, and the files.

use std::path::Path;

use anyhow::Context as _;
use bytesize::ByteSize;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::command::Bound;
use super::{LOCAL_LIMIT, Mirrors, git, run, run_within};
use crate::domain::{Checkout, RepoName, Sha};

/// Ref in an unfinished `.git`: it marks a commit whose files are already at the place where the `.git` will be used.
const BASE: &str = "refs/trainyard/base";
/// Folder of that ref.
const BASE_FOLDER: &str = "refs/trainyard";

/// A history that is fetched into an empty folder.
#[derive(Debug)]
pub(super) struct History<'a> {
    /// Last commit of the history.
    pub(super) sha: &'a Sha,
    /// Number of commits; `None` for all.
    pub(super) depth: Option<u32>,
    /// Address that the result names as its origin.
    pub(super) origin: &'a str,
    /// git program that serves the history.
    pub(super) upload_pack: &'a str,
    /// A commit whose tree is left out, and the folder of the objects that have it: the place where the history will be
    /// used has its files.
    pub(super) base: Option<(&'a Sha, &'a Path)>,
    /// The bound on what is written; `None` for a person's own repository.
    pub(super) bound: Option<Bound<'a>>,
}

/// The history to be put into a job's checkout.
#[derive(Debug, Clone, Copy)]
pub struct NewHistory<'a> {
    pub sha: &'a Sha,
    /// A commit that the job's image has already.
    pub base: Option<&'a Sha>,
    pub wanted: &'a Checkout,
    /// The address that the checkout's remote gets.
    pub origin: &'a str,
    /// The most bytes of a checkout (`limits.disk`).
    pub max_size: ByteSize,
}

impl Mirrors {
    /// Writes a `.git` with as many commits as wanted into the empty folder `into`. [`Mirrors::check_out`] writes the
    /// files. Objects of the commit `base` are left out, for a place that already has them.
    ///
    /// # Errors
    /// Fails when the mirror does not have the commit, or when the folder cannot be written. Fails with
    /// [`super::Permanent`] when the history is too large.
    pub async fn history(&self, repo: &RepoName, new: NewHistory<'_>, into: &Path) -> anyhow::Result<()> {
        let NewHistory { sha, base, wanted, origin, max_size } = new;
        let mirror = tokio::fs::canonicalize(self.path(repo)).await.context("the mirror is gone")?;
        let objects = mirror.join("objects");
        let mirror = Url::from_file_path(&mirror).map_err(|()| anyhow::anyhow!("no file URL for the mirror"))?;
        let base = base.map(|base| (base, objects.as_path()));
        let bound = Some(self.checkout_bound(into, max_size));
        let history = History { sha, depth: wanted.depth, origin, upload_pack: "git-upload-pack", base, bound };
        history.fetch(mirror.as_str(), into).await?;
        let autocrlf = wanted.autocrlf.as_ref().map(|value| format!("[core]\n\tautocrlf = {value}\n"));
        let symlinks = wanted.symlinks.map(|value| format!("[core]\n\tsymlinks = {value}\n"));
        for setting in autocrlf.into_iter().chain(symlinks) {
            append(&into.join(".git/config"), &setting).await?;
        }
        Ok(())
    }

    /// Writes the files of a commit next to the `.git` that [`Mirrors::history`] has made. Both together may take
    /// `max_size`: a few kilobytes of objects can stand for any number of bytes.
    ///
    /// # Errors
    /// Fails when the folder cannot be written, and with [`super::Permanent`] when the files are too large.
    pub async fn check_out(&self, sha: &Sha, folder: &Path, max_size: ByteSize) -> anyhow::Result<()> {
        let mut checkout = git(folder);
        checkout.args(["-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", sha.as_str()]);
        let bound = self.checkout_bound(folder, max_size);
        run_within(checkout, LOCAL_LIMIT, bound).await.with_context(|| format!("checking out {sha}"))?;
        Ok(())
    }

    fn checkout_bound<'a>(&'a self, folder: &'a Path, most: ByteSize) -> Bound<'a> {
        Bound { before: Some(0), most, setting: "limits.disk", ..self.bound(folder) }
    }

    /// Returns true if `one` is in the history of `other`, and git writes their common files in the same way for both.
    ///
    /// # Errors
    /// Fails when the mirror lacks one of them.
    pub async fn leads_to(&self, repo: &RepoName, one: &Sha, other: &Sha) -> anyhow::Result<bool> {
        let is_ancestor = ["merge-base", "--is-ancestor", one.as_str(), other.as_str()];
        let attributes =
            ["diff-tree", "-r", "--name-only", one.as_str(), other.as_str(), "--", ":(glob)**/.gitattributes"];
        // git fails both for "no" and for a missing commit; the other command distinguishes the two.
        let (is_ancestor, differing) = tokio::join!(self.local(repo, &is_ancestor), self.local(repo, &attributes));
        Ok(differing?.is_empty() && is_ancestor.is_ok())
    }
}

impl History<'_> {
    /// Fetches the history into a new `.git` in the empty folder `into`, whose work tree stays empty. The result looks
    /// like a clone of `origin`, without a trace of its source on this machine.
    pub(super) async fn fetch(&self, from: &str, into: &Path) -> anyhow::Result<()> {
        let sha = self.sha;
        let mut init = git(into);
        init.args(["init", "--quiet", "--template=", "--initial-branch=trainyard", "."]);
        run(init, LOCAL_LIMIT, None).await?;
        let folder = into.join(".git");
        if let Some((base, objects)) = self.base {
            pretend(&folder, base, objects).await?;
        }
        let mut fetch = git(into);
        fetch
            .env("GIT_ALLOW_PROTOCOL", "file")
            // A single pack is faster to write than its objects, and after a crash this folder is useless.
            .args(["-c", "fetch.unpackLimit=1", "-c", "core.fsync=none"])
            // Only the base of the pretended objects must be announced.
            .args(["-c", "core.alternateRefsPrefixes=refs/none"])
            .args(["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"])
            .args(match (self.depth, self.base) {
                (Some(depth), _) => Some(format!("--depth={depth}")),
                (None, Some(_)) => Some("--unshallow".to_owned()),
                (None, None) => None,
            })
            .args([&format!("--upload-pack={}", self.upload_pack), "--", from, sha.as_str()]);
        let fetched = match self.bound {
            Some(bound) => run_within(fetch, LOCAL_LIMIT, bound).await,
            None => run(fetch, LOCAL_LIMIT, None).await,
        };
        fetched.with_context(|| format!("fetching {sha}"))?;
        let origin = self.origin.replace('\\', "\\\\").replace('"', "\\\"");
        let mut config =
            format!("[remote \"origin\"]\n\turl = \"{origin}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n");
        if self.base.is_some() {
            tokio::fs::remove_file(folder.join(ALTERNATES)).await?;
            tokio::fs::remove_file(folder.join(BASE)).await?;
            tokio::fs::remove_dir(folder.join(BASE_FOLDER)).await?;
            tokio::fs::write(folder.join("HEAD"), format!("{sha}\n")).await?;
            // The files of the base may have been written by another git on another file system, so only times and
            // sizes are compared.
            config += "[core]\n\tcheckStat = minimal\n";
        }
        append(&folder.join("config"), &config).await
    }
}

/// File in which a `.git` names other folders of objects.
const ALTERNATES: &str = "objects/info/alternates";

/// Makes a new `.git` appear to have a commit's tree, but none of the commits before it.
async fn pretend(folder: &Path, base: &Sha, objects: &Path) -> anyhow::Result<()> {
    let objects = objects.to_str().context("the mirror's path is not UTF-8")?;
    for (file, text) in
        [(ALTERNATES, format!("{objects}\n")), ("shallow", format!("{base}\n")), (BASE, format!("{base}\n"))]
    {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(path, text).await?;
    }
    Ok(())
}

async fn append(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = tokio::fs::OpenOptions::new().append(true).open(file).await?;
    file.write_all(text.as_bytes()).await?;
    Ok(file.flush().await?)
}
