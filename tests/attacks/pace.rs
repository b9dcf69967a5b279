//! Floods of wishes: each kind may use its share of the requests, and no kind waits for ever.

use std::time::Duration;

use trainyard::domain::CommitState::{Pending, Success};
use trainyard::outbox::pacing::Window;
use trainyard::store::wishes;

use crate::support::github::Fault;
use crate::support::post::{CONTEXT, OTHER, Post, SHA, STYLES, commit_of};

/// Starts the process again, which ends all pauses.
async fn start_again(post: &mut Post) {
    post.crash();
    wishes::all_due(&post.db).await.unwrap();
}

#[tokio::test]
async fn repeated_tries_use_one_third() {
    let mut post = Post::within(Window::of(30, 450)).await;
    for repo in [STYLES, OTHER] {
        post.github.refuse(repo.1, 422);
        post.want_many(repo, Success, 2).await;
    }
    assert_eq!(post.drain().await, 4);
    start_again(&mut post).await;
    assert_eq!(post.drain().await, 3);
}

#[tokio::test]
async fn a_retry_gets_through_while_results_fill_half_of_the_window() {
    let mut post = Post::within(Window::of(60, 450)).await;
    post.github.fail_next([Fault::Status(502, None)]);
    post.want(1, Success, "passed").await;
    assert_eq!(post.drain().await, 1);
    // Its pause of a second would end meanwhile on a slow machine.
    sqlx::query("update wish set not_before = now() + interval '1 h'").execute(&post.db).await.unwrap();
    post.want_many(OTHER, Success, 9).await;
    assert_eq!(post.drain().await, 9);
    start_again(&mut post).await;
    assert_eq!(post.drain().await, 1);
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn news_and_repeated_tries_together_leave_a_third_to_results() {
    let mut post = Post::within(Window::of(45, 450)).await;
    post.github.refuse(STYLES.1, 422);
    post.want_many(STYLES, Success, 2).await;
    assert_eq!(post.drain().await, 2);
    start_again(&mut post).await;
    assert_eq!(post.drain().await, 2, "both are tried again");
    for commit in 0..50 {
        post.want_of(OTHER, &commit_of(commit), 1, Pending, "queued").await;
    }
    assert_eq!(post.drain().await, 8, "news and repeated tries may use ten of fifteen");
    post.want_of(OTHER, SHA, 1, Success, "passed").await;
    assert_eq!(post.drain().await, 1);
}

#[tokio::test]
async fn one_or_two_statuses_a_minute_are_one_or_two() {
    for most in [1, 2] {
        let post = Post::within(Window::of(most, 0)).await;
        post.want_many(STYLES, Success, 5).await;
        assert_eq!(post.drain().await, most as usize);
        assert_eq!(Window::of(most, 0), [Window { most, within: Duration::from_secs(60) }]);
    }
}
