//! Restorations that are refused before any work, and one that was interrupted.

use std::fs::File;
use std::path::{Path, PathBuf};

use trainyard::app;
use trainyard::config::Config;
use trainyard::storage::backup::{self, Included, Manifest};

use crate::support::s3::{ACCESS_KEY, SECRET_KEY};

/// A data folder and a backup whose database is only a name.
struct Machine {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Machine {
    /// Makes a backup with this number of objects; `None` for objects in a bucket.
    fn new(objects: Option<usize>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (kept, dump, file) = (folder.path().join("kept"), folder.path().join("dump"), folder.path().join("backup"));
        std::fs::create_dir(&kept).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(&dump, "rows").unwrap();
        let keys: Vec<String> = (0..objects.unwrap_or(0)).map(|number| number.to_string()).collect();
        keys.iter().for_each(|key| std::fs::write(kept.join(key), "a log").unwrap());
        let included = objects.map(|_| Included { folder: &kept, keys: &keys });
        let manifest = Manifest::new("i".to_owned(), 1, "seal".to_owned());
        backup::write(&file, manifest, &File::open(&dump).unwrap(), included, |_| Ok(())).unwrap();
        Self { folder, file }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn restore(&self, storage: &str) -> Result<(), String> {
        let config = self.folder.path().join("config.toml");
        std::fs::write(&config, format!("[server]\ndata_dir = {:?}\n{storage}", self.data())).unwrap();
        let config = Config::load(Some(&config), std::iter::empty()).unwrap();
        app::restore(&config, &self.file, |_| {}).await.map(drop).map_err(|error| format!("{error:#}"))
    }

    async fn refused(&self, storage: &str) -> String {
        let error = self.restore(storage).await.unwrap_err();
        assert!(!self.data().join("restoring").exists(), "there was work before the refusal: {error}");
        error
    }
}

fn bucket() -> String {
    format!("[storage]\nurl = 's3://trainyard/x'\naccess_key = '{ACCESS_KEY}'\nsecret_key = '{SECRET_KEY}'\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_place_of_objects_is_refused() {
    let error = Machine::new(Some(1)).refused(&bucket()).await;
    assert!(error.contains("storage.url names a bucket: leave it empty"), "{error}");
    let error = Machine::new(None).refused("").await;
    assert!(error.contains("set storage.url to that bucket"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_of_objects_that_cannot_be_replaced_is_refused() {
    let machine = Machine::new(Some(1));
    let disk = machine.folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    std::os::unix::fs::symlink(&disk, machine.data().join("objects")).unwrap();
    let error = machine.refused("").await;
    assert!(error.contains("if it is a mount or a link"), "{error}");
}

/// Lays out the data folder as a restoration leaves it that was killed after its first rename.
fn interrupted(data: &Path, manifest: &Manifest) {
    for folder in ["objects", "restoring/postgres"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
        std::fs::write(data.join(folder).join("file"), "x").unwrap();
    }
    std::fs::write(data.join("restoring/restored.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restoration_that_was_killed_between_its_renames_is_finished() {
    let machine = Machine::new(Some(1));
    interrupted(&machine.data(), &backup::manifest(&machine.file).unwrap());
    machine.restore("").await.unwrap();
    let left = ["objects/file", "postgres/file", "restoring"].map(|path| machine.data().join(path).exists());
    assert_eq!(left, [true, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restoration_of_another_backup_is_not_finished() {
    let machine = Machine::new(Some(1));
    let other = Manifest { instance: "other".to_owned(), ..backup::manifest(&machine.file).unwrap() };
    interrupted(&machine.data(), &other);
    let error = machine.restore("").await.unwrap_err();
    assert!(error.contains("objects exists: move it away"), "{error}");
    assert!(!machine.data().join("postgres").exists());
}
