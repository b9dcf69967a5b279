//! Rights of people in repositories, mirrored from GitHub into rows. Pages read the rows; this step keeps them true.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::stream;
use sqlx::PgPool;
use tracing::{debug, warn};

use crate::domain::{PersonId, RepoId, Right};
use crate::github::{Client, GitHubUser, SendError, Target};
use crate::store::people::permissions::{self, Question};
use crate::store::repos;

/// Number of questions that GitHub is asked at once.
const AT_ONCE: usize = 8;
/// Number of repositories that a login asks about. The step asks about the others.
const AT_LOGIN: i64 = 100;
/// Number of questions that are read at a time.
const BATCH: i64 = 100;
/// Interval at which GitHub is asked whether a public repository still is public.
const VISIBILITY_EACH: Duration = Duration::from_secs(15 * 60);
/// Time after which a question that GitHub did not answer is asked again.
const RETRY: Duration = Duration::from_secs(60);

/// The mirror of GitHub's rights.
#[derive(Debug, Clone)]
pub struct Rights {
    db: PgPool,
    github: Client,
}

/// Questions that GitHub did not answer, with the times at which they are asked again.
#[derive(Debug, Default)]
pub struct Unanswered(HashMap<(PersonId, RepoId), Instant>);

impl Rights {
    /// Returns the mirror in this database of this GitHub.
    pub fn new(db: PgPool, github: Client) -> Self {
        Self { db, github }
    }

    /// Asks GitHub for the right of a person in a repository, and stores the answer.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when Postgres did not.
    pub async fn refresh(&self, person: PersonId, repo: RepoId) -> anyhow::Result<Option<Right>> {
        let question = permissions::question(&self.db, person, repo).await.context("reading a person")?;
        match question {
            Some(question) => self.ask(&question).await,
            None => Ok(None),
        }
    }

    /// Asks GitHub for the rights of a person who logs in.
    ///
    /// # Errors
    /// Fails when GitHub answered none of the questions, and when Postgres did not answer.
    pub async fn mirror(&self, person: PersonId) -> anyhow::Result<()> {
        let questions = permissions::questions(&self.db, person, AT_LOGIN).await.context("reading the repositories")?;
        let (mut answers, mut failure) = (0, None);
        for (_, outcome) in self.ask_all(questions).await {
            match outcome {
                Ok(_) => answers += 1,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if answers == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks whether public repositories still are public. Returns true if there was any that is not.
    ///
    /// # Errors
    /// Fails when Postgres did not answer.
    pub async fn check_visibility(&self) -> anyhow::Result<bool> {
        let due =
            repos::due_for_visibility(&self.db, VISIBILITY_EACH, BATCH).await.context("reading the repositories")?;
        let mut any = false;
        for (id, number, name) in due {
            let Ok(repo) = name.parse() else { continue };
            let private = self.github.is_private(Target { repo: &repo, number: Some(number) }).await;
            let private = private.unwrap_or_else(|error| {
                debug!("GitHub does not tell whether {repo} is public: {error}");
                None
            });
            if private == Some(true) {
                warn!("{repo} is not public any more");
                any = true;
            }
            repos::set_visibility(&self.db, id, private).await.context("storing the visibility of a repository")?;
        }
        Ok(any)
    }

    /// Asks about rights that are due. Returns true if there was any.
    ///
    /// # Errors
    /// Fails when Postgres did not answer.
    pub async fn step(&self, unanswered: &mut Unanswered) -> anyhow::Result<bool> {
        unanswered.0.retain(|_, again| *again > Instant::now());
        let due = permissions::due(&self.db, BATCH).await.context("reading the rights that are due")?;
        let due = due.into_iter().filter(|due| !unanswered.0.contains_key(&(due.person, due.repo)));
        let due: Vec<Question> = due.take(AT_ONCE).collect();
        let is_due = !due.is_empty();
        for (question, outcome) in self.ask_all(due).await {
            if let Err(error) = outcome {
                debug!("the right of {} in {}/{}: {error:#}", question.login, question.owner, question.name);
                unanswered.0.insert((question.person, question.repo), Instant::now() + RETRY);
            }
        }
        Ok(is_due)
    }

    /// Asks some questions at once. Returns them with their answers.
    async fn ask_all(&self, questions: Vec<Question>) -> Vec<(Question, anyhow::Result<Option<Right>>)> {
        let ask = |question: Question| {
            let rights = self.clone();
            async move {
                let outcome = rights.ask(&question).await;
                (question, outcome)
            }
        };
        stream::iter(questions).map(ask).buffer_unordered(AT_ONCE).collect().await
    }

    async fn ask(&self, question: &Question) -> anyhow::Result<Option<Right>> {
        let Some(repo) = question.repo_name() else { return Ok(None) };
        let user = GitHubUser { id: question.github_id, login: question.login.clone() };
        let target = Target { repo: &repo, number: Some(question.repo_number) };
        let answer = self.github.permission(target, &user).await;
        if let Err(error @ (SendError::Refused { .. } | SendError::NoAccess(_))) = &answer {
            warn!("GitHub does not tell who may read {repo}: {error}");
        }
        let right = answer?;
        permissions::put(&self.db, question.person, question.repo, right).await.context("storing a right")?;
        Ok(right)
    }
}
