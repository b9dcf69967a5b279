//! The file of a backup: a tar with facts about it, the dump of the database, and the objects that its rows name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

/// Version of the file's form.
const FORM: u32 = 1;
const MANIFEST: &str = "manifest.json";
const DUMP: &str = "database.dump";
const OBJECTS: &str = "objects";
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
    /// SHA-256 of the dump, in hexadecimal digits.
    pub dump: String,
    /// Number of objects in the file; `None` when they are in a bucket.
    pub objects: Option<u64>,
}

impl Manifest {
    /// Returns the manifest of a backup that this program makes.
    ///
    /// # Errors
    /// Fails when the dump cannot be read.
    pub fn new(instance: String, migration: i64, seal: String, dump: &Path) -> anyhow::Result<Self> {
        let mut hashed = Hashed { inner: std::io::sink(), hash: Sha256::new() };
        std::io::copy(&mut open(dump)?, &mut hashed)?;
        Ok(Self {
            form: FORM,
            trainyard: env!("CARGO_PKG_VERSION").to_owned(),
            migration,
            instance,
            taken_at: Utc::now(),
            seal,
            dump: hex::encode(hashed.hash.finalize()),
            objects: None,
        })
    }
}

/// Objects of a folder that go into a backup.
#[derive(Debug, Clone, Copy)]
pub struct Included<'a> {
    pub folder: &'a Path,
    pub keys: &'a [String],
}

/// Writes the file of a backup. Nothing is at `to` until the file is complete. Returns its size in bytes. `progress`
/// gets the number of objects that are written.
///
/// # Errors
/// Fails when `to` exists, when it cannot be written, or when an object is missing.
pub fn write(
    to: &Path,
    mut manifest: Manifest,
    dump: &Path,
    objects: Option<Included<'_>>,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<u64> {
    manifest.objects = objects.map(|objects| objects.keys.len() as u64);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Only its owner may read the new file: it has the logs of private repositories.
    let new =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let mut tar = Builder::new(BufWriter::with_capacity(1 << 20, new));
    let facts = serde_json::to_vec_pretty(&manifest)?;
    let mut header = Header::new_gnu();
    header.set_size(facts.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, MANIFEST, facts.as_slice())?;
    append(&mut tar, dump, Path::new(DUMP)).context("writing the database into the backup")?;
    if let Some(Included { folder, keys }) = objects {
        for (written, key) in keys.iter().enumerate() {
            progress(written);
            append(&mut tar, &folder.join(key), &Path::new(OBJECTS).join(key))
                .with_context(|| format!("writing the object {key} into the backup"))?;
        }
        progress(keys.len());
    }
    let mut buffer = tar.into_inner().context("writing the backup")?;
    buffer.flush().context("writing the backup")?;
    let new = buffer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    new.as_file().sync_all().context("writing the backup")?;
    let size = new.as_file().metadata()?.len();
    new.persist_noclobber(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(size)
}

/// Appends all bytes of a file. The tar crate's own functions for files leave holes out, and take a small file whose
/// bytes are in its inode for one hole.
fn append(tar: &mut Builder<impl std::io::Write>, file: &Path, name: &Path) -> anyhow::Result<()> {
    let file = File::open(file)?;
    let mut header = Header::new_gnu();
    header.set_size(file.metadata()?.len());
    header.set_mode(0o600);
    Ok(tar.append_data(&mut header, name, file)?)
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

/// Extracts a backup into a folder: the dump as `database.dump`, and the objects into `objects`. Returns the path of
/// the dump. `progress` gets the number of objects that are extracted.
///
/// # Errors
/// Fails when the file is damaged or incomplete, or has an entry that no backup has.
pub fn extract(from: &Path, to: &Path, mut progress: impl FnMut(u64)) -> anyhow::Result<PathBuf> {
    let manifest = manifest(from)?;
    if manifest.objects.is_some() {
        make_folder(&to.join(OBJECTS))?;
    }
    let (mut dump, mut objects) = (None, 0);
    let damaged = || format!("{} is damaged", from.display());
    for entry in Archive::new(open(from)?).entries()?.skip(1) {
        let mut entry = entry.with_context(damaged)?;
        let path = entry.path()?.into_owned();
        ensure!(
            entry.header().entry_type() == EntryType::Regular && path.components().all(is_plain),
            "{} has an entry that no backup has: {}",
            from.display(),
            path.display()
        );
        let place = to.join(&path);
        if path == Path::new(DUMP) {
            let mut hashed = Hashed { inner: create(&place)?, hash: Sha256::new() };
            std::io::copy(&mut entry, &mut hashed).with_context(damaged)?;
            ensure!(
                hex::encode(hashed.hash.finalize()) == manifest.dump,
                "the database in {} is damaged",
                from.display()
            );
            dump = Some(place);
        } else if path.starts_with(OBJECTS) {
            let folder = place.parent().context("an object is in a folder")?;
            make_folder(folder)?;
            let mut file = create(&place)?;
            std::io::copy(&mut entry, &mut file).with_context(damaged)?;
            file.sync_all()?;
            objects += 1;
            progress(objects);
        } else {
            bail!("{} has an entry that no backup has: {}", from.display(), path.display());
        }
    }
    let wanted = manifest.objects.unwrap_or(0);
    ensure!(objects == wanted, "{} has {objects} of {wanted} objects: it is not complete", from.display());
    dump.with_context(|| format!("{} has no database: it is not complete", from.display()))
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

/// A writer whose bytes are hashed.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: std::io::Write> std::io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLE: u64 = 1 << 20;

    fn backup(folder: &Path) -> PathBuf {
        let (dump, objects, to) = (folder.join("dump"), folder.join("kept"), folder.join("backup.tar"));
        std::fs::write(&dump, "rows").expect("written");
        std::fs::create_dir_all(objects.join("i/logs")).expect("made");
        std::fs::write(objects.join("i/logs/1-1.zst"), "a log").expect("written");
        // All of it but the last byte is a hole.
        let holes = File::create(objects.join("i/holes")).expect("made");
        std::os::unix::fs::FileExt::write_all_at(&holes, b"x", HOLE).expect("written");
        let manifest = Manifest::new("i".to_owned(), 5, "seal".to_owned(), &dump).expect("a manifest");
        let keys = ["i/logs/1-1.zst", "i/holes"].map(str::to_owned);
        write(&to, manifest, &dump, Some(Included { folder: &objects, keys: &keys }), |_| {}).expect("written");
        to
    }

    fn extracted(from: &Path, to: &Path) -> Result<PathBuf, String> {
        std::fs::create_dir_all(to).expect("made");
        extract(from, to, |_| {}).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_backup_is_extracted_as_it_was_and_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = backup(folder.path());
        let to = folder.path().join("to");
        assert_eq!(std::fs::read(extracted(&file, &to).expect("extracted")).expect("a dump"), b"rows");
        assert_eq!(std::fs::read(to.join("objects/i/logs/1-1.zst")).expect("an object"), b"a log");
        let holes = std::fs::read(to.join("objects/i/holes")).expect("an object");
        assert!(holes.len() as u64 == HOLE + 1 && holes[0] == 0 && holes.last() == Some(&b'x'));
        for (path, mode) in [("database.dump", 0o600), ("objects", 0o700)] {
            let permissions = std::fs::metadata(to.join(path)).expect("it is there").permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777, mode, "{path}");
        }
        let facts = manifest(&file).expect("a manifest");
        assert_eq!((facts.migration, facts.objects, facts.seal.as_str()), (5, Some(2), "seal"));
        let again = write(&file, facts, &folder.path().join("dump"), None, |_| {}).expect_err("the file exists");
        assert!(format!("{again:#}").contains("cannot write"), "{again:#}");
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = backup(folder.path());
        let whole = std::fs::read(&file).expect("a backup");
        let refused = |name: &str, bytes: &[u8]| {
            let changed = folder.path().join(name);
            std::fs::write(&changed, bytes).expect("written");
            extracted(&changed, &folder.path().join(format!("to {name}"))).expect_err("it is refused")
        };
        let object = whole.windows(5).position(|bytes| bytes == b"a log").expect("the object");
        let dump = whole.windows(4).position(|bytes| bytes == b"rows").expect("the dump");
        assert!(refused("cut", &whole[..object - 512]).contains("0 of 2 objects: it is not complete"));
        assert!(refused("half", &whole[..object + 2]).contains("is damaged"));
        let mut changed = whole.clone();
        changed[dump] = b'R';
        assert!(refused("changed", &changed).contains("the database in"));
        assert!(refused("other", b"no tar").contains("is not a backup of Trainyard"));
    }

    #[test]
    fn an_entry_that_leads_out_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = backup(folder.path());
        let facts = serde_json::to_vec(&manifest(&file).expect("a manifest")).expect("JSON");
        for (kind, name) in [
            (EntryType::Regular, "objects/../../out"),
            (EntryType::Symlink, "objects/link"),
            (EntryType::Regular, "other"),
        ] {
            let hostile = folder.path().join("hostile.tar");
            let mut tar = Builder::new(File::create(&hostile).expect("a file"));
            for (kind, name, bytes) in [(EntryType::Regular, MANIFEST, facts.as_slice()), (kind, name, b"")] {
                let mut header = Header::new_gnu();
                header.set_entry_type(kind);
                header.set_size(bytes.len() as u64);
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                tar.append(&header, bytes).expect("an entry");
            }
            tar.finish().expect("a tar");
            drop(tar);
            let refused = extracted(&hostile, &folder.path().join("to")).expect_err("it is refused");
            assert!(refused.contains("an entry that no backup has"), "{name}: {refused}");
        }
        assert!(!folder.path().join("out").exists());
    }
}
