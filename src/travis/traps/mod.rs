//! Files that are right by the language and still surely not what their author meant.
//!
//! Each file in here is a group of traps. All of them rather miss a trap than tell of one where none is: who has
//! been warned in vain twice does not read the third warning.

mod commands;
mod environment;
mod heredocs;
mod progress;
mod secrets;
mod shell;
mod values;

use super::matrix::Config;
use crate::domain::Severity;
use crate::yaml::{Mark, Node};

/// A trap that a file stepped into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// How sure it is that the author did not mean it.
    pub severity: Severity,
    /// Its name, in kebab-case.
    pub rule: &'static str,
    /// What happens, and what to write instead.
    pub message: String,
    /// Where it is written.
    pub at: Mark,
    /// The key.
    pub key: String,
}

/// The most traps that are told of one file.
const MAX_TRAPS: usize = 100;

/// The traps in a file, with its config in the normal form and the jobs that it makes.
pub fn traps(root: &Node, config: &Config, jobs: &[Config]) -> Vec<Trap> {
    let commands = commands::of_file(root);
    let mut traps: Vec<Trap> = environment::list_splits_variables(root, config).into_iter().collect();
    let defined = environment::defined_in_file(config, jobs);
    traps.extend(environment::undefined_variables(&commands, jobs, &defined));
    traps.extend(commands.iter().filter_map(heredocs::empty_heredoc));
    traps.extend(commands.iter().filter_map(|command| progress::progress_bar(command, &defined)));
    traps.extend(values::missing_script(root, jobs));
    traps.extend(values::number_that_is_cut(root));
    traps.extend(secrets::plain_secrets(root));
    traps.truncate(MAX_TRAPS);
    traps
}

#[cfg(test)]
mod tests;
