//! `trainyard queue` and `trainyard runners`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::answers::since;
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
    queued_at: Option<DateTime<Utc>>,
    place: Option<i64>,
    gpus: i64,
    wait_reason: Option<String>,
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
    alert: Option<String>,
}

pub(super) async fn queue(arguments: &QueueArguments) -> anyhow::Result<u8> {
    let client = arguments.server.client()?;
    let answer = client.get(&["queue"], &[]).await?;
    if arguments.json {
        return print_json(&answer);
    }
    let queue: Queue = typed(&client, answer)?;
    print_table(&queue_table(&queue.jobs, Utc::now()), "No job waits.")
}

fn queue_table(jobs: &[Queued], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(["PLACE", "REPOSITORY", "JOB", "WHAT", "GPUS", "WAITS", "REASON"]);
    for job in jobs {
        let gpus = if job.gpus > 0 { job.gpus.to_string() } else { String::new() };
        table.push_painted(vec![
            (job.place.map(|place| place.to_string()).unwrap_or_default(), None),
            (job.repo.clone(), None),
            (job.job.clone(), None),
            (job.name.clone().unwrap_or_default(), None),
            (gpus, None),
            (since(job.queued_at, now), Some(Colour::Faint)),
            (job.wait_reason.clone().unwrap_or_default(), Some(Colour::Yellow)),
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
    let mut table = Table::new(["RUNNER", "STATE", "JOBS", "SLOTS", "GPUS", "PROBLEM"]);
    for runner in runners {
        let colour = if runner.state == "ready" { Colour::Green } else { Colour::Red };
        table.push_painted(vec![
            (runner.name.clone(), None),
            (runner.state.clone(), Some(colour)),
            (runner.running.to_string(), None),
            (runner.slots.map(|slots| slots.to_string()).unwrap_or_default(), None),
            (runner.gpus.len().to_string(), None),
            (runner.alert.clone().unwrap_or_default(), Some(Colour::Red)),
        ]);
    }
    table
}
