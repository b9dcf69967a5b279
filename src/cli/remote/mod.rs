//! The commands that talk to a server: its builds, jobs, logs and artifacts.
//!
//! The server is not trusted with more than its token: what it says has bounds, and cannot steer the terminal or write
//! outside of the folder for artifacts.

mod address;
mod answers;
mod artifacts;
mod builds;
mod changes;
mod client;
mod events;
mod follow;
mod login;
mod logs;
mod machines;
mod open;
mod publish;
mod servers;
mod session;
mod watch;

use clap::Subcommand;
use serde_json::Value;

pub(super) use self::session::ServerArgs;
use super::{FINE, USAGE, print};
use crate::cli::table::{Table, inert, wants_colours, width_of};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Log in to a server: store a token for it.
    Login(login::LoginArguments),
    /// Forget the token for a server.
    Logout(login::LogoutArguments),
    /// List the servers that you are logged in to, or choose the default one.
    Servers(login::ServersArguments),
    /// List builds.
    Builds(builds::ListArguments),
    /// Show a build with its jobs and problems.
    Build(builds::ShowArguments),
    /// Print the log of a job.
    Logs(logs::Arguments),
    /// Watch a build live: its jobs, a log, and the loss.
    Watch(watch::Arguments),
    /// Ask for a build of a branch.
    Trigger(changes::TriggerArguments),
    /// Run the jobs of a build again, or one of them.
    Restart(changes::RestartArguments),
    /// Cancel the jobs of a build that have not ended, or one of them.
    Cancel(changes::CancelArguments),
    /// Let the build of a fork run, or the weights of a job go out.
    Approve(changes::ApproveArguments),
    /// Do not let the weights of a job go out.
    Reject(publish::RejectArguments),
    /// Publish the weights of a job again whose publication has failed.
    Publish(publish::PublishArguments),
    /// List or download the files that a job has left.
    Artifacts(artifacts::Arguments),
    /// Open the page of a build or job in a browser.
    Open(open::Arguments),
    /// List the jobs that wait for a runner.
    Queue(machines::QueueArguments),
    /// List the runners, with their jobs and GPUs.
    Runners(machines::RunnersArguments),
}

pub(super) async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Login(arguments) => login::log_in(&arguments).await,
        Command::Logout(arguments) => login::log_out(&arguments),
        Command::Servers(arguments) => login::servers(&arguments),
        Command::Builds(arguments) => builds::list(&arguments).await,
        Command::Build(arguments) => builds::show(&arguments).await,
        Command::Logs(arguments) => logs::run(&arguments).await,
        Command::Watch(arguments) => watch::run(&arguments).await,
        Command::Trigger(arguments) => changes::trigger(&arguments).await,
        Command::Restart(arguments) => changes::restart(&arguments).await,
        Command::Cancel(arguments) => changes::cancel(&arguments).await,
        Command::Approve(arguments) => changes::approve(&arguments).await,
        Command::Reject(arguments) => publish::reject(&arguments).await,
        Command::Publish(arguments) => publish::publish(&arguments).await,
        Command::Artifacts(arguments) => artifacts::run(&arguments).await,
        Command::Open(arguments) => open::run(&arguments).await,
        Command::Queue(arguments) => machines::queue(&arguments).await,
        Command::Runners(arguments) => machines::runners(&arguments).await,
    }
}

/// Returns the exit status of an error that only these commands have.
pub(super) fn exit_status(error: &anyhow::Error) -> Option<u8> {
    let of_server = error.downcast_ref::<client::Error>().map(client::Error::exit_status);
    of_server.or_else(|| error.is::<session::Usage>().then_some(USAGE))
}

/// Prints a table, cut to the terminal's width, or a text if it has no rows.
fn print_table(table: &Table, none: &str) -> anyhow::Result<u8> {
    let out = std::io::stdout();
    if table.is_empty() {
        eprintln!("{none}");
    } else {
        print(&table.render(wants_colours(&out), width_of(&out)))?;
    }
    Ok(FINE)
}

/// Prints an answer as the server gave it. Characters that could steer a terminal are escaped, as JSON permits.
fn print_json(answer: &Value) -> anyhow::Result<u8> {
    print(&(escaped(&serde_json::to_string_pretty(answer)?) + "\n"))?;
    Ok(FINE)
}

fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || !inert(c.encode_utf8(&mut [0; 4])).is_empty() {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_the_same_and_harmless() {
        let answer = json!({ "name": "\u{1b}[2J\u{9b}2J\u{7f}\u{202e}é\n" });
        let text = escaped(&serde_json::to_string_pretty(&answer).expect("JSON"));
        assert_eq!(text, "{\n  \"name\": \"\\u001b[2J\\u009b2J\\u007f\\u202eé\\n\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), answer);
    }
}
