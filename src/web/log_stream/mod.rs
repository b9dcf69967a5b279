//! A job's log as bytes, and as events while it grows.

mod earlier;
mod reading;
mod view;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing::warn;
use utoipa::IntoParams;

use super::State;
use super::access::{Admitted, OfJob};
use super::error::{Error, InJson, Problem};
use super::query::Query;
use super::rows::{JobFacts, find_job_facts, job_facts};
use crate::domain::{AttemptId, JobId, JobState};
use crate::log_view::Checkpoint;
use crate::store::output::log_objects;
use crate::store::queue;
pub(super) use earlier::{Earlier, Whole};
pub(super) use reading::Reading;
use view::{Html, View};

/// Number of bytes of log that are read at a time. A piece is rendered within a millisecond or two.
const PIECE: usize = 64 * 1024;
/// Interval of the checks for changes by another process. The bell announces changes of this process at once.
const POLL: Duration = Duration::from_secs(1);
/// Interval of the checks whether the reader may still read. A right that was taken away ends the stream.
const CHECK_EACH: Duration = Duration::from_secs(30);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Query parameters: the part of the log, and its form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Number of bytes that are left out at the beginning.
    #[serde(default)]
    offset: i64,
    /// Number of an earlier attempt. The latest if it is missing.
    attempt: Option<i32>,
}

/// Query parameters of a live log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedLive {
    /// Number of bytes that are left out at the beginning.
    #[serde(default)]
    offset: i64,
    /// `html` for the lines of a page instead of text.
    view: Option<String>,
    /// Place in the lines of a page, in the form of the events' ids.
    after: Option<String>,
}

/// Returns the bytes from `offset` to the current end of the log, of the latest attempt or an earlier one.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/log", operation_id = "getLog", tag = "Jobs", params(Wanted),
    responses((status = 200, description = "The log", body = String, content_type = "text/plain"),
        (status = 410, description = "The log was removed", body = Problem)))]
pub(super) async fn raw(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
    Query(wanted): Query<Wanted>,
) -> Result<Response, InJson> {
    let facts = job_facts(&state.db, job).await?;
    let (attempt, end) = match wanted.attempt.filter(|attempt| *attempt != facts.attempt) {
        None => (facts.attempt, facts.log_length),
        Some(earlier) => {
            let length = queue::earlier_log_length(&state.db, AttemptId { job, number: earlier }).await?;
            (earlier, length.ok_or(Error::NotFound("attempt"))?)
        }
    };
    let attempt = AttemptId { job, number: attempt };
    if let Some(why) = log_objects::removed(&state.db, attempt).await? {
        return Err(Error::Gone(format!("The log of this job is no longer here: {why}.")).into());
    }
    let pieces = stream::try_unfold(wanted.offset.clamp(0, end), move |offset| {
        let logs = state.logs.clone();
        async move {
            if offset >= end {
                return Ok(None);
            }
            let mut bytes = logs.read(attempt, offset, PIECE).await?.bytes;
            // A response that is cut off shows that something is missing; one that merely ends early would not.
            anyhow::ensure!(!bytes.is_empty(), "the stored log of job {job} ends at {offset}, not at {end}");
            bytes.truncate(usize::try_from(end - offset)?);
            let next = offset + i64::try_from(bytes.len())?;
            Ok(Some((Bytes::from(bytes), next)))
        }
    })
    .inspect(|piece: &anyhow::Result<Bytes>| {
        if let Err(error) = piece {
            warn!("a log cannot be sent: {error:#}");
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Follows a log, as server-sent events until the job is finished.
///
/// - `chunk` `{"offset", "text"}`, or with `view=html` `lines` `{"ops", "unfinished"}`; the id says where to continue
/// - `series` `{"html"}`, with `view=html`: the current chart of the losses, about once a second
/// - `restart` `{"attempt"}`: the job runs again, so the reader must discard what it has
/// - `end` `{"state", "verdict", "reason"}`, with `view=html` also the last `ops`
#[utoipa::path(get, path = "/api/v1/jobs/{id}/log/stream", operation_id = "followLog", tag = "Jobs", params(WantedLive),
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream")))]
pub(super) async fn live(
    extract::State(state): extract::State<State>,
    OfJob(job): OfJob,
    admitted: Admitted,
    Query(wanted): Query<WantedLive>,
    headers: HeaderMap,
) -> Result<Response, InJson> {
    // Subscribes before the first check, so that no change is missed between the two.
    let changes = state.bells.log_changes();
    let JobFacts { attempt, log_length, .. } = job_facts(&state.db, job).await?;
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let view = if wanted.view.as_deref() == Some("html") {
        let token = last_id.or(wanted.after.as_deref());
        let from = token.and_then(Checkpoint::from_token).unwrap_or_else(|| Checkpoint::begin(attempt));
        // The losses before that offset count too.
        let offset = from.offset().min(log_length.unsigned_abs());
        let reading = Reading::new(&state, AttemptId { job, number: from.attempt() });
        let losses = reading.losses(offset).await.map_err(Error::from)?;
        let earlier = Earlier::read(&state, AttemptId { job, number: from.attempt() }).await.map_err(Error::from)?;
        View::Html(Box::new(Html::new(from, losses, earlier)))
    } else {
        let (offset, attempt) = last_id.and_then(text_id).unwrap_or((wanted.offset.max(0), attempt));
        View::Text { attempt, offset }
    };
    let shutdown = state.shutdown.clone();
    let follower =
        Follower { state, changes, job, admitted, checked: Instant::now(), view, ready: VecDeque::new(), ended: false };
    let events = stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|event| (Ok::<_, Infallible>(event), follower))
    })
    .take_until(shutdown.cancelled_owned());
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    // Makes nginx forward events without buffering.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Reads an id of the text view, `OFFSET@ATTEMPT`.
fn text_id(id: &str) -> Option<(i64, i32)> {
    let (offset, attempt) = id.split_once('@')?;
    Some((offset.parse().ok().filter(|offset| *offset >= 0)?, attempt.parse().ok()?))
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// A reader of a job's log.
struct Follower {
    state: State,
    changes: Receiver<JobId>,
    job: JobId,
    /// Reader, and the time since which the right is known.
    admitted: Admitted,
    checked: Instant,
    view: View,
    ready: VecDeque<Event>,
    ended: bool,
}

impl Follower {
    /// Waits for the next event. `None` ends the stream; the reader may reconnect with the last id.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            match self.poll().await {
                Ok(true) => {}
                Ok(false) => self.wait().await,
                Err(error) => {
                    warn!(job = %self.job, "a log stream failed: {error:#}");
                    return None;
                }
            }
        }
    }

    /// Reads new bytes. Returns false if there are none.
    async fn poll(&mut self) -> anyhow::Result<bool> {
        if self.checked.elapsed() >= CHECK_EACH {
            self.checked = Instant::now();
            let may_read = self.admitted.may_still_read().await;
            // Postgres or GitHub may be away for a moment. The next check comes soon, and the reader may connect again.
            if !may_read.map_err(|error| anyhow::anyhow!("the reader's right is not known: {}", error.words()))? {
                self.ended = true;
                return Ok(true);
            }
        }
        if let Some(event) = self.view.due(Instant::now()) {
            self.ready.push_back(event);
            return Ok(true);
        }
        let Some(facts) = find_job_facts(&self.state.db, self.job).await? else {
            self.ended = true;
            return Ok(true);
        };
        let (attempt, offset) = self.view.position();
        if attempt != facts.attempt {
            let earlier = Earlier::read(&self.state, facts.attempt_of(self.job)).await?;
            self.view.restart(facts.attempt, earlier);
            if offset > 0 {
                self.ready.push_back(event("restart", &json!({ "attempt": facts.attempt })));
            }
            return Ok(true);
        }
        if facts.log_length > offset {
            let bytes = self.state.logs.read(facts.attempt_of(self.job), offset, PIECE).await?.bytes;
            let next = offset + i64::try_from(bytes.len())?;
            let last = facts.state == JobState::Finished && next >= facts.log_length;
            self.ready.extend(self.view.render(&bytes, last));
            if self.view.position().1 > offset {
                return Ok(true);
            }
        }
        if facts.state != JobState::Finished {
            return Ok(false);
        }
        self.end(&facts);
        Ok(true)
    }

    fn end(&mut self, facts: &JobFacts) {
        let mut data = json!({ "state": facts.state, "verdict": facts.verdict, "reason": facts.reason });
        if let View::Html(html) = &mut self.view {
            let (ops, chart) = html.finish();
            self.ready.extend(chart);
            data["ops"] = ops;
        }
        self.ready.push_back(event("end", &data));
        self.ended = true;
    }

    /// Waits for a change of this job, or until the next check is due.
    async fn wait(&mut self) {
        let heard = async {
            loop {
                match self.changes.recv().await {
                    Ok(job) if job != self.job => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let wait = self.view.next_due().map_or(POLL, |due| due.saturating_duration_since(Instant::now()).min(POLL));
        // Either end of the wait is fine: the rows are checked in both cases.
        let _ = tokio::time::timeout(wait, heard).await;
    }
}
