//! The run of a job in its container, from the script to the judgement.

use std::future::Ready;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use futures::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::view::View;
use crate::attempt::{
    ImagesConfig, Judgement, NewContainer, Preparation, Progress, Shared, SmokeJob, TICK, Tail, never_began, watch_disk,
};
use crate::domain::{Stop, Verdict};
use crate::executor::{Engine, ExecError, Exit, Life, Limits, Mount};
use crate::lora::series::LogReader;

/// The reason of a job that a signal canceled.
pub(super) const INTERRUPTED: &str = "interrupted";

/// The signals that ask this process to end.
pub(super) struct Interrupts {
    signals: [(Signal, u8); 3],
    /// Number of the first signal that came.
    pub(super) caught: Option<u8>,
}

impl Interrupts {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind: SignalKind, number| Ok::<_, std::io::Error>((signal(kind)?, number));
        let signals = [
            listen(SignalKind::interrupt(), 2)?,
            listen(SignalKind::terminate(), 15)?,
            listen(SignalKind::hangup(), 1)?,
        ];
        Ok(Self { signals, caught: None })
    }

    async fn next(&mut self) {
        let [(interrupt, a), (terminate, b), (hangup, c)] = &mut self.signals;
        let number = tokio::select! {
            _ = interrupt.recv() => *a,
            _ = terminate.recv() => *b,
            _ = hangup.recv() => *c,
        };
        self.caught.get_or_insert(number);
    }
}

/// The handles and settings that the containers of all jobs share.
pub(super) struct Runner {
    pub(super) engine: Engine,
    pub(super) images: ImagesConfig,
    pub(super) limits: Limits,
    pub(super) mounts: Vec<Mount>,
}

/// The readers of a job's output: for the reason of a failure, and for the verdict on a training.
struct Readers {
    tail: Tail,
    losses: LogReader,
}

impl Runner {
    /// Runs a container to its end and removes it. A signal stops it as a cancel does, and a second signal kills it.
    pub(super) async fn run(
        &self,
        new: NewContainer<'_>,
        smoke: Option<&SmokeJob>,
        checkout: &Path,
        view: &mut View,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Judgement> {
        let shared = Shared::new(Progress::new(None, None));
        let limits = new.limits;
        let ended = tokio::select! {
            ended = self.carry_out(new, smoke, checkout, &shared, view) => ended,
            () = self.watch(limits, &shared, interrupts) => Ok(canceled(INTERRUPTED)),
            () = watch_disk(&self.engine, &shared) => Ok(canceled(INTERRUPTED)),
        };
        // This also removes a container whose name was never returned.
        for found in self.engine.list().await? {
            self.engine.remove(&found.container).await?;
        }
        ended
    }

    async fn carry_out(
        &self,
        new: NewContainer<'_>,
        smoke: Option<&SmokeJob>,
        checkout: &Path,
        shared: &Shared,
        view: &mut View,
    ) -> anyhow::Result<Judgement> {
        let limits = new.limits;
        let preparation = Preparation { checkout: async { Ok(checkout) }, before: None::<Ready<anyhow::Result<()>>> };
        let container = match new.start(&self.engine, &self.images, shared, preparation).await {
            Ok(container) => container,
            Err(ExecError::Job(reason)) => return Ok(Judgement::could_not_begin(reason)),
            Err(ExecError::System(error)) => return Err(error),
        };
        shared.lock().started = Some(Instant::now());
        let mut readers = Readers { tail: Tail::default(), losses: LogReader::new() };
        let exit = self.follow(&container, limits, shared, &mut readers, view).await?;
        if never_began(&self.engine, &container, &exit).await? {
            bail!("the container ended before the job began");
        }
        let mut judgement = shared.lock().judge(&exit, limits, &readers.tail.text());
        if let Some(smoke) = smoke
            && matches!(judgement.verdict, Verdict::Passed | Verdict::Failed)
        {
            let examined = smoke.examine(&self.engine, &container, exit.status, readers.losses.series()).await?;
            examined.judge(&mut judgement);
        }
        Ok(judgement)
    }

    /// Shows the container's output until it has ended.
    async fn follow(
        &self,
        container: &str,
        limits: &Limits,
        shared: &Shared,
        readers: &mut Readers,
        view: &mut View,
    ) -> anyhow::Result<Exit> {
        let limit = limits.log.as_u64();
        let mut shown = 0;
        loop {
            let mut frames = self.engine.follow(container, shown)?;
            let mut whole = true;
            while shown < limit
                && let Some(frame) = frames.next().await
            {
                let Ok(bytes) = frame else {
                    // The output is read again from here on, if the engine still answers.
                    whole = false;
                    break;
                };
                let room = usize::try_from(limit - shown).unwrap_or(usize::MAX);
                let bytes = &bytes[..bytes.len().min(room)];
                shown += bytes.len() as u64;
                readers.tail.remember(bytes);
                readers.losses.feed(bytes);
                view.feed(bytes)?;
                let mut progress = shared.lock();
                progress.output_stored();
                progress.log_full = shown >= limit;
            }
            self.engine.wait(container).await?;
            match self.engine.life(container).await? {
                Life::Exited(exit) if whole => return Ok(exit),
                Life::Exited(_) | Life::Running(_) => {}
                Life::Created | Life::Gone => bail!("the container vanished while the job ran"),
            }
        }
    }

    /// Keeps the limits and listens for signals. Returns when the job is to be killed at once.
    async fn watch(&self, limits: &Limits, shared: &Shared, interrupts: &mut Interrupts) {
        loop {
            let wanted = tokio::select! {
                () = tokio::time::sleep(TICK) => None,
                () = interrupts.next() => Some((Stop::Canceled, INTERRUPTED.to_owned())),
            };
            let asked = wanted.is_some();
            if asked && shared.lock().started.is_none() {
                return;
            }
            let due = shared.lock().check(limits, Instant::now(), wanted);
            if asked {
                if due.stop.is_none() {
                    // The job is being stopped already, and the user asks for a faster end.
                    return;
                }
                // If standard error is closed, then no user reads the message.
                let _ = writeln!(std::io::stderr(), "\nStopping the job. Another signal kills it at once.");
            }
            if let Some((container, signal)) = due.signal {
                // The task that follows the container notices an engine that does not answer.
                let _ = self.engine.signal(&container, signal).await;
            }
        }
    }
}

/// Judges a job that was interrupted before it ended or even began.
pub(super) fn canceled(reason: &str) -> Judgement {
    let reason = Some(reason.to_owned());
    Judgement { verdict: Verdict::Canceled, exit_status: None, reason, closing: String::new() }
}
