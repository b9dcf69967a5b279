//! An outbox between a database and the stand-in for GitHub, driven step by step.

use std::time::Duration;

use sqlx::PgPool;
use trainyard::domain::{BuildId, CommitState, RepoId, Sha, Status};
use trainyard::github::{Client, GitHubConfig};
use trainyard::outbox::pacing::Window;
use trainyard::outbox::{ChartLinks, Outbox};
use trainyard::repo_keys::Seal;
use trainyard::store::wishes::{self, NewWish};

use super::database;
use super::github::{GitHub, TOKEN};

/// A database with two repositories and two builds, a stand-in for GitHub, and an outbox between them.
pub struct Post {
    pub db: PgPool,
    pub github: GitHub,
    pub outbox: Outbox,
    windows: Vec<Window>,
    timeout: Duration,
    _folder: tempfile::TempDir,
}

pub const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
pub const CONTEXT: &str = "trainyard/push";
/// The repositories, with the numbers of their rows.
pub const STYLES: (i64, &str) = (1, "acme/styles");
pub const OTHER: (i64, &str) = (2, "acme/other");

impl Post {
    /// Starts an outbox that may send any number of statuses.
    pub async fn new() -> Self {
        Self::within(Vec::new()).await
    }

    pub async fn within(windows: Vec<Window>) -> Self {
        Self::with_timeout(windows, Duration::from_secs(1)).await
    }

    /// Starts an outbox that keeps within the windows, and waits this long for an answer.
    pub async fn with_timeout(windows: Vec<Window>, timeout: Duration) -> Self {
        let db = database::pool().await;
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().to_owned()).await;
        sqlx::raw_sql(
            "insert into repo (github_id, owner, name, private, default_branch, clone_url)
                 values (1, 'acme', 'styles', false, 'main', 'http://localhost/'),
                     (2, 'acme', 'other', false, 'main', 'http://localhost/');
             insert into build (repo_id, number, kind, sha, built_sha)
                 select 1, number, 'push', repeat('0', 40), repeat('0', 40) from generate_series(1, 2) number;",
        )
        .execute(&db)
        .await
        .unwrap();
        let outbox = outbox(&db, &github, &windows, timeout);
        Self { db, github, outbox, windows, timeout, _folder: folder }
    }

    /// Replaces the outbox, as a crash and a start do that change no row.
    pub fn crash(&mut self) {
        self.outbox = outbox(&self.db, &self.github, &self.windows, self.timeout);
    }

    /// Wishes a state of the usual commit.
    pub async fn want(&self, build: i64, state: CommitState, words: &str) {
        self.want_of(STYLES, SHA, build, state, words).await;
    }

    pub async fn want_of(&self, repo: (i64, &str), sha: &str, build: i64, state: CommitState, words: &str) {
        let sha: Sha = sha.parse().unwrap();
        let status = Status::new(state, words);
        let wish = NewWish {
            repo: RepoId(repo.0),
            sha: &sha,
            build: BuildId(build),
            context: CONTEXT,
            status: &status,
            target_path: "/acme/styles/builds/1",
        };
        wishes::want(&mut self.db.acquire().await.unwrap(), &wish).await.unwrap();
    }

    /// Wishes the same state of this number of commits of a repository.
    pub async fn want_many(&self, repo: (i64, &str), state: CommitState, commits: usize) {
        for commit in 0..commits {
            self.want_of(repo, &commit_of(commit), 1, state, "a build").await;
        }
    }

    /// Runs steps until no wish may be sent now. Returns the number of requests that they made.
    pub async fn drain(&self) -> usize {
        let before = self.github.requests().len();
        for _ in 0..2000 {
            if !self.outbox.step().await.unwrap() {
                return self.github.requests().len() - before;
            }
        }
        panic!("there is always another wish to send");
    }

    /// Returns the pause of the usual commit's wish.
    pub async fn due_in(&self) -> Duration {
        let query = "select extract(epoch from not_before - now())::float8 from wish where repo_id = 1 and sha = $1";
        let seconds: f64 = sqlx::query_scalar(query).bind(SHA).fetch_one(&self.db).await.unwrap();
        Duration::from_secs_f64(seconds.max(0.0))
    }
}

/// Returns the id of a commit by its number.
pub fn commit_of(number: usize) -> String {
    format!("{number:040x}")
}

fn outbox(db: &PgPool, github: &GitHub, windows: &[Window], timeout: Duration) -> Outbox {
    let config = GitHubConfig {
        api_url: github.api_url().parse().unwrap(),
        token: Some(TOKEN.to_owned().into()),
        timeout,
        ..Default::default()
    };
    let public_url = "http://ci.example.org/".parse().unwrap();
    let charts = ChartLinks::new(std::sync::Arc::new(Seal::new(&[7; 32]).unwrap()));
    Outbox::new(db.clone(), Client::new(&config).unwrap(), public_url, charts, windows.to_vec())
}
