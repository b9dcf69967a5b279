//! The store of a machine: each file once, by its SHA-256, however many inputs have it.
//!
//! ```text
//! blobs/ab/ab12…      the files, read-only
//! manifests/KEY.json  the files of an input; its time is that of its last use
//! trees/KEY/          the input as a folder, of links to the files
//! partial/            files that are being fetched
//! ```
//!
//! A manifest is written last, and removed first. So what it lists is there, and a file that no manifest lists can go.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::download::replace;
use super::hash::sha256_of;
use super::manifest::{Manifest, StoredFile};

/// Age after which a file that no manifest lists counts as left by a fetch that was given up.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
    /// Id of this start of the machine.
    boot: String,
}

impl Store {
    pub(super) fn new(folder: PathBuf) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { folder, boot: boot.trim().to_owned() }
    }

    /// Makes the folders.
    pub(super) fn prepare(&self) -> io::Result<()> {
        ["blobs", "manifests", "trees", "partial"]
            .iter()
            .try_for_each(|name| fs::create_dir_all(self.folder.join(name)))
    }

    /// Returns the place of a partial file.
    pub(super) fn partial(&self, id: &str) -> PathBuf {
        self.unfinished().join(id)
    }

    /// Returns the folder of files that are being fetched.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.folder.join("partial")
    }

    fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(sha256.get(..2).unwrap_or_default()).join(sha256)
    }

    fn manifest(&self, key: &str) -> PathBuf {
        self.folder.join("manifests").join(format!("{key}.json"))
    }

    /// Returns the folder or the file that a job sees.
    pub(super) fn place(&self, key: &str, manifest: &Manifest) -> PathBuf {
        match manifest.files.as_slice() {
            [file] if manifest.is_single => self.blob(&file.sha256),
            _ => self.folder.join("trees").join(key),
        }
    }

    /// Finds an input, and notes that it is used. After a start of the machine its files are read again: a machine that
    /// lost its power may have lost what it had not written. Blocks.
    pub(super) fn find(&self, key: &str) -> io::Result<Option<Manifest>> {
        let path = self.manifest(key);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Ok(mut manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(None) };
        if !self.place(key, &manifest).exists() {
            return Ok(None);
        }
        if manifest.boot != self.boot {
            if !manifest.files.iter().all(|file| self.is_whole(file)) {
                fs::remove_file(&path)?;
                return Ok(None);
            }
            manifest.boot.clone_from(&self.boot);
            replace(&path, &serde_json::to_vec(&manifest).unwrap_or_default())?;
        }
        File::open(&path)?.set_modified(SystemTime::now())?;
        Ok(Some(manifest))
    }

    fn is_whole(&self, file: &StoredFile) -> bool {
        let path = self.blob(&file.sha256);
        let read = File::open(&path).and_then(|file| sha256_of(&file));
        let is_whole = read.is_ok_and(|(sha256, size)| sha256 == file.sha256 && size == file.size);
        if !is_whole {
            let _ = fs::remove_file(path);
        }
        is_whole
    }

    /// Returns the size of a file, if it is here.
    pub(super) fn size_of(&self, sha256: &str) -> Option<u64> {
        let path = self.blob(sha256);
        let facts = fs::metadata(&path).ok()?;
        // A fetch is about to list it.
        File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).ok()?;
        Some(facts.len())
    }

    /// Lists the hashes of the files of some inputs, which are found by their addresses. Blocks.
    pub(super) fn hashes_of(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<HashSet<String>> {
        let mut hashes = HashSet::new();
        for path in entries(&self.folder.join("manifests"))? {
            // Another job may remove it now.
            let Ok(text) = fs::read(&path) else { continue };
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text)
                && is_wanted(&manifest.source)
            {
                hashes.extend(manifest.files.into_iter().map(|file| file.sha256));
            }
        }
        Ok(hashes)
    }

    pub(super) fn open(&self, sha256: &str) -> io::Result<File> {
        File::open(self.blob(sha256))
    }

    /// Moves a complete file to its place.
    pub(super) fn adopt(&self, partial: &Path, sha256: &str) -> io::Result<()> {
        let blob = self.blob(sha256);
        blob.parent().map_or(Ok(()), fs::create_dir_all)?;
        // Jobs see these very files. Each user of a container may read them.
        fs::set_permissions(partial, Permissions::from_mode(0o444))?;
        fs::rename(partial, blob)
    }

    /// Makes an input of files that are here. Blocks.
    ///
    /// # Errors
    /// Fails with [`io::ErrorKind::NotFound`] when one of them was removed meanwhile.
    pub(super) fn keep(&self, key: &str, manifest: &mut Manifest) -> io::Result<()> {
        manifest.boot.clone_from(&self.boot);
        match manifest.files.as_slice() {
            [file] if manifest.is_single => drop(self.open(&file.sha256)?),
            files => self.make_tree(key, files)?,
        }
        replace(&self.manifest(key), &serde_json::to_vec(&manifest).unwrap_or_default())
    }

    fn make_tree(&self, key: &str, files: &[StoredFile]) -> io::Result<()> {
        let trees = self.folder.join("trees");
        let new = trees.join(format!("{key}.new"));
        remove(&new)?;
        fs::create_dir_all(&new)?;
        for StoredFile { path, sha256, .. } in files {
            let link = new.join(path);
            link.parent().map_or(Ok(()), fs::create_dir_all)?;
            let blob = self.blob(sha256);
            match fs::hard_link(&blob, &link) {
                // A file system has a limit for links to one file, and some have no links.
                Err(error) if error.kind() != io::ErrorKind::NotFound => drop(fs::copy(&blob, &link)?),
                linked => linked?,
            }
        }
        let tree = trees.join(key);
        remove(&tree)?;
        fs::rename(new, tree)
    }

    /// Removes the least recently used inputs above `most` bytes, and files that nothing lists. Those with a digest `in_use`
    /// stay. Returns the number of removed inputs. Blocks.
    pub(super) fn prune(&self, most: u64, in_use: &HashSet<String>, now: SystemTime) -> io::Result<usize> {
        let mut kept: Vec<(Duration, PathBuf, Manifest)> = Vec::new();
        for path in entries(&self.folder.join("manifests"))? {
            let (Ok(text), Ok(facts)) = (fs::read(&path), fs::metadata(&path)) else { continue };
            match serde_json::from_slice(&text) {
                Ok(manifest) => kept.push((now.duration_since(facts.modified()?).unwrap_or_default(), path, manifest)),
                Err(_) => remove(&path)?,
            }
        }
        kept.sort_by_key(|(age, ..)| *age);
        // What jobs use now counts first, and stays.
        kept.sort_by_key(|(_, _, manifest)| !in_use.contains(&manifest.digest));
        let (mut listed, mut gone) = (HashSet::new(), HashSet::new());
        let (mut total, mut removed) = (0, 0);
        for (_, path, manifest) in kept {
            let new = manifest.files.iter().filter(|file| !listed.contains(&file.sha256));
            let more: u64 = new.map(|file| file.size).sum();
            let hashes = manifest.files.into_iter().map(|file| file.sha256);
            if total + more > most && !in_use.contains(&manifest.digest) {
                remove(&path)?;
                remove(&self.folder.join("trees").join(path.file_stem().unwrap_or_default()))?;
                gone.extend(hashes);
                removed += 1;
            } else {
                total += more;
                listed.extend(hashes);
            }
        }
        for folder in entries(&self.folder.join("blobs"))? {
            for blob in entries(&folder)? {
                let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // A file that was never listed may be one of a fetch that still goes on.
                if !listed.contains(&name) && (gone.contains(&name) || is_old(&blob, now)) {
                    remove(&blob)?;
                }
            }
        }
        for partial in entries(&self.unfinished())? {
            if is_old(&partial, now) {
                remove(&partial)?;
            }
        }
        Ok(removed)
    }
}

fn is_old(path: &Path, now: SystemTime) -> bool {
    let changed = fs::metadata(path).and_then(|facts| facts.modified()).ok();
    changed.is_some_and(|changed| now.duration_since(changed).is_ok_and(|age| age > ABANDONED))
}

/// Removes a file or a folder. One that is not there is fine.
fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lists the entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("inputs"));
        store.prepare().unwrap();
        (folder, store)
    }

    fn put(store: &Store, key: &str, files: &[(&str, &str)]) -> Manifest {
        let mut stored = Vec::new();
        for (path, text) in files {
            let partial = store.partial("x");
            fs::write(&partial, text).unwrap();
            let (sha256, size) = sha256_of(&File::open(&partial).unwrap()).unwrap();
            store.adopt(&partial, &sha256).unwrap();
            stored.push(StoredFile { path: (*path).to_owned(), size, sha256 });
        }
        let mut manifest = Manifest::new(key.to_owned(), "1".to_owned(), false, stored);
        store.keep(key, &mut manifest).unwrap();
        manifest
    }

    fn read(store: &Store, key: &str, path: &str) -> Option<String> {
        let manifest = store.find(key).unwrap()?;
        fs::read_to_string(store.place(key, &manifest).join(path)).ok()
    }

    #[test]
    fn inputs_share_their_files_and_the_least_used_ones_go() {
        let (_folder, store) = store();
        put(&store, "a", &[("x", "shared"), ("b/y", "of a")]);
        let b = put(&store, "b", &[("z", "shared"), ("w", "of b")]);
        assert_eq!(read(&store, "a", "b/y").as_deref(), Some("of a"));
        assert_eq!(read(&store, "b", "z").as_deref(), Some("shared"));
        let now = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(store.prune(14, &HashSet::new(), now).unwrap(), 0, "the shared file counts once");
        File::open(store.manifest("a")).unwrap().set_modified(now).unwrap();
        assert_eq!(store.prune(13, &HashSet::from([b.digest.clone()]), now).unwrap(), 1, "b is in use");
        assert_eq!((read(&store, "a", "b/y"), read(&store, "b", "w").as_deref()), (None, Some("of b")));
        assert!(store.size_of(&b.files[0].sha256).is_some());
        assert_eq!(store.prune(0, &HashSet::new(), now).unwrap(), 1);
        assert_eq!(entries(&store.folder.join("trees")).unwrap(), Vec::<PathBuf>::new());
        assert!(b.files.iter().all(|file| store.size_of(&file.sha256).is_none()));
    }

    #[test]
    fn what_a_dead_process_has_left_goes_after_a_day() {
        let (_folder, store) = store();
        for path in [store.partial("half"), store.folder.join("blobs/ab/ab12")] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        store.prune(100, &HashSet::new(), SystemTime::now()).unwrap();
        assert!(store.partial("half").exists() && store.size_of("ab12").is_some());
        store.prune(100, &HashSet::new(), SystemTime::now() + ABANDONED * 2).unwrap();
        assert!(!store.partial("half").exists() && store.size_of("ab12").is_none());
    }

    #[test]
    fn after_a_start_of_the_machine_a_broken_file_is_noticed() {
        let (_folder, store) = store();
        let manifest = put(&store, "a", &[("x", "good")]);
        let later = Store { boot: "another".to_owned(), ..store.clone() };
        assert_eq!(read(&later, "a", "x").as_deref(), Some("good"));
        let blob = store.blob(&manifest.files[0].sha256);
        fs::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, "bad!").unwrap();
        let later = Store { boot: "a third".to_owned(), ..store };
        assert_eq!(read(&later, "a", "x"), None);
        assert!(!blob.exists());
    }
}
