//! The content of a wish, and the request that makes GitHub show it.

use chrono::{TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

use super::summary::{self, Links};
use super::{Outbox, markdown, repo_of, unsendable};
use crate::github::{
    Action, Annotation, CheckRun, CommitStatus, MAX_SUMMARY, NewComment, SendError, Sent, Target, Written,
};
use crate::store::wishes::{self, Kind, Wish};
use crate::store::{self, checks};

/// Age of the oldest comments among which one of our answers is looked for. A wish is given up before.
const ANSWERS_SINCE: TimeDelta = TimeDelta::days(7);

/// A wish that GitHub has accepted.
pub(super) struct Posted {
    pub(super) sent: Sent,
    /// False when more requests have to follow for the same version of the wish.
    pub(super) is_complete: bool,
}

/// The content of a wish, besides what its row has.
pub(super) enum Content {
    Status,
    CheckRun {
        annotations: Vec<Annotation>,
        summary: String,
        actions: Vec<Action>,
    },
    /// A comment of ours, with the text by which it is found again.
    Comment {
        body: String,
        marker: String,
    },
    Reaction,
}

impl Content {
    /// Returns true if GitHub shows this content already.
    pub(super) fn is_shown(&self, wish: &Wish) -> bool {
        match self {
            Self::Comment { body, .. } => wish.shown_hash.as_deref() == Some(hash(body).as_slice()),
            _ => false,
        }
    }
}

fn hash(body: &str) -> Vec<u8> {
    Sha256::digest(body.as_bytes()).to_vec()
}

impl Outbox {
    /// Makes the content of a wish from the rows.
    pub(super) async fn content(&self, wish: &Wish) -> anyhow::Result<Content> {
        Ok(match wish.kind {
            Kind::Status => Content::Status,
            Kind::Reaction => Content::Reaction,
            Kind::CheckRun => {
                let build = checks::of(&mut *self.db.acquire().await?, wish.build_id).await?;
                Content::CheckRun {
                    annotations: summary::annotations(&build.problems),
                    summary: summary::summary(&build, &self.links(), MAX_SUMMARY),
                    actions: summary::actions(&build),
                }
            }
            Kind::Comment => Content::Comment { body: self.overview(wish).await?, marker: self.marker(wish).await? },
            Kind::Reply => {
                let words = markdown::plain(&wish.description);
                let page = self.public(&wish.target_path);
                Content::Comment { body: format!("{words}\n\n[Build]({page})"), marker: self.marker(wish).await? }
            }
        })
    }

    /// Returns the text of our comment on a pull request: its newest build, and the newest of smoke jobs and of trainings alone.
    async fn overview(&self, wish: &Wish) -> anyhow::Result<String> {
        let mut connection = self.db.acquire().await?;
        let parts = checks::parts(&mut connection, wish.repo_id, wish.pull_request).await?;
        let newest = parts.iter().max_by_key(|part| part.id).map(|part| part.sha.clone());
        let parts: Vec<_> = parts.into_iter().filter(|part| Some(&part.sha) == newest.as_ref()).collect();
        let mut text = String::new();
        for part in &parts {
            let build = checks::of(&mut connection, part.id).await?;
            let page = self.public(&format!("/{}/{}/builds/{}", wish.owner, wish.name, part.number));
            let (short, said) = (part.sha.short(), markdown::plain(&part.description));
            text.push_str(&format!("### [Build #{}]({page}) of {short}: {said}\n\n", part.number));
            text.push_str(&summary::summary(&build, &self.links(), MAX_SUMMARY / 4));
        }
        Ok(text)
    }

    /// Returns the text by which we find a comment of ours again. People do not see it.
    async fn marker(&self, wish: &Wish) -> anyhow::Result<String> {
        Ok(format!("<!-- trainyard {} {} -->", store::instance(&self.db).await?, wish.context))
    }

    fn server(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }

    fn public(&self, path: &str) -> String {
        format!("{}{path}", self.server())
    }

    fn links(&self) -> Links<'_> {
        Links { charts: &self.charts, server: self.server() }
    }

    /// Sends a wish.
    pub(super) async fn post(&self, wish: &Wish, content: &Content) -> anyhow::Result<Result<Posted, SendError>> {
        let posted = |sent| Posted { sent, is_complete: true };
        Ok(match content {
            Content::Status => self.post_status(wish).await.map(posted),
            Content::Reaction => self.react(wish).await.map(posted),
            Content::CheckRun { annotations, summary, actions } => {
                return self.post_check(wish, annotations, (summary, actions)).await;
            }
            Content::Comment { body, marker } => match self.post_comment(wish, body, marker).await {
                Err(error) => Err(error),
                Ok(written) => {
                    wishes::set_shown(&self.db, wish, written.id, Some(&hash(body))).await?;
                    Ok(posted(written.sent))
                }
            },
        })
    }

    async fn post_status(&self, wish: &Wish) -> Result<Sent, SendError> {
        let repo = repo_of(wish)?;
        let target_url = self.public_url.join(&wish.target_path).map_err(|why| unsendable(&why))?;
        let status = CommitStatus {
            repo: &repo,
            number: wish.github_id,
            sha: &wish.sha,
            state: wish.state,
            context: &wish.context,
            description: &wish.description,
            target_url,
        };
        self.github.post_status(&status).await
    }

    /// Sends a check run, with at most as many annotations as GitHub takes at once.
    async fn post_check(
        &self,
        wish: &Wish,
        annotations: &[Annotation],
        (summary, actions): (&str, &[Action]),
    ) -> anyhow::Result<Result<Posted, SendError>> {
        let put = async {
            let repo = repo_of(wish)?;
            let run = CheckRun {
                target: Target { repo: &repo, number: Some(wish.github_id) },
                sha: &wish.sha,
                name: &wish.context,
                build: wish.build_id,
                state: wish.state,
                title: &wish.description,
                summary,
                details_url: self.public_url.join(&wish.target_path).map_err(|why| unsendable(&why))?,
                annotations,
                actions,
            };
            self.github.put_check_run(&run, wish.shown_id).await
        };
        let shown = match put.await {
            Ok(shown) => shown,
            Err(error) => return Ok(Err(error)),
        };
        if wish.shown_id != Some(shown.id) {
            wishes::set_shown(&self.db, wish, shown.id, None).await?;
        }
        Ok(Ok(Posted { sent: shown.sent, is_complete: shown.is_complete }))
    }

    async fn post_comment(&self, wish: &Wish, body: &str, marker: &str) -> Result<Written, SendError> {
        let repo = repo_of(wish)?;
        let on = wish.pull_request.ok_or_else(|| unsendable(&"its build is of no pull request"))?;
        let since = (wish.kind == Kind::Reply).then(|| Utc::now() - ANSWERS_SINCE);
        let new = NewComment { on: on.into(), body, marker, since };
        self.github.put_comment(Target { repo: &repo, number: Some(wish.github_id) }, new, wish.shown_id).await
    }

    async fn react(&self, wish: &Wish) -> Result<Sent, SendError> {
        let repo = repo_of(wish)?;
        let comment = wish.comment_id.ok_or_else(|| unsendable(&"it is about no comment"))?;
        let target = Target { repo: &repo, number: Some(wish.github_id) };
        match self.github.react(target, comment, &wish.description).await {
            // Who deletes a comment waits for no answer.
            Err(SendError::Refused { status: 404 | 410, .. }) => Ok(Sent { date: None }),
            sent => sent,
        }
    }
}
