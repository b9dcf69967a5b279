//! `work`: the runners of a further machine, on the database of a server.
//!
//! The process claims jobs and runs them. Duties that one process has for the whole installation (migrations,
//! deliveries, statuses and lost workers) are left to `serve`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::database::DATABASE_RETRY;
use super::folder::{remove_scratch, seal_of_server, take_folder};
use super::github::keep_app;
use super::loops::{archiver_loop, janitor_loop};
use super::notify::Keyring;
use super::runners::{Kept, inputs, mirrors, serve_runners, workers};
use super::{GOODBYE, all_until, endless};
use crate::config::Config;
use crate::github::Client;
use crate::janitor::{self, Archiver, Duties, Janitor};
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store;
use crate::store::postgres::examine::{Schema, schema};
use crate::store::sealed::github_app::StoredApp;
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::wakeup::bell::Bells;
use crate::store::wakeup::bell_notify;
use crate::worker::Database;

/// Serves the configured runners until `shutdown`. Running containers keep running after it.
///
/// # Errors
/// Fails with a message for the operator when it cannot start, and when a task ended too early.
pub async fn work(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let options = config.database.options()?.context(
        "trainyard work needs database.url, the Postgres of the machine that runs trainyard serve: set it on both, or as \
         TRAINYARD__DATABASE__URL",
    )?;
    let data = config.server.data_dir.clone();
    // Held as long as the process lives.
    let _lock = take_folder(&data)?;
    remove_scratch(&data)?;
    let seal = Arc::new(seal_of_server(&data)?);
    if !is_ready(&options, &shutdown).await? {
        return Ok(());
    }
    let pools = config.database.pools(options.clone());
    let db = pools.steps.clone();
    let instance = store::instance(&db).await.context("reading the installation's id from Postgres")?;
    let keys = Keyring::new(&db, &seal);
    check_seal(&keys.repos, &data).await?;
    if config.github.token.is_none() && config.github.app_id.is_none() {
        warn!(
            "neither github.token nor github.app_id is set: jobs of private repositories cannot be fetched here, unless \
             trainyard setup github has registered an App"
        );
    }
    let names: Vec<&str> = config.runner.iter().map(|runner| runner.name.as_str()).collect();
    info!("working for the runners {}", names.join(", "));
    let (bells, caches) = (Bells::new(), Caches::new(data.join("caches"), config.cache.clone()));
    let of_jobs = Database { pool: pools.jobs.clone(), bells: bells.clone() };
    let room = Room::new(data.clone(), config.storage.least_free);
    let (mirrors, inputs) = (mirrors(&config, &room), inputs(&config, &room)?);
    let github = Client::new(&config.github)?.with_forges(&config.forge)?;
    let (objects, object_keys) = (Objects::open(&config.storage, &data)?, Keys { instance: instance.clone() });
    // The server cannot read a folder of this machine.
    let shared = objects.folder().is_none().then(|| (objects.clone(), object_keys.clone()));
    if shared.is_none() {
        warn!("storage.url does not name a bucket: artifacts of jobs here are lost, as the server cannot read them");
    }
    let kept = Kept {
        mirrors: mirrors.clone(),
        github: github.clone(),
        caches: caches.clone(),
        inputs: inputs.clone(),
        keys,
        objects: shared,
        logs: Logs::new(pools.jobs.clone(), objects.clone()),
        room: room.clone(),
    };
    let workers = workers(&config, &of_jobs, kept, &instance)?;
    let mut tasks = JoinSet::new();
    if config.github.app_id.is_none() {
        let stored = StoredApp::new(db.clone(), seal);
        tasks.spawn(endless(keep_app(stored, github, shutdown.clone())));
    }
    tasks.spawn(endless(bell_notify::keep(options.clone(), bells.clone(), shutdown.clone())));
    tasks.spawn(serve_runners(db.clone(), Duties::Runners, workers.clone(), shutdown.clone()));
    let janitor = Janitor::new(Duties::Runners, Database { pool: db.clone(), bells }, workers, room);
    tasks.spawn(endless(janitor_loop(janitor, shutdown.clone())));
    let archiver = Archiver::new(
        Duties::Runners,
        db.clone(),
        janitor::Kept { objects, keys: object_keys, caches, inputs, mirrors },
        config.retention,
    );
    tasks.spawn(endless(archiver_loop(archiver, shutdown.clone())));
    let outcome = all_until(tasks, &shutdown).await;
    // Waits for connections that are still in use: an aborted task may have left some.
    let _ = tokio::time::timeout(GOODBYE, pools.close()).await;
    info!("stopped");
    outcome
}

/// Checks that the seal of this machine opens what the server has stored.
async fn check_seal(keys: &RepoKeys, data: &Path) -> anyhow::Result<()> {
    if !keys.seal_fits().await.context("checking the seal")? {
        bail!(
            "{} is not the key that this database is sealed with: copy seal.key from the data folder of the machine that \
             runs trainyard serve, or no secret of a repository can be decrypted here",
            data.join("seal.key").display()
        );
    }
    Ok(())
}

/// Waits until Postgres is reachable. Returns false when the shutdown came first.
///
/// # Errors
/// Fails when the database does not belong to a server of this version.
async fn is_ready(options: &PgConnectOptions, shutdown: &CancellationToken) -> anyhow::Result<bool> {
    loop {
        match find_schema(options).await {
            Ok(Schema::Current) => return Ok(true),
            Ok(Schema::Behind(_)) => bail!(
                "the database lacks the schema of this Trainyard version: start trainyard serve of this version first, \
                 which migrates it"
            ),
            Ok(Schema::Newer(version)) => bail!(
                "the database belongs to a newer Trainyard (migration {version}): install the version here that runs \
                 trainyard serve"
            ),
            Ok(Schema::Foreign(version)) => {
                bail!("migration {version} of the database belongs to another program, or was interrupted")
            }
            Err(error) => error!("Postgres is not reachable, trying again: {error:#}"),
        }
        tokio::select! {
            () = tokio::time::sleep(DATABASE_RETRY) => {}
            () = shutdown.cancelled() => return Ok(false),
        }
    }
}

async fn find_schema(options: &PgConnectOptions) -> anyhow::Result<Schema> {
    let mut connection = PgConnection::connect_with(options).await?;
    schema(&mut connection).await
}
