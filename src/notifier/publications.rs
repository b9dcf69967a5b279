//! Messages about publications: those that wait for an approval, those that were rejected, and those that have ended.

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use super::{Notifier, event};
use crate::chat::Publications;
use crate::domain::{JobId, RepoName};
use crate::store::notifications::Notification;
use crate::store::publications::{self, JobFacts, Publication, PublicationState};
use crate::travis::notifications::Event;

impl Notifier {
    /// Returns the publications that a notification tells of; `None` if its event is over: somebody has decided, or has
    /// published again.
    pub(super) async fn publications(&self, note: &Notification, job: JobId) -> anyhow::Result<Option<Publications>> {
        let places = publications::of(&self.db, job).await.context("reading publications")?;
        let Some((event, places)) = event(&note.event).and_then(|event| Some((event, current(event, places)?))) else {
            return Ok(None);
        };
        let JobFacts { owner, name, build, number, .. } =
            publications::facts(&self.db, job).await.context("reading a job")?;
        let repo: RepoName = format!("{owner}/{name}").parse().context("a stored repository's name")?;
        let environment = places.iter().find_map(|it| it.environment.clone()).map(|environment| {
            let configured = self.publish.environment(&repo, &environment);
            let people = configured.map(|it| it.approvers.clone()).unwrap_or_default();
            (environment, people)
        });
        let base = self.public_url.as_str().trim_end_matches('/');
        let url = format!("{base}/{repo}/builds/{build}/jobs/{number}");
        Ok(Some(Publications { event, job: number, url, places, environment }))
    }
}

/// Returns the publications that an event is about; `None` if it is over.
fn current(event: Event, mut places: Vec<Publication>) -> Option<Vec<Publication>> {
    let has = |state| places.iter().any(|it| it.state == state);
    let (has_failed, is_rejected) = (has(PublicationState::Failed), has(PublicationState::Rejected));
    let goes_on = |it: &Publication| matches!(it.state, PublicationState::Unapproved | PublicationState::Waiting);
    let is_open = places.iter().any(goes_on);
    match event {
        Event::Approval => places.retain(|it| it.state == PublicationState::Unapproved),
        Event::Published if is_open || has_failed => return None,
        Event::PublishFailed if is_open || !has_failed => return None,
        Event::Rejected if !is_rejected => return None,
        Event::Rejected => places.retain(|it| !goes_on(it)),
        _ => {}
    }
    (!places.is_empty()).then_some(places)
}

/// Returns publications in the form of webhooks.
pub(super) fn in_json(note: &Notification, build: i32, publications: &Publications) -> Json {
    let (environment, approvers) = publications.environment.clone().unzip();
    json!({
        "event": note.event,
        "job": format!("{build}.{}", publications.job),
        "url": publications.url,
        "environment": environment,
        "approvers": approvers.unwrap_or_default(),
        "places": publications.places,
    })
}
