//! Programs that this process starts. They do not inherit its environment, which may hold GitHub's token, the webhook's
//! secret and the password of the database. The only module that makes commands.

use std::ffi::OsStr;

use tokio::process::Command;

/// Variables that every program gets: where programs and libraries are, and the forms of texts and times.
const KEPT: [&str; 6] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL", "TZ"];

/// Returns a command that gets of this process's environment only the usual variables, and those that `more` names.
pub fn command(program: impl AsRef<OsStr>, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in KEPT.iter().chain(more) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
