//! The files that hold command lines: the scripts in them, by the file's name.

mod makefile;
mod markdown;
mod phases;

use super::shell::{Command, Script, Syntax, Variables, commands};

/// The kinds of files that hold command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Script(Syntax),
    /// A file whose name has no extension: a script if its first line says so.
    Unnamed,
    Makefile,
    Markdown,
    Travis,
}

impl Kind {
    /// Returns the kind of a file by its path; `None` for files without command lines.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if matches!(name, "Makefile" | "makefile" | "GNUmakefile") {
            return Some(Self::Makefile);
        }
        if name == ".travis.yml" {
            return Some(Self::Travis);
        }
        Some(match name.rsplit_once('.') {
            None => Self::Unnamed,
            Some((_, "sh" | "bash" | "zsh" | "slurm" | "sbatch" | "command")) => Self::Script(Syntax::Posix),
            Some((_, "bat" | "cmd")) => Self::Script(Syntax::Batch),
            Some((_, "ps1")) => Self::Script(Syntax::PowerShell),
            Some((_, "mk")) => Self::Makefile,
            Some((_, "md" | "markdown")) => Self::Markdown,
            Some(_) => return None,
        })
    }

    /// Returns the commands of a file.
    pub(super) fn commands(self, text: &str) -> Vec<Command> {
        let mut variables = Variables::default();
        match self {
            Self::Unnamed if !is_shell_script(text) => Vec::new(),
            Self::Script(syntax) => commands(&whole(text, syntax), &mut variables),
            Self::Unnamed => commands(&whole(text, Syntax::Posix), &mut variables),
            Self::Makefile => makefile::commands_of(text),
            Self::Markdown => {
                markdown::scripts(text).iter().flat_map(|script| commands(script, &mut variables)).collect()
            }
            Self::Travis => phases::scripts(text).iter().flat_map(|script| commands(script, &mut variables)).collect(),
        }
    }
}

fn whole(text: &str, syntax: Syntax) -> Script {
    let mut script = Script::new(syntax);
    script.push_lines(text, 1);
    script
}

/// Returns true if the first line names a shell.
fn is_shell_script(text: &str) -> bool {
    let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else { return false };
    let mut words = line.split(['/', ' ', '\t']);
    words.any(|word| ["sh", "bash", "zsh", "dash", "ksh"].contains(&word))
}
