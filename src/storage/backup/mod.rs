//! The file of a backup: a tar with facts about it, the dump of the database, the objects that its rows name, and the
//! hashes of all of these, as `sha256sum --check` reads them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

/// Version of the file's form.
const FORM: u32 = 1;
/// The first entry.
pub const MANIFEST: &str = "manifest.json";
const DUMP: &str = "database.dump";
const OBJECTS: &str = "objects";
/// The last entry.
const SUMS: &str = "SHA256SUMS";
/// Maximum size of the manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// Facts about a backup. They are the first entry of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub form: u32,
    /// Version of the Trainyard that made the backup.
    pub trainyard: String,
    /// Newest migration of the database.
    pub migration: i64,
    /// Id of the installation.
    pub instance: String,
    pub taken_at: DateTime<Utc>,
    /// Fingerprint of the key of the seal, which the backup does not contain.
    pub seal: String,
    /// Number of objects in the file; `None` when they are in a bucket.
    pub objects: Option<u64>,
}

impl Manifest {
    /// Returns the manifest of a backup that this program makes.
    pub fn new(instance: String, migration: i64, seal: String) -> Self {
        Self {
            form: FORM,
            trainyard: env!("CARGO_PKG_VERSION").to_owned(),
            migration,
            instance,
            taken_at: Utc::now(),
            seal,
            objects: None,
        }
    }
}

/// Objects of a folder that go into a backup.
#[derive(Debug, Clone, Copy)]
pub struct Included<'a> {
    pub folder: &'a Path,
    pub keys: &'a [String],
}

/// Writes the file of a backup. Nothing is at `to` until the file is complete. Returns its size in bytes. `progress`
/// gets the number of objects that are written; its error ends the backup.
///
/// # Errors
/// Fails when `to` exists, when it cannot be written, or when an object is missing.
pub fn write(
    to: &Path,
    mut manifest: Manifest,
    dump: &File,
    objects: Option<Included<'_>>,
    mut progress: impl FnMut(usize) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    manifest.objects = objects.map(|objects| objects.keys.len() as u64);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Only its owner may read the new file: it has the logs of private repositories.
    let new =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let mut tar = Writer { tar: Builder::new(BufWriter::with_capacity(1 << 20, new)), sums: String::new() };
    let facts = serde_json::to_vec_pretty(&manifest)?;
    tar.append(Path::new(MANIFEST), facts.len() as u64, facts.as_slice()).context("writing the backup")?;
    tar.append_file(Path::new(DUMP), dump).context("writing the database into the backup")?;
    if let Some(Included { folder, keys }) = objects {
        for (written, key) in keys.iter().enumerate() {
            progress(written)?;
            File::open(folder.join(key))
                .map_err(Into::into)
                .and_then(|object| tar.append_file(&Path::new(OBJECTS).join(key), &object))
                .with_context(|| format!("writing the object {key} into the backup"))?;
        }
        progress(keys.len())?;
    }
    let mut buffer = tar.finish().context("writing the backup")?;
    buffer.flush().context("writing the backup")?;
    let new = buffer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    new.as_file().sync_all().context("writing the backup")?;
    let size = new.as_file().metadata()?.len();
    new.persist_noclobber(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(size)
}

/// A backup that is being written.
struct Writer<W: Write> {
    tar: Builder<W>,
    /// Hashes of the entries so far.
    sums: String,
}

impl<W: Write> Writer<W> {
    fn append(&mut self, name: &Path, size: u64, bytes: impl Read) -> anyhow::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        let mut bytes = Hashed { inner: bytes, hash: Sha256::new() };
        self.tar.append_data(&mut header, name, &mut bytes)?;
        self.sums.push_str(&sum(name, bytes.hash));
        Ok(())
    }

    /// Appends all bytes of a file. The tar crate's own functions for files leave holes out, and take a small file whose
    /// bytes are in its inode for one hole.
    fn append_file(&mut self, name: &Path, file: &File) -> anyhow::Result<()> {
        self.append(name, file.metadata()?.len(), file)
    }

    fn finish(mut self) -> anyhow::Result<W> {
        let sums = std::mem::take(&mut self.sums);
        self.append(Path::new(SUMS), sums.len() as u64, sums.as_bytes())?;
        Ok(self.tar.into_inner()?)
    }
}

/// Returns the line of an entry in the list of hashes.
fn sum(name: &Path, hash: Sha256) -> String {
    format!("{}  {}\n", hex::encode(hash.finalize()), name.display())
}

/// Reads the facts about a backup.
///
/// # Errors
/// Fails when the file is not a backup of a form that this program knows.
pub fn manifest(from: &Path) -> anyhow::Result<Manifest> {
    let mut tar = Archive::new(open(from)?);
    let no_backup = || format!("{} is not a backup of Trainyard", from.display());
    let mut entry = tar.entries()?.next().with_context(no_backup)?.with_context(no_backup)?;
    ensure!(entry.path_bytes() == MANIFEST.as_bytes(), no_backup());
    let mut facts = Vec::new();
    (&mut entry).take(MAX_MANIFEST).read_to_end(&mut facts)?;
    let form = serde_json::from_slice::<serde_json::Value>(&facts).with_context(no_backup)?["form"].as_u64();
    ensure!(
        form == Some(u64::from(FORM)),
        "{} has a form that this version does not know: install a newer Trainyard",
        from.display()
    );
    serde_json::from_slice(&facts).with_context(no_backup)
}

/// Extracts a backup into a folder: the manifest as [`MANIFEST`], the dump as `database.dump`, and the objects into
/// `objects`. Returns the path of the dump. `progress` gets the number of objects that are extracted.
///
/// # Errors
/// Fails when the file is damaged or incomplete, or has an entry that no backup has.
pub fn extract(from: &Path, to: &Path, mut progress: impl FnMut(u64)) -> anyhow::Result<PathBuf> {
    let manifest = manifest(from)?;
    if manifest.objects.is_some() {
        make_folder(&to.join(OBJECTS))?;
    }
    let (mut objects, mut sums, mut is_complete) = (0, String::new(), false);
    let damaged = || format!("{} is damaged", from.display());
    for entry in Archive::new(open(from)?).entries()? {
        let entry = entry.with_context(damaged)?;
        let path = entry.path()?.into_owned();
        let is_object = path.starts_with(OBJECTS);
        let is_known = is_object || [MANIFEST, DUMP, SUMS].iter().any(|name| path == Path::new(name));
        ensure!(
            is_known
                && !is_complete
                && entry.header().entry_type() == EntryType::Regular
                && path.components().all(is_plain),
            "{} has an entry that no backup has: {}",
            from.display(),
            path.display()
        );
        if path == Path::new(SUMS) {
            check_sums(entry, &sums).with_context(damaged)?;
            is_complete = true;
            continue;
        }
        let place = to.join(&path);
        make_folder(place.parent().context("an entry is in a folder")?)?;
        let mut entry = Hashed { inner: entry, hash: Sha256::new() };
        let mut file = create(&place)?;
        std::io::copy(&mut entry, &mut file).with_context(damaged)?;
        file.sync_all()?;
        sums.push_str(&sum(&path, entry.hash));
        if is_object {
            objects += 1;
            progress(objects);
        }
    }
    let wanted = manifest.objects.unwrap_or(0);
    ensure!(objects == wanted, "{} has {objects} of {wanted} objects: it is not complete", from.display());
    ensure!(is_complete, "{} has no {SUMS}: it is not complete", from.display());
    let dump = to.join(DUMP);
    ensure!(dump.exists(), "{} has no database: it is not complete", from.display());
    Ok(dump)
}

/// Compares the hashes in a backup with those of the entries that were read.
fn check_sums(stored: impl Read, read: &str) -> anyhow::Result<()> {
    let mut sums = String::new();
    stored.take(read.len() as u64 + 1).read_to_string(&mut sums)?;
    let differs = read.lines().zip(sums.lines()).find(|(read, stored)| read != stored);
    if let Some((line, _)) = differs {
        bail!("{} is not as it was written", line.split("  ").last().unwrap_or_default());
    }
    ensure!(sums == read, "its list of hashes is of other entries");
    Ok(())
}

/// Makes a folder that only its owner may enter, as the service does: the logs of private repositories are in it.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

/// Creates a file that only its owner may read.
fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("cannot make {}", path.display()))
}

fn is_plain(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

/// A reader whose bytes are hashed.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
