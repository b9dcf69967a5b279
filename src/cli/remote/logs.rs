//! `trainyard logs`.

use std::io::{IsTerminal as _, Write as _};

use reqwest::header::HeaderMap;

use super::answers::{Build, Job, verdict_status};
use super::events::{LogEvent, LogFollower};
use super::session::{Named, Session, Target, usage};
use crate::cli::FINE;
use crate::cli::run::view::View;
use crate::cli::table::{Colour, inert, paint, wants_colours, width_of};

#[derive(Debug, clap::Args)]
#[command(after_help = "With -f, the exit status is 0 if the job passed, and 1 if it did not.")]
pub(in crate::cli) struct Arguments {
    /// The job, such as 12.3, or the number of a build. Without it, the newest build of what is checked out here. Of a
    /// build with several jobs, the one that runs, or the first that did not pass.
    #[arg(value_name = "JOB")]
    job: Option<Named>,
    #[command(flatten)]
    target: Target,
    /// Follow the log until the job has ended.
    #[arg(short, long)]
    follow: bool,
    /// An earlier attempt at the job.
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    attempt: Option<u32>,
    /// The bytes of the log as they are, for a file or a pipe.
    #[arg(long, conflicts_with = "follow")]
    raw: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if arguments.raw && std::io::stdout().is_terminal() {
        return Err(usage("--raw is for a file or a pipe: a raw log can steer the terminal"));
    }
    let session = arguments.target.session().await?;
    let (build, job) = session.job(arguments.job).await?;
    if arguments.raw {
        return download(&session, &job, arguments.attempt, &mut |bytes| Ok(std::io::stdout().write_all(bytes)?)).await;
    }
    let out = std::io::stdout();
    let mut view = View::new(Box::new(std::io::stdout()), wants_colours(&out), width_of(&out));
    view.begin_job(&title(&build, &job))?;
    if arguments.follow {
        return follow(&session, &job, &mut view).await;
    }
    let status = download(&session, &job, arguments.attempt, &mut |bytes| view.feed(bytes)).await;
    view.end_job()?;
    status
}

fn title(build: &Build, job: &Job) -> String {
    let label = job.label();
    let label = if label.is_empty() { label } else { format!(" · {label}") };
    inert(&format!("Job {}.{}{label} · {}", build.number, job.number, job.mark().words))
}

/// Takes the log in pieces, as it is now.
async fn download(
    session: &Session,
    job: &Job,
    attempt: Option<u32>,
    take: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    let attempt = attempt.map(|attempt| attempt.to_string());
    let query: Vec<(&str, &str)> = attempt.iter().map(|attempt| ("attempt", attempt.as_str())).collect();
    let mut log = session.client.open(&["jobs", &job.id.to_string(), "log"], &query, HeaderMap::new()).await?;
    while let Some(bytes) = session.client.chunk(&mut log).await? {
        take(&bytes)?;
    }
    Ok(FINE)
}

async fn follow(session: &Session, job: &Job, view: &mut View) -> anyhow::Result<u8> {
    if !job.is_finished() && job.state != "running" {
        let why = if job.why().is_empty() { String::new() } else { format!(": {}", inert(job.why())) };
        eprintln!("trainyard: the job has not begun{why}");
    }
    let mut follower = LogFollower::new(session.client.clone(), job.id, 0);
    let mut is_lost = false;
    loop {
        let event = follower.next().await?;
        let was_lost = std::mem::replace(&mut is_lost, matches!(event, LogEvent::Lost(_)));
        match event {
            LogEvent::Text(text) => view.feed(text.as_bytes())?,
            LogEvent::Restarted => {
                view.end_job()?;
                view.begin_job("The job runs again")?;
            }
            LogEvent::Lost(why) if !was_lost => eprintln!("trainyard: {why}; trying again"),
            LogEvent::Lost(_) => {}
            LogEvent::Ended { verdict, reason } => {
                view.end_job()?;
                let ended = Job { state: "finished".to_owned(), verdict: verdict.clone(), ..job.clone() };
                let mark = ended.mark();
                let words = paint(&inert(&mark.text()), mark.colour, view.colours());
                let reason = reason.map(|reason| format!(": {}", inert(&reason))).unwrap_or_default();
                let reason = paint(&reason, Colour::Faint, view.colours() && !reason.is_empty());
                view.say(&format!("\n{words}{reason}\n"))?;
                return Ok(verdict_status(verdict.as_deref()));
            }
        }
    }
}
