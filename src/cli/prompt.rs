//! Questions at the terminal whose answers are not shown.

use std::io::{BufRead as _, Read as _, Write as _};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

/// Maximum length of an answer, in bytes.
const MAX_ANSWER: u64 = 4 << 10;

/// Asks at the terminal, which does not show what is typed.
pub(super) fn ask(question: &str) -> anyhow::Result<SecretString> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let stdin = std::io::stdin();
    let shown = tcgetattr(&stdin).context("reading the terminal's mode")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &hidden).context("hiding what is typed")?;
    let answer = read_line();
    tcsetattr(&stdin, OptionalActions::Now, &shown).context("showing what is typed again")?;
    eprintln!();
    answer
}

/// Reads the first line of standard input.
pub(super) fn read_line() -> anyhow::Result<SecretString> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut line);
    read.context("reading a line from standard input")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned().into())
}
