//! Proof of a delivery: GitHub itself confirms its repository and its commit. The signature alone proves only that the
//! sender knows a webhook's secret, which every administrator of a repository may have typed in.

use std::time::Duration;

use anyhow::Context as _;
use tracing::info;
use url::Url;

use super::Intake;
use crate::domain::{PullRequest, RepoName, Sha, Trigger, pg_text};
use crate::git::{Credentials, Proposal, Remote};
use crate::github::event::Repository;
use crate::github::{GITHUB, SendError};
use crate::store::repos::{self, RepoFacts};

/// Error: GitHub does not confirm what the delivery says.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unproven {
    /// GitHub says something else.
    #[error("{0}")]
    Contradicted(String),
    /// GitHub does not confirm it now. It may do later, as not all of its servers know of a push at once.
    #[error("{0}")]
    Unconfirmed(String),
    /// GitHub has no such repository to show: it is gone, it has another name, or the token must not read it.
    #[error("{0}")]
    Hidden(String),
    /// GitHub does not answer questions about the repository for this time at least.
    #[error("{1}")]
    Unanswered(Duration, String),
}

/// A stored repository as GitHub has it now.
pub(super) struct Current {
    pub(super) facts: RepoFacts,
    /// True when nobody can push any more, and GitHub accepts no statuses.
    pub(super) is_archived: bool,
}

/// Returns the consequence of GitHub's refusal for a delivery.
fn unproven(error: &SendError, what: &str) -> Unproven {
    let why = format!("{what}: {error}");
    match error {
        SendError::RateLimited { wait, .. } => Unproven::Unanswered(*wait, why),
        SendError::Broken(_) => Unproven::Unanswered(Duration::ZERO, why),
        SendError::NoAccess(_) | SendError::Refused { .. } | SendError::Full { .. } | SendError::Unsendable(_) => {
            Unproven::Hidden(why)
        }
    }
}

impl Intake {
    /// Returns the credentials with which git fetches a repository.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when GitHub gives none.
    pub(super) async fn credentials(&self, repo: &RepoName) -> Result<Option<Credentials>, Unproven> {
        let credentials = self.github.git_credentials(repo).await;
        credentials.map_err(|error| unproven(&error, &format!("{repo} cannot be fetched")))
    }

    /// Asks GitHub for a stored repository, and stores its present name, default branch and visibility. GitHub tells of
    /// changes by webhooks that may not come; and another repository may have the name by now.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when GitHub has another repository of this name, or none.
    pub(super) async fn current(&self, stored: &RepoFacts) -> anyhow::Result<Current> {
        let name = &stored.name;
        let known = self.github.repository(name).await;
        let known = known.map_err(|error| unproven(&error, &format!("GitHub does not show {name}")))?;
        if known.id != stored.github_id {
            let (ours, now) = (stored.github_id, known.id);
            let why = format!("{name} is another repository by now: it was number {ours}, and is number {now}");
            return Err(Unproven::Contradicted(why).into());
        }
        let name: RepoName = known.full_name.parse()?;
        let facts = RepoFacts {
            forge: stored.forge.clone(),
            github_id: known.id,
            private: known.private.unwrap_or(stored.private),
            default_branch: known.default_branch.map_or_else(|| stored.default_branch.clone(), |name| pg_text(&name)),
            clone_url: self.github.clone_url(&name).into(),
            name,
        };
        if facts != *stored {
            info!("{} is {} now, {}", stored.name, facts.name, if facts.private { "private" } else { "public" });
            repos::upsert(&mut *self.db.acquire().await?, &facts).await?;
        }
        Ok(Current { facts, is_archived: known.archived })
    }

    /// Returns the address of a payload's repository, once its number and its name belong together. The payload's own
    /// address only has to be on the same server: it could lead to another repository.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when GitHub does not confirm the repository.
    pub(super) async fn address(&self, repository: &Repository) -> anyhow::Result<Url> {
        let address = self.github.clone_url(&repository.name);
        let claimed = Url::parse(&repository.clone_url).ok();
        let (name, server) = (&repository.name, self.github.server_of(&repository.name));
        let forge = self.github.forge_of(name);
        if claimed.is_none_or(|claimed| claimed.origin() != address.origin()) {
            let (told, ours) = (&repository.clone_url, address.origin().ascii_serialization());
            let setting = if forge == GITHUB { "github.api_url" } else { "the url of its [[forge]]" };
            let why = format!("the payload's clone_url {told} is not at {ours} (see {setting})");
            return Err(Unproven::Contradicted(why).into());
        }
        // A stored pair was confirmed before. A new pair is a new repository, or one with a new name.
        if !repos::is_known(&self.db, forge, repository.id, name).await.context("reading the repositories")? {
            let known = self.github.repository(name).await;
            let known =
                known.map_err(|error| unproven(&error, &format!("{server} does not confirm the name {name}")))?;
            let is_named = known.full_name.eq_ignore_ascii_case(&name.to_string());
            if known.id == repository.id && !is_named {
                return Err(Unproven::Hidden(format!("{name} is called {} by now", known.full_name)).into());
            }
            if known.id != repository.id {
                let (told, id, now) = (repository.id, known.id, known.full_name);
                let why = format!("the payload says that {name} is number {told}, but {server} has {now}, number {id}");
                return Err(Unproven::Contradicted(why).into());
            }
        }
        Ok(address)
    }

    /// Fetches the commit of a push, and checks that its branch or tag has it. Returns true if it is the latest one there.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when the branch or tag does not have the commit, or not any more.
    pub(super) async fn pushed_commit(&self, remote: &Remote<'_>, trigger: &Trigger) -> anyhow::Result<bool> {
        let reference = match (&trigger.branch, &trigger.tag) {
            (_, Some(tag)) => format!("refs/tags/{tag}"),
            (Some(branch), None) => format!("refs/heads/{branch}"),
            (None, None) => anyhow::bail!("a push to neither a branch nor a tag"),
        };
        let fetch = self.mirrors.fetch_commit(remote, &trigger.sha);
        let ((), is_latest) = self.on_ref(remote, &trigger.sha, &reference, fetch).await?;
        Ok(is_latest)
    }

    /// Returns the commit at which the base branch of a pull request is now.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when there is no such branch.
    pub(super) async fn base_of(&self, remote: &Remote<'_>, trigger: &Trigger) -> anyhow::Result<Sha> {
        let reference = format!("refs/heads/{}", trigger.branch.as_deref().unwrap_or_default());
        let tip = self.mirrors.tip(remote, &reference).await?;
        let none = || Unproven::Unconfirmed(format!("{} has no {reference}, or not any more", remote.repo));
        Ok(tip.ok_or_else(none)?)
    }

    /// Fetches the merge commit of a pull request, or makes it with `base` for a server that does not. If the pull request comes from a branch of the repository itself,
    /// checks that the branch has its head: the jobs of such a pull request are trusted as those of a push are.
    ///
    /// # Errors
    /// Fails with [`Unproven`] when the branch does not have the commit, or not any more.
    pub(super) async fn proposed_commit(
        &self,
        remote: &Remote<'_>,
        pull: &PullRequest,
        head: &Sha,
        base: Option<&Sha>,
    ) -> anyhow::Result<Sha> {
        let fetch = self.merge_commit(remote, pull.number, head, base);
        if pull.is_from_fork(remote.repo) {
            return fetch.await;
        }
        let (merge, _) = self.on_ref(remote, head, &format!("refs/heads/{}", pull.head_branch), fetch).await?;
        Ok(merge)
    }

    /// Fetches the merge commit of a pull request's head into its base, once GitHub has made it; or makes it.
    async fn merge_commit(
        &self,
        remote: &Remote<'_>,
        number: i64,
        head: &Sha,
        base: Option<&Sha>,
    ) -> anyhow::Result<Sha> {
        if let Some(base) = base {
            let merged = self.mirrors.merge(remote, Proposal { number, base, head }).await?;
            return merged.with_context(|| {
                format!("pull request #{number} has conflicts with its base: resolve them and push again")
            });
        }
        let merge = self.mirrors.fetch_merge(remote, number).await?.with_context(|| {
            format!(
                "GitHub has no merge commit of pull request #{number}: if it has conflicts, resolve them and push again"
            )
        })?;
        let parents = self.mirrors.commit(remote.repo, &merge).await?.parents;
        anyhow::ensure!(
            parents.last() == Some(head),
            "GitHub's merge commit of pull request #{number} does not merge {}: the pull request has another head by now, \
             or it has conflicts; then resolve them and push again",
            head.short()
        );
        Ok(merge)
    }

    /// Fetches a commit by `fetch`, and checks that it is on a ref of the remote. Returns true besides if the ref is at the
    /// commit.
    async fn on_ref<T>(
        &self,
        remote: &Remote<'_>,
        sha: &Sha,
        reference: &str,
        fetch: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, bool)> {
        // In most cases the ref is at the commit. So its place is asked for while the commit is fetched.
        let (fetched, tip) = tokio::join!(fetch, self.mirrors.tip(remote, reference));
        let repo = remote.repo;
        let Some(tip) = tip? else {
            return Err(Unproven::Unconfirmed(format!("{repo} has no {reference}, or not any more")).into());
        };
        if tip == *sha {
            return Ok((fetched?, true));
        }
        let off_ref =
            || Unproven::Unconfirmed(format!("{reference} of {repo} does not have {}, or not any more", sha.short()));
        let moved =
            || Unproven::Unconfirmed(format!("{reference} of {repo} is at another commit than {}", sha.short()));
        // GitHub serves commits of forks under the name of their parent too. So a commit that is there proves nothing.
        let fetched = fetched.with_context(moved)?;
        self.mirrors.fetch_commit(remote, &tip).await?;
        let is_moved_tag = reference.starts_with("refs/tags/");
        if is_moved_tag || !self.mirrors.contains(repo, &tip, sha).await? {
            return Err(off_ref().into());
        }
        Ok((fetched, false))
    }
}
