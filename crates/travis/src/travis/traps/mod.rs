//! Traps: parts of a file that are valid and still surely not what their author meant.
//!
//! Each file in here is a group of traps. All of them prefer to miss a trap rather than to report a false one: after
//! two false warnings, an author does not read the third one.

mod commands;
mod conditions;
mod deployments;
mod environment;
mod heredocs;
mod progress;
mod secrets;
mod shell;
mod values;

pub use conditions::import_traps;
pub use deployments::missing_keys;

use super::matrix::Config;
use crate::domain::{Rule, Severity};
use crate::yaml::{Mark, Node};

/// A trap that a file stepped into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Certainty that the author did not mean it.
    pub severity: Severity,
    /// Name of the rule, in kebab-case.
    pub rule: Rule,
    /// Sentence that states what happens, and what to write instead.
    pub message: String,
    /// Place in the file.
    pub at: Mark,
    pub key: String,
}

/// Maximum number of traps that are reported for one file.
const MAX_TRAPS: usize = 100;

/// Returns the traps in a file. `config` is its normal form, and `jobs` are the jobs that it makes.
pub fn traps(root: &Node, config: &Config, jobs: &[Config]) -> Vec<Trap> {
    let commands = commands::of_file(root);
    let mut traps: Vec<Trap> = environment::list_splits_variables(root, config).into_iter().collect();
    let defined = environment::defined_in_file(config, jobs);
    traps.extend(environment::undefined_variables(&commands, jobs, &defined));
    traps.extend(environment::cut_values(root));
    traps.extend(environment::repeated_variables(root));
    traps.extend(conditions::constant_conditions(root));
    traps.extend(deployments::impossible_deployments(root, config, &commands));
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
