//! The runners of a process, for both `serve` and `work`.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::database::DATABASE_RETRY;
use super::notify::Keyring;
use crate::config::Config;
use crate::git::Mirrors;
use crate::github::Client;
use crate::inputs::Inputs;
use crate::janitor::Duties;
use crate::outgoing::SystemNames;
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store::alerts;
use crate::store::runner::runner_lock::RunnerLock;
use crate::worker::{Database, Settings, Worker};

/// Returns the mirrors of this machine.
pub(super) fn mirrors(config: &Config, room: &Room) -> Mirrors {
    Mirrors::new(config.server.data_dir.join("mirrors"), &config.git, room.clone())
}

/// Returns the data sets and models of this machine.
pub(super) fn inputs(config: &Config, room: &Room) -> anyhow::Result<Inputs> {
    let folder = config.server.data_dir.join("inputs");
    Inputs::new(folder, config.inputs.clone(), room.clone(), Arc::new(SystemNames))
}

/// Stores that the workers use.
pub(super) struct Kept {
    pub(super) mirrors: Mirrors,
    pub(super) github: Client,
    pub(super) caches: Caches,
    pub(super) inputs: Inputs,
    pub(super) keys: Keyring,
    /// `None` on a machine whose objects the server could not read.
    pub(super) objects: Option<(Objects, Keys)>,
    pub(super) logs: Logs,
    pub(super) room: Room,
}

/// Makes a worker for each configured runner, without starting it.
pub(super) fn workers(
    config: &Config,
    database: &Database,
    kept: Kept,
    instance: &str,
) -> anyhow::Result<Vec<Arc<Worker>>> {
    let Kept { mirrors, github, caches, inputs, keys, objects, logs, room } = kept;
    let settings = Settings {
        images: config.images.clone(),
        limits: config.limits.clone(),
        mounts: config.mount.clone(),
        egress: config.egress.clone(),
        gpu: config.gpu.clone(),
        queue: config.queue,
        public_url: config.server.public_url.clone(),
        github,
        github_api: config.github.api_url.clone(),
        scratch: config.server.data_dir.join("scratch"),
        keys: keys.repos,
        variables: keys.variables,
        trackers: config.trackers.clone(),
        provenance: keys.provenance,
        caches,
        inputs,
        objects,
        logs,
        room,
        cancel_on_stop: config.server.cancel_on_stop,
    };
    let worker = |runner| -> anyhow::Result<_> {
        let docker = crate::worker::RunnerConfig::docker(runner, instance)?;
        Ok(Arc::new(Worker::new(runner, docker, database.clone(), mirrors.clone(), settings.clone())))
    };
    config.runner.iter().map(worker).collect()
}

/// Runs the workers until `shutdown`, as soon as no other process holds the locks of their runners.
///
/// # Errors
/// Fails when another process holds the lock of a runner, or when a task ended too early.
pub(super) async fn serve_runners(
    db: PgPool,
    duties: Duties,
    workers: Vec<Arc<Worker>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let options = PgConnectOptions::clone(&db.connect_options());
    let mut lock = tokio::select! {
        lock = take(&options, &db, duties, &workers) => lock?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(Arc::clone(&worker).watch_engine(shutdown.clone()));
        tasks.spawn(Arc::clone(&worker).watch_gpus(shutdown.clone()));
        tasks.spawn(Arc::clone(&worker).keep_ready(shutdown.clone()));
        tasks.spawn(Arc::clone(&worker).keep_checkout_images(shutdown.clone()));
        tasks.spawn(worker.work(shutdown.clone()));
    }
    // When the locks are lost to another process, the tasks are dropped and leave their containers to it. Otherwise,
    // the locks are released after the last write.
    see_through(lock.keep(&shutdown), tasks, &shutdown).await
}

/// Takes the locks of the runners. `serve` waits for locks that another process holds; its pages show an alert
/// meanwhile.
async fn take(
    options: &PgConnectOptions,
    db: &PgPool,
    duties: Duties,
    workers: &[Arc<Worker>],
) -> anyhow::Result<RunnerLock> {
    let names: Vec<String> = workers.iter().map(|worker| worker.name().to_owned()).collect();
    let host = workers.first().map_or("", |worker| worker.host());
    loop {
        let taken = RunnerLock::take(options.clone(), names.clone(), host).await;
        if duties == Duties::Runners {
            return taken;
        }
        let alert = taken.as_ref().err().map(|error| format!("{error:#}"));
        match (alerts::set(db, "runners", alert.as_deref()).await, &alert) {
            (Ok(true), Some(alert)) => error!("no job runs on the runners of this process: {alert}"),
            (Err(failure), _) => warn!("cannot store the alert on the runners: {failure}"),
            _ => {}
        }
        if let Ok(lock) = taken {
            return Ok(lock);
        }
        tokio::time::sleep(DATABASE_RETRY).await;
    }
}

/// Waits for the tasks as long as the runners are locked for this process. No task may end before `shutdown`.
async fn see_through(
    kept: impl Future<Output = anyhow::Result<()>>,
    mut tasks: JoinSet<()>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let check = |ended: Result<(), JoinError>| {
        ended.context("a task panicked")?;
        ensure!(shutdown.is_cancelled(), "a task ended early");
        Ok(())
    };
    tokio::select! {
        kept = kept => kept?,
        Some(ended) = tasks.join_next() => check(ended)?,
    }
    while let Some(ended) = tasks.join_next().await {
        check(ended)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_early_ends_the_others_while_the_runners_are_ours() {
        let shutdown = CancellationToken::new();
        for (panics, words) in [(true, "a task panicked"), (false, "a task ended early")] {
            let mut tasks = JoinSet::new();
            tasks.spawn(std::future::pending());
            tasks.spawn(async move { assert!(!panics, "as it should here") });
            let ended = see_through(std::future::pending(), tasks, &shutdown).await;
            assert_eq!(ended.expect_err("it ended").to_string(), words);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(shutdown.clone().cancelled_owned());
        shutdown.cancel();
        see_through(std::future::ready(Ok(())), tasks, &shutdown).await.expect("all end at the shutdown");
    }
}
