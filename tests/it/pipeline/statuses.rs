//! Statuses that reach GitHub although it fails, is slow or limits requests.

use std::time::{Duration, Instant};

use trainyard::domain::CommitState;
use trainyard::store::{alerts, wishes};

use crate::support::github::Fault;
use crate::support::post::{CONTEXT, Post, SHA};

/// Runs steps until the wish is sent. Between two tries, the process starts again, which ends each pause.
async fn send_all(post: &mut Post) {
    for _ in 0..50 {
        post.drain().await;
        let owed = "select count(*) from wish where sent_seq < wanted_seq";
        if sqlx::query_scalar::<_, i64>(owed).fetch_one(&post.db).await.unwrap() == 0 {
            return;
        }
        start_again(post).await;
    }
    panic!("wishes are still owed");
}

async fn start_again(post: &mut Post) {
    post.crash();
    wishes::all_due(&post.db).await.unwrap();
}

#[tokio::test]
async fn a_github_that_answers_500_three_times_gets_it_the_fourth_time() {
    let mut post = Post::new().await;
    post.github.fail_next(vec![Fault::Status(500, None); 3]);
    post.want(1, CommitState::Success, "passed").await;
    let mut pauses = Vec::new();
    for _ in 0..3 {
        start_again(&mut post).await;
        assert!(post.outbox.step().await.unwrap());
        pauses.push(post.due_in().await);
    }
    assert_eq!(post.github.requests().len(), 3, "octocrab must not try again on its own");
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "no backoff: {pauses:?}");
    assert!(alerts::all(&post.db).await.unwrap()[0].message.contains("500"));
    send_all(&mut post).await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
    assert!(alerts::all(&post.db).await.unwrap().is_empty());
}

#[tokio::test]
async fn retry_after_is_kept_and_concerns_every_wish() {
    let mut post = Post::new().await;
    post.github.fail_next([Fault::Status(429, Some(2))]);
    post.want(1, CommitState::Pending, "running").await;
    let asked = Instant::now();
    assert!(post.outbox.step().await.unwrap());
    assert!(!post.outbox.step().await.unwrap(), "it asked again although GitHub said when");
    post.crash();
    assert!(!post.outbox.step().await.unwrap(), "a restart forgot what GitHub said");
    while !post.outbox.step().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(asked.elapsed() >= Duration::from_millis(1900), "{:?}", asked.elapsed());
    assert_eq!(post.github.states(SHA, CONTEXT), ["pending"]);
}

#[tokio::test]
async fn a_403_with_retry_after_is_a_rate_limit_and_without_it_a_refusal() {
    let mut post = Post::new().await;
    post.github.fail_next([Fault::Status(403, None)]);
    post.want(1, CommitState::Success, "passed").await;
    assert!(post.outbox.step().await.unwrap());
    assert!(post.due_in().await > Duration::from_secs(50), "a refusal is not repeated every second");
    let said = &alerts::all(&post.db).await.unwrap()[0].message;
    assert!(said.contains("github.token"), "{said}");
    start_again(&mut post).await;
    post.github.fail_next([Fault::Status(403, Some(1))]);
    assert!(post.outbox.step().await.unwrap());
    assert_eq!(post.due_in().await, Duration::ZERO, "a limit says nothing about the wish");
}

#[tokio::test]
async fn a_hanging_github_is_given_up_and_asked_again() {
    let mut post = Post::new().await;
    post.github.fail_next([Fault::Hang(Duration::from_secs(5))]);
    post.want(1, CommitState::Success, "passed").await;
    let begin = Instant::now();
    assert!(post.outbox.step().await.unwrap());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    send_all(&mut post).await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn a_newer_wish_waits_for_the_older_one_on_its_way_and_is_last() {
    let mut post = Post::new().await;
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
    send_all(&mut post).await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn an_older_build_of_the_same_commit_does_not_speak_any_more() {
    let mut post = Post::new().await;
    post.want(2, CommitState::Success, "passed").await;
    post.want(1, CommitState::Failure, "failed: an older build").await;
    send_all(&mut post).await;
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn the_same_wish_is_not_sent_twice() {
    let mut post = Post::new().await;
    post.want(1, CommitState::Success, "passed").await;
    send_all(&mut post).await;
    post.want(1, CommitState::Success, "passed").await;
    send_all(&mut post).await;
    assert_eq!(post.github.states(SHA, CONTEXT).len(), 1);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_noticed() {
    let mut post = Post::new().await;
    post.github.set_clock_skew(-3600);
    post.want(1, CommitState::Success, "passed").await;
    send_all(&mut post).await;
    let alerts = alerts::all(&post.db).await.unwrap();
    assert!(alerts[0].component == "clock" && alerts[0].message.contains("ahead of"), "{alerts:?}");
}

#[tokio::test]
async fn a_renamed_repository_gets_the_statuses_of_its_old_name() {
    let mut post = Post::new().await;
    post.github.repo("acme/styles");
    post.github.rename("acme/styles", "acme/looks");
    post.want(1, CommitState::Success, "passed").await;
    send_all(&mut post).await;
    assert_eq!(post.github.posted().iter().map(|posted| posted.repo.as_str()).collect::<Vec<_>>(), ["acme/looks"]);
}

#[tokio::test]
async fn each_redirection_repeats_the_request_once_and_as_it_is() {
    for code in [301, 302, 307, 308] {
        let mut post = Post::new().await;
        let address = format!("{}/repos/acme/other/statuses/{SHA}", post.github.api_url());
        post.github.fail_next([Fault::Redirect(code, address.clone())]);
        post.want(1, CommitState::Success, "passed").await;
        send_all(&mut post).await;
        assert_eq!(post.github.posted()[0].repo, "acme/other", "{code}");
        post.github.fail_next(vec![Fault::Redirect(code, address); 2]);
        post.want(2, CommitState::Success, "passed again").await;
        assert_eq!(post.drain().await, 2, "{code} for ever");
        assert_eq!(post.github.posted().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_redirection_to_a_list_sets_no_status() {
    let post = Post::new().await;
    let list = format!("{}/repositories/1/statuses/{SHA}", post.github.api_url());
    post.github.fail_next([Fault::Redirect(303, list)]);
    post.want(1, CommitState::Success, "passed").await;
    assert_eq!(post.drain().await, 1);
    let sent: i64 = sqlx::query_scalar("select sent_seq from wish").fetch_one(&post.db).await.unwrap();
    assert_eq!((sent, post.github.posted().len()), (0, 0));
}

#[tokio::test]
async fn a_redirection_to_another_origin_is_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let other = crate::support::github::GitHub::start(folder.path().to_owned()).await;
    let post = Post::new().await;
    let address = format!("{}/repos/acme/styles/statuses/{SHA}", other.api_url());
    post.github.fail_next([Fault::Redirect(307, address)]);
    post.want(1, CommitState::Success, "passed").await;
    assert_eq!(post.drain().await, 1);
    assert!(post.due_in().await > Duration::from_secs(50));
    assert!(other.requests().is_empty());
}
