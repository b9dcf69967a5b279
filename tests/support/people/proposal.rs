//! A service with an open pull request of a fork, and people who write comments on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};

/// A person who may push.
pub const ADA: (&str, i64) = ("ada", 1);
/// The author of the pull request, who may only read.
pub const BOB: (&str, i64) = ("bob", 2);
pub const REPO: &str = "acme/styles";
/// Number of the pull request.
pub const NUMBER: u32 = 7;
pub const HELLO: &str = "language: shell\nscript: echo hello\n";

pub struct Proposal {
    pub app: App,
    pub repo: Repo,
    /// Head of the pull request.
    pub head: String,
    deliveries: AtomicUsize,
}

impl Proposal {
    /// Starts a service with the personal token, where builds of forks wait for an approval.
    pub async fn start(change: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        Self::start_in(folder, github, change, files).await
    }

    /// Starts a service with more settings of `[forks]`.
    pub async fn start_with_forks(change: &str, files: &[(&str, &str)], forks: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        Self::start_through(folder, github, &format!("{change}\n[forks]\npolicy = 'approve'\n{forks}\n"), files).await
    }

    /// Starts a service with the GitHub App.
    pub async fn start_with_app(change: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let settings = format!("{}{change}", github.app_settings());
        github.app.install(&[REPO]);
        Self::start_in(folder, github, &settings, files).await
    }

    async fn start_in(folder: tempfile::TempDir, github: GitHub, change: &str, files: &[(&str, &str)]) -> Self {
        Self::start_through(folder, github, &format!("{change}\n[forks]\npolicy = 'approve'\n"), files).await
    }

    async fn start_through(folder: tempfile::TempDir, github: GitHub, change: &str, files: &[(&str, &str)]) -> Self {
        let app = App::start_in(folder, github, change).await;
        let repo = app.github.repo(REPO);
        for (path, text) in files {
            repo.write(path, text);
        }
        repo.commit("Begin");
        repo.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/heads/main"]);
        app.github.pulls.person(ADA.0, ADA.1, "write");
        app.github.pulls.person(BOB.0, BOB.1, "read");
        let mut proposal = Self { app, repo, head: String::new(), deliveries: AtomicUsize::new(0) };
        proposal.push("first", |_| {}).await;
        proposal
    }

    /// Pushes a commit to the pull request, and delivers that. Its build is there at the end.
    pub async fn push(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.push_silently(name);
        let base = self.repo.git(&["rev-parse", "main"]).trim().to_owned();
        let mut payload = payload::pull_request(&self.app.github, &self.repo, NUMBER, &base, &self.head);
        if name != "first" {
            payload["action"] = "synchronize".into();
        }
        change(&mut payload);
        assert_eq!(self.deliver(name, "pull_request", &payload).await, 202);
        self.app.outcome(name).await;
    }

    /// Pushes a commit to the pull request of which no webhook comes.
    pub fn push_silently(&mut self, name: &str) {
        let base = self.repo.git(&["rev-parse", "main"]).trim().to_owned();
        self.repo.git(&["checkout", "-q", "-B", "watercolour"]);
        self.repo.write("change", name);
        self.head = self.repo.commit(name);
        self.repo.git(&["checkout", "-q", "main"]);
        self.repo.open_pull_request(NUMBER, &base, &self.head);
        self.app.github.pulls.open(REPO, NUMBER.into(), &base, &self.head, "bob/styles");
    }

    async fn deliver(&self, id: &str, event: &'static str, payload: &Value) -> u16 {
        Delivery::new(id, event, payload).post(&self.app.base).await.0
    }

    /// Delivers an event. Returns what became of it.
    pub async fn outcome_of(&self, event: &'static str, payload: &Value) -> String {
        let id = format!("ask-{}", self.deliveries.fetch_add(1, Ordering::Relaxed));
        assert_eq!(self.deliver(&id, event, payload).await, 202);
        self.app.outcome(&id).await
    }

    /// Writes a comment and delivers it. Returns its number, and what became of it.
    pub async fn comment(&self, by: (&str, i64), body: &str) -> (i64, String) {
        let id = self.app.github.pulls.comment(REPO, NUMBER.into(), by.0, body);
        (id, self.outcome_of("issue_comment", &self.payload(by, id, body)).await)
    }

    /// Returns the payload for a comment.
    pub fn payload(&self, by: (&str, i64), id: i64, body: &str) -> Value {
        payload::comment(&self.app.github, &self.repo, NUMBER, by, id, body)
    }

    /// Waits until no wish is owed. Returns the service's comments.
    pub async fn settled(&self) -> Vec<String> {
        let begin = Instant::now();
        let owed = "select count(*) from wish where sent_seq < wanted_seq and given_up_seq < wanted_seq";
        while sqlx::query_scalar::<_, i64>(owed).fetch_one(&self.app.db).await.unwrap() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(60), "a wish is still owed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.app.github.pulls.own(REPO, NUMBER.into())
    }

    /// Lists the jobs of a build: state, verdict, and number of attempts.
    pub async fn jobs(&self, build: i32) -> Vec<(String, Option<String>, i32)> {
        sqlx::query_as(
            "select job.state::text, verdict::text, attempt from job join build on build.id = build_id
             where build.number = $1 order by job.number",
        )
        .bind(build)
        .fetch_all(&self.app.db)
        .await
        .unwrap()
    }

    /// Waits until a build has ended. Returns its state.
    pub async fn end_of(&self, build: i32) -> String {
        let begin = Instant::now();
        loop {
            let query = "select state::text from build where number = $1 and finished_at is not null";
            let state: Option<String> =
                sqlx::query_scalar(query).bind(build).fetch_optional(&self.app.db).await.unwrap();
            if let Some(state) = state {
                return state;
            }
            assert!(begin.elapsed() < Duration::from_secs(90), "build {build} does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
