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
    let manifest = Manifest::new("i".to_owned(), 5, "seal".to_owned());
    let keys = ["i/logs/1-1.zst", "i/holes"].map(str::to_owned);
    let included = Included { folder: &objects, keys: &keys };
    write(&to, manifest, &File::open(dump).expect("a dump"), Some(included), |_| Ok(())).expect("written");
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
    let dump = File::open(folder.path().join("dump")).expect("a dump");
    let again = write(&file, facts, &dump, None, |_| Ok(())).expect_err("the file exists");
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
    let sums = whole.windows(SUMS.len()).position(|bytes| bytes == SUMS.as_bytes()).expect("the hashes");
    assert!(refused("without hashes", &whole[..sums]).contains("has no SHA256SUMS: it is not complete"));
    assert!(refused("half", &whole[..object + 2]).contains("is damaged"));
    for (name, at, part) in [("rows", dump, "database.dump"), ("object", object, "objects/i/logs/1-1.zst")] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let refused = refused(name, &changed);
        assert!(refused.ends_with(&format!("is damaged: {part} is not as it was written")), "{refused}");
    }
    assert!(refused("other", b"no tar").contains("is not a backup of Trainyard"));
}

#[test]
fn an_entry_that_leads_out_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = backup(folder.path());
    let facts = serde_json::to_vec(&manifest(&file).expect("a manifest")).expect("JSON");
    for (kind, name) in
        [(EntryType::Regular, "objects/../../out"), (EntryType::Symlink, "objects/link"), (EntryType::Regular, "other")]
    {
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
        let to = folder.path().join(name.replace('/', " "));
        let refused = extracted(&hostile, &to).expect_err("it is refused");
        assert!(refused.contains("an entry that no backup has"), "{name}: {refused}");
    }
    assert!(!folder.path().join("out").exists());
}
