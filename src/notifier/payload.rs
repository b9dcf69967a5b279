//! The content of a notification, from the rows of its build.

use chrono::{DateTime, Utc};
use url::Url;

use crate::store::notifications::{Facts, JobFacts, Notification};
use crate::travis::notifications::{Build, WebhookBuild, WebhookJob, WebhookRepository, event_type, job_word, shown};

/// Makes the build that a notification tells of.
pub(super) fn build(note: &Notification, facts: Facts, jobs: Vec<JobFacts>, public_url: &Url) -> WebhookBuild {
    let Facts { number, owner, name, clone_url, .. } = facts;
    let seconds = |job: &JobFacts| Some((job.finished_at? - job.started_at?).num_seconds());
    let base = public_url.as_str().trim_end_matches('/');
    let is_over = note.state.is_finished();
    let pull = facts.pull_request;
    WebhookBuild {
        id: note.build_id.0,
        number: number.to_string(),
        config: facts.config,
        kind: event_type(facts.kind),
        state: note.state,
        previous: note.previous,
        started_at: facts.started_at.map(time),
        finished_at: facts.finished_at.filter(|_| is_over).map(time),
        duration: is_over.then(|| jobs.iter().filter_map(seconds).sum()),
        url: format!("{base}/{owner}/{name}/builds/{number}"),
        commit: facts.built_sha.to_string(),
        base_commit: pull.and(facts.before_sha).map(|sha| sha.to_string()),
        head_commit: pull.map(|_| facts.sha.to_string()),
        // On Travis, the branch of a tag's build is the tag.
        branch: facts.branch.or_else(|| facts.tag.clone()),
        message: facts.message,
        compare_url: facts.compare_url,
        author_name: facts.author,
        pull_request: pull.map(|number| (number.into(), facts.pull_request_title)),
        tag: facts.tag,
        jobs: jobs.into_iter().map(|job| webhook_job(number, job)).collect(),
        repository: WebhookRepository {
            id: note.repo_id.0,
            owner,
            name,
            url: Some(clone_url.trim_end_matches(".git").to_owned()),
        },
    }
}

/// Makes the build that a message to a chat tells of.
pub(super) fn chat_build(note: &Notification, facts: Facts, jobs: &[JobFacts], public_url: &Url) -> Build {
    let seconds = |(from, to): (DateTime<Utc>, DateTime<Utc>)| (to - from).num_seconds().max(0).unsigned_abs();
    let base = public_url.as_str().trim_end_matches('/');
    let Facts { number, owner, name, .. } = facts;
    Build {
        repository: format!("{owner}/{name}"),
        number: number.to_string(),
        id: note.build_id.0,
        pull_request: facts.pull_request.map(|number| (number.into(), facts.compare_url.clone().unwrap_or_default())),
        branch: facts.branch.or(facts.tag).unwrap_or_default(),
        commit: facts.sha.to_string(),
        author: facts.author.unwrap_or_else(|| "somebody".to_owned()),
        commit_message: facts.message.unwrap_or_default(),
        state: note.state,
        previous: note.previous,
        duration: jobs.iter().filter_map(|job| job.started_at.zip(job.finished_at)).map(seconds).sum(),
        elapsed: facts.started_at.zip(facts.finished_at).map_or(0, seconds),
        compare_url: facts.compare_url.unwrap_or_default(),
        build_url: format!("{base}/{owner}/{name}/builds/{number}"),
    }
}

fn webhook_job(build: i32, job: JobFacts) -> WebhookJob {
    WebhookJob {
        id: job.id.0,
        number: format!("{build}.{}", job.number),
        state: job_word(job.state, job.verdict),
        config: job.config.as_object().map(shown).unwrap_or_default(),
        started_at: job.started_at.map(time),
        finished_at: job.finished_at.map(time),
        allow_failure: job.allow_failure,
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format(WebhookBuild::TIME).to_string()
}
