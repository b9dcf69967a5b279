//! `trainyard queue` and `trainyard runners`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::answers::ago;
use super::client::typed;
use super::session::ServerArgs;
use super::{print_json, print_table};
use crate::cli::table::{Colour, Table};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct QueueArguments {
    #[command(flatten)]
    server: ServerArgs,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RunnersArguments {
    #[command(flatten)]
    server: ServerArgs,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Queue {
    jobs: Vec<Queued>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Queued {
    repo: String,
    job: String,
    name: Option<String>,
    state: String,
    queued_at: Option<DateTime<Utc>>,
    place: Option<i64>,
    gpus: i64,
}

#[derive(Debug, Deserialize)]
struct Runners {
    runners: Vec<Runner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runner {
    name: String,
    state: String,
    slots: Option<i64>,
    running: i64,
    gpus: Vec<Value>,
}

pub(super) async fn queue(arguments: &QueueArguments) -> anyhow::Result<u8> {
    let client = arguments.server.client()?;
    let answer = client.get(&["queue"], &[]).await?;
    if arguments.json {
        return print_json(&answer);
    }
    let queue: Queue = typed(&client, answer)?;
    print_table(&queue_table(&queue.jobs, Utc::now()), "No job waits or runs.")
}

fn queue_table(jobs: &[Queued], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(["PLACE", "REPOSITORY", "JOB", "STATE", "WHAT", "GPUS", "SINCE"]);
    for job in jobs {
        let gpus = if job.gpus > 0 { job.gpus.to_string() } else { String::new() };
        let colour = if job.state == "running" { Colour::Yellow } else { Colour::Faint };
        table.push_painted(vec![
            (job.place.map(|place| place.to_string()).unwrap_or_default(), None),
            (job.repo.clone(), None),
            (job.job.clone(), None),
            (job.state.clone(), Some(colour)),
            (job.name.clone().unwrap_or_default(), None),
            (gpus, None),
            (ago(job.queued_at, now), Some(Colour::Faint)),
        ]);
    }
    table
}

pub(super) async fn runners(arguments: &RunnersArguments) -> anyhow::Result<u8> {
    let client = arguments.server.client()?;
    let answer = client.get(&["runners"], &[]).await?;
    if arguments.json {
        return print_json(&answer);
    }
    let runners: Runners = typed(&client, answer)?;
    print_table(&runners_table(&runners.runners), "No runner has reported yet.")
}

fn runners_table(runners: &[Runner]) -> Table {
    let mut table = Table::new(["RUNNER", "STATE", "JOBS", "SLOTS", "GPUS"]);
    for runner in runners {
        table.push(vec![
            runner.name.clone(),
            runner.state.clone(),
            runner.running.to_string(),
            runner.slots.map(|slots| slots.to_string()).unwrap_or_default(),
            runner.gpus.len().to_string(),
        ]);
    }
    table
}
