//! Texts of notifications.

use serde_json::{Map, Value as Json, json};

use crate::domain::{BuildState, JobState, TriggerKind, Verdict};

/// The meaning of a build's state after that of the build before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// The build is not finished yet.
    Pending,
    /// The build passed, and the one before did not fail.
    Passed,
    /// The build passed after a failure.
    Fixed,
    /// The build failed, and the one before neither passed nor failed, or its state is not known.
    Failed,
    /// The build failed after one that passed.
    Broken,
    /// The build failed again.
    StillFailing,
    /// The build could not do its work.
    Errored,
    /// The build was canceled.
    Canceled,
}

impl Message {
    /// Returns the message of a build, by its state and that of the finished build before.
    pub fn of(state: BuildState, previous: Option<BuildState>) -> Self {
        match (state, previous) {
            (BuildState::Queued | BuildState::Running, _) => Self::Pending,
            (BuildState::Passed, Some(BuildState::Failed)) => Self::Fixed,
            (BuildState::Passed, _) => Self::Passed,
            (BuildState::Failed, Some(BuildState::Passed)) => Self::Broken,
            (BuildState::Failed, Some(BuildState::Failed)) => Self::StillFailing,
            (BuildState::Failed, _) => Self::Failed,
            (BuildState::Errored, _) => Self::Errored,
            (BuildState::Canceled, _) => Self::Canceled,
        }
    }

    /// Returns a word or two, for subjects and for `status_message` of webhooks.
    pub fn short(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Passed => "Passed",
            Self::Fixed => "Fixed",
            Self::Failed => "Failed",
            Self::Broken => "Broken",
            Self::StillFailing => "Still Failing",
            Self::Errored => "Errored",
            Self::Canceled => "Canceled",
        }
    }

    /// Returns the sentence that `%{message}` stands for.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Pending => "The build is pending.",
            Self::Passed => "The build passed.",
            Self::Fixed => "The build was fixed.",
            Self::Failed => "The build failed.",
            Self::Broken => "The build was broken.",
            Self::StillFailing => "The build is still failing.",
            Self::Errored => "The build has errored.",
            Self::Canceled => "The build was canceled.",
        }
    }
}

/// The values that templates can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// `owner/name` of the repository.
    pub repository: String,
    pub number: String,
    pub id: i64,
    /// The number of the pull request and its page.
    pub pull_request: Option<(i64, String)>,
    /// The branch; a pull request's base branch.
    pub branch: String,
    pub commit: String,
    pub author: String,
    /// The commit's message, subject and body.
    pub commit_message: String,
    pub state: BuildState,
    /// State of the finished build before this one.
    pub previous: Option<BuildState>,
    /// The sum of the jobs' durations, in seconds.
    pub duration: u64,
    /// The time from the first job's start to the last one's end, in seconds.
    pub elapsed: u64,
    /// The page that compares the commits.
    pub compare_url: String,
    pub build_url: String,
}

/// Returns the default template of chats: one for a branch's builds, and another for a pull request's.
pub fn default_template(build: &Build) -> &'static str {
    match build.pull_request {
        None => {
            "Build <%{build_url}|#%{build_number}> (<%{compare_url}|%{commit}>) of %{repository}@%{branch} by %{author} \
             %{result} in %{duration}"
        }
        Some(_) => {
            "Build <%{build_url}|#%{build_number}> (<%{compare_url}|%{commit}>) of %{repository}@%{branch} in PR \
             <%{pull_request_url}|#%{pull_request_number}> by %{author} %{result} in %{duration}"
        }
    }
}

/// Fills in the `%{…}` of a template. An unknown name stands for nothing. Names in values are not filled in.
pub fn render(template: &str, build: &Build) -> String {
    let variables = variables(build);
    let mut parts = template.split("%{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((name, rest)) = part.split_once('}') else {
            text.push_str("%{");
            text.push_str(part);
            continue;
        };
        text.push_str(variables.get(name).and_then(Json::as_str).unwrap_or_default());
        text.push_str(rest);
    }
    text
}

fn variables(build: &Build) -> Map<String, Json> {
    let (number, url) = build.pull_request.clone().map_or_else(Default::default, |(n, url)| (n.to_string(), url));
    let variables = json!({
        "repository": build.repository,
        "repository_slug": build.repository,
        "repository_name": build.repository.rsplit('/').next(),
        "build_number": build.number,
        "build_id": build.id.to_string(),
        "pull_request": build.pull_request.is_some().to_string(),
        "pull_request_number": number,
        "branch": build.branch,
        "commit": build.commit.chars().take(7).collect::<String>(),
        "author": build.author,
        "commit_subject": build.commit_message.lines().next(),
        "commit_message": build.commit_message,
        "result": build_word(build.state),
        "duration": minutes(build.duration),
        "elapsed_time": minutes(build.elapsed),
        "message": Message::of(build.state, build.previous).sentence(),
        "compare_url": build.compare_url,
        "build_url": build.build_url,
        "pull_request_url": url,
    });
    match variables {
        Json::Object(variables) => variables,
        _ => Map::new(),
    }
}

/// Returns Travis's word for the state of a build.
pub fn build_word(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued => "created",
        BuildState::Running => "started",
        BuildState::Passed => "passed",
        BuildState::Failed => "failed",
        BuildState::Errored => "errored",
        BuildState::Canceled => "canceled",
    }
}

/// Returns Travis's word for the state of a job.
pub fn job_word(state: JobState, verdict: Option<Verdict>) -> &'static str {
    match (state, verdict) {
        (_, Some(Verdict::Passed)) => "passed",
        (_, Some(Verdict::Failed | Verdict::TimedOut)) => "failed",
        (_, Some(Verdict::Errored)) => "errored",
        (_, Some(Verdict::Canceled)) => "canceled",
        (JobState::Running, None) => "started",
        (JobState::Queued, None) => "queued",
        (JobState::Waiting | JobState::Finished, None) => "created",
    }
}

/// Returns Travis's word for what requested a build.
pub fn event_type(kind: TriggerKind) -> &'static str {
    match kind {
        TriggerKind::Push | TriggerKind::Tag | TriggerKind::Travis => "push",
        TriggerKind::PullRequest => "pull_request",
        TriggerKind::Cron => "cron",
        TriggerKind::Api => "api",
    }
}

fn minutes(seconds: u64) -> String {
    format!("{} min {} sec", seconds / 60, seconds % 60)
}
