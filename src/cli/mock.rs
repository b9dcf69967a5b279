//! `trainyard mock`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::problems::number_of;
use crate::lora::mock::{File, Kind};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Kind of files to make.
    #[arg(value_name = "KIND", value_parser = kinds())]
    kind: Kind,
    /// Folder to write to; it is created if it does not exist. Existing files are never overwritten.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let names = Kind::all().map(|kind| PossibleValue::new(kind.name()).help(kind.about()));
    let named = |name: String| Kind::all().find(|kind| kind.name() == name).ok_or("there is no such kind");
    PossibleValuesParser::new(names.collect::<Vec<_>>()).try_map(named)
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let folder = &arguments.folder;
    let files = arguments.kind.files();
    // All files are checked before the first is written, so that nothing is left half done.
    if let Some(file) = files.iter().find(|file| folder.join(&file.path).symlink_metadata().is_ok()) {
        let path = folder.join(&file.path);
        eprintln!("trainyard: {} exists already: name another folder, or remove it first", path.display());
        return Ok(super::PROBLEMS);
    }
    for file in &files {
        write(folder, file)?;
    }
    super::print(&report(folder, &files))?;
    Ok(super::FINE)
}

fn write(folder: &Path, file: &File) -> anyhow::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    // Another program may have created the file in the meantime.
    let created = fs::File::create_new(&path);
    created
        .and_then(|mut opened| opened.write_all(&file.bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Lists the files with their sizes.
fn report(folder: &Path, files: &[File]) -> String {
    let size = |bytes: usize| ByteSize(bytes as u64).to_string();
    let widest = files.iter().map(|file| size(file.bytes.len()).len()).max().unwrap_or(0);
    let mut text = String::new();
    for file in files {
        let _ = writeln!(text, "{:>widest$}  {}", size(file.bytes.len()), folder.join(&file.path).display());
    }
    let whole = files.iter().map(|file| file.bytes.len()).sum();
    let _ = writeln!(text, "{} written, {}", number_of(files.len(), "file"), size(whole));
    text
}
