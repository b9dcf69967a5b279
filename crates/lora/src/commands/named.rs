//! The files of the repository that a command names.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::programs::{Call, Form, is_config};
use super::shell::{Argument, Command};
use crate::read::Format;
use crate::repository::{folder, normal};
use crate::{Dialect, Repository};

/// The place of a command: its file, and the files around it.
pub(super) struct Place<'a> {
    /// The path of the file that holds the command.
    pub(super) path: &'a str,
    pub(super) repository: &'a Repository<'a>,
    /// All commands of the file.
    pub(super) commands: &'a [Command],
    /// True for a page: its paths are examples.
    pub(super) is_page: bool,
    /// The names of files that other commands name, and may write.
    pub(super) made: OnceCell<BTreeSet<&'a str>>,
}

/// A file that a command names.
pub(super) enum Named {
    /// The repository has it, with this path.
    Here(String),
    /// The reason why it is surely missing.
    Missing(String),
    Unknown,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str, repository: &'a Repository<'a>, commands: &'a [Command]) -> Self {
        let is_page = path.ends_with(".md") || path.ends_with(".markdown");
        Self { path, repository, commands, is_page, made: OnceCell::new() }
    }

    /// Looks for the config that a call names: relative to the repository's root or to the script's folder.
    pub(super) fn find(&self, config: &Argument, call: &Call<'_>) -> Named {
        let Some(path) = config.known().and_then(normal) else { return Named::Unknown };
        let path = if call.program.trainer == "sd-scripts" && !path.ends_with(".toml") {
            format!("{path}.toml")
        } else {
            path
        };
        if let Some(found) = self.paths(&path).into_iter().find(|path| self.repository.has(path)) {
            return if call.is_elsewhere { Named::Unknown } else { Named::Here(found) };
        }
        if call.is_elsewhere || self.repository.is_unknown() || self.may_be_made(&path) {
            return Named::Unknown;
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let Some((_, kind)) = name.rsplit_once('.') else { return Named::Unknown };
        // Configs beside it show that the path is relative to the root, and that the folder is not brought by the job.
        let may_be_example = self.is_page && folder.is_empty();
        if may_be_example || !self.repository.has_beside(folder, kind) || self.repository.has_ending(&path) {
            return Named::Unknown;
        }
        let place = if folder.is_empty() { "the repository's root" } else { folder };
        Named::Missing(format!(
            "{name} is not in {place}, so {} cannot read it: add it, or correct the path",
            call.program.trainer
        ))
    }

    /// Returns false for a script that has the name of a trainer's, and may be another project's: ai-toolkit's `run.py` is
    /// known by its folder, or by a config beside the one that it is given.
    pub(super) fn is_of_trainer(&self, call: &Call<'_>) -> bool {
        if call.program.form != Form::Configs {
            return true;
        }
        let is_of_toolkit = |path: &str, text: &[u8]| {
            let text = std::str::from_utf8(text).ok().filter(|text| text.contains("process"));
            let root = Format::of(path).zip(text).and_then(|(format, text)| Some((format, format.read(text).root?)));
            root.is_some_and(|(format, root)| Dialect::of(format, &root) == Some(Dialect::AiToolkit))
        };
        let configs = call.arguments.iter().filter(|argument| is_config(argument));
        let mut paths =
            configs.filter_map(|argument| argument.known().and_then(normal)).flat_map(|path| self.paths(&path));
        let is_beside = |path: String| self.repository.toolkit_folders(is_of_toolkit).contains(folder(&path));
        call.name.text.contains("ai-toolkit") || !call.is_elsewhere && paths.any(is_beside)
    }

    /// Returns true if the repository has the script that a call starts.
    pub(super) fn has_script(&self, call: &Call<'_>) -> bool {
        let path = call.name.known().and_then(normal);
        path.is_some_and(|path| self.paths(&path).iter().any(|path| self.repository.has(path)))
    }

    fn paths(&self, path: &str) -> Vec<String> {
        let beside = self.path.rsplit_once('/').and_then(|(folder, _)| normal(&format!("{folder}/{path}")));
        std::iter::once(path.to_owned()).chain(beside).collect()
    }

    /// Returns true if another command of the file names this file, and may write it.
    fn may_be_made(&self, path: &str) -> bool {
        let made = self.made.get_or_init(|| {
            let others = self.commands.iter().filter(|command| super::programs::call(command).is_none());
            let arguments = others.flat_map(|command| &command.arguments);
            arguments
                .chain(self.commands.iter().flat_map(|command| &command.targets))
                .filter_map(Argument::file_name)
                .collect()
        });
        made.contains(path.rsplit('/').next().unwrap_or(path))
    }
}
