//! The look at a commit: it is fetched, its files are read, and the planner makes a plan of them.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::info;

use super::{Intake, imports, unbuilt};
use crate::domain::{RequestConfig, Sha, Trigger, TriggerKind};
use crate::git::Remote;
use crate::plan::{self, Plan};
use crate::planner::{Answer, PlanError, Request};
use crate::travis::import::Imports;

/// What a look at a commit has shown.
pub(super) struct Looked {
    /// The commit that is built.
    pub(super) built: Sha,
    pub(super) plan: Plan,
    /// True if the branch, tag or pull request has no later commit.
    pub(super) is_latest: bool,
}

impl Intake {
    /// Fetches and plans the commit that is to be built. Fills in the facts that a pull request's payload lacks.
    pub(super) async fn look(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &mut Trigger,
        requested: Vec<RequestConfig>,
    ) -> anyhow::Result<Looked> {
        let (built, is_latest) = match &trigger.pull_request {
            None => (trigger.sha.clone(), self.pushed_commit(remote, trigger).await?),
            // GitHub has a merge commit of the latest head alone.
            Some(pull) => (self.proposed_commit(remote, pull, &trigger.sha).await?, true),
        };
        if trigger.message.is_none() {
            // Skip words and conditions apply to the author's commit, not to GitHub's merge commit.
            trigger.message = Some(self.mirrors.commit(remote.repo, &trigger.sha).await?.message);
        }
        let tree = self.mirrors.files(remote.repo, &built).await?;
        let sources = plan::Sources::of(&tree, |file| (&file.path, file.size));
        let texts = self.mirrors.read(remote.repo, &sources.readable).await?;
        let sources = sources.with_texts(texts, |file| file.path.clone());
        let has_more = sources.iter().any(|file| file.path != plan::CONFIG);
        let changed = if has_more { self.changed(remote, default_branch, trigger, &built).await } else { Ok(None) };
        let changed = changed.unwrap_or_else(|error| {
            info!("cannot list what {} of {} changes, so everything counts: {error:#}", built.short(), trigger.repo);
            None
        });
        let paths: Vec<&str> = tree.iter().map(|file| file.path.as_str()).collect();
        let settings = plan::Settings { requested, ..plan::Settings::default() };
        let request = Request {
            trigger,
            settings: &settings,
            files: &sources,
            paths: &paths,
            changed: changed.as_ref(),
            imports: Imports::new(),
        };
        let plan = self.plan(&imports::Commit { remote, trigger, tree: &tree }, request).await?;
        Ok(Looked { built, plan, is_latest })
    }

    /// Plans a commit with all files that it imports.
    async fn plan(&self, commit: &imports::Commit<'_>, mut request: Request<'_>) -> anyhow::Result<Plan> {
        let mut planning = self.planner.begin();
        let deadline = Instant::now() + imports::LIMIT;
        loop {
            match planning.ask(&request).await {
                Ok(Answer::Planned(plan)) => return Ok(*plan),
                Ok(Answer::Wanted(wanted)) => {
                    self.fetch_imports(commit, wanted, deadline, &mut request.imports).await?
                }
                Err(PlanError::Commit(reason)) => return Ok(unbuilt::not_planned(reason)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the paths that a push or pull request changes, or `None` when there is nothing to compare with.
    async fn changed(
        &self,
        remote: &Remote<'_>,
        default_branch: &str,
        trigger: &Trigger,
        built: &Sha,
    ) -> anyhow::Result<Option<BTreeSet<String>>> {
        let from = match (&trigger.pull_request, &trigger.before) {
            // The first parent of the merge commit is the base that was merged with.
            (Some(_), _) => self.mirrors.commit(remote.repo, built).await?.parents.into_iter().next(),
            (None, Some(before)) => {
                self.mirrors.fetch_commit(remote, before).await?;
                Some(before.clone())
            }
            (None, None)
                if matches!(trigger.kind, TriggerKind::Push | TriggerKind::Travis)
                    && trigger.branch.as_deref() != Some(default_branch) =>
            {
                self.mirrors.branch_point(remote, default_branch, built).await?
            }
            (None, None) => None,
        };
        match from {
            Some(from) => Ok(Some(self.mirrors.changed(remote.repo, &from, built).await?)),
            None => Ok(None),
        }
    }
}
