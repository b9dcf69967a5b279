//! Traps about progress bars, which write thousands of lines into a log of limited size.

use std::collections::BTreeSet;

use super::Trap;
use super::commands::Command;
use super::shell::simple_commands;
use crate::domain::{Rule, Severity};

/// A program that shows the progress of a download, unless its command has a quieting word.
struct Program {
    /// Words that call the program.
    call: &'static [&'static str],
    /// Words of which one is required for a progress bar; empty if none is required. A single letter may stand among
    /// others.
    when: &'static [&'static str],
    /// Words that quiet the program; those that end with `=` have a value.
    quiet: &'static [&'static str],
    /// Advice on what to write.
    advice: &'static str,
}

/// The variable that switches Hugging Face's progress bars off.
const QUIET: &str = "HF_HUB_DISABLE_PROGRESS_BARS";

const PROGRAMS: [Program; 5] = [
    Program {
        call: &["wget"],
        when: &[],
        quiet: &["-q", "--quiet", "-nv", "--no-verbose", "-o", "-a", "--output-file=", "-b", "--spider", "--version"],
        advice: "write `wget -nv`",
    },
    Program {
        call: &["curl"],
        when: &["-o", "-O", "--output", "--remote-name"],
        quiet: &["-s", "--silent", "--no-progress-meter", "-#", "--progress-bar"],
        advice: "write `curl -sS`",
    },
    Program {
        call: &["pip", "install"],
        when: &["--progress-bar=on"],
        quiet: &["-q", "--quiet"],
        advice: "write `--progress-bar off`",
    },
    Program {
        call: &["huggingface-cli", "download"],
        when: &[],
        quiet: &["--quiet"],
        advice: "write `huggingface-cli download --quiet`",
    },
    Program { call: &["hf", "download"], when: &[], quiet: &["--quiet"], advice: "write `hf download --quiet`" },
];

/// Returns a trap for a command that shows a progress bar.
pub(super) fn progress_bar(command: &Command<'_>, defined: &BTreeSet<&str>) -> Option<Trap> {
    // All output goes elsewhere, or the programs that respect the variable are quiet.
    if command.text.contains("&>") || command.text.contains(QUIET) || defined.contains(QUIET) {
        return None;
    }
    let mut calls = simple_commands(command.text);
    let found = calls.find_map(|words| PROGRAMS.iter().find(|program| shows(program, &words)))?;
    let message = format!(
        "`{}` shows its progress, which fills the log and can end the job at the log's limit: {}",
        found.call.join(" "),
        found.advice
    );
    let (at, key) = (command.at, command.phase.to_owned());
    Some(Trap { severity: Severity::Info, rule: Rule::ProgressBar, message, at, key })
}

fn shows(program: &Program, words: &[&str]) -> bool {
    // Words that may stand before a program: keywords, and programs that run another. Variables may stand there, too.
    const BEFORE: [&str; 8] = ["sudo", "travis_retry", "time", "then", "do", "else", "if", "!"];
    let Some(at) = words.iter().position(|word| *word == program.call[0]) else { return false };
    let (before, rest) = (&words[..at], &words[at + 1..]);
    if !before.iter().all(|word| BEFORE.contains(word) || word.contains('=')) {
        return false;
    }
    let Some(rest) = rest.strip_prefix(&program.call[1..]) else { return false };
    let says =
        |wanted: &&str| rest.iter().enumerate().any(|(index, word)| is_option(word, rest.get(index + 1), wanted));
    let redirects = rest.iter().any(|word| word.starts_with("2>") || word.starts_with("&>") || word.starts_with(">"));
    (program.when.is_empty() || program.when.iter().any(says)) && !program.quiet.iter().any(says) && !redirects
}

/// Returns true if a word is the option `wanted`. Single letters may stand together, and `--name value` is
/// `--name=value`.
fn is_option(word: &str, next: Option<&&str>, wanted: &str) -> bool {
    if let Some((name, value)) = wanted.split_once('=') {
        return word.strip_prefix(name).is_some_and(|rest| {
            rest.strip_prefix('=').or(next.copied().filter(|_| rest.is_empty())).is_some_and(|v| v.starts_with(value))
        });
    }
    let letter = wanted.strip_prefix('-').filter(|letter| letter.len() == 1);
    match letter {
        Some(letter) => word.starts_with('-') && !word.starts_with("--") && word.contains(letter),
        None => word == wanted,
    }
}
