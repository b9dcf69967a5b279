//! `trainyard completions`.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::cli::{FINE, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "For bash: trainyard completions bash > ~/.local/share/bash-completion/completions/trainyard")]
pub(in crate::cli) struct Arguments {
    shell: Shell,
}

pub(in crate::cli) fn run(arguments: &Arguments, command: &mut Command) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    generate(arguments.shell, command, "trainyard", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(FINE)
}
