//! `/{owner}/{repo}/builds/{number}/jobs/{job}`: a job and its log.

use askama::Template;
use axum::extract::{self, Path, Query};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::runners::begins;
use super::training::{self, Training};
use super::{Chrome, Page, render};
use crate::domain::{JobState, Resources, Right, Verdict, in_words};
use crate::log_view::page_html;
use crate::store::inputs::{self, FetchedInput};
use crate::store::output::log_objects;
use crate::store::output::reports;
use crate::store::output::trackings::{self, Tracking, TrackingState};
use crate::store::publications::{self, Place, Publication, PublicationState};
use crate::store::queue::{self, EarlierRun, InLine, LostAttempt};
use crate::web::State;
use crate::web::access::{Repo, View};
use crate::web::artifacts::{self, Artifact};
use crate::web::changes::publish::is_approver;
use crate::web::chart::{Chart, processor_time, resources};
use crate::web::error::Error;
use crate::web::log_stream::{Earlier, Reading};
use crate::web::rows::{self, Build, Job};
use crate::web::show::{Mark, When};

/// Number of bytes of log that a page shows. Of a longer log, it shows the end, which says why the job failed.
const SHOWN: u64 = 2 * 1024 * 1024;

/// Query parameters of the page.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Wanted {
    /// `facts` for the page without the log. The page's script asks for that while the log comes as a stream.
    part: Option<String>,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    chrome: Chrome,
    build: Build,
    job: Job,
    /// True if the facts may still change.
    is_unfinished: bool,
    /// Place in the queue; `None` for a job that is not queued, and for one far behind.
    line: Option<InLine>,
    /// True if the viewer may cancel and restart.
    may_change: bool,
    config: String,
    /// `None` for a job that trains nothing, or that has not ended.
    training: Option<Training>,
    /// Ends of the earlier attempts.
    lost: Vec<LostAttempt>,
    /// Runs before the restarts.
    earlier: Vec<EarlierRun>,
    /// Resources that the job used; `None` until it has ended, and if no sample was taken.
    resources: Option<Resources>,
    /// Data sets and models that were fetched for the job.
    inputs: Vec<FetchedInput>,
    /// The training on its way to the tracker; `None` for a job that goes to none.
    tracking: Option<Tracking>,
    /// The weights on their way to other places.
    publications: Vec<Publication>,
    /// True if the viewer may decide on those that wait for an approval.
    may_decide: bool,
    /// Files that the job left.
    artifacts: Vec<Artifact>,
    /// `None` when there are no losses in the log.
    chart: Option<Chart>,
    /// `None` when the request leaves it out.
    log: Option<LogPart>,
}

/// The part of the log that is there so far.
struct LogPart {
    html: String,
    /// Token with which the stream continues.
    token: String,
    /// Number of bytes that are not shown.
    skipped: u64,
    /// Reason why the log was removed.
    removed: Option<String>,
}

pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    repo: Repo,
    Path((_, _, number, job)): Path<(String, String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Page, Error> {
    let build = rows::build(&state.db, &repo, &number).await?;
    let job = rows::job(&state.db, build.id, &job).await?;
    let (chart, log) = if wanted.part.as_deref() == Some("facts") {
        (None, None)
    } else {
        let (chart, log) = read(&state, &job).await?;
        (chart, Some(log))
    };
    let config = serde_json::to_string_pretty(&job.config).map_err(anyhow::Error::from)?;
    let publications = publications::of(&state.db, job.id).await?;
    let tracking = trackings::of(&state.db, job.id).await?;
    let is_under_way = |it: &Publication| matches!(it.state, PublicationState::Waiting | PublicationState::Unapproved);
    let is_unfinished = job.state != JobState::Finished
        || publications.iter().any(is_under_way)
        || tracking.as_ref().is_some_and(|tracking| tracking.state == TrackingState::Waiting);
    let may_decide = may_decide(&state, &view, &repo, &publications);
    let chrome = Chrome::load(&state, &view, is_unfinished).await?;
    let training = training::of(&state.db, job.id).await?;
    let resources = reports::resources(&state.db, job.id).await?;
    let inputs = inputs_of(&state, &job).await?;
    let artifacts = artifacts::of(&state.db, job.attempt_id()).await?;
    let lost = queue::lost_attempts(&state.db, job.id).await?;
    let earlier = queue::earlier_runs(&state.db, job.id).await?;
    let may_change = view.may_change(&repo);
    let line = rows::in_line(&state, &job).await?;
    render(&JobPage {
        chrome,
        build,
        job,
        is_unfinished,
        line,
        may_change,
        config,
        training,
        lost,
        earlier,
        resources,
        inputs,
        publications,
        may_decide,
        tracking,
        artifacts,
        chart,
        log,
    })
}

/// Reads what was fetched for a job.
async fn inputs_of(state: &State, job: &Job) -> Result<Vec<FetchedInput>, Error> {
    let asked: Vec<&str> = job.config["train"]["inputs"]
        .as_array()
        .map_or_else(Vec::new, |inputs| inputs.iter().filter_map(|input| input["from"].as_str()).collect());
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let mut fetched = inputs::of_job(&state.db, job.id).await?;
    fetched.retain(|input| asked.contains(&input.source.as_str()));
    Ok(fetched)
}

/// Returns true if the viewer may decide on publications that wait for an approval.
fn may_decide(state: &State, view: &View, repo: &Repo, publications: &[Publication]) -> bool {
    let Ok(name) = format!("{}/{}", repo.owner, repo.name).parse() else { return false };
    let waits = publications.iter().filter(|it| it.state == PublicationState::Unapproved);
    let mut environments = waits.filter_map(|it| it.environment.as_deref());
    repo.right >= Right::Write && environments.any(|environment| is_approver(state, view, &name, environment))
}

/// Reads the end of the log, and the losses of all of it.
async fn read(state: &State, job: &Job) -> Result<(Option<Chart>, LogPart), Error> {
    let length = job.log_length.unsigned_abs();
    // The stream sends the unfinished line of a job that still runs.
    let is_finished = job.state == JobState::Finished;
    let end = Reading::new(state, job.attempt_id()).end(length, SHOWN, is_finished).await?;
    let removed = log_objects::removed(&state.db, job.attempt_id()).await?;
    let html = page_html(&end.ops);
    let earlier = Earlier::read(state, job.attempt_id()).await?;
    Ok((earlier.chart(end.losses.series()), LogPart { html, token: end.token, skipped: end.from, removed }))
}

impl JobPage {
    fn is_live(&self) -> bool {
        self.job.state != JobState::Finished
    }

    /// Returns the place in the queue, and when the job begins, for people.
    fn in_line(&self) -> Option<String> {
        let line = self.line.as_ref()?;
        let queue = if line.has_requirements { "queue for GPUs and labels" } else { "queue" };
        let begins = line.begins_in.map(|_| format!(", begins {}", begins(line))).unwrap_or_default();
        Some(format!("Place {} in the {queue}{begins}", line.place))
    }

    /// Returns true if a publication may begin again.
    fn has_failed_publication(&self) -> bool {
        let has_failed = |it: &Publication| matches!(it.state, PublicationState::Failed | PublicationState::Rejected);
        self.publications.iter().any(has_failed)
    }

    fn place(publication: &Publication) -> &'static str {
        match publication.place {
            Place::HuggingFace => "Hugging Face",
            Place::Release => "GitHub release",
            Place::S3 => "Bucket",
        }
    }

    /// Returns the class of the colour of a publication's state.
    fn tone(publication: &Publication) -> &'static str {
        match publication.state {
            PublicationState::Published => "passed",
            PublicationState::Failed | PublicationState::Rejected => "failed",
            PublicationState::Waiting | PublicationState::Unapproved => "queued",
        }
    }

    fn sign(publication: &Publication) -> &'static str {
        match publication.state {
            PublicationState::Published => "✓",
            PublicationState::Failed | PublicationState::Rejected => "✗",
            PublicationState::Waiting | PublicationState::Unapproved => "…",
        }
    }

    /// Returns the address of a publication, if a browser can open it.
    fn link(publication: &Publication) -> Option<&str> {
        publication.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"))
    }

    fn started(&self) -> Option<When> {
        self.job.started_at.map(When::new)
    }

    fn when(time: &DateTime<Utc>) -> When {
        When::new(*time)
    }

    fn mark_of(verdict: &Verdict) -> Mark {
        (JobState::Finished, Some(*verdict)).into()
    }

    fn queued_for(&self) -> Option<String> {
        let wait = self.job.started_at? - self.job.created_at;
        wait.to_std().ok().filter(|wait| wait.as_secs() > 0).map(in_words)
    }

    fn usage(&self) -> Option<Chart> {
        self.resources.as_ref().map(resources)
    }

    fn processor_time(&self) -> Option<String> {
        self.resources.as_ref().map(processor_time)
    }

    fn memory_peak(&self) -> Option<bytesize::ByteSize> {
        self.resources.as_ref().map(|used| bytesize::ByteSize::b(used.memory_peak))
    }

    fn input_size(input: &FetchedInput) -> bytesize::ByteSize {
        bytesize::ByteSize::b(u64::try_from(input.bytes).unwrap_or_default())
    }

    fn log_size(&self) -> String {
        bytesize::ByteSize::b(u64::try_from(self.job.log_length).unwrap_or(0)).to_string()
    }
}

impl LogPart {
    fn skipped_size(&self) -> String {
        bytesize::ByteSize::b(self.skipped).to_string()
    }
}
