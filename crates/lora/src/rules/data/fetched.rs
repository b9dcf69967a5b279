//! The check of a data set or a model that was fetched, before a training starts with it: a file that cannot be read
//! should cost seconds, and no GPU time.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use super::columns::LFS;
use super::folder::begins_like_an_image;
use super::image_size::Size;
use super::parquet::Footer;
use super::rows::rows;
use super::{is_image, listed};
use crate::input::InputKind;
use crate::repository::normal;
use crate::weights;

/// Number of bytes at the beginning of an image that tell its size. A photo's thumbnail comes before it.
const IMAGE_HEAD: u64 = 64 * 1024;
/// Maximum length of the footer of a table, in bytes.
const MAX_FOOTER: u64 = 16 << 20;
/// Ends of the names of files with a caption for one image.
const CAPTIONS: [&str; 2] = ["txt", "caption"];
/// Tables that name images and their captions, and the maximum size of one that is read.
const TABLES: [&str; 2] = ["metadata.csv", "metadata.jsonl"];
const MAX_TABLE: u64 = 64 << 20;
/// Files of a repository that are neither data nor a model.
const OTHERS: [&str; 4] = [".gitattributes", ".gitignore", "README.md", "LICENSE"];

/// The content of a data set or a model that was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    pub images: usize,
    /// Number of images that have a caption, beside them or in a table.
    pub captions: usize,
    /// Number of rows of Parquet tables.
    pub rows: u64,
}

impl fmt::Display for Contents {
    /// Writes what is in it, such as `12 images with captions`; nothing for files of other kinds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, captions, rows } = self;
        if *images > 0 {
            let s = if *images == 1 { "" } else { "s" };
            write!(f, "{images} image{s} {} captions", if *captions > 0 { "with" } else { "without" })?;
        }
        if *rows > 0 {
            write!(f, "{}{rows} rows", if *images > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// The reason why nothing can be trained with what was fetched.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it has no files but {0}")]
    Empty(String),
    #[error("{0}")]
    Broken(String),
    /// A file could not be read here.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Checks files, which are given by their paths and sizes. `open` opens one.
///
/// # Errors
/// Fails with the reason, and the names of some files.
pub fn check_fetched<R: Read + Seek>(
    kind: InputKind,
    files: &[(&str, u64)],
    mut open: impl FnMut(&str) -> io::Result<R>,
) -> Result<Contents, Unusable> {
    let is_other = |path: &str| OTHERS.contains(&path);
    if files.iter().all(|(path, size)| is_other(path) || *size == 0) {
        let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        let names = if names.is_empty() { "none".to_owned() } else { listed(&names) };
        return Err(Unusable::Empty(names));
    }
    let mut contents = Contents::default();
    let mut broken: Vec<&str> = Vec::new();
    let mut images: Vec<&str> = Vec::new();
    let mut tables = 0;
    for (path, size) in files {
        let is_whole = match extension(path).as_deref() {
            Some("safetensors") => check_weights(open(path)?)?,
            Some("parquet") => {
                tables += 1;
                let footer = footer(open(path)?, *size)?;
                contents.rows += footer.as_ref().map_or(0, |footer| footer.rows);
                footer.is_some()
            }
            _ if kind == InputKind::Dataset && is_image(path) => {
                images.push(path);
                is_picture(open(path)?, *size)?
            }
            _ => true,
        };
        if !is_whole {
            broken.push(path);
        }
    }
    if !broken.is_empty() {
        let (count, names) = (broken.len(), listed(&broken));
        let is_lfs = begins(open(broken[0])?, LFS.len() as u64)? == LFS;
        let why = if is_lfs { "are pointers of Git LFS" } else { "cannot be read" };
        return Err(Unusable::Broken(format!("{count} of its files {why}: {names}")));
    }
    if tables > 0 && tables == files.iter().filter(|(path, _)| !is_other(path)).count() && contents.rows == 0 {
        return Err(Unusable::Empty("tables without rows".to_owned()));
    }
    contents.images = images.len();
    let in_tables = if images.is_empty() { BTreeSet::new() } else { captions_in_tables(files, open)? };
    contents.captions = captions(files, &images, &in_tables)?;
    Ok(contents)
}

/// Finds the images that have a caption in a table. As in the library `datasets`, a table names files from its own folder
/// on.
fn captions_in_tables<R: Read>(
    files: &[(&str, u64)],
    mut open: impl FnMut(&str) -> io::Result<R>,
) -> Result<BTreeSet<String>, Unusable> {
    let here: BTreeSet<&str> = files.iter().map(|(path, _)| *path).collect();
    let mut captioned = BTreeSet::new();
    for (table, size) in files {
        let (folder, name) = table.rsplit_once('/').unwrap_or(("", table));
        if !TABLES.contains(&name) || *size > MAX_TABLE {
            continue;
        }
        let rows = rows(name, &begins(open(table)?, MAX_TABLE)?);
        let rows = rows.map_err(|what| Unusable::Broken(format!("{table} {what}: correct it")))?;
        let mut missing: Vec<&str> = Vec::new();
        for row in &rows {
            let path = if folder.is_empty() { row.file.clone() } else { format!("{folder}/{}", row.file) };
            let is_here = |path: &String| here.contains(path.as_str());
            match Some(path.clone()).filter(is_here).or_else(|| normal(&path).filter(is_here)) {
                Some(path) if row.has_caption => captioned.extend([path]),
                Some(_) => {}
                None => missing.push(&row.file),
            }
        }
        if !missing.is_empty() {
            let (count, all, names) = (missing.len(), rows.len(), listed(&missing));
            let told = format!("{count} of the {all} files that {table} names do not exist: {names}");
            return Err(Unusable::Broken(told));
        }
    }
    Ok(captioned)
}

/// Counts the images with a caption. If some have one, all must: a forgotten caption is not seen otherwise.
fn captions(files: &[(&str, u64)], images: &[&str], in_tables: &BTreeSet<String>) -> Result<usize, Unusable> {
    let is_caption = |path: &str| extension(path).is_some_and(|end| CAPTIONS.contains(&end.as_str()));
    let texts: BTreeSet<&str> = files.iter().map(|(path, _)| *path).filter(|path| is_caption(path)).map(stem).collect();
    let has_caption = |image: &str| texts.contains(stem(image)) || in_tables.contains(image);
    let bare: Vec<&str> = images.iter().copied().filter(|image| !has_caption(image)).collect();
    let captioned = images.len() - bare.len();
    if captioned > 0 && !bare.is_empty() {
        let (count, all, names) = (bare.len(), images.len(), listed(&bare));
        return Err(Unusable::Broken(format!("{count} of {all} images have no caption, unlike the others: {names}")));
    }
    Ok(captioned)
}

fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

fn extension(path: &str) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, end)| end.to_lowercase())
}

fn begins(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(most).read_to_end(&mut head)?;
    Ok(head)
}

/// Returns true if a file begins like an image, and has a size if all of it was read.
fn is_picture(file: impl Read, size: u64) -> io::Result<bool> {
    let head = begins(file, IMAGE_HEAD)?;
    let has_a_size = [&b"\x89PNG"[..], b"\xff\xd8", b"GIF8", b"BM"].iter().any(|magic| head.starts_with(magic));
    let is_cut = has_a_size && size <= IMAGE_HEAD && Size::of(&head).is_none();
    Ok(begins_like_an_image(&head) && !is_cut)
}

fn check_weights(mut file: impl Read) -> io::Result<bool> {
    match weights::check_header(&mut file) {
        Ok(()) => Ok(true),
        Err(weights::Error::Read(error)) => Err(error),
        Err(weights::Error::Unreadable(_)) => Ok(false),
    }
}

/// Reads the footer of a table, without the rows before it.
fn footer(mut file: impl Read + Seek, size: u64) -> io::Result<Option<Footer>> {
    let magic = begins(&mut file, 4)?;
    let Some(end) = size.checked_sub(8) else { return Ok(None) };
    file.seek(SeekFrom::Start(end))?;
    let tail = begins(&mut file, 8)?;
    let Some(length) = tail.get(..4).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes) else {
        return Ok(None);
    };
    let length = u64::from(length);
    let Some(begin) = end.checked_sub(length).filter(|begin| *begin >= 4 && length <= MAX_FOOTER) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(begin))?;
    let mut short = magic;
    file.take(length + 8).read_to_end(&mut short)?;
    Ok(Footer::of(&short))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10";

    type Files<'a> = &'a [(&'a str, &'a [u8])];

    fn checked(kind: InputKind, files: Files<'_>) -> Result<Contents, String> {
        let listed: Vec<(&str, u64)> = files.iter().map(|(path, bytes)| (*path, bytes.len() as u64)).collect();
        let open = |path: &str| {
            let found = files.iter().find(|(known, _)| *known == path);
            Ok(Cursor::new(found.expect("a file").1.to_vec()))
        };
        check_fetched(kind, &listed, open).map_err(|unusable| unusable.to_string())
    }

    #[test]
    fn images_and_their_captions_are_counted() {
        let all: [(&str, &[u8]); 5] =
            [("a.png", PNG), ("a.txt", b"a cat"), ("b/c.PNG", PNG), ("b/c.caption", b"a dog"), ("README.md", b"x")];
        let found = checked(InputKind::Dataset, &all).unwrap();
        assert_eq!((found.images, found.captions, found.to_string().as_str()), (2, 2, "2 images with captions"));
        let without = checked(InputKind::Dataset, &[("a.png", PNG), ("metadata.csv", b"x")]).unwrap();
        assert_eq!((without.images, without.to_string().as_str()), (1, "1 image without captions"));
        let csv = b"file_name,text\na.png,\"a cat, asleep\"\nb/c.png,a dog\n".as_slice();
        let lines = br#"{"file_name": "../c.png", "text": "a cow"}"#.as_slice();
        let files =
            [("a.png", PNG), ("b/c.png", PNG), ("c.png", PNG), ("metadata.csv", csv), ("d/metadata.jsonl", lines)];
        let found = checked(InputKind::Dataset, &files).unwrap();
        assert_eq!((found.images, found.captions), (3, 3));
        let parquet = include_bytes!("fixtures/polars.parquet").as_slice();
        assert!(checked(InputKind::Dataset, &[("train.parquet", parquet)]).unwrap().rows > 0);
    }

    #[test]
    fn a_data_set_that_cannot_be_trained_is_told() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".as_slice();
        let cases: [(Files<'_>, &str); 12] = [
            (&[], "it has no files but none"),
            (&[(".gitattributes", b"x"), ("README.md", b"x")], "it has no files but .gitattributes, README"),
            (&[("a.png", b"")], "it has no files but a.png"),
            (&[("a.png", PNG), ("b.png", b"<html>")], "1 of its files cannot be read: b.png"),
            (&[("a.png", &PNG[..18])], "1 of its files cannot be read: a.png"),
            (&[("a.jpg", pointer)], "1 of its files are pointers of Git LFS: a.jpg"),
            (&[("a.png", PNG), ("a.txt", b"x"), ("b.png", PNG)], "1 of 2 images have no caption, unlike the others: b"),
            (
                &[("a.png", PNG), ("metadata.csv", b"file_name,text\na.png,x\nb.png,y\n")],
                "1 of the 2 files that metadata.csv names do not exist: b.png",
            ),
            (
                &[("a.png", PNG), ("x/metadata.jsonl", b"{\"file_name\": \"../../a.png\", \"text\": \"x\"}")],
                "1 of the 1 files that x/metadata.jsonl names do not exist: ../../a.png",
            ),
            (
                &[("a.png", PNG), ("b.png", PNG), ("metadata.csv", b"file_name,text\na.png,x\nb.png,\n")],
                "1 of 2 images have no caption, unlike the others: b.png",
            ),
            (&[("a.png", PNG), ("metadata.jsonl", b"a.png")], "metadata.jsonl has a line 1 that is no JSON object"),
            (&[("a.parquet", b"PAR1 cut short PAR1")], "1 of its files cannot be read: a.parquet"),
        ];
        for (files, told) in cases {
            let error = checked(InputKind::Dataset, files).expect_err(told);
            assert!(error.starts_with(told), "{error}");
        }
    }

    #[test]
    fn a_model_has_headers() {
        let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let good = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
        assert!(checked(InputKind::Model, &[("model.safetensors", &good)]).is_ok());
        let error = checked(InputKind::Model, &[("model.safetensors", b"<html>not found</html>")]).unwrap_err();
        assert_eq!(error, "1 of its files cannot be read: model.safetensors");
        assert!(checked(InputKind::Model, &[("preview.png", b"not checked"), ("model.bin", b"x")]).is_ok());
    }
}
