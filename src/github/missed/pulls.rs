//! The open pull requests of a repository.

use std::collections::BTreeMap;

use http::header::ETAG;
use http::{Method, StatusCode};
use tracing::info;

use crate::domain::{RepoName, Trigger};
use crate::github::access::{Access, Target};
use crate::github::event::PullRequestFacts;
use crate::github::{Client, SendError};

/// Number of pull requests on a page, which is GitHub's largest.
const PER_PAGE: usize = 100;
/// Number of pages that are read. Of more pull requests, those that have changed last count.
const MAX_PAGES: usize = 10;
/// Maximum size of a page, in bytes. A pull request has some twenty thousand.
const MAX_ANSWER: usize = 16 << 20;

/// GitHub's answer about the open pull requests of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenPulls {
    /// The list has not changed since it had the given mark.
    Unchanged,
    /// The triggers of their builds, without a sender, and the mark of the list.
    Listed(Vec<Trigger>, Option<String>),
}

impl Client {
    /// Lists the open pull requests of a repository, unless the list still has the mark `etag`.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, when the token may not read them, and when the name is that of another repository
    /// than `number` by now.
    pub async fn open_pulls(&self, repo: &RepoName, number: i64, etag: Option<&str>) -> Result<OpenPulls, SendError> {
        let (mut pulls, mut mark) = (BTreeMap::new(), None);
        for page in 1..=MAX_PAGES {
            // Every change of a pull request brings it to the first page. So the first page's mark is that of the list.
            let path =
                format!("/repos/{repo}/pulls?state=open&sort=updated&direction=desc&per_page={PER_PAGE}&page={page}");
            let etag = etag.filter(|_| page == 1);
            let Some((listed, etag)) = self.page_of_pulls(repo, &path, etag).await? else {
                return Ok(OpenPulls::Unchanged);
            };
            if page == 1 {
                mark = etag;
            }
            let is_last = listed.len() < PER_PAGE;
            for pull in listed {
                if pull.base_repository() != Some(number) {
                    let said = format!("{repo} is another repository by now: it was renamed or transferred");
                    return Err(SendError::NoAccess(said));
                }
                match pull.into_trigger(repo.clone(), None) {
                    Ok(trigger) => {
                        let number = trigger.pull_request.as_ref().map(|pull| pull.number);
                        pulls.entry(number).or_insert(trigger);
                    }
                    Err(error) => info!("an open pull request of {repo} is left out: {error:#}"),
                }
            }
            if is_last {
                break;
            }
        }
        Ok(OpenPulls::Listed(pulls.into_values().collect(), mark))
    }

    /// Reads a page with its mark; `None` if it still has the mark `etag`.
    async fn page_of_pulls(
        &self,
        repo: &RepoName,
        path: &str,
        etag: Option<&str>,
    ) -> Result<Option<(Vec<PullRequestFacts>, Option<String>)>, SendError> {
        let target = Target { repo, number: None };
        let answer = self.ask_unless::<()>(target, Access::OpenPulls, (Method::GET, path), None, etag).await?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let answer = self.at(repo).accepted(answer).await?;
        let mark = answer.headers().get(ETAG).and_then(|mark| mark.to_str().ok()).map(str::to_owned);
        Ok(Some((self.read(answer, MAX_ANSWER).await?, mark)))
    }
}
