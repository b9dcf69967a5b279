//! A copy of the folder at the start, so that edits during the run change nothing for the jobs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::trigger_args::CheckedOut;
use crate::domain::Checkout;
use crate::git::{WorkTree, repo_of};
use crate::plan::CONFIG;

/// A copy of the files that a commit of the folder would contain.
#[derive(Debug)]
pub(super) struct Snapshot {
    folder: tempfile::TempDir,
    /// The facts from git, or stand-ins for them.
    pub(super) known: CheckedOut,
    /// Notes on each difference from a commit's checkout.
    pub(super) notes: Vec<String>,
}

impl Snapshot {
    /// Copies the folder: in git the files that are tracked or would be added, with the history; otherwise all files.
    pub(super) async fn take(folder: &Path) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            bail!("{} is not a folder: name the one with the {CONFIG}", folder.display());
        }
        let copy = tempfile::Builder::new().prefix("trainyard-run-").tempdir().context("making a temporary folder")?;
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let mut known = CheckedOut::nothing(&name.unwrap_or_default())?;
        let mut notes = Vec::new();
        let files = match WorkTree::around(folder).await? {
            None => Files::All,
            Some(tree) => {
                read_git(&tree, &mut known, copy.path(), &mut notes).await?;
                Files::These(tree.files().await?)
            }
        };
        let (from, to) = (folder.to_owned(), copy.path().to_owned());
        let copied = tokio::task::spawn_blocking(move || files.copy(&from, &to)).await.context("copying panicked")?;
        notes.extend(copied?);
        if folder.join(CONFIG).exists() && !copy.path().join(CONFIG).exists() {
            bail!("git ignores {}, so that no build would see it: change .gitignore", folder.join(CONFIG).display());
        }
        Ok(Self { folder: copy, known, notes })
    }

    /// Returns the folder of the copy.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

async fn read_git(tree: &WorkTree, known: &mut CheckedOut, copy: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let origin = tree.origin().await;
    if let Some(repo) = origin.as_deref().and_then(repo_of) {
        known.repo = repo;
    }
    let Some(head) = tree.head().await? else { return Ok(()) };
    let origin = origin.unwrap_or_else(|| format!("https://github.com/{}.git", known.repo));
    match tree.history(&head.sha, Checkout::DEPTH, &origin, copy).await {
        Ok(true) => {}
        Ok(false) => notes.push("the folder is not the top of its repository: jobs see no .git".to_owned()),
        Err(error) => {
            notes.push(format!("jobs see no .git: {error:#}"));
            // A partial history would only confuse.
            match tokio::fs::remove_dir_all(copy.join(".git")).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    (known.sha, known.branch, known.message) = (head.sha, head.branch, head.message);
    Ok(())
}

/// The files to copy.
enum Files {
    All,
    These(Vec<PathBuf>),
}

impl Files {
    /// Copies the files. Returns notes on those that were left out.
    fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        match self {
            Self::All => copy_folder(from, to, &mut notes)?,
            Self::These(paths) => {
                for path in paths {
                    let target = to.join(path);
                    let parent = target.parent().context("a path without a folder")?;
                    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
                    copy_file(&from.join(path), &target, &mut notes)?;
                }
            }
        }
        Ok(notes)
    }
}

fn copy_folder(from: &Path, to: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target).with_context(|| format!("cannot make {}", target.display()))?;
            copy_folder(&entry.path(), &target, notes)?;
        } else {
            copy_file(&entry.path(), &target, notes)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let name = from.display();
    let kind = match std::fs::symlink_metadata(from) {
        Ok(metadata) => metadata.file_type(),
        // The file was deleted, but is still in git's index.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
    };
    if kind.is_symlink() {
        let aim = std::fs::read_link(from).with_context(|| format!("cannot read {name}"))?;
        std::os::unix::fs::symlink(aim, to).with_context(|| format!("cannot copy {name}"))?;
    } else if kind.is_file() {
        std::fs::copy(from, to).with_context(|| format!("cannot copy {name}"))?;
    } else if kind.is_dir() {
        // A checkout also leaves the folder of a submodule empty.
        std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        if from.join(".git").exists() {
            notes.push(format!("{name} is a separate repository: jobs see an empty folder"));
        }
    } else {
        notes.push(format!("{name} is neither a file nor a folder: jobs do not see it"));
    }
    Ok(())
}
