//! `trainyard repo`: what the operator does with a repository that the service knows.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytesize::ByteSize;
use sqlx::{PgPool, Postgres, Transaction};

use super::cron;
use super::database::connect;
use super::variable;
use crate::config::Config;
use crate::domain::{RepoId, RepoName};
use crate::git::Mirrors;
use crate::storage::{Caches, Objects, Room};
use crate::store::output::retention;
use crate::store::removal::{self, Contents};
use crate::store::{repos, wishes};

/// Number of builds that a transaction deletes.
const BUILDS: i64 = 100;
/// Time for canceled jobs to end: their workers must hear of the cancel, and jobs have graces.
const END_OF_JOBS: Duration = Duration::from_secs(60);
/// Time for the archiver to end its work on objects.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the service to send the last statuses.
const LAST_STATUSES: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Delete a repository with all its builds, logs, artifacts, caches, its mirror and its key pair. The next webhook
    /// of the repository adds it again, so remove its webhook on GitHub first.
    Delete(Delete),
    /// List, set and remove the variables that the repository's jobs see.
    Variable(variable::Arguments),
    /// List or change the crons of a repository: branches that are built by schedule.
    Cron(cron::Arguments),
}

#[derive(Debug, clap::Args)]
struct Delete {
    /// The repository.
    #[arg(value_name = "OWNER/NAME")]
    repo: RepoName,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Cancel the jobs that are not finished. Without this, the repository is not deleted while it has any.
    #[arg(long)]
    cancel: bool,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.action {
        Action::Delete(arguments) => delete_whole(arguments).await,
        Action::Variable(arguments) => variable::run(arguments).await,
        Action::Cron(arguments) => cron::run(&arguments).await,
    }
}

async fn delete_whole(arguments: Delete) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let db = connect(&config).await?;
    let Some(repo) = repos::find(&db, &arguments.repo).await? else {
        eprintln!("trainyard: there is no repository {} here", arguments.repo);
        return Ok(crate::cli::USAGE);
    };
    let contents = removal::contents(&db, repo).await?;
    // In the case of the letters in which folders have it.
    let name: &RepoName = &format!("{}/{}", contents.owner, contents.name).parse()?;
    ensure!(
        contents.unfinished == 0 || arguments.cancel,
        "{name} has unfinished jobs ({}): wait for their end, or cancel them with --cancel",
        contents.unfinished
    );
    crate::cli::print(&describe(name, &contents))?;
    if !arguments.yes && !is_confirmed(name)? {
        bail!("nothing was deleted");
    }
    // Before the cancel, because without it nothing can be deleted.
    let _hold = hold_objects(&db, name).await?;
    if contents.unfinished > 0 {
        removal::cancel(&db, repo, "canceled, since the repository is deleted").await?;
        end_of_jobs(&db, repo).await?;
    }
    if !statuses_are_sent(&db, repo).await? {
        eprintln!("trainyard: the last statuses of {name} were not sent: GitHub goes on showing the ones before");
    }
    delete(&db, &config, repo, name).await?;
    crate::cli::print(&format!("Deleted {name}.\n"))?;
    Ok(crate::cli::FINE)
}

fn describe(name: &RepoName, contents: &Contents) -> String {
    let Contents { builds, jobs, unfinished, objects, size, .. } = contents;
    let size = ByteSize::b(u64::try_from(*size).unwrap_or(0));
    format!(
        "To be deleted of {name}:\n  \
         builds: {builds}, with jobs: {jobs}, unfinished: {unfinished}\n  \
         stored logs and artifacts: {objects} ({size})\n  \
         its caches and its mirror on this machine\n  \
         its key pair: its `secure:` strings can then be decrypted nowhere\n"
    )
}

fn is_confirmed(name: &RepoName) -> anyhow::Result<bool> {
    ensure!(std::io::stdin().is_terminal(), "there is no terminal to ask at: add --yes");
    print!("Type {name} to delete all of this: ");
    std::io::stdout().flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim() == name.to_string())
}

/// Returns a transaction during which objects may be removed.
async fn hold_objects(db: &PgPool, name: &RepoName) -> anyhow::Result<Transaction<'static, Postgres>> {
    let begin = Instant::now();
    loop {
        if let Some(hold) = retention::may_remove_objects(db).await? {
            return Ok(hold);
        }
        ensure!(
            begin.elapsed() < HOLD_TIMEOUT,
            "a backup or the archiver holds the objects, so nothing of {name} was deleted: run this command again later"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until no status of the repository is owed: they are deleted with their builds. Returns false if some are left.
async fn statuses_are_sent(db: &PgPool, repo: RepoId) -> anyhow::Result<bool> {
    let begin = Instant::now();
    while wishes::owes(db, repo).await? {
        if begin.elapsed() >= LAST_STATUSES {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}

async fn end_of_jobs(db: &PgPool, repo: RepoId) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let unfinished = removal::contents(db, repo).await?.unfinished;
        if unfinished == 0 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < END_OF_JOBS,
            "canceled jobs have not ended yet ({unfinished}), so nothing was deleted: run this command again when their \
             worker has stopped them"
        );
        tokio::time::sleep(POLL).await;
    }
}

async fn delete(db: &PgPool, config: &Config, repo: RepoId, name: &RepoName) -> anyhow::Result<()> {
    let data = &config.server.data_dir;
    let objects = Objects::open(&config.storage, data)?;
    loop {
        let deleted = removal::remove_builds(db, repo, BUILDS).await?;
        for key in &deleted.keys {
            // No row names the object any more, so the service's sweep finds it within a day.
            if let Err(error) = objects.remove(key).await {
                eprintln!("trainyard: an object is not removed yet: {error:#}");
            }
        }
        if deleted.builds == 0 {
            break;
        }
    }
    ensure!(
        removal::remove(db, repo).await?,
        "{name} got a new build meanwhile: remove its webhook on GitHub, then run this command again"
    );
    Caches::new(data.join("caches"), config.cache.clone()).remove(repo)?;
    let room = Room::new(data.clone(), config.storage.least_free);
    Mirrors::new(data.join("mirrors"), &config.git, room).remove(name).await
}
