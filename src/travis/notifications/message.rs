//! What a notification says.

use serde_json::{Map, Value as Json, json};

use crate::domain::BuildState;

/// What a state means beside the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// Not finished yet.
    Pending,
    /// Passed, and it did not fail before.
    Passed,
    /// Passed after a failure.
    Fixed,
    /// Failed, and what was before is not known.
    Failed,
    /// Failed after it had passed.
    Broken,
    /// Failed again.
    StillFailing,
    /// Could not do its work.
    Errored,
    /// Canceled.
    Canceled,
}

impl Message {
    /// What a build says, by its state and that of the finished build before.
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

    /// A word or two, for subjects and for `status_message` of webhooks.
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

    /// The sentence, which `%{message}` stands for.
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

/// What templates can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// `owner/name` of the repository.
    pub repository: String,
    /// The build's number.
    pub number: String,
    /// The build's id.
    pub id: i64,
    /// The number of the pull request and its page.
    pub pull_request: Option<(i64, String)>,
    /// The branch; a pull request's base branch.
    pub branch: String,
    /// The commit's id.
    pub commit: String,
    /// The commit's author.
    pub author: String,
    /// The commit's message, subject and body.
    pub commit_message: String,
    /// The build's state.
    pub state: BuildState,
    /// How the finished build before ended.
    pub previous: Option<BuildState>,
    /// The sum of the jobs' durations, in seconds.
    pub duration: u64,
    /// The time from the first job's start to the last one's end, in seconds.
    pub elapsed: u64,
    /// The page that compares the commits.
    pub compare_url: String,
    /// The build's page.
    pub build_url: String,
}

/// The template of chats that are given none: that of a branch's builds, and that of a pull request's.
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

/// The template with its `%{…}` filled in. A name that is none stands for nothing; values are not read for names.
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
        "result": result(build.state),
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

/// Travis's word for a state.
fn result(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued => "created",
        BuildState::Running => "started",
        BuildState::Passed => "passed",
        BuildState::Failed => "failed",
        BuildState::Errored => "errored",
        BuildState::Canceled => "canceled",
    }
}

fn minutes(seconds: u64) -> String {
    format!("{} min {} sec", seconds / 60, seconds % 60)
}
