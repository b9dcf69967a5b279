//! The files of a folder that a plan wants to see.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::plan::{self, SourceFile};

/// The files that the plan wants to see, of a folder, or a single `.travis.yml` under whatever name.
pub(super) fn files_of(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if path.is_file() {
        return Ok(vec![SourceFile { path: plan::CONFIG.to_owned(), text: read(path)? }]);
    }
    if !path.is_dir() {
        bail!("{} is neither a folder nor a file", path.display());
    }
    let mut files = Vec::new();
    collect(path, path, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && entry.file_name() != ".git" {
            collect(root, &path, files)?;
        } else if kind.is_file()
            && let Some(relative) = path.strip_prefix(root)?.to_str()
            && plan::wants(relative, entry.metadata()?.len())
        {
            files.push(SourceFile { path: relative.to_owned(), text: read(&path)? });
        }
    }
    Ok(())
}

/// The paths of all files in a folder, from the folder on. A link counts as a file, wherever it leads.
pub(super) fn paths_of(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.extend((entry.file_name() != ".git").then(|| entry.path()));
            } else if let Some(relative) = entry.path().strip_prefix(root)?.to_str() {
                paths.push(relative.to_owned());
            }
        }
    }
    Ok(paths)
}

/// A file's bytes, as many as a plan looks at.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(plan::READ_AT_MOST as u64).read_to_end(&mut text)?;
    Ok(text)
}
