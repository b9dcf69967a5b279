//! Check runs at GitHub, which only an App may write.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::access::{Access, Target};
use super::request::date_of;
use super::{Client, SendError, Sent};
use crate::domain::{CommitState, Sha};

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

/// A check run as GitHub should show it.
#[derive(Debug, Clone)]
pub struct CheckRun<'a> {
    pub target: Target<'a>,
    pub sha: &'a Sha,
    pub name: &'a str,
    /// Text by which we find the check run again.
    pub external_id: &'a str,
    pub state: CommitState,
    pub title: &'a str,
    /// Markdown, at most [`MAX_SUMMARY`] characters.
    pub summary: &'a str,
    pub details_url: Url,
    /// All annotations, in an order that does not change.
    pub annotations: &'a [Annotation],
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

#[derive(Deserialize)]
struct List {
    check_runs: Vec<Known>,
}

impl CheckRun<'_> {
    /// Returns the body of a request that sends annotations from this one on.
    fn body(&self, from: usize) -> Value {
        let annotations = self.annotations.iter().skip(from).take(ANNOTATIONS_AT_ONCE).collect::<Vec<_>>();
        let output = json!({"title": self.title, "summary": self.summary, "annotations": annotations});
        let mut body = json!({
            "name": self.name, "external_id": self.external_id, "details_url": self.details_url.as_str(),
            "output": output,
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
        Ok(list.check_runs.into_iter().find(|known| known.external_id.as_deref() == Some(run.external_id)))
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
