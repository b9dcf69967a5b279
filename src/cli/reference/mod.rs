//! The command line for shells and readers: completions and manual pages, made from the same table as the commands.

pub(super) mod completions;
pub(super) mod man;
