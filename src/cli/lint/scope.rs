//! The files that one argument names, checked together.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::files::{self, files_of, paths_of};
use crate::cli::trigger_args::{CheckedOut, TriggerArgs};
use crate::domain::Problem;
use crate::lora::{Linter, Repository, Settings};
use crate::plan::{self, Commit, SourceFile};

/// The files of a folder, or a single file.
pub(super) struct Scope {
    /// The folder that the paths of the files begin at.
    root: PathBuf,
    is_folder: bool,
    pub(super) files: Vec<File>,
    /// The paths of all files, also of those that are not read.
    paths: Vec<String>,
}

pub(super) struct File {
    /// The path under which problems are reported, and under which it is found.
    pub(super) shown: String,
    pub(super) source: SourceFile,
}

/// A file that was checked.
pub(super) struct Checked {
    pub(super) path: String,
    pub(super) text: Vec<u8>,
    pub(super) problems: Vec<Problem>,
    /// Estimate of the resources that its training takes.
    pub(super) estimate: Option<String>,
}

impl Scope {
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        // The repository of a single file is unknown. A pre-commit hook names single files, and runs in their root.
        let is_folder = path.is_dir();
        let files = if is_folder { of_folder(path)? } else { vec![of_file(path)?] };
        let paths = if is_folder { paths_of(path)? } else { Vec::new() };
        let root = if is_folder { path } else { Path::new(".") };
        Ok(Self { root: root.to_owned(), is_folder, files, paths })
    }

    /// Checks all files that are configs of ours.
    pub(super) fn check(&self) -> anyhow::Result<Vec<Checked>> {
        let sources = || self.files.iter().map(|file| &file.source);
        let own = sources().find(|file| file.path == plan::CONFIG).filter(|_| self.is_folder);
        let settings = match own {
            Some(file) => Settings::of_travis(&file.text),
            None => settings_of(&self.root),
        };
        let schemas = schemas_of(&self.root, &settings);
        let read = sources().filter(|_| self.is_folder).chain(&schemas);
        let texts = read.map(|file| (file.path.as_str(), file.text.as_slice()));
        // A training has more than the commit. Without any path, the files are not known.
        let places = settings.places().filter(|_| !self.paths.is_empty());
        let repository = Repository::of(self.paths.iter().map(String::as_str).chain(places), texts);
        let mut linter = Linter::new(&settings, &repository);
        let covered = |file: &&File| file.source.path == plan::CONFIG || settings.covers(&file.source.path);
        let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
        let checked =
            self.files.iter().filter(covered).map(|file| check(file, &paths, &schemas, &mut linter).transpose());
        checked.flatten().collect()
    }
}

/// Reads the settings for training configs from a repository's `.travis.yml`.
fn settings_of(folder: &Path) -> Settings {
    files::read(&folder.join(plan::CONFIG)).map(|text| Settings::of_travis(&text)).unwrap_or_default()
}

/// Reads the schemas of the team's own dialects. A missing schema is reported as a problem later.
fn schemas_of(folder: &Path, settings: &Settings) -> Vec<SourceFile> {
    let named = settings.dialects.iter().map(|dialect| dialect.schema.trim_start_matches("./").to_owned());
    named.filter_map(|path| Some(SourceFile { text: files::read(&folder.join(&path)).ok()?, path })).collect()
}

/// Returns the files of the folder that a plan reads.
fn of_folder(folder: &Path) -> anyhow::Result<Vec<File>> {
    let shown = |source: SourceFile| {
        let is_here = folder == Path::new(".");
        let shown = if is_here { source.path.clone() } else { shown_path(&folder.join(&source.path)) };
        File { shown, source }
    };
    Ok(files_of(folder)?.into_iter().map(shown).collect())
}

fn of_file(path: &Path) -> anyhow::Result<File> {
    let is_config = path.file_name().context("a file without a name")? == plan::CONFIG;
    let shown = shown_path(path);
    let path = if is_config { plan::CONFIG.to_owned() } else { shown.clone() };
    let text = files::read(Path::new(&shown))?;
    Ok(File { shown, source: SourceFile { path, text } })
}

fn shown_path(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

/// Checks a file. Returns `None` for a file that is not a config of ours.
fn check(
    file: &File,
    paths: &[&str],
    schemas: &[SourceFile],
    linter: &mut Linter<'_>,
) -> anyhow::Result<Option<Checked>> {
    let File { shown, source } = file;
    let found = if source.path == plan::CONFIG {
        // The problems of a `.travis.yml` hardly depend on the trigger of a build.
        let trigger = TriggerArgs::default().trigger(&CheckedOut::nothing("repository")?);
        let folder = Path::new(shown).parent().unwrap_or(Path::new(""));
        let files: Vec<SourceFile> = std::iter::once(source).chain(schemas).cloned().collect();
        let commit = Commit { files: &files, paths, ..Commit::default() };
        Some((files::planned(commit, folder, &trigger).problems, None))
    } else {
        linter.lint(&source.path, &source.text).map(|linted| (linted.problems, linted.estimate))
    };
    Ok(found.map(|(mut problems, estimate)| {
        // Problems of an imported file keep its name.
        let own = problems.iter_mut().filter(|problem| problem.file.as_ref().is_none_or(|of| *of == source.path));
        own.for_each(|problem| problem.file = Some(shown.clone()));
        Checked { path: shown.clone(), text: source.text.clone(), problems, estimate }
    }))
}
