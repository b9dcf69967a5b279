//! `trainyard artifacts`.

mod download;
mod place;

use std::path::PathBuf;

use bytesize::ByteSize;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::session::{Named, Session, Target, usage};
use super::{print_json, print_table};
use crate::cli::table::{Colour, Table};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the artifacts of a job.
    List {
        #[command(flatten)]
        of: Of,
        /// Print what the server says, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Download the artifacts of a job. Files that are there already, with the same content, are not fetched again, and
    /// a download that was cut off goes on where it ended.
    Download {
        #[command(flatten)]
        of: Of,
        /// Only the files that match this pattern, such as out/*.safetensors. May be repeated.
        #[arg(long, value_name = "GLOB")]
        only: Vec<Glob>,
        /// The folder. Without it, one for the job in the current folder, such as artifacts-12.3.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

/// A job, or an attempt at it.
#[derive(Debug, clap::Args)]
struct Of {
    /// The job, such as 12.3, or the number of a build. Without it, the newest build of what is checked out here. Of a
    /// build with several jobs, the one that runs, or the first that did not pass.
    #[arg(value_name = "JOB")]
    job: Option<Named>,
    #[command(flatten)]
    target: Target,
    /// An earlier attempt at the job.
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
}

/// A file that a job has left. Its texts are as the server gave them: only the exact path names the file.
#[derive(Debug, Clone, Deserialize)]
struct Artifact {
    path: String,
    size: u64,
    sha256: String,
    removed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Artifacts {
    artifacts: Vec<Artifact>,
}

/// A job's artifacts at the server.
struct Source {
    session: Session,
    /// Id of the job, as paths have it.
    job: String,
    attempt: Option<String>,
}

impl Source {
    fn query(&self) -> Vec<(&str, &str)> {
        self.attempt.iter().map(|attempt| ("attempt", attempt.as_str())).collect()
    }

    async fn list(&self) -> anyhow::Result<serde_json::Value> {
        Ok(self.session.client.get(&["jobs", &self.job, "artifacts"], &self.query()).await?)
    }
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let (Action::List { of, .. } | Action::Download { of, .. }) = &arguments.action;
    let session = of.target.session().await?;
    let (build, job) = session.job(of.job).await?;
    let name = format!("{}.{}", build.number, job.number);
    let source = Source { session, job: job.id.to_string(), attempt: of.attempt.map(|attempt| attempt.to_string()) };
    let answer = source.list().await?;
    let read = serde_json::from_value(answer.clone());
    let Artifacts { artifacts } = read.map_err(|_| source.session.client.strange("the list of artifacts is broken"))?;
    match &arguments.action {
        Action::List { json: true, .. } => print_json(&answer),
        Action::List { .. } => print_table(&table_of(&artifacts), &format!("Job {name} has left no artifacts.")),
        Action::Download { only, to, .. } => {
            let only = matching(only)?;
            let wanted: Vec<Artifact> =
                artifacts.into_iter().filter(|artifact| only.is_empty() || only.is_match(&artifact.path)).collect();
            if wanted.is_empty() {
                return Err(usage(&format!("job {name} has left no such artifacts: trainyard artifacts list {name}")));
            }
            let folder = to.clone().unwrap_or_else(|| PathBuf::from(format!("artifacts-{name}")));
            download::all(&source, wanted, &folder).await
        }
    }
}

fn matching(globs: &[Glob]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob.clone());
    }
    Ok(set.build()?)
}

fn table_of(artifacts: &[Artifact]) -> Table {
    let mut table = Table::new(["SIZE", "PATH", "SHA-256", ""]);
    for artifact in artifacts {
        let hash = artifact.sha256.chars().take(12).collect();
        let removed = artifact.removed.as_ref().map(|why| format!("removed: {why}")).unwrap_or_default();
        table.push_painted(vec![
            (ByteSize::b(artifact.size).to_string(), None),
            (artifact.path.clone(), None),
            (hash, Some(Colour::Faint)),
            (removed, Some(Colour::Yellow)),
        ]);
    }
    table
}
