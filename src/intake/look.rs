//! The look at a commit: it is fetched, its files are read, and the planner makes a plan of them.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::info;

use super::{Asked, Intake, imports, unbuilt};
use crate::domain::{Problem, Sha, Trigger, TriggerKind, bounded, pg_text, tokens};
use crate::git::Remote;
use crate::github::GITHUB;
use crate::github::event::Repository;
use crate::plan::{self, Plan};
use crate::planner::{Answer, PlanError, Request};
use crate::telemetry::traces;
use crate::travis::import::Imports;

/// Maximum length of a line of a file that is shown with its problem, in bytes.
const MAX_LINE: usize = 200;

/// A commit that was looked at.
pub(super) struct Looked {
    /// The commit that is built.
    pub(super) built_sha: Sha,
    pub(super) plan: Plan,
    /// The line of each problem, as far as its file was read.
    pub(super) lines: Vec<Option<String>>,
    /// True if the branch, tag or pull request has no later commit.
    pub(super) is_latest: bool,
}

impl Looked {
    /// Returns a commit that could not be looked at.
    pub(super) fn without(sha: &Sha, plan: Plan) -> Self {
        Self { built_sha: sha.clone(), plan, lines: Vec::new(), is_latest: false }
    }
}

/// Returns a line of a file; `None` for one with a secret, which must not be repeated.
fn line_of(text: &[u8], number: u32) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
    let line = String::from_utf8_lossy(line);
    let is_secret = !tokens(&line).is_empty();
    let line = bounded(pg_text(line.trim_end()), MAX_LINE);
    (!line.trim().is_empty() && !is_secret).then_some(line)
}

impl Intake {
    /// Fetches and plans the commit that is to be built. Fills in the facts that a pull request's payload lacks.
    pub(super) async fn look(
        &self,
        remote: &Remote<'_>,
        asked: &mut Asked,
        span: traces::Parent,
    ) -> anyhow::Result<Looked> {
        let fetching = span.begin("fetch");
        let Asked { repository: Repository { default_branch, .. }, trigger, configs, trainings } = asked;
        let (built, is_latest) = match trigger.pull_request.clone() {
            None => (trigger.sha.clone(), self.pushed_commit(remote, trigger).await?),
            // GitHub has a merge commit of the latest head alone.
            Some(pull) if self.github.forge_of(remote.repo) == GITHUB => {
                (self.proposed_commit(remote, &pull, &trigger.sha, None).await?, true)
            }
            Some(pull) => {
                // The base that is merged with, which GitHub chooses in the same way: not that of the payload.
                let base = self.base_of(remote, trigger).await?;
                let built = self.proposed_commit(remote, &pull, &trigger.sha, Some(&base)).await?;
                trigger.before = Some(base);
                (built, true)
            }
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
        let settings = plan::Settings {
            requested: configs.clone(),
            trainings: trainings.clone(),
            publish: Some(self.publish.of(&trigger.repo)),
            ..plan::Settings::default()
        };
        let request = Request {
            trigger,
            settings: &settings,
            files: &sources,
            paths: &paths,
            changed: changed.as_ref(),
            imports: Imports::new(),
        };
        drop(fetching);
        let planning = span.begin("plan");
        let plan = self.plan(&imports::Commit { remote, trigger, tree: &tree }, request).await?;
        drop(planning);
        let line = |problem: &Problem| {
            let file = sources.iter().find(|file| Some(&file.path) == problem.file.as_ref())?;
            line_of(&file.text, problem.line?)
        };
        Ok(Looked { lines: plan.problems.iter().map(line).collect(), built_sha: built, plan, is_latest })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_it_is_unless_it_has_a_secret() {
        let text = b"a: 1\r\n  b: \xff2\0\n\nkey: ghp_A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1A1\nlast";
        assert_eq!(line_of(text, 1).as_deref(), Some("a: 1"));
        assert_eq!(line_of(text, 2).as_deref(), Some("  b: \u{fffd}2\u{fffd}"));
        assert_eq!([0, 3, 4, 6, u32::MAX].map(|number| line_of(text, number)), [const { None }; 5]);
        assert_eq!(line_of(text, 5).as_deref(), Some("last"));
        assert_eq!(line_of("\u{e9}".repeat(500).as_bytes(), 1).map(|line| line.len() <= MAX_LINE + 4), Some(true));
    }
}
