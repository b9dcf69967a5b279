//! `serve` and `work`: configuration → clients → tasks. When any task ends early, the process ends.

mod backup;
mod database;
mod folder;
mod github;
mod listen;
mod loops;
mod notify;
mod publish;
mod record;
mod runners;
mod secrets;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::backup::{SealKey, Step, backup, restore};
use self::database::{database_is_ready, prepare_if_reachable};
use self::folder::{remove_scratch, seal, take_folder};
use self::github::{keep_app, warn_of_missing_secrets};
pub use self::listen::can_log_in;
use self::listen::{explain_bind, offer_link, reachable};
use self::loops::{archiver_loop, delivery_logs_loop, heads_loop, intake_loop, janitor_loop, outbox_loop, rights_loop};
use self::notify::{Keyring, notify};
use self::publish::{publish, publisher};
use self::runners::{Kept, inputs, mirrors, serve_runners, workers};
pub use self::secrets::{github_client, stored, variables};
pub use self::work::work;
use crate::config::Config;
use crate::github::Client;
use crate::intake::{DeliveryLogs, HiddenHooks, Intake, Said};
use crate::janitor::{self, Archiver, Duties, Janitor};
use crate::outbox::Outbox;
use crate::outbox::pacing::Window;
use crate::planner::Planner;
use crate::registration::Stored;
use crate::rights::Rights;
use crate::storage::{Caches, Keys, Logs, Objects, Room};
use crate::store::Pools;
use crate::store::deliveries::DeliveryBatcher;
use crate::store::postgres::cluster::Cluster;
use crate::store::queue::superseded::Cancels;
use crate::store::runner::budgets;
use crate::store::wakeup::bell::Bells;
use crate::store::wakeup::bell_notify;
use crate::web;
use crate::worker::{Database, STOP_OF_JOBS};

/// Number of statuses that are posted at once, so that one slow answer does not delay the others.
const POSTERS: usize = 4;
/// Number of deliveries that are handled at once: fetches wait for the network.
const INTAKES: usize = 4;
/// Time to post the statuses of jobs that a stop has canceled.
const LAST_STATUSES: Duration = Duration::from_secs(5);
/// Time for open connections to end after the shutdown began.
const GOODBYE: Duration = Duration::from_secs(5);

/// A service that is bound to its address and not yet serving.
#[derive(Debug)]
pub struct App {
    config: Config,
    planner: Planner,
    listener: TcpListener,
    cluster: Option<Cluster>,
    pools: Pools,
    // Held as long as the process lives: two services on one data folder would adopt each other's jobs.
    _lock: std::fs::File,
}

impl App {
    /// Locks the data folder, binds the address, and starts the private Postgres if no other is configured. Commits are
    /// planned by `planner`.
    ///
    /// # Errors
    /// Fails with a message for the operator when one of these steps does.
    pub async fn bind(config: Config, planner: Planner) -> anyhow::Result<Self> {
        let lock = take_folder(&config.server.data_dir)?;
        let listen = config.server.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| explain_bind(listen, error))?;
        let (cluster, options) = match config.database.options()? {
            Some(options) => (None, options),
            None => {
                let cluster = Cluster::start(&config.server.data_dir, config.database.most_connections()).await?;
                let options = cluster.options();
                (Some(cluster), options)
            }
        };
        let pools = config.database.pools(options);
        let listener = reachable(&config, listener, &pools.steps).await?;
        Ok(Self { config, planner, listener, cluster, pools, _lock: lock })
    }

    /// Returns the address that was bound, which is of interest when the configured port is 0.
    ///
    /// # Errors
    /// Fails when the system does not report the address.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves until `shutdown`. Running containers keep running after it.
    ///
    /// # Errors
    /// Fails when a task ended too early.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { config, planner, listener, cluster, pools, _lock } = self;
        let (db, pages) = (&pools.steps, &pools.pages);
        prepare_if_reachable(db).await?;
        let address = listener.local_addr()?;
        offer_link(&config, address, db).await;
        warn_of_missing_secrets(&config);
        remove_scratch(&config.server.data_dir)?;
        let objects = Objects::open(&config.storage, &config.server.data_dir)?;
        let bells = Bells::new();
        let seal = Arc::new(seal(&config.server.data_dir)?);
        let keys = Keyring::new(db, &seal);
        let github = Client::new(&config.github)?.with_forges(&config.forge)?;
        let access = web::Access::new(web::AccessParts {
            config: config.auth.clone(),
            db: pages.clone(),
            github: github.clone(),
            is_loopback: address.ip().is_loopback(),
            public_url: &config.server.public_url,
        });
        info!("listening at http://{address}, known as {}", config.server.public_url);
        let stored = Stored::new(db, &seal, github.clone());
        let state = web::State {
            db: pages.clone(),
            health: web::Health::new(db.clone()),
            metrics: web::Metrics::new(pages.clone()),
            deliveries: DeliveryBatcher::new(db.clone()),
            keys: keys.repos.clone(),
            notification_key: keys.notifications.clone(),
            provenance_key: keys.provenance.clone(),
            logs: Logs::new(pages.clone(), objects.clone()),
            objects: objects.clone(),
            bells: bells.clone(),
            webhook_secrets: web::WebhookSecrets::new(&config.github, stored.secrets.clone()),
            forges: config.forge.clone().into(),
            travis: web::Travis::new(&config.travis),
            webhook_room: web::WebhookRoom::default(),
            limits: web::Limits::default().with_rate(web::Rate::per_minute(config.server.api_per_minute)),
            charts: keys.charts.clone(),
            access,
            logins: web::Logins::new(seal),
            tries: web::Tries::default(),
            planner: planner.clone(),
            setup: setup(&config, stored.clone(), address),
            queue: config.queue,
            publish: config.publish.clone(),
            api: web::Api::default(),
            public_url: config.server.public_url.clone(),
            shutdown: shutdown.clone(),
        };
        let mut tasks = JoinSet::new();
        let goodbye = goodbye(&config);
        if config.github.app_id.is_none() {
            tasks.spawn(endless(keep_app(stored.app, github.clone(), shutdown.clone())));
        }
        tasks.spawn(endless(web::serve(listener, web::router(state), web::Bounds::default(), shutdown.clone())));
        let handles = Handles { planner, bells, keys, objects, github };
        tasks.spawn(run_steps(config, pools.clone(), handles, shutdown.clone()));
        // The database must outlive its clients.
        let stop_cluster = CancellationToken::new();
        let mut supervisor = JoinSet::new();
        if let Some(cluster) = cluster {
            supervisor.spawn(cluster.keep(stop_cluster.clone()));
        }
        let outcome = tokio::select! {
            Some(ended) = tasks.join_next() => ended.context("a task panicked").flatten(),
            Some(ended) = supervisor.join_next() => ended.context("the supervisor of Postgres panicked").flatten(),
            () = shutdown.cancelled() => Ok(()),
        };
        if let Err(failure) = &outcome {
            error!("shutting down: {failure:#}");
        }
        shutdown.cancel();
        end_all(tasks, goodbye).await;
        // Waits for connections that are still in use: an aborted task may have left some.
        let _ = tokio::time::timeout(GOODBYE, pools.close()).await;
        stop_cluster.cancel();
        supervisor.join_next().await.transpose().context("the supervisor of Postgres panicked")?.transpose()?;
        info!("stopped");
        outcome
    }
}

/// Returns the setup's part of the pages.
fn setup(config: &Config, stored: Stored, address: SocketAddr) -> web::Setup {
    let closed = Some(config.server.listen).filter(|listen| listen.ip() != address.ip());
    web::Setup::new(stored, config.github.app_id.is_some(), closed)
}

/// Returns the time for the end of all tasks. Canceled jobs get time to stop, and their statuses to be posted.
fn goodbye(config: &Config) -> Duration {
    if config.server.cancel_on_stop { STOP_OF_JOBS + LAST_STATUSES + GOODBYE } else { GOODBYE }
}

/// Waits for the tasks, and aborts those that have not ended within the `goodbye`.
async fn end_all(mut tasks: JoinSet<anyhow::Result<()>>, goodbye: Duration) {
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(goodbye, all_ended).await.is_err() {
        warn!("some connections are still open and will be closed");
        tasks.shutdown().await;
    }
}

/// Handles that several kinds of steps use.
struct Handles {
    planner: Planner,
    bells: Bells,
    keys: Keyring,
    objects: Objects,
    github: Client,
}

/// Waits for Postgres, then runs every kind of step until `shutdown`.
async fn run_steps(
    config: Config,
    pools: Pools,
    Handles { planner, bells, keys, objects, github }: Handles,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let db = pools.steps;
    let Some(instance) = database_is_ready(&db, &shutdown).await? else { return Ok(()) };
    store_limits(&config, &db).await?;
    let data = config.server.data_dir.clone();
    let room = Room::new(data.clone(), config.storage.least_free);
    let (mirrors, caches) = (mirrors(&config, &room), Caches::new(data.join("caches"), config.cache.clone()));
    let (inputs, object_keys) = (inputs(&config, &room)?, Keys { instance: instance.clone() });
    let kept = Kept {
        mirrors: mirrors.clone(),
        github: github.clone(),
        caches: caches.clone(),
        inputs: inputs.clone(),
        keys: keys.clone(),
        objects: Some((objects.clone(), object_keys.clone())),
        logs: Logs::new(pools.jobs.clone(), objects.clone()),
        room: room.clone(),
    };
    let workers = workers(&config, &Database { pool: pools.jobs, bells: bells.clone() }, kept, &instance)?;
    let options = PgConnectOptions::clone(&db.connect_options());
    let mut tasks = JoinSet::new();
    // A private Postgres has no other users, so this process rings all bells itself.
    if config.database.url.is_some() {
        tasks.spawn(endless(bell_notify::keep(options.clone(), bells.clone(), shutdown.clone())));
    }
    let at_last = config.server.cancel_on_stop.then_some(LAST_STATUSES);
    // Statuses are posted until the last job has ended.
    let ended = CancellationToken::new();
    let runners = serve_runners(db.clone(), Duties::Installation, workers.clone(), shutdown.clone());
    tasks.spawn(then_cancel(runners, ended.clone()));
    notify(&mut tasks, &config, &db, keys.clone(), &shutdown)?;
    publish(&mut tasks, &config, &publisher(&config, &db, (&objects, &instance), &github), &shutdown)?;
    let cancels = if config.travis.cancel_running { Cancels::Running } else { Cancels::Queued };
    let archiver = Archiver::new(
        Duties::Installation,
        db.clone(),
        janitor::Kept { objects, keys: object_keys, caches, inputs, mirrors: mirrors.clone() },
        config.retention,
    );
    tasks.spawn(endless(archiver_loop(archiver, shutdown.clone())));
    planner.warm_up();
    let rights = Rights::new(db.clone(), github.clone());
    let windows = Window::of(config.github.statuses_per_minute, config.github.statuses_per_hour);
    let said = Said::default();
    let public_url = config.server.public_url;
    let logs = DeliveryLogs {
        db: db.clone(),
        github: github.clone(),
        public_url: public_url.clone(),
        said: said.clone(),
        hidden: HiddenHooks::default(),
    };
    tasks.spawn(endless(delivery_logs_loop(logs, shutdown.clone())));
    let outbox = Outbox::new(db.clone(), github.clone(), public_url, keys.charts, windows);
    for _ in 0..POSTERS {
        tasks.spawn(endless(outbox_loop(outbox.clone(), bells.clone(), ended.clone(), at_last)));
    }
    let intake = Intake {
        db: db.clone(),
        bells: bells.clone(),
        github,
        mirrors,
        planner,
        cancels,
        forks: config.forks,
        repositories: config.repositories,
        gpu: config.gpu,
        checks: config.github.checks,
        comment: config.github.comment,
        receivers: config.notifications.receivers(),
        publish: config.publish,
        said,
    };
    for _ in 0..INTAKES {
        tasks.spawn(endless(intake_loop(intake.clone(), bells.clone(), shutdown.clone())));
    }
    tasks.spawn(endless(heads_loop(intake, shutdown.clone())));
    tasks.spawn(endless(rights_loop(rights, shutdown.clone())));
    let janitor = Janitor::new(Duties::Installation, Database { pool: db, bells }, workers, room);
    tasks.spawn(endless(janitor_loop(janitor, shutdown.clone())));
    all_until(tasks, &shutdown).await
}

/// Stores the limits of the configuration that claims read from rows.
async fn store_limits(config: &Config, db: &PgPool) -> anyhow::Result<()> {
    config.repositories.store(db).await.context("storing the limits of repositories")?;
    budgets::set_budgets(db, &config.budget).await.context("storing the budgets")
}

/// Runs a task, and cancels `ended` at its end.
async fn then_cancel(task: impl Future<Output = anyhow::Result<()>>, ended: CancellationToken) -> anyhow::Result<()> {
    let outcome = task.await;
    ended.cancel();
    outcome
}

/// Wraps a task that cannot fail, to run among others that can.
async fn endless(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

/// Waits for all tasks. None of them may end before `shutdown`.
async fn all_until(mut tasks: JoinSet<anyhow::Result<()>>, shutdown: &CancellationToken) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
        if !shutdown.is_cancelled() {
            bail!("a task ended early");
        }
    }
    Ok(())
}
