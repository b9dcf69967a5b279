//! `trainyard user`: local users, for a service where people do not log in with GitHub.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

use super::database::connect;
use crate::cli::table::{Table, wants_colours, width_of};
use crate::config::Config;
use crate::domain::{RepoName, Right};
use crate::passwords;
use crate::store::people::{audit, permissions, persons};
use crate::store::repos;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a user. The password is asked for at the terminal, or comes from standard input.
    Add {
        #[arg(value_parser = name)]
        name: String,
        /// The user is an operator, who may do everything.
        #[arg(long)]
        admin: bool,
    },
    /// List the users with their rights.
    List,
    /// Remove a user, with the user's sessions and tokens.
    Remove { name: String },
    /// Change a user's password, and end the user's sessions.
    Password { name: String },
    /// Give a user a right in a repository, or take it away.
    Grant {
        name: String,
        #[arg(value_name = "OWNER/NAME")]
        repo: RepoName,
        /// read, write, admin or none.
        #[arg(value_parser = right)]
        right: Granted,
    },
}

/// A right, or none.
#[derive(Debug, Clone, Copy)]
struct Granted(Option<Right>);

fn right(text: &str) -> Result<Granted, String> {
    match text {
        "none" => Ok(Granted(None)),
        _ => text.parse().map(|right| Granted(Some(right))).map_err(|_| "read, write, admin or none".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    persons::is_name(text).then(|| text.to_owned()).ok_or_else(|| persons::NAME_FORM.to_owned())
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let db = connect(&config).await?;
    let changed = match &arguments.action {
        Action::List => return list(&db).await,
        Action::Add { name, admin } => {
            let hash = passwords::hash(&ask_for_password()?)?;
            let is_new = persons::insert_local(&db, name, &hash, *admin).await?;
            ensure!(is_new, "there is a user {name} already: change the password with trainyard user password");
            record(&db, "add a user", name).await;
            true
        }
        Action::Remove { name } => persons::remove_local(&db, name).await?,
        Action::Password { name } => {
            ensure!(persons::local(&db, name).await?.is_some(), "there is no user {name}");
            persons::set_password(&db, name, &passwords::hash(&ask_for_password()?)?).await?
        }
        Action::Grant { name, repo, right } => {
            let Some(id) = repos::find(&db, repo).await? else {
                eprintln!("trainyard: there is no repository {repo} here: its first webhook adds it");
                return Ok(crate::cli::USAGE);
            };
            permissions::grant(&db, name, id, right.0).await?
        }
    };
    match (&arguments.action, changed) {
        (Action::Remove { name }, true) => record(&db, "remove a user", name).await,
        (Action::Password { name }, true) => record(&db, "change a password", name).await,
        (Action::Grant { name, repo, right }, true) => {
            let right = right.0.map_or("none", Right::word);
            record(&db, "grant a right", &format!("{name} {repo} {right}")).await;
        }
        _ => {}
    }
    crate::cli::print(if changed { "done\n" } else { "there is no such user\n" })?;
    Ok(if changed { crate::cli::FINE } else { crate::cli::PROBLEMS })
}

/// Adds an entry to the record of changes. The change itself is done.
async fn record(db: &PgPool, what: &str, target: &str) {
    let who = uzers::get_current_username().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let who = format!("{who} on the machine");
    if let Err(error) = audit::add(db, audit::New { who: &who, what, target, address: "" }).await {
        eprintln!("trainyard: the change is not in the record: {error}");
    }
}

async fn list(db: &PgPool) -> anyhow::Result<u8> {
    let mut table = Table::new(["user", "role", "rights"]);
    for user in persons::all_local(db).await.context("reading the users")? {
        let role = if user.is_operator { "operator" } else { "" };
        table.push(vec![user.name, role.to_owned(), user.rights.join(", ")]);
    }
    let out = std::io::stdout();
    crate::cli::print(&table.render(wants_colours(&out), width_of(&out)))?;
    Ok(crate::cli::FINE)
}

/// Asks for a new password: twice at a terminal, which does not show it, and otherwise reads the first line.
fn ask_for_password() -> anyhow::Result<SecretString> {
    if !std::io::stdin().is_terminal() {
        return read_line();
    }
    let first = ask("New password: ")?;
    let second = ask("Once more: ")?;
    ensure!(first.expose_secret() == second.expose_secret(), "the two passwords differ");
    Ok(first)
}

fn ask(question: &str) -> anyhow::Result<SecretString> {
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

fn read_line() -> anyhow::Result<SecretString> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the password")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned().into())
}
