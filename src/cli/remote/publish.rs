//! `trainyard publish` and `reject`, and the part of `approve` that is for publications.

use serde::Deserialize;
use serde_json::{Value, json};

use super::session::{Named, Session, Target, usage};
use super::{Table, print_json, print_table};
use crate::cli::problems::number_of;
use crate::cli::{FINE, print};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PublishArguments {
    /// The job, such as 12.3.
    #[arg(value_name = "JOB")]
    job: Named,
    #[command(flatten)]
    target: Target,
    /// Show the publications of the job, and change nothing.
    #[arg(long)]
    list: bool,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RejectArguments {
    /// The job, such as 12.3.
    #[arg(value_name = "JOB")]
    job: Named,
    #[command(flatten)]
    target: Target,
}

/// A decision about the publications of a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Approve,
    Reject,
}

/// The publications of a job, as the server tells them.
#[derive(Debug, Deserialize)]
struct Publications {
    publications: Vec<Publication>,
}

#[derive(Debug, Deserialize)]
struct Publication {
    place: String,
    target: String,
    state: String,
    error: Option<String>,
    url: Option<String>,
    environment: Option<String>,
    decided_by: Option<String>,
}

pub(super) async fn publish(arguments: &PublishArguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let (build, job) = named(arguments.job)?;
    if arguments.list {
        let (_, job) = session.job(Some(arguments.job)).await?;
        let answer = session.client.get(&["jobs", &job.id.to_string(), "publications"], &[]).await?;
        return if arguments.json { print_json(&answer) } else { list(&session, answer) };
    }
    let answer = session.change(build, Some(job), "publish").await?;
    if arguments.json {
        return print_json(&answer);
    }
    let count = count_of(&answer);
    print(&format!("{} of {} #{build}.{job} begin again.\n", number_of(count, "publication"), session.repo))?;
    Ok(FINE)
}

fn list(session: &Session, answer: Value) -> anyhow::Result<u8> {
    let Publications { publications } = session.typed(answer)?;
    let mut table = Table::new(["PLACE", "TARGET", "STATE", "WHY"]);
    for it in publications {
        let decided = it.environment.map(|environment| match it.decided_by {
            Some(who) => format!("decided by {who} for {environment}"),
            None => format!("the people of {environment} decide"),
        });
        let why = it.error.or(it.url).or(decided).unwrap_or_default();
        table.push(vec![it.place, it.target, it.state, why]);
    }
    print_table(&table, "The job has no publications.")
}

pub(super) async fn reject(arguments: &RejectArguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let (build, job) = named(arguments.job)?;
    decide(&session, build, job, Verb::Reject).await
}

/// Decides on the publications of a job that wait for an approval.
pub(super) async fn decide(session: &Session, build: i64, job: i64, verb: Verb) -> anyhow::Result<u8> {
    let (word, told) = match verb {
        Verb::Approve => ("approve", "approved, and on the way"),
        Verb::Reject => ("reject", "rejected"),
    };
    let (number, its) = (build.to_string(), job.to_string());
    let answer = session.post(&["builds", &number, "jobs", &its, "publish", word], &json!({})).await?;
    let count = count_of(&answer);
    print(&format!("{} of {} #{build}.{job}: {told}.\n", number_of(count, "publication"), session.repo))?;
    Ok(FINE)
}

fn named(job: Named) -> anyhow::Result<(i64, i64)> {
    let number = job.job.ok_or_else(|| usage("name the job, such as 12.3"))?;
    Ok((job.build.into(), number.into()))
}

fn count_of(answer: &Value) -> usize {
    let count = answer.get("publications").and_then(Value::as_u64).unwrap_or(0);
    usize::try_from(count).unwrap_or(usize::MAX)
}
