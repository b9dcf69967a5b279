//! The faults, and the ways to cause them.

use std::time::Duration;

use rustix::process::Signal;

use crate::flood;
use crate::load::{Load, REPO};
use crate::stranger::Stranger;
use crate::support::engine::remote::Cut;
use crate::support::github;
use crate::support::trouble::random::Random;
use crate::yard::Yard;

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Kill,
    Interrupt,
    Pause,
    LongPause,
    KillPostgres,
    PostgresAway,
    CutConnections,
    GitHubFails,
    GitHubHangs,
    GitHubRefuses,
    GitHubLimits,
    GitFails,
    Redelivery,
    ContainerKilled,
    ContainerRemoved,
    Unplugged,
    Silent,
    EngineKilled,
    EngineRestarted,
    DiskFull,
    InodesGone,
    ClockAhead,
    ClockBack,
    ClockFarAheadAndBack,
    SlowWebhooks,
    PageFlood,
    Hostile(Stranger),
    /// No fault: the end of the run, after all of them.
    Nothing,
}

/// Probability of each fault, as a share of the sum: a long pause takes ten seconds.
const WEIGHTS: [(Fault, u64); 29] = [
    (Fault::Kill, 30),
    (Fault::Interrupt, 10),
    (Fault::Pause, 15),
    (Fault::LongPause, 2),
    (Fault::KillPostgres, 10),
    (Fault::PostgresAway, 2),
    (Fault::CutConnections, 12),
    (Fault::GitHubFails, 10),
    (Fault::GitHubHangs, 4),
    (Fault::GitHubRefuses, 3),
    (Fault::GitHubLimits, 3),
    (Fault::GitFails, 8),
    (Fault::Redelivery, 15),
    (Fault::ContainerKilled, 6),
    (Fault::ContainerRemoved, 8),
    (Fault::Unplugged, 8),
    (Fault::Silent, 5),
    (Fault::EngineKilled, 3),
    (Fault::EngineRestarted, 2),
    (Fault::DiskFull, 6),
    (Fault::InodesGone, 4),
    (Fault::ClockAhead, 6),
    (Fault::ClockBack, 4),
    (Fault::ClockFarAheadAndBack, 4),
    (Fault::SlowWebhooks, 6),
    (Fault::PageFlood, 6),
    (Fault::Hostile(Stranger::SlowPlan), 4),
    (Fault::Hostile(Stranger::LargePack), 4),
    (Fault::Hostile(Stranger::ManyFiles), 4),
];
/// Longer than a lease.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// Maximum length of a network cut in milliseconds: now and then longer than it takes to be noticed.
const LONGEST_CUT: u64 = 14_000;
/// Maximum jump of the clock, in seconds.
const LONGEST_JUMP: u64 = 40;
/// A jump of the clock that goes back at once, in seconds.
const FAR_JUMP: u64 = 20 * 3600;
/// Default time for which Postgres is away, in seconds: longer than a lease, and than the silence of a job.
const AWAY: u64 = 25;

impl Fault {
    pub fn any(random: &mut Random) -> Self {
        let sum = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = random.below(sum);
        let found = WEIGHTS.iter().find(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        found.map_or(Self::Kill, |(fault, _)| *fault)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the service",
            Self::Interrupt => "a clean stop of the service",
            Self::Pause => "a short pause of the service",
            Self::LongPause => "a pause beyond the lease",
            Self::KillPostgres => "kill -9 of Postgres",
            Self::PostgresAway => "Postgres does not answer for long",
            Self::CutConnections => "all connections to Postgres cut",
            Self::GitHubFails => "GitHub answers 502 for a while",
            Self::GitHubHangs => "GitHub does not answer in time",
            Self::GitHubRefuses => "GitHub refuses the repository",
            Self::GitHubLimits => "GitHub limits the requests",
            Self::GitFails => "the repository cannot be fetched",
            Self::Redelivery => "deliveries come again",
            Self::ContainerKilled => "a container is killed",
            Self::ContainerRemoved => "a container is removed",
            Self::Unplugged => "the cable to a runner is out",
            Self::Silent => "packets to a runner vanish",
            Self::EngineKilled => "kill -9 of a runner's dockerd",
            Self::EngineRestarted => "a restart of a runner's dockerd",
            Self::DiskFull => "the disk is full",
            Self::InodesGone => "the disk has no inodes left",
            Self::ClockAhead => "the clock jumps ahead",
            Self::ClockBack => "the clock jumps back",
            Self::ClockFarAheadAndBack => "the clock jumps far ahead, and back",
            Self::SlowWebhooks => "webhooks that do not end",
            Self::PageFlood => "a flood of readers",
            Self::Hostile(stranger) => stranger.name(),
            Self::Nothing => "after all of them",
        }
    }

    /// Causes the fault. The service runs again afterwards, or will before the next push.
    pub async fn inject(self, yard: &mut Yard, load: &mut Load, random: &mut Random) {
        match self {
            Self::Kill => {
                yard.kill();
                tokio::time::sleep(Duration::from_millis(random.below(1500))).await;
                yard.start_service();
            }
            Self::Interrupt => {
                yard.interrupt();
                tokio::time::sleep(Duration::from_millis(random.below(500))).await;
                yard.start_service();
            }
            Self::Pause => pause(yard, Duration::from_millis(200 + random.below(2000))).await,
            Self::LongPause => pause(yard, LONG_PAUSE).await,
            Self::KillPostgres => yard.kill_postgres(),
            Self::PostgresAway => {
                yard.signal_postgres(Signal::STOP);
                tokio::time::sleep(away()).await;
                yard.signal_postgres(Signal::CONT);
            }
            Self::CutConnections => {
                let db = yard.db().await;
                let query = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where pid <> pg_backend_pid() and backend_type = 'client backend'";
                // The server may still be shutting down since the last fault.
                let _ = sqlx::query(query).execute(&db).await;
            }
            Self::GitHubFails => {
                let count = 1 + random.below(6) as usize;
                yard.github.fail_next(vec![github::Fault::Status(502, None); count]);
            }
            Self::GitHubHangs => yard.github.fail_next([github::Fault::Hang(Duration::from_secs(3))]),
            Self::GitHubRefuses => {
                let codes = [403, 404, 410, 422];
                yard.github.refuse(REPO, codes[random.below(codes.len() as u64) as usize]);
                tokio::time::sleep(Duration::from_millis(random.below(3000))).await;
                yard.github.accept(REPO);
            }
            Self::GitHubLimits => yard.github.fail_next([match random.below(3) {
                0 => github::Fault::NoneLeft(random.below(30)),
                1 => github::Fault::Secondary(403, None),
                _ => github::Fault::Status(429, Some(random.below(10))),
            }]),
            Self::GitFails => yard.github.git.fail_next(1 + random.below(3) as usize),
            Self::Redelivery => {
                for _ in 0..1 + random.below(5) {
                    let any = random.below(load.pushed.len() as u64) as usize;
                    if let (Some(pushed), Some(base)) = (load.pushed.get(any), yard.base()) {
                        // The result does not matter: the delivery was accepted before.
                        let _ = pushed.delivery.try_post(base).await;
                    }
                }
            }
            Self::ContainerKilled => on_a_container(yard, random, &["kill"]).await,
            Self::ContainerRemoved => on_a_container(yard, random, &["rm", "--force"]).await,
            Self::Unplugged => cut(yard, random, Cut::Unplugged).await,
            Self::Silent => cut(yard, random, Cut::Silent).await,
            Self::EngineKilled => yard.remote.kill_and_restart(),
            Self::EngineRestarted => yard.remote.restart(),
            Self::DiskFull => {
                yard.fill_disk();
                tokio::time::sleep(Duration::from_millis(300 + random.below(3000))).await;
                yard.free_disk();
            }
            Self::InodesGone => {
                yard.take_inodes();
                tokio::time::sleep(Duration::from_millis(300 + random.below(3000))).await;
                yard.give_inodes_back();
            }
            Self::ClockAhead => yard.set_clock(random.below(LONGEST_JUMP).cast_signed()),
            Self::ClockBack => yard.set_clock(-random.below(LONGEST_JUMP).cast_signed()),
            Self::ClockFarAheadAndBack => {
                yard.set_clock(random.below(FAR_JUMP).cast_signed());
                tokio::time::sleep(Duration::from_millis(1000 + random.below(3000))).await;
                yard.set_clock(0);
            }
            Self::SlowWebhooks => flood::slow_webhooks(yard.base().unwrap_or_default(), random).await,
            Self::PageFlood => flood::pages(yard.base().unwrap_or_default(), random).await,
            Self::Hostile(stranger) => load.push_of(stranger, yard).await,
            Self::Nothing => {}
        }
    }
}

/// Returns the time for which Postgres is away.
fn away() -> Duration {
    let set = std::env::var("AWAY").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(set.unwrap_or(AWAY))
}

async fn pause(yard: &Yard, time: Duration) {
    yard.signal(Signal::STOP);
    tokio::time::sleep(time).await;
    yard.signal(Signal::CONT);
}

/// Cuts the network to the other machine for a while.
async fn cut(yard: &mut Yard, random: &mut Random, how: Cut) {
    let time = Duration::from_millis(random.below(LONGEST_CUT));
    yard.cut(how);
    tokio::time::sleep(time).await;
    yard.mend();
}

/// Runs a command on a random running container, if there is one: of a job, of its network, or one that waits for a
/// job.
async fn on_a_container(yard: &Yard, random: &mut Random, command: &[&str]) {
    let instance = trainyard::store::instance(&yard.db().await).await.unwrap();
    let running = containers(yard, &instance);
    if let Some(container) = running.get(random.below(running.len() as u64) as usize) {
        // It may have ended since, and exists on only one of the engines.
        yard.on_engines(&[command, &[container]].concat());
    }
}

/// Lists the names of all containers of this installation.
pub fn containers(yard: &Yard, instance: &str) -> Vec<String> {
    let filter = format!("label=trainyard.instance={instance}");
    let listed = yard.on_engines(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    listed.iter().flat_map(|listed| listed.lines()).map(str::to_owned).collect()
}
