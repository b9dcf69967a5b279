//! `trainyard trigger`, `restart`, `cancel` and `approve`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::follow::follow;
use super::print_json;
use super::publish::{self, Verb};
use super::session::{Named, Session, Target};
use crate::cli::problems::number_of;
use crate::cli::{FINE, PROBLEMS, print};

/// Time for which a command waits until its request has become a build. Meanwhile the server fetches the commit.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const POLL: Duration = Duration::from_secs(1);
/// Maximum size of a configuration, as the server has it.
const MAX_CONFIG: u64 = 200 << 10;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TriggerArguments {
    #[command(flatten)]
    target: Target,
    /// The branch. Without it, the one that is checked out here, or the repository's default branch.
    #[arg(long)]
    branch: Option<String>,
    /// A commit of the branch. Without it, the newest one that was pushed.
    #[arg(long)]
    sha: Option<String>,
    /// The message of the build.
    #[arg(long)]
    message: Option<String>,
    /// A file in the language of .travis.yml, which is merged into that of the commit.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the file is merged.
    #[arg(long, value_name = "MODE", requires = "config")]
    merge_mode: Option<String>,
    /// Follow the build until it has ended.
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RestartArguments {
    #[command(flatten)]
    what: What,
    /// Follow the build until it has ended.
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CancelArguments {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ApproveArguments {
    /// The build of a fork, such as 12, or a job whose weights wait for an approval, such as 12.3. Without it, the newest
    /// build of what is checked out here.
    #[arg(value_name = "BUILD")]
    build: Option<Named>,
    #[command(flatten)]
    target: Target,
    /// Follow the build until it has ended.
    #[arg(short, long)]
    follow: bool,
}

/// A build or a job.
#[derive(Debug, clap::Args)]
struct What {
    /// The build, such as 12, or one of its jobs, such as 12.3. Without it, the newest build of what is checked out here.
    #[arg(value_name = "BUILD")]
    named: Option<Named>,
    #[command(flatten)]
    target: Target,
}

/// The outcome of a request for a build.
#[derive(Debug, Deserialize)]
struct Requested {
    request: String,
    outcome: Option<String>,
    last_error: Option<String>,
    build: Option<i64>,
}

pub(super) async fn trigger(arguments: &TriggerArguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let config = arguments.config.as_deref().map(read_config).transpose()?;
    let branch = arguments.branch.as_deref().or(session.branch());
    let fields = [
        ("branch", branch.map(Value::from)),
        ("sha", arguments.sha.clone().map(Value::from)),
        ("message", arguments.message.clone().map(Value::from)),
        ("config", config.map(Value::from)),
        ("merge_mode", arguments.merge_mode.clone().map(Value::from)),
    ];
    let body: Value = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let (answer, requested) = outcome_of(&session, session.post(&["builds"], &body).await?).await?;
    if arguments.json {
        print_json(&answer)?;
        return Ok(if requested.build.is_some() { FINE } else { PROBLEMS });
    }
    let Some(number) = requested.build else {
        bail!("there is no build: {}", requested.outcome.or(requested.last_error).unwrap_or_default());
    };
    print(&format!("{} #{number}  {}\n", session.repo, session.page(number, None)))?;
    if arguments.follow { follow(&session, number).await } else { Ok(FINE) }
}

fn read_config(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let size = std::fs::metadata(path).with_context(reading)?.len();
    anyhow::ensure!(size <= MAX_CONFIG, "{} is larger than {} KiB", path.display(), MAX_CONFIG >> 10);
    std::fs::read_to_string(path).with_context(reading)
}

/// Waits until a request has become a build, or the reason for none.
async fn outcome_of(session: &Session, mut answer: Value) -> anyhow::Result<(Value, Requested)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let requested: Requested = session.typed(answer.clone())?;
        if requested.outcome.is_some() {
            return Ok((answer, requested));
        }
        if Instant::now() >= deadline {
            let why = requested.last_error.map(|error| format!(": {error}")).unwrap_or_default();
            bail!("the request waits for its build{why}");
        }
        tokio::time::sleep(POLL).await;
        match session.get(&["requests", &requested.request], &[]).await {
            Ok(next) => answer = next,
            Err(error) if error.may_pass() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) async fn restart(arguments: &RestartArguments) -> anyhow::Result<u8> {
    let (session, number, count) = change(&arguments.what, "restart", "restarted").await?;
    print(&format!("{} of {} #{number} will run again.\n", number_of(count, "job"), session.repo))?;
    if arguments.follow { follow(&session, number).await } else { Ok(FINE) }
}

pub(super) async fn cancel(arguments: &CancelArguments) -> anyhow::Result<u8> {
    let (session, number, count) = change(&arguments.what, "cancel", "canceled").await?;
    let words = match count {
        0 => format!("Nothing of {} #{number} was left to cancel.\n", session.repo),
        count => format!("{} of {} #{number} canceled.\n", number_of(count, "job"), session.repo),
    };
    print(&words)?;
    Ok(FINE)
}

/// Changes a build or job. Returns the build's number, and how many jobs the server has changed.
async fn change(what: &What, verb: &str, done: &str) -> anyhow::Result<(Session, i64, usize)> {
    let session = what.target.session().await?;
    let number = session.number(what.named).await?;
    let job = what.named.and_then(|named| named.job).map(i64::from);
    let answer = session.change(number, job, verb).await?;
    let count = answer.get(done).and_then(Value::as_u64).unwrap_or(0);
    Ok((session, number, usize::try_from(count)?))
}

pub(super) async fn approve(arguments: &ApproveArguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let number = session.number(arguments.build).await?;
    if let Some(job) = arguments.build.and_then(|named| named.job) {
        return publish::decide(&session, number, job.into(), Verb::Approve).await;
    }
    session.change(number, None, "approve").await?;
    print(&format!("{} #{number} is approved, and will run.\n", session.repo))?;
    if arguments.follow { follow(&session, number).await } else { Ok(FINE) }
}
