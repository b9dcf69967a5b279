//! Backups of an installation with a private Postgres, and their restoration.

use std::io::Seek as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;

use super::folder::take_folder;
use crate::config::Config;
use crate::storage::backup::{self, Included, Manifest};
use crate::storage::{Caches, Objects};
use crate::store::MIGRATOR;
use crate::store::postgres::cluster::{self, Cluster};
use crate::store::postgres::dump::{self, Snapshot};

/// Domain of the fingerprint of the seal's key, so that the fingerprint is of no other use.
const FINGERPRINT: &[u8] = b"trainyard seal fingerprint\n";
/// Folder in which a backup is restored before its parts get their places.
const UNFINISHED: &str = "restoring";
/// Manifest of the backup in that folder, once all of the backup is restored there.
const RESTORED: &str = "restored.json";
/// Folders that a restoration puts into the data folder. The database comes last: without it the service would not use
/// the objects.
const PARTS: [&str; 2] = ["objects", "postgres"];

/// A step of a backup or of a restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Database,
    /// Number of objects done so far.
    Objects(u64),
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Size of the file, in bytes.
    pub size: u64,
    /// Number of objects in it; `None` when they are in a bucket.
    pub objects: Option<u64>,
}

/// State of the seal's key after a restoration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKey {
    Present,
    /// The data folder has no key, so the secrets of repositories cannot be opened.
    Missing,
}

/// Writes the database and its objects to a file. The service may run meanwhile. An error of `progress` ends the
/// backup.
///
/// # Errors
/// Fails with a message for the operator.
pub async fn backup(
    config: &Config,
    to: &Path,
    progress: impl FnMut(Step) -> anyhow::Result<()>,
) -> anyhow::Result<Made> {
    refuse_other_postgres(config, "backup")?;
    ensure!(!to.exists(), "{} exists: name a new file, or remove it", to.display());
    let data = &config.server.data_dir;
    if let Some(options) = cluster::running(data)? {
        return write(config, options, to, progress).await;
    }
    let _lock = take_folder(data)?;
    ensure!(data.join("postgres").exists(), "{} has no database: check server.data_dir", data.display());
    let cluster = Cluster::start(data, config.database.connections).await?;
    let made = write(config, cluster.options(), to, progress).await;
    cluster.stop().await?;
    made
}

async fn write(
    config: &Config,
    options: PgConnectOptions,
    to: &Path,
    mut progress: impl FnMut(Step) -> anyhow::Result<()>,
) -> anyhow::Result<Made> {
    let data = &config.server.data_dir;
    progress(Step::Database)?;
    let mut snapshot = Snapshot::take(options).await?;
    let contents = snapshot.contents().await?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // A file without a name: a process that is killed leaves nothing of it.
    let mut dump = tempfile::tempfile_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    snapshot.dump(dump.try_clone()?).await?;
    dump.rewind()?;
    let seal = fingerprint(data)?.with_context(|| format!("{} has no seal.key", data.display()))?;
    let manifest = Manifest::new(contents.instance, contents.migration, seal);
    let objects = Objects::open(&config.storage, data)?;
    let included = objects.folder().map(|folder| Included { folder, keys: &contents.objects });
    let size = tokio::task::block_in_place(|| {
        backup::write(to, manifest, &dump, included, |done| progress(Step::Objects(done as u64)))
    })?;
    Ok(Made { size, objects: included.map(|included| included.keys.len() as u64) })
}

/// Restores a backup into an empty data folder. The service must not run meanwhile. A restoration that is interrupted
/// leaves nothing that the service would use, and the next one goes on from it.
///
/// # Errors
/// Fails with a message for the operator.
pub async fn restore(config: &Config, from: &Path, progress: impl FnMut(Step)) -> anyhow::Result<SealKey> {
    refuse_other_postgres(config, "restore")?;
    let data = &config.server.data_dir;
    let manifest = backup::manifest(from)?;
    let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    ensure!(
        manifest.migration <= newest,
        "the backup is of a newer Trainyard ({}): install that version or a newer one",
        manifest.trainyard
    );
    refuse_other_storage(config, &manifest)?;
    let _lock = take_folder(data)?;
    let unfinished = data.join(UNFINISHED);
    let is_restored = is_restored(&unfinished, &manifest);
    // The interrupted run may have put the objects in place.
    let missing = PARTS.into_iter().filter(|part| !is_restored || unfinished.join(part).exists());
    let missing: Vec<&str> = missing.collect();
    refuse_full(data, &missing)?;
    let seal_key = seal_key(data, &manifest)?;
    // A repository that is added now may get the id of one whose rows are not in the backup.
    Caches::new(data.join("caches"), config.cache.clone()).clear()?;
    if !is_restored {
        if manifest.objects.is_some() {
            clear_place_of_objects(data)?;
        }
        restore_apart(config, from, &unfinished, progress).await?;
    }
    for part in missing.into_iter().filter(|part| unfinished.join(part).exists()) {
        let place = data.join(part);
        std::fs::rename(unfinished.join(part), &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    std::fs::remove_dir_all(&unfinished)?;
    Ok(seal_key)
}

/// Returns true if an interrupted restoration of this backup has only to put its parts in place.
fn is_restored(unfinished: &Path, manifest: &Manifest) -> bool {
    let facts = std::fs::read(unfinished.join(RESTORED)).ok();
    let restored: Option<Manifest> = facts.and_then(|facts| serde_json::from_slice(&facts).ok());
    restored.as_ref() == Some(manifest) && unfinished.join("postgres").exists()
}

/// Restores a backup into a folder of its own.
async fn restore_apart(
    config: &Config,
    from: &Path,
    unfinished: &Path,
    mut progress: impl FnMut(Step),
) -> anyhow::Result<()> {
    if unfinished.exists() {
        std::fs::remove_dir_all(unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    }
    std::fs::create_dir(unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let dump = tokio::task::block_in_place(|| backup::extract(from, unfinished, |done| progress(Step::Objects(done))))?;
    progress(Step::Database);
    let cluster = Cluster::start(unfinished, config.database.connections).await?;
    let restored = dump::restore(&cluster.options(), &dump).await;
    cluster.stop().await?;
    restored?;
    std::fs::rename(unfinished.join(backup::MANIFEST), unfinished.join(RESTORED))?;
    Ok(())
}

fn refuse_other_postgres(config: &Config, command: &str) -> anyhow::Result<()> {
    ensure!(
        config.database.url.is_none(),
        "trainyard {command} is for the private Postgres, and database.url names another one: use pg_dump and \
         pg_restore (docs/operate/storage.md)"
    );
    Ok(())
}

/// Refuses a place of objects that is not the one of the backup: rows would name objects that are not there.
fn refuse_other_storage(config: &Config, manifest: &Manifest) -> anyhow::Result<()> {
    match (manifest.objects, config.storage.url.is_empty()) {
        (Some(1..), false) => {
            bail!("the backup has logs and artifacts, and storage.url names a bucket: leave it empty")
        }
        (None, true) => bail!("the logs and artifacts of this backup are in a bucket: set storage.url to that bucket"),
        _ => Ok(()),
    }
}

/// Refuses a data folder that has a database or objects already.
fn refuse_full(data: &Path, parts: &[&str]) -> anyhow::Result<()> {
    for part in parts {
        let folder = data.join(part);
        let is_empty = std::fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            is_empty && (*part != "postgres" || !folder.exists()),
            "{} exists: move it away, or set server.data_dir to a new folder",
            folder.display()
        );
    }
    Ok(())
}

/// Removes the empty folder that the objects of the backup replace, before there is any other work.
fn clear_place_of_objects(data: &Path) -> anyhow::Result<()> {
    let folder = data.join("objects");
    match std::fs::remove_dir(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| {
            format!(
                "{} cannot be replaced: if it is a mount or a link, remove it, and move the objects there after the \
                 restoration",
                folder.display()
            )
        }),
        _ => Ok(()),
    }
}

fn seal_key(data: &Path, manifest: &Manifest) -> anyhow::Result<SealKey> {
    match fingerprint(data)? {
        None => Ok(SealKey::Missing),
        Some(seal) if seal == manifest.seal => Ok(SealKey::Present),
        Some(_) => bail!(
            "{} is not the key of this backup: put the key of the installation that made the backup there",
            data.join("seal.key").display()
        ),
    }
}

/// Returns the fingerprint of the seal's key; `None` when there is no key.
fn fingerprint(data: &Path) -> anyhow::Result<Option<String>> {
    let path = data.join("seal.key");
    match std::fs::read(&path) {
        Ok(key) => {
            let hash = Sha256::new().chain_update(FINGERPRINT).chain_update(key).finalize();
            Ok(Some(hex::encode(&hash[..16])))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
