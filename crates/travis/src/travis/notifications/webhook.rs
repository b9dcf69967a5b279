//! Webhooks: the receivers that a config names, and the payload that they get (travis-tasks addons/webhook/payload.rb).

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::email::{Recipient, recipients};
use super::message::build_word;
use super::slack::{SlackRoom, rooms};
use super::{Channel, Event, Message};
use crate::domain::BuildState;
use crate::travis::matrix::{self, Config};

/// Maximum number of receivers of a build.
pub const MAX_RECEIVERS: usize = 20;
/// Keys that say when a receiver is told.
const WHEN: [&str; 6] = ["on_success", "on_failure", "on_start", "on_cancel", "on_error", "on_publish"];
/// Maximum size of the config in a payload, as JSON, in bytes. A larger one is left out.
const MAX_CONFIG: usize = 64 << 10;

/// Webhooks of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhooks {
    pub receivers: Vec<Receiver>,
    /// Recipients of emails.
    #[serde(default)]
    pub emails: Vec<Recipient>,
    /// Rooms of Slack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slack: Vec<SlackRoom>,
    /// The build's config, without secrets.
    pub config: Json,
}

/// A receiver of webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receiver {
    /// Its address: a text, or `{secure: …}`.
    pub url: Json,
    /// The `on_…` keys.
    pub when: Config,
}

impl Receiver {
    /// Returns true if the receiver is told of this event.
    pub fn asks(&self, event: Event, state: BuildState, previous: Option<BuildState>) -> bool {
        Channel::Webhooks.asks(&self.when, event, state, previous)
    }
}

/// Returns the webhooks, the emails and the rooms of Slack that a config in its normal form asks for, if any. `data` is
/// that of [`matrix::matrix`].
pub fn webhooks(config: &Config, data: &Json) -> Option<Webhooks> {
    let (receivers, emails, slack) = (receivers(config, data), recipients(config, data), rooms(config, data));
    let is_any = !receivers.is_empty() || !emails.is_empty() || !slack.is_empty();
    is_any.then(|| Webhooks { receivers, emails, slack, config: shown(config) })
}

fn receivers(config: &Config, data: &Json) -> Vec<Receiver> {
    let entries = config.get("notifications").and_then(|all| all.get(Channel::Webhooks.key())).and_then(Json::as_array);
    let Some(entries) = entries else { return Vec::new() };
    let facts = matrix::facts_of_build(config, data);
    let mut receivers = Vec::new();
    for entry in entries.iter().take(super::MAX_ENTRIES).filter_map(Json::as_object) {
        if entry.get("enabled") == Some(&Json::Bool(false)) || !matrix::holds(entry, &facts) {
            continue;
        }
        let when: Config = WHEN.iter().filter_map(|key| Some(((*key).to_owned(), entry.get(*key)?.clone()))).collect();
        let urls = entry.get("urls").and_then(Json::as_array).into_iter().flatten();
        let urls = urls.filter(|url| url.is_string() || url.get("secure").is_some_and(Json::is_string));
        receivers.extend(urls.map(|url| Receiver { url: url.clone(), when: when.clone() }));
    }
    receivers.truncate(MAX_RECEIVERS);
    receivers
}

/// Returns a config as a payload has it: variables as text, and secrets hidden. Receivers do not learn of each other.
pub fn shown(config: &Config) -> Json {
    let mut shown = config.clone();
    shown.remove("notifications");
    if let Some(Json::Array(variables)) = shown.get("env") {
        let text: Vec<String> = variables.iter().map(variable).collect();
        shown.insert("env".to_owned(), text.join(" ").into());
    }
    let mut shown = Json::Object(shown);
    hide(&mut shown);
    if shown.to_string().len() > MAX_CONFIG { json!({}) } else { shown }
}

/// Returns an item of `env` as `NAME=value`.
fn variable(item: &Json) -> String {
    let Some(map) = item.as_object() else { return item.as_str().unwrap_or_default().to_owned() };
    if map.contains_key("secure") {
        return "[secure]".to_owned();
    }
    let pair = |(name, value): (&String, &Json)| match value {
        Json::String(text) => format!("{name}={text}"),
        Json::Object(_) => format!("{name}=[secure]"),
        other => format!("{name}={other}"),
    };
    map.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn hide(value: &mut Json) {
    match value {
        Json::Object(map) if map.contains_key("secure") => *value = "[secure]".into(),
        Json::Object(map) => map.values_mut().for_each(hide),
        Json::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// A build, as a payload tells of it. Times are in the form of [`Self::TIME`].
#[derive(Debug, Clone)]
pub struct WebhookBuild {
    pub id: i64,
    pub number: String,
    pub config: Json,
    /// `push`, `pull_request`, `cron` or `api`.
    pub kind: &'static str,
    pub state: BuildState,
    /// State of the finished build before this one.
    pub previous: Option<BuildState>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// The sum of the jobs' durations, in seconds.
    pub duration: Option<i64>,
    pub url: String,
    pub commit: String,
    /// The base and the head of a pull request.
    pub base_commit: Option<String>,
    pub head_commit: Option<String>,
    pub branch: Option<String>,
    pub message: Option<String>,
    pub compare_url: Option<String>,
    pub author_name: Option<String>,
    pub pull_request: Option<(i64, Option<String>)>,
    pub tag: Option<String>,
    pub repository: WebhookRepository,
    pub jobs: Vec<WebhookJob>,
}

/// A repository, as a payload tells of it.
#[derive(Debug, Clone)]
pub struct WebhookRepository {
    pub id: i64,
    pub owner: String,
    pub name: String,
    /// Its page.
    pub url: Option<String>,
}

/// A job, as a payload tells of it.
#[derive(Debug, Clone)]
pub struct WebhookJob {
    pub id: i64,
    /// The build's number and the job's, as in `42.1`.
    pub number: String,
    /// Travis's word.
    pub state: &'static str,
    pub config: Json,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub allow_failure: bool,
}

impl WebhookBuild {
    /// The form of times.
    pub const TIME: &'static str = "%Y-%m-%dT%H:%M:%SZ";

    /// Returns the payload. What is not known here is null: the e-mail addresses, the committer and the commit's time.
    pub fn payload(&self) -> Json {
        let word = build_word(self.state);
        let message = Message::of(self.state, self.previous).short();
        let (pull_request, title) = self.pull_request.clone().unzip();
        let WebhookRepository { id: repository, owner, name, url } = &self.repository;
        let mut payload = json!({
            "id": self.id, "number": self.number, "config": self.config, "type": self.kind, "state": word,
            "status": status(word), "result": status(word), "status_message": message, "result_message": message,
            "started_at": self.started_at, "finished_at": self.finished_at, "duration": self.duration,
            "build_url": self.url, "commit_id": self.id, "commit": self.commit, "base_commit": self.base_commit,
            "head_commit": self.head_commit,
        });
        let rest = json!({
            "pull_request": pull_request.is_some(), "pull_request_number": pull_request,
            "pull_request_title": title.flatten(), "tag": self.tag,
            "repository": {"id": repository, "name": name, "owner_name": owner, "url": url},
            "matrix": self.jobs.iter().map(|job| self.job(job)).collect::<Vec<_>>(),
        });
        let commit = self.commit_facts();
        for facts in [commit, self.people(), rest] {
            append(&mut payload, facts);
        }
        payload
    }

    fn commit_facts(&self) -> Json {
        json!({
            "branch": self.branch, "message": self.message, "compare_url": self.compare_url,
        })
    }

    fn people(&self) -> Json {
        json!({
            "committed_at": null, "author_name": self.author_name, "author_email": null, "committer_name": null,
            "committer_email": null,
        })
    }

    fn job(&self, job: &WebhookJob) -> Json {
        let mut payload = json!({
            "id": job.id, "repository_id": self.repository.id, "parent_id": self.id, "number": job.number,
            "state": job.state, "config": job.config, "status": status(job.state), "result": status(job.state),
            "commit": self.commit,
        });
        append(&mut payload, self.commit_facts());
        append(&mut payload, json!({"started_at": job.started_at, "finished_at": job.finished_at}));
        append(&mut payload, self.people());
        append(&mut payload, json!({"allow_failure": job.allow_failure}));
        payload
    }
}

fn append(map: &mut Json, more: Json) {
    if let (Json::Object(map), Json::Object(more)) = (map, more) {
        map.extend(more);
    }
}

/// Returns the number for a state: 0 or 1 once it is decided, and null without a decision.
fn status(word: &str) -> Option<u8> {
    match word {
        "passed" => Some(0),
        "failed" | "errored" => Some(1),
        _ => None,
    }
}
