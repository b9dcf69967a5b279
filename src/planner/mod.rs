//! The plans of commits, made in child processes. The files of a commit are hostile: a plan that takes too much memory
//! or time, or that crashes, ends its child, and not the process that serves.
//!
//! A child is this program itself, started as `trainyard plan-child` with an empty environment. Starting one takes
//! longer than most plans, so a child is kept and asked again, up to a bound.

mod child;
mod wire;

pub use child::serve;
pub use wire::{Answer, Request};

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytesize::ByteSize;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout};
use tracing::error;

use wire::Reply;

/// Path of the program that runs, even after an update has replaced its file.
pub const OWN_PROGRAM: &str = "/proc/self/exe";
/// Time limit for the plan of a commit, without the time to fetch imports.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Memory that a plan may take, in bytes: the growth of the child's address space.
pub const MEMORY: u64 = 256 << 20;
/// Maximum number of idle children that are kept.
const MAX_IDLE: usize = 2;
/// Time for a child that has closed its output to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum length of a child's error output that is read.
const MAX_COMPLAINT: u64 = 4 << 10;

/// Reason why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The commit is at fault; another try would end the same way. The text is for its author.
    #[error("{0}")]
    Commit(String),
    /// The commit is not at fault, as when the machine has no memory left. Another try may go well.
    #[error("no child process could plan the commit")]
    Away(#[source] anyhow::Error),
}

/// Starts children, and keeps idle ones.
#[derive(Debug, Clone)]
pub struct Planner {
    program: PathBuf,
    idle: Arc<Mutex<Vec<Child>>>,
}

/// The plan of one commit in progress.
#[derive(Debug)]
pub struct Planning<'a> {
    planner: &'a Planner,
    /// Time that is left.
    left: Duration,
}

#[derive(Debug)]
struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Planner {
    /// Returns a planner whose children run `program`, usually [`OWN_PROGRAM`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), idle: Arc::default() }
    }

    /// Begins the plan of a commit.
    pub fn begin(&self) -> Planning<'_> {
        Planning { planner: self, left: TIME_LIMIT }
    }

    /// Starts a child if none is idle, so that the next plan does not wait for it. If that fails, the next plan fails
    /// with the reason.
    pub fn warm_up(&self) {
        if self.idle().is_empty()
            && let Ok(child) = Child::start(&self.program)
        {
            self.keep(child);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Child>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, child: Child) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(child);
        }
    }

    /// Returns an idle child, or starts one. The flag is true for an idle one.
    fn take(&self) -> Result<(Child, bool), PlanError> {
        let next = || self.idle().pop();
        while let Some(mut child) = next() {
            // A child may have been killed meanwhile.
            if matches!(child.process.try_wait(), Ok(None)) {
                return Ok((child, true));
            }
        }
        let started = Child::start(&self.program).with_context(|| format!("starting {}", self.program.display()));
        started.map(|child| (child, false)).map_err(PlanError::Away)
    }
}

impl Planning<'_> {
    /// Sends the commit to a child. The answer is the plan, or the imports to look up before the next call.
    ///
    /// # Errors
    /// Fails when the plan takes more than [`TIME_LIMIT`] or [`MEMORY`] or is too large, when the child crashes, and
    /// when there is no child.
    pub async fn ask(&mut self, request: &Request<'_>) -> Result<Answer, PlanError> {
        let answer = loop {
            let (child, was_idle) = self.planner.take()?;
            match self.ask_child(child, request).await {
                // It was killed while it waited, or its end was not noticed yet.
                Err(PlanError::Away(_)) if was_idle => {}
                answer => break answer,
            }
        };
        self.planner.warm_up();
        answer
    }

    async fn ask_child(&mut self, mut child: Child, request: &Request<'_>) -> Result<Answer, PlanError> {
        let begin = Instant::now();
        let replied = timeout(self.left, child.ask(request)).await;
        self.left = self.left.saturating_sub(begin.elapsed());
        match replied {
            Ok(Ok(Reply { answer, is_last })) => {
                if !is_last {
                    self.planner.keep(child);
                }
                answer.ok_or_else(|| {
                    let most = ByteSize::b(wire::MAX_ANSWER as u64);
                    PlanError::Commit(format!("the jobs and problems of this commit take more than {most}: {ADVICE}"))
                })
            }
            Ok(Err(error)) => Err(child.explain(error).await),
            Err(_) => Err(too_slow()),
        }
    }
}

const ADVICE: &str = "make its .travis.yml, training configs and schemas smaller or simpler";

fn too_slow() -> PlanError {
    let limit = humantime::format_duration(TIME_LIMIT);
    PlanError::Commit(format!("planning this commit took longer than {limit}: {ADVICE}"))
}

impl Child {
    fn start(program: &PathBuf) -> io::Result<Self> {
        let mut command = crate::child::command(program, &[]);
        command.arg0("trainyard").arg("plan-child").env_clear().current_dir("/").kill_on_drop(true);
        // Ctrl-C stops the service, which needs its children until it has stopped.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { process, input, output }),
            _ => Err(io::Error::other("the child has no pipes")),
        }
    }

    async fn ask(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        wire::send(request, &mut self.input).await?;
        wire::receive_reply(&mut self.output).await
    }

    /// Explains the end of a child that did not answer.
    async fn explain(mut self, error: io::Error) -> PlanError {
        // The child ends if it has not yet.
        drop((self.input, self.output));
        let status = match timeout(END_TIMEOUT, self.process.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return PlanError::Away(error.into()),
            Err(_) => return PlanError::Away(anyhow!(error).context("the child does not end")),
        };
        let mut complaint = Vec::new();
        if let Some(complaints) = self.process.stderr.take() {
            // Without the text, the status alone explains the end.
            let _ = timeout(END_TIMEOUT, complaints.take(MAX_COMPLAINT).read_to_end(&mut complaint)).await;
        }
        explained(status, String::from_utf8_lossy(&complaint).trim(), error)
    }
}

/// Returns the reason for the end of a child with this status and this error output, which was noticed by `error`.
fn explained(status: ExitStatus, complaint: &str, error: io::Error) -> PlanError {
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::ABORT) && complaint.contains("memory allocation of") {
        let most = ByteSize::b(MEMORY);
        return PlanError::Commit(format!("planning this commit takes more than {most} of memory: {ADVICE}"));
    }
    if is(Signal::XCPU) {
        return too_slow();
    }
    // Rust's status of a panic.
    if status.code() == Some(101) || [Signal::ABORT, Signal::SEGV, Signal::BUS, Signal::ILL].into_iter().any(is) {
        error!("the planner crashed ({status}): {complaint}");
        let what = "the planner crashed on this commit, which is a defect of Trainyard: please report it";
        return PlanError::Commit(format!("{what}, with the commit's .travis.yml and training configs"));
    }
    PlanError::Away(anyhow!(error).context(format!("the child ended with {status} {complaint}")))
}
