//! `trainyard lint --fix`: what is certain is mended in the text, shown as a diff, and written when a person agrees.

use std::collections::HashMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use similar::{ChangeTag, TextDiff};

use super::scope::{Checked, Scope};
use crate::cli::problems::number_of;
use crate::cli::table::{Colour, inert, paint};
use crate::domain::{Fix, Rule};
use crate::lora;
use crate::plan::READ_AT_MOST;

/// Maximum number of times that a file is mended and checked again. A mended key may have a value to mend.
const MOST_ROUNDS: usize = 10;

/// A file with its text before and after.
pub(super) struct Mended {
    pub(super) path: PathBuf,
    before: String,
    after: String,
}

/// Mends the files of a scope in memory, until nothing is left to mend, and returns those that changed.
pub(super) fn mend(scope: &mut Scope) -> anyhow::Result<Vec<Mended>> {
    let before: Vec<Vec<u8>> = scope.files.iter().map(|file| file.source.text.clone()).collect();
    for round in 0..=MOST_ROUNDS {
        let mut is_done = true;
        for checked in scope.check()? {
            let place = scope.files.iter().position(|file| file.shown == checked.path);
            let Some((place, text)) = place.and_then(|place| Some((place, mended(&checked)?))) else { continue };
            is_done = false;
            // Two mends that undo each other are not certain.
            let is_endless = round == MOST_ROUNDS;
            scope.files[place].source.text = if is_endless { before[place].clone() } else { text.into_bytes() };
        }
        if is_done {
            break;
        }
    }
    keep_readable(scope, &before)?;
    let changed = scope.files.iter().zip(before).filter(|(file, before)| file.source.text != *before);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mended = changed.map(|(file, before)| {
        let path = PathBuf::from(&file.shown);
        Mended { path, before: text(&before), after: text(&file.source.text) }
    });
    Ok(mended.collect())
}

/// Restores the files that the trainer or Travis could read before, and not any more.
fn keep_readable(scope: &mut Scope, before: &[Vec<u8>]) -> anyhow::Result<()> {
    let is_fault = |rule: &str| rule.starts_with("bad-") || rule == Rule::DuplicateKey.name();
    let faults = |all: &[Checked]| -> HashMap<String, usize> {
        let count = |file: &Checked| file.problems.iter().filter(|problem| is_fault(&problem.rule)).count();
        all.iter().map(|file| (file.path.clone(), count(file))).collect()
    };
    let after = faults(&scope.check()?);
    let texts: Vec<Vec<u8>> = scope.files.iter_mut().map(|file| std::mem::take(&mut file.source.text)).collect();
    for (file, text) in scope.files.iter_mut().zip(before) {
        file.source.text.clone_from(text);
    }
    let known = faults(&scope.check()?);
    for (file, text) in scope.files.iter_mut().zip(texts) {
        if after.get(&file.shown) <= known.get(&file.shown) {
            file.source.text = text;
        }
    }
    Ok(())
}

/// Returns the text with all mends of the file's problems; `None` if there are none.
fn mended(checked: &Checked) -> Option<String> {
    let text = std::str::from_utf8(&checked.text).ok().filter(|text| text.len() < READ_AT_MOST)?;
    let own = checked.problems.iter().filter(|problem| problem.file.as_ref() == Some(&checked.path));
    let fixes: Vec<&Fix> = own.filter_map(|problem| problem.fix.as_ref()).collect();
    Some(Fix::apply(fixes, text)).filter(|mended| mended != text)
}

/// Renders the changes as a unified diff, without the secrets in it.
pub(super) fn diff(mended: &[Mended], colours: bool) -> String {
    let mut text = String::new();
    for Mended { path, before, after } in mended {
        let path = inert(&path.to_string_lossy());
        text.push_str(&paint(&format!("--- {path}"), Colour::Bold, colours));
        text.push('\n');
        text.push_str(&paint(&format!("+++ {path}"), Colour::Bold, colours));
        text.push('\n');
        let diff = TextDiff::from_lines(before.as_str(), after.as_str());
        for hunk in diff.unified_diff().iter_hunks() {
            text.push_str(&paint(&hunk.header().to_string(), Colour::Faint, colours));
            text.push('\n');
            for change in hunk.iter_changes() {
                let line = format!("{}{}", change.tag(), lora::hidden(&inert(change.value())));
                let line = match change.tag() {
                    ChangeTag::Delete => paint(&line, Colour::Red, colours),
                    ChangeTag::Insert => paint(&line, Colour::Green, colours),
                    ChangeTag::Equal => line,
                };
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    text
}

/// Asks whether the changes are to be written. Without a terminal the answer is no.
pub(super) fn is_confirmed(mended: &[Mended]) -> anyhow::Result<bool> {
    let files = number_of(mended.len(), "file");
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        eprintln!("trainyard: nothing was written, because there is no terminal to ask at: add --yes to write {files}");
        return Ok(false);
    }
    print!("Write these changes to {files}? [y/N] ");
    std::io::stdout().flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    Ok(["y", "yes"].contains(&typed.trim().to_lowercase().as_str()))
}

impl Mended {
    /// Writes the file: in full or not at all, with its mode, and never outside of its folder.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let shown = self.path.display();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (folder, path) = (folder.canonicalize()?, self.path.canonicalize()?);
        ensure!(path.starts_with(&folder), "{shown} is a link to {}: name that file", path.display());
        let file = || format!("cannot write {shown}");
        let now = std::fs::read(&path).with_context(file)?;
        ensure!(now == self.before.as_bytes(), "{shown} has changed meanwhile, and was not written: run this again");
        let beside = path.parent().unwrap_or(&folder);
        let mut new = tempfile::NamedTempFile::new_in(beside).with_context(file)?;
        let mode = std::fs::metadata(&path).with_context(file)?.permissions();
        new.write_all(self.after.as_bytes()).with_context(file)?;
        new.as_file().set_permissions(mode).and_then(|()| new.as_file().sync_all()).with_context(file)?;
        new.persist(&path).with_context(file)?;
        Ok(())
    }
}
