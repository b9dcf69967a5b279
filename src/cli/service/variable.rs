//! `trainyard repo variable`: the variables of a repository's settings, as on Travis.

use std::path::PathBuf;

use anyhow::Context as _;

use super::database::connect;
use crate::app;
use crate::cli::encrypt::from_stdin;
use crate::cli::table::{Table, wants_colours, width_of};
use crate::config::Config;
use crate::domain::{RepoId, RepoName};
use crate::store::repos;
use crate::store::sealed::variables::Variables;
use crate::travis::secrets::SHORTEST;
use crate::travis::shell::is_name;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the variables, without their values.
    List(Repo),
    /// Set a variable. The value comes from standard input, since other users of the machine can see a command line.
    Set {
        #[command(flatten)]
        place: Place,
        /// Show the value in logs, and let jobs of forks see it.
        #[arg(long)]
        public: bool,
    },
    /// Remove a variable.
    Remove(Place),
}

#[derive(Debug, clap::Args)]
struct Repo {
    #[arg(value_name = "OWNER/NAME")]
    repo: RepoName,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    repo: Repo,
    /// Name of the variable.
    #[arg(value_name = "VARIABLE", value_parser = name)]
    name: String,
    /// The only branch whose jobs see it; for a pull request, its base branch. Without it: all branches.
    #[arg(long, default_value = "", hide_default_value = true)]
    branch: String,
}

fn name(text: &str) -> Result<String, String> {
    let advice = "a name has letters, digits and _, and does not begin with a digit";
    if is_name(text) { Ok(text.to_owned()) } else { Err(advice.to_owned()) }
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let (Action::List(repo) | Action::Set { place: Place { repo, .. }, .. } | Action::Remove(Place { repo, .. })) =
        &arguments.action;
    let config = Config::load(repo.config.as_deref(), std::env::vars())?;
    let db = connect(&config).await?;
    let variables = app::variables(&config, db.clone())?;
    let Some(id) = repos::find(&db, &repo.repo).await.context("looking for the repository")? else {
        eprintln!("trainyard: there is no repository {} here: its first webhook adds it", repo.repo);
        return Ok(crate::cli::USAGE);
    };
    match &arguments.action {
        Action::List(_) => list(&variables, id).await,
        Action::Set { place, public } => set(&variables, id, place, *public).await,
        Action::Remove(Place { name, branch, .. }) => {
            let removed = variables.remove(id, name, branch).await.context("removing the variable")?;
            crate::cli::print(if removed { "Removed.\n" } else { "There is no such variable.\n" })?;
            Ok(if removed { crate::cli::FINE } else { crate::cli::PROBLEMS })
        }
    }
}

async fn list(variables: &Variables, repo: RepoId) -> anyhow::Result<u8> {
    let found = variables.list(repo).await.context("reading the variables")?;
    let mut table = Table::new(["variable", "branch", "value", "set"]);
    for variable in found {
        let branch = if variable.branch.is_empty() { "all".to_owned() } else { variable.branch };
        let value = if variable.is_public { "public" } else { "secret" };
        let at = variable.changed_at.format("%Y-%m-%d %H:%M UTC").to_string();
        table.push(vec![variable.name, branch, value.to_owned(), at]);
    }
    let out = std::io::stdout();
    crate::cli::print(&table.render(wants_colours(&out), width_of(&out)))?;
    Ok(crate::cli::FINE)
}

async fn set(variables: &Variables, repo: RepoId, place: &Place, is_public: bool) -> anyhow::Result<u8> {
    let value = from_stdin()?;
    variables.set(repo, &place.name, &place.branch, &value, is_public).await?;
    if !is_public && value.chars().count() < SHORTEST {
        eprintln!("trainyard: values with less than {SHORTEST} characters are not hidden in logs");
    }
    crate::cli::print("Set. Jobs that begin from now on see it.\n")?;
    Ok(crate::cli::FINE)
}
