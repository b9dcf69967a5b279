//! Signed webhooks to programs of the operator: Trainyard's own form of an event.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use url::Url;

use crate::domain::{JobState, Verdict};
use crate::store::notifications::{Facts, JobFacts, Notification};
use crate::travis::notifications::{build_word, event_type};

/// Returns the event as `docs/usage/notifications.md` describes it.
pub(super) fn event(note: &Notification, facts: &Facts, jobs: &[JobFacts], status: Option<&str>, public: &Url) -> Json {
    let base = public.as_str().trim_end_matches('/');
    let Facts { number, owner, name, .. } = facts;
    let pull_request = facts
        .pull_request
        .map(|number| json!({"number": number, "title": facts.pull_request_title, "url": facts.compare_url}));
    let of = if note.job_id.is_some() { "publication" } else { "build" };
    json!({
        "type": format!("{of}.{}", note.event),
        "timestamp": time(Utc::now()),
        "data": {
            "repository": {
                "name": format!("{owner}/{name}"),
                "url": facts.clone_url.trim_end_matches(".git"),
            },
            "build": {
                "id": note.build_id.0,
                "number": number,
                "url": format!("{base}/{owner}/{name}/builds/{number}"),
                "event": event_type(facts.kind),
                "state": build_word(note.state),
                "previous_state": note.previous.map(build_word),
                "summary": status,
                "branch": facts.branch,
                "tag": facts.tag,
                "commit": facts.sha.to_string(),
                "message": facts.message,
                "author": facts.author,
                "pull_request": pull_request,
                "started_at": facts.started_at.map(time),
                "finished_at": facts.finished_at.filter(|_| note.state.is_finished()).map(time),
            },
            "jobs": jobs.iter().map(|job| self::job(*number, job)).collect::<Vec<_>>(),
        },
    })
}

fn job(build: i32, job: &JobFacts) -> Json {
    json!({
        "id": job.id.0,
        "number": format!("{build}.{}", job.number),
        "name": job.config.get("name").and_then(Json::as_str),
        "state": state(job.state),
        "verdict": job.verdict.map(verdict),
        "allow_failure": job.allow_failure,
        "started_at": job.started_at.map(time),
        "finished_at": job.finished_at.map(time),
    })
}

fn state(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Finished => "finished",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::TimedOut => "timed_out",
        Verdict::Errored => "errored",
        Verdict::Canceled => "canceled",
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
