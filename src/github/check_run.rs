//! Check runs at GitHub, which only an App may write.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::access::{Access, Target};
use super::request::date_of;
use super::{Client, SendError, Sent};
use crate::domain::{BuildId, CommitState, Sha};

/// Number of annotations that GitHub takes with one request.
pub const ANNOTATIONS_AT_ONCE: usize = 50;
/// Maximum length of a summary, in characters.
pub const MAX_SUMMARY: usize = 65_535;
/// Maximum size of GitHub's answers, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// A remark on lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Annotation {
    pub path: String,
    pub start_line: u32,
    pub end_line: u32,
    /// `notice`, `warning` or `failure`.
    pub annotation_level: &'static str,
    pub title: String,
    pub message: String,
}

/// A button of a check run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Action {
    /// At most 20 characters.
    pub label: &'static str,
    /// At most 40 characters.
    pub description: &'static str,
    /// Word that the event of the button has, at most 20 characters.
    pub identifier: &'static str,
}

/// A check run as GitHub should show it.
#[derive(Debug, Clone)]
pub struct CheckRun<'a> {
    pub target: Target<'a>,
    pub sha: &'a Sha,
    pub name: &'a str,
    /// The build that it shows, by which we find the check run again.
    pub build: BuildId,
    pub state: CommitState,
    pub title: &'a str,
    /// Markdown, at most [`MAX_SUMMARY`] characters.
    pub summary: &'a str,
    pub details_url: Url,
    /// All annotations, in an order that does not change.
    pub annotations: &'a [Annotation],
    /// At most three buttons.
    pub actions: &'a [Action],
}

/// A check run or a check suite, as GitHub has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCheck {
    pub sha: Sha,
    /// True when our App has made it.
    pub is_ours: bool,
    /// The build that a check run of ours shows.
    pub build: Option<BuildId>,
}

/// A check run at GitHub, after a request.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// GitHub's number of the check run.
    pub id: i64,
    /// True when GitHub has all annotations. Otherwise another request has to send more.
    pub is_complete: bool,
    pub sent: Sent,
}

/// A check run as GitHub describes it.
#[derive(Debug, Deserialize)]
struct Known {
    id: i64,
    external_id: Option<String>,
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Output {
    annotations_count: usize,
}

/// The origin of a check run or check suite.
#[derive(Debug, Deserialize)]
struct Made {
    head_sha: Sha,
    app: Option<Maker>,
    external_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Maker {
    id: u64,
}

#[derive(Deserialize)]
struct List {
    check_runs: Vec<Known>,
}

fn external_id(build: BuildId) -> String {
    format!("build {build}")
}

impl CheckRun<'_> {
    /// Returns the body of a request that sends annotations from this one on.
    fn body(&self, from: usize) -> Value {
        let annotations = self.annotations.iter().skip(from).take(ANNOTATIONS_AT_ONCE).collect::<Vec<_>>();
        let output = json!({"title": self.title, "summary": self.summary, "annotations": annotations});
        let mut body = json!({
            "name": self.name, "external_id": external_id(self.build), "details_url": self.details_url.as_str(),
            "output": output, "actions": self.actions,
        });
        match self.state {
            CommitState::Pending => body["status"] = json!("in_progress"),
            decided => {
                body["status"] = json!("completed");
                body["conclusion"] = json!(if decided == CommitState::Success { "success" } else { "failure" });
            }
        }
        body
    }

    fn is_complete_after(&self, from: usize) -> bool {
        from + ANNOTATIONS_AT_ONCE >= self.annotations.len()
    }
}

impl Client {
    /// Makes or changes a check run, with the next annotations that GitHub does not have. `known` is the number of a
    /// check run that an earlier request has made.
    ///
    /// A crash between two requests repeats nothing: GitHub is asked first for the check run and for its annotations.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, or did not accept the check run.
    pub async fn put_check_run(&self, run: &CheckRun<'_>, known: Option<i64>) -> Result<Shown, SendError> {
        let runs = format!("/repos/{}/check-runs", run.target.repo);
        let known = match known {
            Some(id) => Some(self.ask_check::<Known>(run, Method::GET, &format!("{runs}/{id}"), None).await?.0),
            None => self.find_check_run(run).await?,
        };
        let (method, path, from, body) = match known {
            None => {
                let mut body = run.body(0);
                body["head_sha"] = json!(run.sha.as_str());
                (Method::POST, runs, 0, body)
            }
            Some(known) => {
                let from = known.output.annotations_count;
                (Method::PATCH, format!("{runs}/{}", known.id), from, run.body(from))
            }
        };
        let (shown, sent) = self.ask_check::<Known>(run, method, &path, Some(&body)).await?;
        Ok(Shown { id: shown.id, is_complete: run.is_complete_after(from), sent })
    }

    /// Finds a check run that an earlier process has made.
    async fn find_check_run(&self, run: &CheckRun<'_>) -> Result<Option<Known>, SendError> {
        let name: String = url::form_urlencoded::byte_serialize(run.name.as_bytes()).collect();
        let (repo, sha) = (run.target.repo, run.sha);
        let path = format!("/repos/{repo}/commits/{sha}/check-runs?check_name={name}&filter=all&per_page=100");
        let (list, _) = self.ask_check::<List>(run, Method::GET, &path, None).await?;
        let wanted = external_id(run.build);
        Ok(list.check_runs.into_iter().find(|known| known.external_id.as_ref() == Some(&wanted)))
    }

    /// Asks for a check run; `None` if there is none.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the App may not read check runs.
    pub async fn check_run(&self, target: Target<'_>, id: i64) -> Result<Option<KnownCheck>, SendError> {
        self.known_check(target, &format!("/repos/{}/check-runs/{id}", target.repo)).await
    }

    /// Asks for a check suite; `None` if there is none.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the App may not read check runs.
    pub async fn check_suite(&self, target: Target<'_>, id: i64) -> Result<Option<KnownCheck>, SendError> {
        self.known_check(target, &format!("/repos/{}/check-suites/{id}", target.repo)).await
    }

    async fn known_check(&self, target: Target<'_>, path: &str) -> Result<Option<KnownCheck>, SendError> {
        let answer = match self.ask_about::<()>(target, Access::Checks, Method::GET, path, None).await {
            Ok(answer) => answer,
            Err(SendError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Made { head_sha, app, external_id } = self.read(answer, MAX_ANSWER).await?;
        let is_ours = app.is_some_and(|app| self.is_own_app(app.id));
        let build = external_id.and_then(|text| Some(BuildId(text.strip_prefix("build ")?.parse().ok()?)));
        Ok(Some(KnownCheck { sha: head_sha, is_ours, build: build.filter(|_| is_ours) }))
    }

    async fn ask_check<T: serde::de::DeserializeOwned>(
        &self,
        run: &CheckRun<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(T, Sent), SendError> {
        let answer = self.ask_about(run.target, Access::Checks, method, path, body).await?;
        let sent = Sent { date: date_of(&answer) };
        Ok((self.read(answer, MAX_ANSWER).await?, sent))
    }
}
