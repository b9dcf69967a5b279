//! The command line: a table of subcommands, one file each.

mod condition;
mod encrypt;
mod plan;
mod serve;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Self-hosted CI for teams that train LoRA models.
#[derive(Debug, Parser)]
#[command(name = "trainyard", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: web pages, intake, workers, statuses.
    Serve(serve::Arguments),
    /// Show the jobs that a repository's `.travis.yml` gives, and what is wrong with it and its training configs.
    Plan(plan::Arguments),
    /// Try a condition, as `if:` in a `.travis.yml` has them: prints true or false.
    Condition(condition::Arguments),
    /// Encrypt a secret for a repository's `.travis.yml`, as a `secure:` string.
    Encrypt(encrypt::Arguments),
}

/// The command did what was asked.
const FINE: u8 = 0;
/// Problems were found, or the command could not do its work.
const PROBLEMS: u8 = 1;

/// Runs the command that the process's arguments name. Exit status 0 fine, 1 problems, 2 usage.
pub async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Condition(arguments) => condition::run(&arguments),
        Command::Encrypt(arguments) => encrypt::run(arguments).await,
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("trainyard: {error:#}");
            ExitCode::from(PROBLEMS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
