//! The loops of the steps: each repeats its step until the shutdown.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::intake::{CHECK_INTERVAL, DeliveryLogs, Intake};
use crate::janitor::{self, Archiver, Janitor};
use crate::notifier::Notifier;
use crate::outbox::Outbox;
use crate::publisher::Publisher;
use crate::recorder::Recorder;
use crate::rights::{Rights, Unanswered};
use crate::store::wakeup::bell::{Bell, Bells};

/// Maximum sleep of a step when no bell rings. Work that another process wrote, or that has become due, waits no longer
/// than this.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks for repositories whose heads are to be checked.
const HEADS_ROUND: Duration = Duration::from_secs(60);
/// Time between two looks for rights that are to be asked for.
const RIGHTS_ROUND: Duration = Duration::from_secs(2);

pub(super) async fn intake_loop(intake: Intake, bells: Bells, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match intake.step().await {
            Ok(true) => {}
            Ok(false) => sleep_until_rung(&bells.intake, &shutdown).await,
            Err(failure) => after_failure("intake", &failure, &shutdown).await,
        }
    }
}

/// Checks all repositories at the start, and each of them once an hour.
pub(super) async fn heads_loop(intake: Intake, shutdown: CancellationToken) {
    let mut interval = Duration::ZERO;
    while !shutdown.is_cancelled() {
        tokio::select! {
            checked = intake.check_heads(interval) => match checked {
                Ok(_) => interval = CHECK_INTERVAL,
                Err(failure) => warn!("checking the heads: {failure:#}"),
            },
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(HEADS_ROUND) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Reads GitHub's logs of deliveries at the start, and once an hour.
pub(super) async fn delivery_logs_loop(logs: DeliveryLogs, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let had_app = logs.github.has_app();
        let pause = tokio::select! {
            read = logs.read_all() => match read {
                Ok((_, pause)) => pause,
                Err(failure) => {
                    warn!("reading GitHub's logs of deliveries: {failure:#}");
                    HEADS_ROUND
                }
            },
            () = shutdown.cancelled() => return,
        };
        // The stored App is there a moment after the start, or once a person has registered it.
        let app_changes = async {
            while logs.github.has_app() == had_app {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app_changes => {}
            () = shutdown.cancelled() => {}
        }
    }
}

pub(super) async fn outbox_loop(outbox: Outbox, bells: Bells, shutdown: CancellationToken, at_last: Option<Duration>) {
    while !shutdown.is_cancelled() {
        match outbox.step().await {
            Ok(true) => {}
            Ok(false) => sleep_until_rung(&bells.outbox, &shutdown).await,
            Err(failure) => after_failure("outbox", &failure, &shutdown).await,
        }
    }
    if let Some(limit) = at_last {
        let rest = async { while matches!(outbox.step().await, Ok(true)) {} };
        // Statuses that GitHub has not accepted by then are still due at the next start.
        let _ = tokio::time::timeout(limit, rest).await;
    }
}

pub(super) async fn janitor_loop(mut janitor: Janitor, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(failure) = janitor.step(Instant::now()).await {
            warn!("janitor: {failure:#}");
        }
        tokio::select! {
            () = tokio::time::sleep(janitor::ROUND) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

pub(super) async fn archiver_loop(mut archiver: Archiver, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            round = archiver.step() => if let Err(failure) = round {
                warn!("archiver: {failure:#}");
            },
            // An unfinished round is repeated at the next start.
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(janitor::ARCHIVE_INTERVAL) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

pub(super) async fn notifier_loop(notifier: Notifier, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match notifier.step().await {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = shutdown.cancelled() => {}
            },
            Err(failure) => after_failure("notifier", &failure, &shutdown).await,
        }
    }
}

pub(super) async fn publisher_loop(publisher: Publisher, shutdown: CancellationToken) {
    repeat("publisher", || publisher.step(), &shutdown).await;
}

pub(super) async fn recorder_loop(recorder: Recorder, shutdown: CancellationToken) {
    repeat("recorder", || recorder.step(), &shutdown).await;
}

/// Repeats a step that may be cut off: what it has begun is done again, after its hold or at the next start.
async fn repeat<Step: Future<Output = anyhow::Result<bool>>>(
    name: &str,
    step: impl Fn() -> Step,
    shutdown: &CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let stepped = tokio::select! {
            stepped = step() => stepped,
            () = shutdown.cancelled() => return,
        };
        match stepped {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = shutdown.cancelled() => {}
            },
            Err(failure) => after_failure(name, &failure, shutdown).await,
        }
    }
}

/// Keeps the rights of people who are here as GitHub tells them.
pub(super) async fn rights_loop(rights: Rights, shutdown: CancellationToken) {
    let mut unanswered = Unanswered::default();
    while !shutdown.is_cancelled() {
        if let Err(failure) = rights.check_visibility().await {
            warn!("rights: {failure:#}");
        }
        match rights.step(&mut unanswered).await {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = tokio::time::sleep(RIGHTS_ROUND) => {}
                () = shutdown.cancelled() => {}
            },
            Err(failure) => after_failure("rights", &failure, &shutdown).await,
        }
    }
}

async fn sleep_until_rung(bell: &Bell, shutdown: &CancellationToken) {
    tokio::select! {
        () = bell.wait(POLL_INTERVAL) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn after_failure(step: &str, failure: &anyhow::Error, shutdown: &CancellationToken) {
    warn!("{step}: {failure:#}");
    tokio::select! {
        () = tokio::time::sleep(POLL_INTERVAL) => {}
        () = shutdown.cancelled() => {}
    }
}
