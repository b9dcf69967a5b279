//! Data from a folder of this machine that the operator has opened.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::InputError;
use super::manifest::is_plain;

/// Maximum number of files.
pub(super) const MAX_FILES: usize = 100_000;

/// The files at a path, as they are now.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) is_single: bool,
    /// Name of the state: it changes when a file does.
    pub(super) revision: String,
    pub(super) files: Vec<LocalFile>,
}

#[derive(Debug)]
pub(super) struct LocalFile {
    /// Path in the folder; the name of a single file.
    pub(super) path: String,
    pub(super) size: u64,
}

/// Lists the files at a path. Blocks.
pub(super) fn survey(path: &Path) -> Result<Survey, InputError> {
    let facts = fs::symlink_metadata(path).map_err(|error| missing(path, &error))?;
    let mut found = Vec::new();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_single = !facts.is_dir();
    if is_single {
        add(path, name, &mut found)?
    } else {
        walk(path, "", &mut found)?
    }
    found.sort_by(|one, other| one.0.path.cmp(&other.0.path));
    let mut hash = Sha256::new();
    for (file, changed) in &found {
        hash.update(format!("{}\0{}\0{changed}\n", file.path, file.size));
    }
    let revision = hex::encode(hash.finalize());
    Ok(Survey { is_single, revision, files: found.into_iter().map(|(file, _)| file).collect() })
}

fn walk(folder: &Path, below: &str, found: &mut Vec<(LocalFile, i128)>) -> Result<(), InputError> {
    for entry in fs::read_dir(folder).map_err(|error| missing(folder, &error))? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if !is_plain(&path) {
            return Err(InputError::Refused(format!("{} has a name that is not allowed", entry.path().display())));
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &path, found)?;
        } else {
            add(&entry.path(), path, found)?;
        }
        if found.len() > MAX_FILES {
            return Err(InputError::Refused(format!("it has more than {MAX_FILES} files")));
        }
    }
    Ok(())
}

fn add(at: &Path, path: String, found: &mut Vec<(LocalFile, i128)>) -> Result<(), InputError> {
    let facts = fs::symlink_metadata(at).map_err(|error| missing(at, &error))?;
    if !facts.is_file() {
        let advice = "copy what it stands for to its place";
        return Err(InputError::Refused(format!("{} is neither a file nor a folder: {advice}", at.display())));
    }
    let changed = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
    found.push((LocalFile { path, size: facts.len() }, changed));
    Ok(())
}

/// Copies a file of this size. Blocks.
pub(super) fn copy(from: &Path, size: Option<u64>, to: &Path) -> Result<File, InputError> {
    let mut file = File::open(from).map_err(|error| missing(from, &error))?;
    let mut copy = File::options().read(true).write(true).create(true).truncate(true).open(to)?;
    let copied = io::copy(&mut file, &mut copy)?;
    match size.is_none_or(|size| size == copied) {
        true => Ok(copy),
        false => Err(InputError::Changed),
    }
}

fn missing(path: &Path, error: &io::Error) -> InputError {
    InputError::Refused(format!("cannot read {}: {error}", path.display()))
}
