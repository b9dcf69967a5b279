//! The plan of a folder, and the files in it that the plan reads.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::domain::{Revision, Trigger};
use crate::lora::is_image;
use crate::plan::{self, Commit, Plan, Settings, SourceFile};
use crate::travis::import::{Found, Imports, Source};

/// The maximum number of images whose beginnings are read: a data set may have millions.
const MAX_IMAGES: usize = 2000;

/// Plans a folder, or a single `.travis.yml` under any name.
pub(super) fn plan_of(path: &Path, trigger: &Trigger, only_smoke: Option<&str>) -> anyhow::Result<Plan> {
    if path.is_file() {
        return Ok(planned(files_of(path)?.as_slice().into(), path.parent().unwrap_or(path), trigger));
    }
    let (files, paths) = (files_of(path)?, paths_of(path)?);
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Ok(planned(Commit { files: &files, paths: &paths, changed: None, only_smoke }, path, trigger))
}

/// Plans files, with the files that they import from a folder.
pub(super) fn planned(commit: Commit<'_>, folder: &Path, trigger: &Trigger) -> Plan {
    let settings = Settings::default();
    let mut imports = Imports::new();
    loop {
        let wanted = plan::wanted_imports(commit.files, &imports, trigger, &settings);
        if wanted.is_empty() {
            return plan::plan(commit, &imports, trigger, &settings);
        }
        imports.extend(wanted.into_iter().map(|source| {
            let found = imported(folder, &source);
            (source, found)
        }));
    }
}

/// Reads an imported file as it would be in a commit of the folder. A file behind a symbolic link counts as missing.
fn imported(folder: &Path, source: &Source) -> Found {
    if source.revision != Revision::Built {
        return Found::NotHere;
    }
    let mut path = folder.to_owned();
    for part in source.path.split('/') {
        path.push(part);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                return Found::Failed(format!("{} is a symbolic link, which is not followed", path.display()));
            }
            Ok(_) => {}
            Err(_) => return Found::Failed(format!("there is no file {}", path.display())),
        }
    }
    if !path.is_file() {
        return Found::Failed(format!("{} is not a regular file", path.display()));
    }
    read(&path).map_or_else(|error| Found::Failed(format!("{error:#}")), Found::File)
}

/// Returns the files of a folder that a plan reads. A single file counts as the `.travis.yml`.
pub(super) fn files_of(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if path.is_file() {
        return Ok(vec![SourceFile { path: plan::CONFIG.to_owned(), text: read(path)? }]);
    }
    if !path.is_dir() {
        bail!("{} is neither a folder nor a file", path.display());
    }
    let mut files = Vec::new();
    collect(path, path, &mut files, &mut 0)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>, images: &mut usize) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && entry.file_name() != ".git" {
            collect(root, &path, files, images)?;
        } else if kind.is_file()
            && let Some(relative) = path.strip_prefix(root)?.to_str()
            && plan::wants(relative, entry.metadata()?.len())
        {
            if is_image(relative) {
                *images += 1;
                if *images > MAX_IMAGES {
                    continue;
                }
            }
            files
                .push(SourceFile { path: relative.to_owned(), text: read_up_to(&path, plan::bytes_wanted(relative))? });
        }
    }
    Ok(())
}

/// Returns the paths of all files in a folder, relative to it. A link counts as a file, wherever it leads.
pub(super) fn paths_of(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.extend((entry.file_name() != ".git").then(|| entry.path()));
            } else if let Some(relative) = entry.path().strip_prefix(root)?.to_str() {
                paths.push(relative.to_owned());
            }
        }
    }
    Ok(paths)
}

/// Reads a file, up to the number of bytes that a plan reads.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_up_to(path, plan::READ_AT_MOST)
}

fn read_up_to(path: &Path, bytes: usize) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(bytes as u64).read_to_end(&mut text)?;
    Ok(text)
}
