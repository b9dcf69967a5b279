//! Statuses that reach GitHub although it fails, is slow or limits requests.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use trainyard::domain::{BuildId, CommitState, RepoId, Sha, Status};
use trainyard::github::{self, Client};
use trainyard::outbox::Outbox;
use trainyard::store::alerts;
use trainyard::store::wishes::{self, NewWish};

use crate::support::database;
use crate::support::github::{Fault, GitHub, TOKEN};

/// A database with one repository and one build, a stand-in for GitHub, and an outbox between them.
struct Post {
    db: PgPool,
    github: GitHub,
    outbox: Outbox,
    _folder: tempfile::TempDir,
}

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const CONTEXT: &str = "trainyard/push";

impl Post {
    async fn new() -> Self {
        let db = database::pool().await;
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().to_owned()).await;
        sqlx::raw_sql(
            "insert into repo (github_id, owner, name, private, default_branch, clone_url)
                 values (1, 'acme', 'styles', false, 'main', 'http://localhost/');
             insert into build (repo_id, number, kind, sha, built_sha)
                 select 1, number, 'push', repeat('0', 40), repeat('0', 40) from generate_series(1, 2) number;",
        )
        .execute(&db)
        .await
        .unwrap();
        let config = github::GitHubConfig {
            api_url: github.api_url().parse().unwrap(),
            token: Some(TOKEN.to_owned().into()),
            timeout: Duration::from_millis(300),
            ..Default::default()
        };
        let public_url = "http://ci.example.org/".parse().unwrap();
        let outbox = Outbox::new(db.clone(), Client::new(&config).unwrap(), public_url);
        Self { db, github, outbox, _folder: folder }
    }

    async fn want(&self, build: i64, state: CommitState, words: &str) {
        let mut connection = self.db.acquire().await.unwrap();
        let sha: Sha = SHA.parse().unwrap();
        let status = Status::new(state, words);
        wishes::want(
            &mut connection,
            &NewWish {
                repo: RepoId(1),
                sha: &sha,
                build: BuildId(build),
                context: CONTEXT,
                status: &status,
                target_path: "/acme/styles/builds/1",
            },
        )
        .await
        .unwrap();
    }

    /// Runs steps until nothing is due, as if every pause were over.
    async fn send_all(&self) {
        for _ in 0..50 {
            wishes::all_due(&self.db).await.unwrap();
            if !self.outbox.step().await.unwrap() {
                return;
            }
        }
        panic!("wishes are still owed");
    }

    async fn due_in(&self) -> Duration {
        let seconds: f64 = sqlx::query_scalar("select extract(epoch from not_before - now())::float8 from wish")
            .fetch_one(&self.db)
            .await
            .unwrap();
        Duration::from_secs_f64(seconds.max(0.0))
    }
}

#[tokio::test]
async fn a_github_that_answers_500_three_times_gets_it_the_fourth_time() {
    let post = Post::new().await;
    post.github.fail_next(vec![Fault::Status(500, None); 3]);
    post.want(1, CommitState::Success, "passed").await;
    let mut pauses = Vec::new();
    for _ in 0..3 {
        wishes::all_due(&post.db).await.unwrap();
        assert!(post.outbox.step().await.unwrap());
        pauses.push(post.due_in().await);
    }
    assert_eq!(post.github.requests().len(), 3, "octocrab must not try again on its own");
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "no backoff: {pauses:?}");
    assert!(alerts::all(&post.db).await.unwrap()[0].message.contains("500"));
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
    assert!(alerts::all(&post.db).await.unwrap().is_empty());
}

#[tokio::test]
async fn retry_after_is_kept_and_concerns_every_wish() {
    let post = Post::new().await;
    post.github.fail_next([Fault::Status(429, Some(2))]);
    post.want(1, CommitState::Pending, "running").await;
    let asked = Instant::now();
    assert!(post.outbox.step().await.unwrap());
    let pause = post.due_in().await;
    assert!(pause > Duration::from_secs(1) && pause <= Duration::from_secs(2), "{pause:?}");
    wishes::all_due(&post.db).await.unwrap();
    assert!(!post.outbox.step().await.unwrap(), "it asked again although GitHub said when");
    tokio::time::sleep_until((asked + Duration::from_millis(2300)).into()).await;
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["pending"]);
}

#[tokio::test]
async fn a_403_with_retry_after_is_a_rate_limit_and_without_it_a_refusal() {
    let post = Post::new().await;
    post.github.fail_next([Fault::Status(403, None)]);
    post.want(1, CommitState::Success, "passed").await;
    assert!(post.outbox.step().await.unwrap());
    assert!(post.due_in().await > Duration::from_secs(60), "a refusal is not repeated every second");
    let said = &alerts::all(&post.db).await.unwrap()[0].message;
    assert!(said.contains("github.token"), "{said}");
    post.github.fail_next([Fault::Status(403, Some(1))]);
    wishes::all_due(&post.db).await.unwrap();
    assert!(post.outbox.step().await.unwrap());
    assert!(post.due_in().await <= Duration::from_secs(1));
}

#[tokio::test]
async fn a_hanging_github_is_given_up_and_asked_again() {
    let post = Post::new().await;
    post.github.fail_next([Fault::Hang(Duration::from_secs(5))]);
    post.want(1, CommitState::Success, "passed").await;
    let begin = Instant::now();
    assert!(post.outbox.step().await.unwrap());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn a_newer_wish_waits_for_the_older_one_on_its_way_and_is_last() {
    let post = Post::new().await;
    post.want(1, CommitState::Pending, "running").await;
    // The post of "pending" is in progress when "success" is wished; a second poster must not overtake it.
    post.github.fail_next([Fault::Hang(Duration::from_millis(200))]);
    let slow = post.outbox.step();
    let quick = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let wished = Instant::now();
        post.want(1, CommitState::Success, "passed").await;
        assert!(wished.elapsed() < Duration::from_millis(100), "wishing waited for GitHub");
        assert!(!post.outbox.step().await.unwrap(), "another poster took a wish that is on its way");
    };
    let (first, ()) = tokio::join!(slow, quick);
    assert!(first.unwrap());
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn an_older_build_of_the_same_commit_does_not_speak_any_more() {
    let post = Post::new().await;
    post.want(2, CommitState::Success, "passed").await;
    post.want(1, CommitState::Failure, "failed: an older build").await;
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn the_same_wish_is_not_sent_twice() {
    let post = Post::new().await;
    post.want(1, CommitState::Success, "passed").await;
    post.send_all().await;
    post.want(1, CommitState::Success, "passed").await;
    post.send_all().await;
    assert_eq!(post.github.states(SHA, CONTEXT).len(), 1);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_noticed() {
    let post = Post::new().await;
    post.github.set_clock_skew(-3600);
    post.want(1, CommitState::Success, "passed").await;
    post.send_all().await;
    let alerts = alerts::all(&post.db).await.unwrap();
    assert!(alerts[0].component == "clock" && alerts[0].message.contains("ahead of"), "{alerts:?}");
}
