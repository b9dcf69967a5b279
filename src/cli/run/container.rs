//! The run of a job in its container, by the phases of `attempt`: start, follow, judge.

use std::future::Ready;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::view::View;
use crate::attempt::{
    FollowError, ImagesConfig, Judged, Judgement, NewContainer, Output, Preparation, Progress, Shared, TICK, Tail,
    Training, TrainingEnd, Unjudged, never_began, watch_disk,
};
use crate::domain::{Stop, Verdict};
use crate::executor::{Engine, ExecError, Limits, Mount};
use crate::lora::gates::Reference;
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

/// The output of a job on its way to the terminal, and to the readers for the reason of a failure and for the verdict
/// on a training.
struct Shown<'a> {
    view: &'a mut View,
    tail: Tail,
    losses: LogReader,
    /// Number of bytes that were shown.
    length: u64,
    /// Largest number of bytes that are shown.
    limit: u64,
}

impl Output for Shown<'_> {
    type Error = anyhow::Error;

    fn read_on_from(&mut self) -> u64 {
        self.length
    }

    async fn append(&mut self, output: &[u8]) -> anyhow::Result<()> {
        let room = usize::try_from(self.limit - self.length).unwrap_or(usize::MAX);
        let bytes = &output[..output.len().min(room)];
        self.length += bytes.len() as u64;
        self.tail.remember(bytes);
        self.losses.feed(bytes);
        self.view.feed(bytes)
    }

    fn is_full(&self) -> bool {
        self.length >= self.limit
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Runner {
    /// Runs a container to its end and removes it. A signal stops it as a cancel does, and a second signal kills it.
    pub(super) async fn run(
        &self,
        new: NewContainer<'_>,
        training: Option<&Training>,
        checkout: &Path,
        view: &mut View,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Judgement> {
        let shared = Shared::new(Progress::new(None, None));
        let limits = new.limits;
        let ended = tokio::select! {
            ended = self.carry_out(new, training, checkout, &shared, view) => ended,
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
        training: Option<&Training>,
        checkout: &Path,
        shared: &Shared,
        view: &mut View,
    ) -> anyhow::Result<Judgement> {
        let (limits, repo) = (new.limits, new.repo);
        let preparation = Preparation {
            checkout: async { Ok(checkout) },
            checkpoint: None,
            before: None::<Ready<anyhow::Result<()>>>,
        };
        let started = match new.start(&self.engine, &self.images, shared, preparation).await {
            Ok(started) => started,
            Err(ExecError::Job(reason)) => return Ok(Judgement::could_not_begin(reason)),
            Err(ExecError::System(error)) => return Err(error),
        };
        let begun = Instant::now();
        shared.lock().started = Some(begun);
        let (tail, losses, limit) = (Tail::default(), LogReader::new(), limits.log.as_u64());
        let mut shown = Shown { view, tail, losses, length: 0, limit };
        let ended = started.follow(&self.engine, shared, &mut shown).await.map_err(|error| match error {
            FollowError::Output(error) | FollowError::Engine(error) => error,
        })?;
        if never_began(&self.engine, &ended.container, &ended.exit).await? {
            bail!("the container ended before the job began");
        }
        let judgement = match ended.judge_script(shared, limits, &shown.tail.text()) {
            Ok(judgement) => judgement,
            Err(Unjudged::Unseen(error)) => return Err(error),
            Err(Unjudged::Preempted { reason, .. }) => return Ok(canceled(&reason)),
        };
        let examined = match training {
            Some(training) if matches!(judgement.verdict, Verdict::Passed | Verdict::Failed) => {
                let end = TrainingEnd {
                    container: &ended.container,
                    exit_status: ended.exit.status,
                    duration: begun.elapsed(),
                    gpu_memory: None,
                    reference: &reference(training, checkout),
                    log: shown.losses.series(),
                };
                Some(training.examine(&self.engine, repo, end).await?)
            }
            _ => None,
        };
        Ok(Judged::new(judgement, examined).judgement)
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

/// Returns the numbers with which the gates of a training compare.
fn reference(training: &Training, checkout: &Path) -> Reference {
    match training.whole().and_then(|train| train.gates().reference.as_deref()) {
        Some(path) => Reference::of_file(path, std::fs::read(checkout.join(path)).ok().as_deref()),
        None => Reference::Nothing("only the service knows earlier trainings".to_owned()),
    }
}

/// Judges a job that was interrupted before it ended or even began.
pub(super) fn canceled(reason: &str) -> Judgement {
    let reason = Some(reason.to_owned());
    Judgement { verdict: Verdict::Canceled, exit_status: None, reason, closing: String::new() }
}
