//! Requests for builds that no push makes: over the API, or by a schedule.

mod command;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::command::Command;
use super::{PullRequest, RepoId, Sha, Trigger, TriggerKind};

/// A request for a build of a branch, of a tag, or of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    pub repo: RepoId,
    pub kind: TriggerKind,
    /// The branch; for [`TriggerKind::Tag`], the tag; for a pull request, its base branch.
    pub branch: String,
    /// A commit of the branch; `None` for the latest. For a pull request, its head.
    pub sha: Option<Sha>,
    /// The branch's commit before the push, if there was one. For a pull request, its base commit.
    pub before: Option<Sha>,
    /// Replaces the commit's message.
    pub message: Option<String>,
    /// Name of the person or the schedule.
    pub requested_by: String,
    /// Configurations in addition to the `.travis.yml`. What comes first wins.
    pub configs: Vec<RequestConfig>,
    /// The pull request that is to be built.
    #[serde(default)]
    pub pull_request: Option<PullRequest>,
    /// Asks for smoke jobs and for no others.
    #[serde(default)]
    pub smoke: Option<SmokeRequest>,
}

/// A request for smoke jobs alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeRequest {
    /// The path of the only config that is to be tried; `None` for all.
    pub config: Option<String>,
}

/// A request for the build of a pull request whose webhook never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPull {
    pub repo: RepoId,
    /// The trigger that the webhook would have been.
    pub trigger: Trigger,
}

/// A configuration that a request brings along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestConfig {
    /// YAML or JSON.
    pub text: String,
    /// Name of the way in which the next configuration is merged into this one: one of [`MERGE_MODES`].
    pub mode: Option<String>,
}

/// The ways of merging a configuration into another.
pub const MERGE_MODES: [&str; 5] = ["deep_merge_append", "deep_merge_prepend", "deep_merge", "merge", "replace"];

/// The time between two builds of a cron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "cron_interval", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CronInterval {
    Daily,
    Weekly,
    Monthly,
}

impl fmt::Display for CronInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        })
    }
}

impl FromStr for CronInterval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Daily, Self::Weekly, Self::Monthly];
        let found = all.into_iter().find(|every| every.to_string() == text);
        found.ok_or_else(|| format!("there is no interval {text:?}: write daily, weekly or monthly"))
    }
}
