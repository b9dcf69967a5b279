//! Streams of events: a build, one of its jobs, or a publication of one has changed its state.

mod feed;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::extract;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};
use tracing::warn;

pub(in crate::web) use self::feed::BuildEvent;
pub use self::feed::Feed;
use self::feed::{Happened, Open};
use crate::domain::RepoId;
use crate::store::api::build_changes::Place;
use crate::web::State;
use crate::web::access::{Admitted, Repo, Sight};
use crate::web::error::{Error, InJson};

/// Interval of the checks whether the reader may still read.
const CHECK_EACH: Duration = Duration::from_secs(30);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follows the builds of all repositories that you may read, as server-sent events.
///
/// - `begin`, without data, once: its id is the place at which the stream begins
/// - `build`, with a `BuildEvent`: the build, some of its jobs or their publications have changed their states
///
/// With the id of an event in the header `Last-Event-ID`, the stream continues after it. Ids are good for a day. Changes
/// that come together become one event, which has the states of its time.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "followBuilds", tag = "Builds",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the event after which the stream continues")),
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream")))]
pub(in crate::web) async fn all(
    extract::State(state): extract::State<State>,
    admitted: Admitted,
    headers: HeaderMap,
) -> Result<Response, InJson> {
    follow(state, admitted, None, &headers).await
}

/// Follows the builds of a repository, as server-sent events.
///
/// The events are those of `/api/v1/events`.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/events", operation_id = "followBuildsOfRepository",
    tag = "Builds",
    params(("Last-Event-ID" = Option<String>, Header, description = "Id of the event after which the stream continues")),
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream")))]
pub(in crate::web) async fn of_repo(
    extract::State(state): extract::State<State>,
    admitted: Admitted,
    repo: Repo,
    headers: HeaderMap,
) -> Result<Response, InJson> {
    follow(state, admitted, Some(repo.id), &headers).await
}

async fn follow(
    state: State,
    admitted: Admitted,
    repo: Option<RepoId>,
    headers: &HeaderMap,
) -> Result<Response, InJson> {
    let after = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let (place, open) = state.api.feed.open(&state.db, after).await?;
    let sight = admitted.sight().await?.ok_or(Error::NoToken)?;
    let ready = VecDeque::from([Event::default().event("begin").id(place.to_string()).data("{}")]);
    let shutdown = state.shutdown.clone();
    let reader = Reader { state, admitted, repo, sight, checked: Instant::now(), place, ready, _open: open };
    let events = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader))
    })
    .take_until(shutdown.cancelled_owned());
    let mut response = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    // Makes nginx forward events without buffering.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn sent(event: &Happened) -> Event {
    Event::default().event("build").id(event.place.to_string()).data(&event.data)
}

/// A reader of events.
struct Reader {
    state: State,
    admitted: Admitted,
    /// The only repository that the stream is about.
    repo: Option<RepoId>,
    /// Repositories that the viewer may read, and the time since which that is known.
    sight: Sight,
    checked: Instant,
    /// Place up to which the reader has the events.
    place: Place,
    ready: VecDeque<Event>,
    _open: Open,
}

impl Reader {
    /// Waits for the next event. `None` ends the stream; the reader may connect again with the last id.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.checked.elapsed() >= CHECK_EACH && !self.check().await {
                return None;
            }
            let feed = self.state.api.feed.clone();
            let left = CHECK_EACH.saturating_sub(self.checked.elapsed());
            let Ok(read) = tokio::time::timeout(left, feed.next(&self.state, self.place)).await else { continue };
            match read {
                Ok((events, to)) => {
                    let seen: Vec<Event> =
                        events.iter().filter(|event| self.may_see(event)).map(|event| sent(event)).collect();
                    self.ready.extend(seen);
                    self.place = to;
                }
                Err(error) => {
                    warn!("a stream of events failed: {error:#}");
                    return None;
                }
            }
        }
    }

    fn may_see(&self, event: &Happened) -> bool {
        let is_in_sight = self.sight.everything || !event.is_private || self.sight.repos.contains(&event.repo);
        match self.repo {
            // The gate has checked the right in it, and `check` does so again.
            Some(repo) => event.repo == repo,
            None => is_in_sight,
        }
    }

    /// Returns true if the viewer may still read. An error ends the stream, and the reader may connect again.
    async fn check(&mut self) -> bool {
        self.checked = Instant::now();
        match (self.admitted.sight().await, self.admitted.may_still_read().await) {
            (Ok(Some(sight)), Ok(true)) => {
                self.sight = sight;
                true
            }
            (Err(error), _) | (_, Err(error)) => {
                warn!("the right of a reader of events is not known: {}", error.words());
                false
            }
            _ => false,
        }
    }
}
