//! Our comment on a pull request: one, which is changed in place.

use crate::support::github::pulls::TOKEN_ACCOUNT;
use crate::support::people::proposal::{ADA, BOB, NUMBER, Proposal, REPO};

const HOSTILE: &str = "language: shell\nscript: echo hello\nunknown: '@acme/all <img src=x>'\n";

fn changes(it: &Proposal) -> (usize, usize) {
    let pulls = &it.app.github.pulls;
    let patched = pulls.requests().iter().filter(|(method, ..)| method == "PATCH").count();
    (pulls.count("POST", "/issues/7/comments"), patched)
}

#[tokio::test]
async fn a_pull_request_has_one_comment_that_follows_its_builds() {
    let mut it = Proposal::start("[github]\ncomment = true\n", &[(".travis.yml", HOSTILE)]).await;
    let told = it.settled().await;
    let page = "/acme/styles/builds/1)";
    assert!(told.len() == 1 && told[0].contains(page) && told[0].contains("until a person approves"), "{told:#?}");
    let (line, rest) = told[0].split_once("unknown: '@acme/all <img src=x>'").expect("the line in a block");
    assert!(line.ends_with("```\n") && !rest.contains('@') && !rest.contains("<img"), "{told:#?}");
    // A newer build of smoke jobs alone stands beside the other one, whose end comes later.
    it.comment(ADA, "/smoke").await;
    assert_eq!(it.end_of(2).await, "passed");
    it.settled().await;
    it.comment(ADA, "/approve").await;
    assert_eq!(it.end_of(1).await, "passed");
    let told = it.settled().await;
    assert!(told.len() == 1 && told[0].contains(": passed&#58; 1 job"), "{told:#?}");
    assert!(told[0].contains(page) && told[0].contains("/acme/styles/builds/2)"), "{told:#?}");
    it.push("second", |_| {}).await;
    let told = it.settled().await;
    assert!(told.len() == 1 && told[0].contains("/acme/styles/builds/3)") && !told[0].contains(page), "{told:#?}");
    assert_eq!(changes(&it).0, 1);

    // What GitHub shows already is not sent again.
    let before = changes(&it);
    sqlx::query("update wish set sent_seq = 0 where kind = 'comment'").execute(&it.app.db).await.unwrap();
    it.settled().await;
    assert_eq!(changes(&it), before);
    it.app.stop().await;
}

#[tokio::test]
async fn our_comment_is_found_again_and_a_copy_of_a_stranger_is_not_it() {
    let it = Proposal::start("[github]\ncomment = true\n", &[(".travis.yml", HOSTILE)]).await;
    let told = it.settled().await;
    // As if the process had died before it recorded GitHub's answer.
    let forget = "update wish set shown_id = null, shown_hash = null, sent_seq = 0 where kind = 'comment'";
    sqlx::query(forget).execute(&it.app.db).await.unwrap();
    assert_eq!(it.settled().await, told);
    assert_eq!(changes(&it).0, 1);
    // A stranger copies the comment with its mark, and ours is deleted.
    it.app.github.pulls.comment(REPO, NUMBER.into(), BOB.0, &told[0]);
    let ours: i64 =
        sqlx::query_scalar("select shown_id from wish where kind = 'comment'").fetch_one(&it.app.db).await.unwrap();
    it.app.github.pulls.delete(ours);
    it.comment(ADA, "/approve").await;
    assert_eq!(it.end_of(1).await, "passed");
    let told = it.settled().await;
    assert!(told.len() == 1 && told[0].contains("passed"), "{told:#?}");
    assert_eq!(changes(&it).0, 2);
    assert_ne!(BOB.1, TOKEN_ACCOUNT);
    it.app.stop().await;
}

#[tokio::test]
async fn a_conversation_that_takes_no_comments_still_has_statuses() {
    let it = Proposal::start_with_app("comment = true\n", &[(".travis.yml", HOSTILE)]).await;
    it.settled().await;
    it.app.github.app.permit(&[("metadata", "read"), ("contents", "read"), ("statuses", "write")]);
    it.app.github.app.revoke_tokens();
    let query = "update build set approved_by = 'ada', approved_at = now()";
    sqlx::query(query).execute(&it.app.db).await.unwrap();
    sqlx::query("update job set state = 'queued'").execute(&it.app.db).await.unwrap();
    assert_eq!(it.end_of(1).await, "passed");
    assert_eq!(it.app.github.wait_for_end(&it.head, "trainyard/pr").await.state, "success");
    let told = it.settled().await;
    assert!(told.len() == 1 && !told[0].contains("passed"), "{told:#?}");
    let error: String =
        sqlx::query_scalar("select last_error from wish where kind = 'comment'").fetch_one(&it.app.db).await.unwrap();
    assert!(error.contains("pull_requests: write"), "{error}");
    // Commands have no effect then: nobody could confirm them.
    let (_, outcome) = it.comment(ADA, "/retry").await;
    assert!(outcome.starts_with("refused: GitHub does not confirm the comment"), "{outcome}");
    assert!(outcome.contains("pull_requests: write"), "{outcome}");
    it.app.stop().await;
}
