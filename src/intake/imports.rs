//! The files that a `.travis.yml` imports: those of the built commit from the mirror, others from their own
//! repositories.
//!
//! The author of a `.travis.yml` chooses what is fetched, so the token is used only for files that the build's author
//! may read anyway.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::Intake;
use crate::domain::{RepoName, Revision, Trigger};
use crate::git::{Credentials, Remote, RemoteFileError, TreeFile};
use crate::github::SendError;
use crate::plan;
use crate::travis::import::{Found, Imports, Source};
use crate::yaml::MAX_BYTES;

/// Time limit for all imported files of a build that are not in its commit. Together with the longest fetch of the
/// commit itself, it is within the time limit of a try.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// The commit that imports files.
pub(super) struct Commit<'a> {
    pub(super) remote: &'a Remote<'a>,
    pub(super) trigger: &'a Trigger,
    /// Files of the commit.
    pub(super) tree: &'a [TreeFile],
}

impl Intake {
    /// Fetches files that a plan imports. A file that cannot be fetched is recorded with the reason.
    ///
    /// # Errors
    /// Fails when a retry may succeed.
    pub(super) async fn fetch_imports(
        &self,
        commit: &Commit<'_>,
        wanted: Vec<Source>,
        deadline: Instant,
        imports: &mut Imports,
    ) -> anyhow::Result<()> {
        for source in wanted {
            let looked = match source.revision {
                Revision::Built => self.committed(commit, &source).await,
                _ => timeout_at(deadline, self.elsewhere(commit, &source)).await.unwrap_or_else(|_| {
                    let limit = humantime::format_duration(LIMIT);
                    Err(RemoteFileError::Refused(format!("fetching all imports took longer than {limit}")))
                }),
            };
            let found = match looked {
                Ok(text) => Found::File(text),
                Err(RemoteFileError::Refused(why)) => Found::Failed(why),
                Err(RemoteFileError::Failed(error)) => return Err(error.context(format!("importing {source}"))),
            };
            imports.insert(source, found);
        }
        Ok(())
    }

    /// Reads a file of the commit that is built.
    async fn committed(&self, commit: &Commit<'_>, source: &Source) -> Result<Vec<u8>, RemoteFileError> {
        let Some(file) = commit.tree.iter().find(|file| file.path == source.path) else {
            return Err(RemoteFileError::Refused("the commit has no regular file of that name".to_owned()));
        };
        if file.size >= plan::READ_AT_MOST as u64 {
            return Err(RemoteFileError::Refused(format!("it is larger than {} bytes", plan::READ_AT_MOST - 1)));
        }
        let mut texts = self.mirrors.read(commit.remote.repo, &[file]).await?;
        Ok(texts.pop().context("git did not return it")?)
    }

    /// Fetches a file of another commit or repository on the same server.
    async fn elsewhere(&self, commit: &Commit<'_>, source: &Source) -> Result<Vec<u8>, RemoteFileError> {
        let url = beside(commit.remote.url, &source.repo).context("the address of the repository is unknown")?;
        let own = commit.remote.credentials.filter(|_| source.repo == commit.trigger.repo);
        let credentials = match may_use_token(commit.trigger, &source.repo) {
            true if own.is_none() => self.credentials_of_other(&source.repo).await?,
            _ => None,
        };
        let remote = Remote { repo: &source.repo, url: &url, credentials: own.or(credentials.as_ref()) };
        self.mirrors.remote_file(&remote, &source.revision, &source.path, MAX_BYTES).await
    }

    /// Returns the credentials for another repository than the build's own. Without any, it may still be public.
    async fn credentials_of_other(&self, repo: &RepoName) -> anyhow::Result<Option<Credentials>> {
        match self.github.git_credentials(repo).await {
            Err(SendError::NoAccess(_)) => Ok(None),
            credentials => Ok(credentials?),
        }
    }
}

/// Returns the address of a repository on the same server as the address `own`.
fn beside(own: &Url, repo: &RepoName) -> Option<Url> {
    let mut url = own.clone();
    let name = format!("{}.git", repo.name());
    url.path_segments_mut().ok()?.pop_if_empty().pop().pop().extend([repo.owner(), &name]);
    Some(url)
}

/// Returns true if the server's token may read a file of `repo` for this build. That is so for the build's own
/// repository. Other repositories of the same owner may be read too, but not for strangers: otherwise the author of a
/// fork's pull request would see private files in the log.
fn may_use_token(trigger: &Trigger, repo: &RepoName) -> bool {
    let own = &trigger.repo;
    let is_fork = trigger.pull_request.as_ref().is_some_and(|pull| pull.is_from_fork(own));
    let is_of_owner = repo.owner().eq_ignore_ascii_case(own.owner());
    is_of_owner && (repo.name().eq_ignore_ascii_case(own.name()) || !is_fork)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PullRequest, TriggerKind};

    fn trigger(head: Option<Option<&str>>) -> Trigger {
        let pull_request = head.map(|head| PullRequest {
            number: 1,
            title: String::new(),
            head_branch: "main".to_owned(),
            head_repo: head.map(|head| head.parse().unwrap()),
            draft: false,
        });
        Trigger {
            kind: TriggerKind::Push,
            repo: "acme/styles".parse().unwrap(),
            branch: None,
            tag: None,
            sha: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
            before: None,
            message: None,
            author: None,
            sender: None,
            compare_url: None,
            pull_request,
            travis: None,
        }
    }

    #[test]
    fn the_token_is_not_for_strangers() {
        let may = |trigger: &Trigger, repo: &str| may_use_token(trigger, &repo.parse().unwrap());
        let own = [trigger(None), trigger(Some(Some("acme/styles")))];
        let strangers = [trigger(Some(Some("bob/styles"))), trigger(Some(None)), trigger(Some(Some("acme/fork")))];
        for trigger in &own {
            assert!(may(trigger, "Acme/Styles") && may(trigger, "acme/shared") && !may(trigger, "other/shared"));
        }
        for trigger in &strangers {
            assert!(may(trigger, "acme/styles") && !may(trigger, "acme/shared") && !may(trigger, "bob/styles"));
        }
    }

    #[test]
    fn repositories_lie_beside_each_other() {
        let beside = |own: &str| beside(&own.parse().unwrap(), &"other/ci".parse().unwrap()).map(String::from);
        for own in ["https://github.example/acme/styles.git", "https://github.example/acme/styles/"] {
            assert_eq!(beside(own).as_deref(), Some("https://github.example/other/ci.git"));
        }
    }
}
