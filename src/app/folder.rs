//! The data folder: it belongs to one process, and it holds the key of the seal.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

use crate::repo_keys::{self, Seal};

/// Locks the data folder for this process, for as long as the returned file is open.
pub(super) fn take_folder(folder: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(folder).with_context(|| {
        format!("cannot make the data folder {}: set server.data_dir, or make it writable", folder.display())
    })?;
    let path = folder.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot write {}: is the data folder writable for this user?", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another Trainyard already runs on {}: stop it, or set server.data_dir", folder.display());
    }
    Ok(file)
}

/// Reads the key of the seal, which must be the same as on the server.
pub(super) fn seal_of_server(folder: &Path) -> anyhow::Result<Seal> {
    let path = folder.join("seal.key");
    let key = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}: copy seal.key from the data folder of the machine that runs trainyard serve, for this user \
             alone (mode 600); without it no secret of a repository can be decrypted here",
            path.display()
        )
    })?;
    Seal::new(&key).with_context(|| format!("the key of the seal, {}", path.display()))
}

/// Removes the checkouts that a process was preparing when it died. By now, the folder is locked for this process.
pub(super) fn remove_scratch(folder: &Path) -> anyhow::Result<()> {
    let scratch = folder.join("scratch");
    match std::fs::remove_dir_all(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing what is left in {}", scratch.display()))
        }
        _ => Ok(()),
    }
}

/// Reads the key of the seal, or creates it at the first start. Only its owner may read it.
pub(super) fn seal(folder: &Path) -> anyhow::Result<Seal> {
    let path = folder.join("seal.key");
    let file = || format!("the key of the seal, {}", path.display());
    match std::fs::read(&path) {
        Ok(key) => return Seal::new(&key).with_context(file),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(file),
        Err(_) => {}
    }
    // Written in full or not at all: a part of a key would decrypt nothing.
    let key = repo_keys::new_seal()?;
    let mut new = tempfile::NamedTempFile::new_in(folder).with_context(file)?;
    new.write_all(key.as_slice()).and_then(|()| new.as_file().sync_all()).with_context(file)?;
    new.persist_noclobber(&path).with_context(file)?;
    Ok(Seal::new(key.as_slice())?)
}
