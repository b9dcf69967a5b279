//! The command line: a table of subcommands, one file each.

mod trigger_args;
mod condition;
mod doctor;
mod encrypt;
mod excerpt;
mod files;
mod jobs;
mod lint;
mod losses;
mod mock;
mod plan;
mod plot;
mod problems;
mod prompt;
mod reference;
mod remote;
mod run;
mod service;
mod table;
mod weights;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

use self::reference::{completions, man};
use self::service::{backup, notify, repo, serve, setup, user, webhook_secret, work};
use self::weights::{inspect, verify};
use crate::planner;
use crate::store::runner::runner_lock::RunnerLocked;

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
    /// Run jobs on a further machine, for a server whose Postgres it shares: workers only.
    Work(serve::Arguments),
    /// Show the jobs that a repository's `.travis.yml` gives, and the problems of it and of its training configs.
    Plan(plan::Arguments),
    /// Check training configs and `.travis.yml` files: all of a folder, or single files as in a pre-commit hook.
    Lint(lint::Arguments),
    /// Run the jobs of a folder's `.travis.yml` here in Docker, as the service would, without a server or database.
    Run(run::Arguments),
    /// Evaluate a condition as in an `if:` of a `.travis.yml`: prints true or false.
    Condition(condition::Arguments),
    /// Inspect trained LoRA weights: what they change, how much, and their problems.
    Inspect(inspect::Arguments),
    /// Verify that a file is what a train job has saved, and show from what it was made.
    Verify(verify::Arguments),
    /// Show the losses in a training's log or files: their trend, a chart, and other values such as learning rates.
    Losses(losses::Arguments),
    /// Make a mock base model or a dummy data set, to try trainers without a download.
    Mock(mock::Arguments),
    /// Set up the connection to GitHub.
    Setup(setup::Arguments),
    /// Check the configuration and the machine for anything that keeps the service from working, and say what to do
    /// about it. Changes nothing.
    Doctor(doctor::Arguments),
    /// Write the database, logs and artifacts to a file, while the service runs or not.
    Backup(backup::Arguments),
    /// Restore a backup into an empty data folder, before the service starts.
    Restore(backup::Arguments),
    /// Encrypt a secret for a repository's `.travis.yml`, as a `secure:` string.
    Encrypt(encrypt::Arguments),
    /// Manage the repositories that the service knows.
    Repo(repo::Arguments),
    /// Send an example of a message to the chats of the configuration.
    Notify(notify::Arguments),
    /// Manage local users, who log in with a password.
    User(user::Arguments),
    /// Make a secret for the webhook of an owner or a repository, and store it in the database.
    WebhookSecret(webhook_secret::Arguments),
    #[command(flatten)]
    Remote(remote::Command),
    /// Print a script that completes the command line in a shell.
    Completions(completions::Arguments),
    /// Write the manual pages into a folder.
    Man(man::Arguments),
    /// Plan commits for the service that started this process.
    #[command(hide = true)]
    PlanChild,
}

/// Exit status: the command succeeded.
const FINE: u8 = 0;
/// Exit status: problems were found, or the command failed.
const PROBLEMS: u8 = 1;
/// Exit status: the command line names something that does not exist.
const USAGE: u8 = 2;
/// Exit status: another process holds the lock of a configured runner. A restart would not help.
const RUNNER_LOCKED: u8 = 3;

/// Runs the command that the process's arguments name. Exit statuses: 0 success, 1 problems, 2 usage, 3 a runner is
/// locked, 4 a server does not answer, 5 a server wants another token.
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let mut runtime = match command {
        // More threads would take of the memory that is for the plan.
        Command::PlanChild => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().context("starting the threads of this process");
    match runtime.and_then(|runtime| runtime.block_on(run(command))) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("trainyard: {error:#}");
            ExitCode::from(exit_status(&error))
        }
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments).await,
        Command::Work(arguments) => work::run(&arguments).await,
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Run(arguments) => run::run(arguments).await,
        Command::Condition(arguments) => condition::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Losses(arguments) => losses::run(&arguments),
        Command::Mock(arguments) => mock::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments).await,
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Backup(arguments) => backup::backup(&arguments).await,
        Command::Restore(arguments) => backup::restore(&arguments).await,
        Command::Encrypt(arguments) => encrypt::run(arguments).await,
        Command::Repo(arguments) => repo::run(arguments).await,
        Command::Notify(arguments) => notify::run(&arguments).await,
        Command::User(arguments) => user::run(&arguments).await,
        Command::WebhookSecret(arguments) => webhook_secret::run(&arguments).await,
        Command::Remote(command) => remote::run(command).await,
        Command::Completions(arguments) => completions::run(&arguments, &mut Arguments::command()),
        Command::Man(arguments) => man::run(&arguments, Arguments::command()),
        Command::PlanChild => planner::serve().map(|()| FINE),
    }
}

/// Returns the exit status of a command that failed.
fn exit_status(error: &anyhow::Error) -> u8 {
    if error.is::<RunnerLocked>() { RUNNER_LOCKED } else { remote::exit_status(error).unwrap_or(PROBLEMS) }
}

/// Prints to standard output. A reader that closes the pipe early, as `head` does, is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
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
