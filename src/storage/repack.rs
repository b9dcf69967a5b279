//! Conversion of tars of a container's folders into one compressed tar of absolute paths, with a digest of its content
//! and without files that hold tokens.

use std::collections::HashSet;
use std::io::{self, Cursor, Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use bytesize::ByteSize;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::token_files::{self, ByPath, MOST_TEXT};

/// Compression level of zstd: most content of caches is compressed already.
const LEVEL: i32 = 1;

/// A tar that grows.
pub struct Packer<W: Write> {
    tar: Builder<zstd::Encoder<'static, W>>,
    digest: Sha256,
    limits: Limits,
    /// Bytes and entries that may still be added.
    room: u64,
    entries_left: usize,
    left_out: HashSet<PathBuf>,
}

/// Limits of a tar.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of contents.
    pub size: ByteSize,
    /// The most files, folders and links.
    pub entries: usize,
}

impl<W: Write> std::fmt::Debug for Packer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("room", &self.room).finish_non_exhaustive()
    }
}

impl<W: Write> Packer<W> {
    /// Returns a packer for contents within these limits.
    pub fn new(output: W, limits: Limits) -> io::Result<Self> {
        let tar = Builder::new(zstd::Encoder::new(output, LEVEL)?);
        let (room, entries_left) = (limits.size.as_u64(), limits.entries);
        Ok(Self { tar, digest: Sha256::new(), limits, room, entries_left, left_out: HashSet::new() })
    }

    /// Lists the files that were left out because they hold tokens.
    pub fn left_out(&self) -> impl Iterator<Item = &Path> {
        self.left_out.iter().map(PathBuf::as_path)
    }

    /// Adds a tar whose names begin with the last part of `path`. Its entries get the whole path.
    ///
    /// # Errors
    /// Fails when the tar is broken, when it is too large, or when the output cannot be written.
    pub fn add(&mut self, path: &str, tar: impl Read) -> anyhow::Result<()> {
        let parent = Path::new(path.trim_start_matches('/')).parent().map(Path::to_owned).unwrap_or_default();
        for entry in Archive::new(tar).entries()? {
            self.add_entry(&parent, entry.context("reading the container's files")?)?;
        }
        Ok(())
    }

    fn add_entry(&mut self, parent: &Path, mut entry: Entry<'_, impl Read>) -> anyhow::Result<()> {
        self.entries_left = match self.entries_left.checked_sub(1) {
            Some(left) => left,
            None => bail!("there are more than {} files and folders to be cached", self.limits.entries),
        };
        let name = below(parent, &entry.path()?)?;
        let mut header = entry.header().clone();
        let size = entry.size();
        self.room = match self.room.checked_sub(size) {
            Some(room) => room,
            None => bail!("there is more than {} to be cached (cache.max_size)", self.limits.size),
        };
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let mut start = Vec::new();
                if holds_token(&name, &mut entry, &mut start)? {
                    self.left_out.insert(name);
                    return Ok(());
                }
                self.count(&name, &header, size)?;
                let contents = Digested { from: Cursor::new(start).chain(entry), digest: &mut self.digest };
                self.tar.append_data(&mut header, &name, contents)?;
            }
            EntryType::Directory => {
                self.count(&name, &header, size)?;
                self.tar.append_data(&mut header, &name, io::empty())?;
            }
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name()?.context("a link without a target")?.into_owned();
                // A hard link names another entry of the tar. A symbolic link is only text here: nothing follows it.
                let target = if kind == EntryType::Link { below(parent, &target)? } else { target };
                if kind == EntryType::Link
                    && (self.left_out.contains(&target) || token_files::judge(&name) == ByPath::HoldsToken)
                {
                    self.left_out.insert(name);
                    return Ok(());
                }
                self.count(&name, &header, size)?;
                self.digest.update(target.as_os_str().as_encoded_bytes());
                self.tar.append_link(&mut header, &name, &target)?;
            }
            // Sockets, pipes and devices are useless to the next job.
            _ => self.count(&name, &header, size)?,
        }
        Ok(())
    }

    fn count(&mut self, name: &Path, header: &Header, size: u64) -> io::Result<()> {
        self.digest.update(name.as_os_str().as_encoded_bytes());
        self.digest.update([0, header.entry_type().as_byte()]);
        self.digest.update((header.mode()? & 0o7777).to_le_bytes());
        self.digest.update(size.to_le_bytes());
        Ok(())
    }

    /// Ends the tar. Returns the digest of names and contents. Times do not count, so that downloading the same files
    /// again changes nothing.
    pub fn finish(self) -> anyhow::Result<String> {
        self.tar
            .into_inner()
            .and_then(zstd::Encoder::finish)
            .and_then(|mut out| out.flush())
            .context("storing a cache")?;
        Ok(hex::encode(self.digest.finalize()))
    }
}

/// Returns true if a file holds a token. If its text had to be read for that, the text is put into `start`.
fn holds_token(name: &Path, file: &mut Entry<'_, impl Read>, start: &mut Vec<u8>) -> io::Result<bool> {
    Ok(match token_files::judge(name) {
        ByPath::Harmless => false,
        ByPath::HoldsToken => true,
        ByPath::Maybe if file.size() > MOST_TEXT => true,
        ByPath::Maybe => {
            file.read_to_end(start)?;
            token_files::text_holds_token(name, start)
        }
    })
}

/// Returns a name of the tar below `parent`. The engine makes the tar, but from files that a job has left.
fn below(parent: &Path, name: &Path) -> anyhow::Result<PathBuf> {
    let mut path = parent.to_owned();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => bail!("the name {} leaves its folder", name.display()),
        }
    }
    Ok(path)
}

struct Digested<'a, R> {
    from: R,
    digest: &'a mut Sha256,
}

impl<R: Read> Read for Digested<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { size: ByteSize::mib(1), entries: 100 };

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut tar = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        for n in 0..3 {
            tar.append_data(&mut header, format!("pip/{n}"), io::empty()).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let add = |entries| {
            let mut packer = Packer::new(Vec::new(), Limits { entries, ..LIMITS }).unwrap();
            packer.add("/x/pip", tar.as_slice())
        };
        assert!(add(3).is_ok());
        let error = add(2).unwrap_err();
        assert_eq!(error.to_string(), "there are more than 2 files and folders to be cached");
    }

    #[test]
    fn names_stay_below_their_folder() {
        let parent = Path::new("home/travis");
        assert_eq!(below(parent, Path::new("./x/y")).unwrap(), Path::new("home/travis/x/y"));
        for name in ["../x", "x/../../y", "/etc/passwd"] {
            assert!(below(parent, Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn links_and_long_names_come_through_and_times_do_not_count() {
        let pack = |time: u64, contents: &[u8]| {
            let mut tar = Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(time);
            header.set_size(contents.len() as u64);
            let long = format!("pip/{}", "n".repeat(180));
            tar.append_data(&mut header, &long, contents).unwrap();
            header.set_size(0);
            header.set_entry_type(EntryType::Link);
            tar.append_link(&mut header, "pip/hard", &long).unwrap();
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, "pip/soft", "../../../etc/passwd").unwrap();
            let mut packed = Vec::new();
            let mut packer = Packer::new(&mut packed, LIMITS).unwrap();
            packer.add("/home/travis/pip", tar.into_inner().unwrap().as_slice()).unwrap();
            let digest = packer.finish().unwrap();
            (digest, packed)
        };
        let (digest, packed) = pack(1, b"contents");
        assert_eq!(digest, pack(2, b"contents").0);
        assert_ne!(digest, pack(1, b"contentz").0);
        let mut archive = Archive::new(zstd::Decoder::new(packed.as_slice()).unwrap());
        let entries: Vec<(String, Option<String>)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name().unwrap().map(|link| link.to_string_lossy().into_owned());
                (entry.path().unwrap().to_string_lossy().into_owned(), link)
            })
            .collect();
        let long = format!("home/travis/pip/{}", "n".repeat(180));
        assert_eq!(entries[0], (long.clone(), None));
        assert_eq!(entries[1], ("home/travis/pip/hard".to_owned(), Some(long)));
        assert_eq!(entries[2], ("home/travis/pip/soft".to_owned(), Some("../../../etc/passwd".to_owned())));
    }
}
