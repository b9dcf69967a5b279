//! `trainyard lint`.

mod formats;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::excerpt::pointed_at;
use super::files::{self, files_of, paths_of};
use super::problems::{self, number_of};
use super::table::{Colour, inert, paint, wants_colours};
use super::trigger_args::{CheckedOut, TriggerArgs};
use crate::domain::{Problem, Severity};
use crate::lora::{self, Linter, Repository, Settings};
use crate::plan::{self, Commit, SourceFile};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files, and folders of repositories.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Format of the output.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people: with the line of the file.
    Text,
    /// Facts for programs.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

/// A file that was checked.
struct Checked {
    path: String,
    text: Vec<u8>,
    problems: Vec<Problem>,
    /// Estimate of the resources that its training takes.
    estimate: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if let Some(path) = arguments.paths.iter().find(|path| !path.exists()) {
        eprintln!("trainyard: there is no {}: name files or folders that exist", path.display());
        return Ok(super::USAGE);
    }
    let mut checked = Vec::new();
    for path in &arguments.paths {
        // The repository of a single file is unknown.
        let is_folder = path.is_dir();
        let files = if is_folder { of_folder(path)? } else { vec![of_file(path)?] };
        let paths = if is_folder { paths_of(path)? } else { Vec::new() };
        // A pre-commit hook names single files, and runs in the root of their repository.
        let root = if is_folder { path } else { Path::new(".") };
        let settings = settings_of(root);
        let schemas = schemas_of(root, &settings);
        let read = files.iter().map(|(_, file)| file).filter(|_| is_folder).chain(&schemas);
        let texts = read.map(|file| (file.path.as_str(), file.text.as_slice()));
        let repository = Repository::of(paths.iter().map(String::as_str), texts);
        let mut linter = Linter::new(&settings, &repository);
        let all: Vec<&str> = paths.iter().map(String::as_str).collect();
        for (path, file) in files.iter().filter(|(_, file)| file.path == plan::CONFIG || settings.covers(&file.path)) {
            checked.extend(check(path, file, &all, &schemas, &mut linter)?);
        }
    }
    let problems: Vec<&Problem> = checked.iter().flat_map(|file| &file.problems).collect();
    let text = match arguments.format {
        Format::Text => render(&checked, wants_colours(&std::io::stdout())),
        Format::Json => format!(
            "{}\n",
            serde_json::to_string_pretty(
                &serde_json::json!({ "problems": problems, "estimates": estimates(&checked) })
            )?
        ),
        Format::Sarif => format!("{}\n", serde_json::to_string_pretty(&formats::sarif(&problems))?),
        Format::Github => formats::github(&problems),
    };
    super::print(&text)?;
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(if has_errors { super::PROBLEMS } else { super::FINE })
}

/// Returns the estimates of the trainings' resources, by file.
fn estimates(checked: &[Checked]) -> Vec<serde_json::Value> {
    let told = |file: &Checked| Some(serde_json::json!({"file": file.path, "message": file.estimate.as_ref()?}));
    checked.iter().filter_map(told).collect()
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

/// Returns the files of the folder that a plan reads, with the paths under which they are reported.
fn of_folder(folder: &Path) -> anyhow::Result<Vec<(String, SourceFile)>> {
    let told = |file: SourceFile| {
        let path = if folder == Path::new(".") { file.path.clone() } else { shown_path(&folder.join(&file.path)) };
        (path, file)
    };
    Ok(files_of(folder)?.into_iter().map(told).collect())
}

fn of_file(path: &Path) -> anyhow::Result<(String, SourceFile)> {
    let is_config = path.file_name().context("a file without a name")? == plan::CONFIG;
    let told = shown_path(path);
    let path = if is_config { plan::CONFIG.to_owned() } else { told.clone() };
    Ok((told.clone(), SourceFile { path, text: files::read(Path::new(&told))? }))
}

fn shown_path(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

/// Checks a file. Returns `None` for a file that is not a config of ours.
fn check(
    path: &str,
    file: &SourceFile,
    paths: &[&str],
    schemas: &[SourceFile],
    linter: &mut Linter<'_>,
) -> anyhow::Result<Option<Checked>> {
    let found = if file.path == plan::CONFIG {
        // The problems of a `.travis.yml` hardly depend on the trigger of a build.
        let trigger = TriggerArgs::default().trigger(&CheckedOut::nothing("repository")?);
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        let files: Vec<SourceFile> = std::iter::once(file).chain(schemas).cloned().collect();
        let commit = Commit { files: &files, paths, ..Commit::default() };
        Some((files::planned(commit, folder, &trigger).problems, None))
    } else {
        linter.lint(&file.path, &file.text).map(|linted| (linted.problems, linted.estimate))
    };
    Ok(found.map(|(mut problems, estimate)| {
        // Problems of an imported file keep its name.
        let own = problems.iter_mut().filter(|problem| problem.file.as_ref().is_none_or(|of| *of == file.path));
        own.for_each(|problem| problem.file = Some(path.to_owned()));
        Checked { path: path.to_owned(), text: file.text.clone(), problems, estimate }
    }))
}

/// Renders the problems with their lines, and the number of files that were checked.
fn render(checked: &[Checked], colours: bool) -> String {
    let mut text = String::new();
    for file in checked {
        let source = String::from_utf8_lossy(&file.text);
        for problem in file.problems.iter().filter(|problem| problem.severity > Severity::Info) {
            text.push_str(&problems::line(problem, 1, colours));
            if problem.file.as_ref() == Some(&file.path) {
                text.push_str(&excerpt(&source, problem).unwrap_or_default());
            }
        }
    }
    let told = |file: &Checked| Some(format!("{}: {}\n", inert(&file.path), inert(file.estimate.as_ref()?)));
    let estimates: String = checked.iter().filter_map(told).collect();
    text.push_str(&paint(&estimates, Colour::Faint, colours));
    let all: Vec<Problem> = checked.iter().flat_map(|file| file.problems.iter().cloned()).collect();
    let counted = problems::counted(&all).unwrap_or_else(|| "no problems".to_owned());
    let files = match checked {
        [] => return "no training config, no command of a trainer and no .travis.yml was found\n".to_owned(),
        [one] => inert(&one.path),
        many => number_of(many.len(), "file"),
    };
    text + &format!("{files} checked: {counted}\n")
}

/// Returns the line of a problem with a caret below, without the secrets in it.
fn excerpt(source: &str, problem: &Problem) -> Option<String> {
    let line = source.lines().nth(problem.line?.checked_sub(1)? as usize)?;
    let hidden = lora::hidden(line);
    let column = problem.column.unwrap_or(1).max(1) as usize;
    let at = hidden.char_indices().nth(column - 1).map_or(hidden.len(), |(at, _)| at);
    (!line.trim().is_empty()).then(|| format!("{}\n", pointed_at(&hidden, at)))
}
