//! `trainyard man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Command;

use crate::cli::{FINE, print};

#[derive(Debug, clap::Args)]
#[command(after_help = "To read one: man -l DIR/trainyard-watch.1")]
pub(in crate::cli) struct Arguments {
    /// The folder, which is made if it is missing. The pages are in section 1.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(in crate::cli) fn run(arguments: &Arguments, command: Command) -> anyhow::Result<u8> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    clap_mangen::generate_to(command, folder).with_context(|| format!("writing to {}", folder.display()))?;
    print(&format!("The manual pages are in {}.\n", folder.display()))?;
    Ok(FINE)
}
