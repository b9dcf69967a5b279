//! Answers to people who have asked for something. An answer is sent once, and at the pace of the other wishes.

use sqlx::PgConnection;

use super::Kind;
use crate::domain::{BuildId, RepoId, Sha};

/// An answer to a comment or a label on a pull request.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub repo: RepoId,
    /// The latest build of the pull request, to which the answer links.
    pub build: BuildId,
    /// GitHub's number of the comment; `None` for a label.
    pub comment: Option<i64>,
    pub pull_request: i64,
    /// [`Kind::Reply`] or [`Kind::Reaction`].
    pub kind: Kind,
    /// The words, or the name of the reaction.
    pub text: &'a str,
    /// Path of the build's page.
    pub target_path: &'a str,
}

/// Wishes that GitHub shows an answer. A comment gets one answer of a kind, and a label one for its pull request.
pub async fn answer(tx: &mut PgConnection, answer: &Answer<'_>) -> sqlx::Result<()> {
    let context = match answer.comment {
        Some(comment) => format!("answer to comment {comment}"),
        None => format!("answer to a label of pull request #{}", answer.pull_request),
    };
    sqlx::query(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path, kind, comment_id)
         values ($1, $2, $3, $4, 'pending', $5, $6, $7, $8)
         on conflict (repo_id, sha, context) do nothing",
    )
    .bind(answer.repo)
    .bind(Sha::zero())
    .bind(context)
    .bind(answer.build)
    .bind(answer.text)
    .bind(answer.target_path)
    .bind(answer.kind)
    .bind(answer.comment)
    .execute(tx)
    .await?;
    Ok(())
}
