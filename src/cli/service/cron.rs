//! `trainyard repo cron`: the crons of a repository.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::ensure;

use super::database::connect;
use crate::config::Config;
use crate::domain::{CronInterval, RepoName};
use crate::store::crons::{self, Cron};
use crate::store::repos;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The repository.
    #[arg(value_name = "OWNER/NAME")]
    repo: RepoName,
    /// The branch whose cron is set or removed. Without one, the crons are listed.
    #[arg(requires = "change")]
    branch: Option<String>,
    /// Build the branch daily, weekly or monthly, from now on.
    #[arg(long, value_name = "INTERVAL", group = "change", requires = "branch")]
    every: Option<CronInterval>,
    /// Build nothing if the branch had another build within the last 24 hours.
    #[arg(long, requires = "every")]
    unless_recent: bool,
    /// Remove the cron.
    #[arg(long, group = "change", requires = "branch")]
    remove: bool,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let db = connect(&config).await?;
    let Some(repo) = repos::find(&db, &arguments.repo).await? else {
        eprintln!("trainyard: there is no repository {} here", arguments.repo);
        return Ok(crate::cli::USAGE);
    };
    match (&arguments.branch, arguments.every) {
        (Some(branch), Some(every)) => {
            let mut tx = db.begin().await?;
            let is_set = crons::set(&mut tx, repo, branch, every, arguments.unless_recent).await?;
            ensure!(is_set, "{} has {} crons, which is the most", arguments.repo, crons::MAX_CRONS);
            tx.commit().await?;
        }
        (Some(branch), None) => {
            ensure!(crons::remove(&db, repo, branch).await?, "{} has no cron of {branch}", arguments.repo);
        }
        (None, _) => {}
    }
    crate::cli::print(&described(&crons::of(&db, repo).await?))?;
    Ok(crate::cli::FINE)
}

fn described(crons: &[Cron]) -> String {
    if crons.is_empty() {
        return "no crons\n".to_owned();
    }
    crons.iter().fold(String::new(), |mut text, cron| {
        let unless = if cron.skip_if_recent { ", unless there is a recent build" } else { "" };
        let next = cron.next_at.format("%Y-%m-%d %H:%M UTC");
        let _ = write!(text, "{}: {}{unless}, next {next}", cron.branch, cron.every);
        let last = cron.last_outcome.as_deref().map(|outcome| format!(", last {outcome}"));
        let _ = writeln!(text, "{}", last.unwrap_or_default());
        text
    })
}
