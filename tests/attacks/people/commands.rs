//! Attacks with commands: a stranger's code that runs, or a build that runs again, without a person who may push and who
//! has seen the commit. Each attack leaves the build waiting.

use serde_json::{Value, json};

use crate::support::github::SECRET;
use crate::support::payload::{self, Delivery};
use crate::support::people::proposal::{ADA, BOB, HELLO, NUMBER, Proposal, REPO};

const FILES: [(&str, &str); 1] = [(".travis.yml", HELLO)];

/// Checks that no job of these builds has begun.
async fn assert_waiting(it: &Proposal, builds: std::ops::RangeInclusive<i32>) {
    for build in builds {
        let jobs = it.jobs(build).await;
        assert!(!jobs.is_empty() && jobs.iter().all(|(_, _, attempts)| *attempts == 0), "#{build}: {jobs:?}");
    }
    let approved: i64 = sqlx::query_scalar("select count(*) from build where approved_at is not null")
        .fetch_one(&it.app.db)
        .await
        .unwrap();
    assert_eq!(approved, 0);
}

#[tokio::test]
async fn a_reader_approves_nothing_and_is_told_so_once() {
    let it = Proposal::start("", &FILES).await;
    for _ in 0..3 {
        let (_, outcome) = it.comment(BOB, "/approve").await;
        assert_eq!(outcome, "bob may not push to acme/styles, so this has no effect.");
    }
    for command in ["/smoke", "/retry", "/cancel", "/train"] {
        assert!(it.comment(BOB, command).await.1.contains("may not push"), "{command}");
    }
    let told = it.settled().await;
    assert!(told.len() == 1 && !told[0].contains('@'), "{told:#?}");
    assert!(it.app.github.pulls.reactions().is_empty());
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}

#[tokio::test]
async fn a_person_who_lost_the_rights_approves_nothing() {
    let it = Proposal::start("", &FILES).await;
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    for permission in ["read", "none", "triage"] {
        it.app.github.pulls.person(ADA.0, ADA.1, permission);
        let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
        let is_first = permission == "read";
        assert!(outcome.contains(if is_first { "ada may not push" } else { "dealt with before" }), "{outcome}");
    }
    // Somebody else has taken the login that she has given up.
    it.app.github.pulls.person(ADA.0, 99, "write");
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    it.app.github.pulls.edit(id, |comment| comment["user"]["id"] = json!(ADA.1));
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
    assert!(outcome.contains("ada may not push"), "{outcome}");
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}

#[tokio::test]
async fn a_comment_that_was_changed_approves_nothing() {
    let it = Proposal::start("", &FILES).await;
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 3] = [
        // Who may triage can change the comments of others.
        ("/approve", |it| it["updated_at"] = json!("2030-01-01T00:00:00Z")),
        ("/approve", |it| it["body"] = json!("/approve, but not before the tests pass")),
        ("Do not run this", |it| it["body"] = json!("/approve")),
    ];
    for (body, change) in changes {
        let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, body);
        let mut payload = it.payload(ADA, id, "/approve");
        it.app.github.pulls.edit(id, change);
        if body != "/approve" {
            payload["comment"]["body"] = json!("/approve\n");
        }
        let outcome = it.outcome_of("issue_comment", &payload).await;
        assert!(outcome.contains("was changed after it was written"), "{body}: {outcome}");
    }
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    it.app.github.pulls.delete(id);
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
    assert!(outcome.contains("the comment is gone"), "{outcome}");
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    it.app.github.pulls.edit(id, |it| {
        it["created_at"] = json!("2026-01-01T00:00:00Z");
        it["updated_at"] = json!("2026-01-01T00:00:00Z");
    });
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
    assert!(outcome.contains("older than a day"), "{outcome}");
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}

#[tokio::test]
async fn an_approval_is_not_for_a_commit_that_its_author_has_not_seen() {
    let mut it = Proposal::start("", &FILES).await;
    // The webhook of a push is on its way, or lost.
    let seen = it.head.clone();
    it.push_silently("unseen");
    let (_, outcome) = it.comment(ADA, "/approve").await;
    let told = format!("The pull request is at {}, but the newest build, #1, is of {}.", &it.head[..7], &seen[..7]);
    assert!(outcome.starts_with(&told), "{outcome}");
    assert_waiting(&it, 1..=1).await;

    // A push after the comment, also one that ends at the same commit again.
    it.push("second", |_| {}).await;
    for seconds in [0, 1, 3600] {
        let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
        it.app.github.pulls.push_in(REPO, NUMBER.into(), seconds);
        let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
        assert!(outcome.contains("had a push after the comment"), "{outcome}");
    }
    it.app.github.pulls.change(REPO, NUMBER.into(), |pull| pull["head"]["repo"] = Value::Null);
    let (_, outcome) = it.comment(ADA, "/approve").await;
    assert!(outcome.contains("had a push after the comment, or is gone"), "{outcome}");
    assert_waiting(&it, 1..=2).await;

    // A build that came after the comment: another base, for instance.
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    it.app.github.pulls.push_in(REPO, NUMBER.into(), -60);
    it.app.github.pulls.change(REPO, NUMBER.into(), |pull| {
        let at = (chrono::Utc::now() - chrono::TimeDelta::minutes(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        pull["head"]["repo"] = json!({"full_name": "bob/styles", "pushed_at": at});
    });
    sqlx::query("update build set created_at = now() + interval '1 hour' where number = 2")
        .execute(&it.app.db)
        .await
        .unwrap();
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, id, "/approve")).await;
    assert!(outcome.contains("waits for an approval"), "{outcome}");
    assert_waiting(&it, 1..=2).await;
    it.app.stop().await;
}

#[tokio::test]
async fn an_approval_does_not_reach_the_next_push() {
    let mut it = Proposal::start("", &FILES).await;
    it.comment(ADA, "/approve").await;
    assert_eq!(it.end_of(1).await, "passed");
    it.push("second", |_| {}).await;
    assert_eq!(it.jobs(2).await, [("waiting".to_owned(), None, 0)]);
    // Nor do smoke jobs of it run before somebody has approved them.
    it.comment(ADA, "/retry").await;
    assert_eq!(it.jobs(2).await, [("waiting".to_owned(), None, 0)]);
    it.app.stop().await;
}

#[tokio::test]
async fn a_webhook_cannot_speak_in_the_name_of_another() {
    let it = Proposal::start("[github]\nwebhook_secrets = {bob = 'of bob alone'}\n", &FILES).await;
    let bobs = it.app.github.pulls.comment(REPO, NUMBER.into(), BOB.0, "/approve");
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, bobs, "/approve")).await;
    assert_eq!(outcome, "refused: GitHub has the comment of another author");
    it.app.github.pulls.bot("helper[bot]", 9);
    let bots = it.app.github.pulls.comment(REPO, NUMBER.into(), "helper[bot]", "/approve");
    let outcome = it.outcome_of("issue_comment", &it.payload(("helper[bot]", 9), bots, "/approve")).await;
    assert_eq!(outcome, "refused: the comment is of a program, or of a deleted account");
    let elsewhere = it.app.github.pulls.comment(REPO, 8, ADA.0, "/approve");
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, elsewhere, "/approve")).await;
    assert_eq!(outcome, "refused: GitHub has the comment on another pull request");
    // Her comment in another repository, which has the same number there.
    let other = it.app.github.pulls.comment("bob/styles", NUMBER.into(), ADA.0, "/approve");
    let outcome = it.outcome_of("issue_comment", &it.payload(ADA, other, "/approve")).await;
    assert_eq!(outcome, "refused: the comment is gone");
    let mut renumbered = it.payload(ADA, bobs, "/approve");
    renumbered["repository"]["id"] = json!(1);
    assert_eq!(it.outcome_of("issue_comment", &renumbered).await, "acme/styles is not known here");

    let forged = Delivery::signed("of bob alone", "forged", "issue_comment", &it.payload(ADA, bobs, "/approve"));
    let (code, told) = forged.post_to(&it.app.base, "/bob").await;
    assert!(code == 403 || code == 401, "{code} {told}");
    let stranger = Delivery::signed("guessed", "stranger", "issue_comment", &it.payload(ADA, bobs, "/approve"));
    assert_eq!(stranger.post(&it.app.base).await.0, 401);
    // A body that was seen once is good for nothing more.
    let payload = it.payload(ADA, bobs, "/approve");
    for id in ["once", "replayed"] {
        Delivery::signed(SECRET, id, "issue_comment", &payload).post(&it.app.base).await;
        it.app.outcome(id).await;
    }
    assert!(it.app.outcome("replayed").await.contains("it repeats the body of the delivery once"));
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}

#[tokio::test]
async fn a_flood_of_commands_costs_no_requests() {
    let it = Proposal::start("", &FILES).await;
    for number in 0..14 {
        let (_, outcome) = it.comment(BOB, "/smoke").await;
        assert_eq!(outcome.starts_with("ignored: 10 requests of bob"), number >= 10, "{number}: {outcome}");
    }
    assert_eq!(it.app.github.pulls.count("GET", "/permission"), 10);
    assert_eq!(it.settled().await.len(), 1);
    // Her own commands still count.
    assert!(it.comment(ADA, "/train").await.1.contains("do not run for pull requests from forks"));
    // Many people.
    sqlx::query(
        "insert into command (delivery_id, repo_id, person_id, is_refused) select n::text, 1, n, true
         from generate_series(1000, 1060) n",
    )
    .execute(&it.app.db)
    .await
    .unwrap();
    // Not all requests: the answer to the command before may still go out.
    let confirmations = || {
        let is_one = |path: &str| path.ends_with("/permission") || path.contains("/issues/comments/");
        it.app.github.pulls.requests().iter().filter(|(method, path, _)| method == "GET" && is_one(path)).count()
    };
    let before = confirmations();
    it.app.github.pulls.person("eve", 3, "write");
    let (_, outcome) = it.comment(("eve", 3), "/approve").await;
    assert!(outcome.contains("requests about acme/styles within an hour"), "{outcome}");
    assert_eq!(confirmations(), before);
    // An hour later they are forgotten. Who was heard before is heard at once.
    assert!(it.comment(ADA, "/approve").await.1.starts_with("Approved"));
    sqlx::query("update command set at = at - interval '1 hour'").execute(&it.app.db).await.unwrap();
    assert!(it.comment(("eve", 3), "/approve").await.1.ends_with("waits for an approval."));
    assert!(confirmations() >= before + 2, "this one was confirmed");
    // What GitHub contradicts counts, too.
    let bobs = it.app.github.pulls.comment(REPO, NUMBER.into(), BOB.0, "/approve");
    for number in 0..11 {
        let forged = it.payload(("mallory", 5), bobs, "/approve");
        let outcome = it.outcome_of("issue_comment", &forged).await;
        assert_eq!(outcome.starts_with("ignored: 10 requests of mallory"), number >= 10, "{number}: {outcome}");
    }
    assert!(!it.outcome_of("issue_comment", &it.payload(BOB, bobs, "/approve")).await.contains("dealt with before"));
    it.app.stop().await;
}

#[tokio::test]
async fn a_silent_github_confirms_nothing() {
    let it = Proposal::start("", &FILES).await;
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    it.app.github.pulls.change(REPO, NUMBER.into(), |pull| pull["head"]["sha"] = json!("not a commit"));
    let payload = it.payload(ADA, id, "/approve");
    Delivery::new("silent", "issue_comment", &payload).post(&it.app.base).await;
    let mut outcome = String::new();
    for _ in 0..200 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        // The pauses between its tries are skipped.
        let skip =
            "update delivery set not_before = now() where id = 'silent' and done_at is null and last_error is not null";
        sqlx::query(skip).execute(&it.app.db).await.unwrap();
        let query = "select coalesce(outcome, '') from delivery where id = 'silent'";
        outcome = sqlx::query_scalar(query).fetch_one(&it.app.db).await.unwrap();
        if !outcome.is_empty() {
            break;
        }
    }
    assert!(outcome.contains("8 tries failed") && outcome.contains("cannot be read"), "{outcome}");
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}

async fn buttons(it: &Proposal) -> (i64, String) {
    it.settled().await;
    let runs = it.app.github.checks.runs();
    (runs[0]["id"].as_i64().unwrap(), runs[0]["head_sha"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_button_works_only_for_who_may_push_and_for_our_own_check_run() {
    let it = Proposal::start_with_app("checks = true\n", &FILES).await;
    let (id, sha) = buttons(&it).await;
    let asked = |by, id, sha: &str, button| payload::check_run(&it.app.github, &it.repo, by, (id, sha), button);
    for button in [None, Some("approve"), Some("retry"), Some("cancel")] {
        let outcome = it.outcome_of("check_run", &asked(BOB, id, &sha, button)).await;
        assert_eq!(outcome, "bob may not push to acme/styles", "{button:?}");
    }
    // A login in the payload is not a person: GitHub has another number for it.
    let outcome = it.outcome_of("check_run", &asked((ADA.0, BOB.1), id, &sha, Some("approve"))).await;
    assert_eq!(outcome, "ada may not push to acme/styles");
    let outcome = it.outcome_of("check_run", &asked(ADA, 99, &sha, Some("approve"))).await;
    assert_eq!(outcome, "refused: GitHub has no such check");
    let other = "0123456789abcdef0123456789abcdef01234567";
    let outcome = it.outcome_of("check_run", &asked(ADA, id, other, Some("approve"))).await;
    assert_eq!(outcome, "refused: GitHub has the check for another commit");
    let outcome = it.outcome_of("check_run", &asked(ADA, id, &sha, Some("deploy"))).await;
    assert_eq!(outcome, "a button that we do not know");
    it.app.github.checks.change(0, |run| run["app"]["id"] = json!(1));
    let outcome = it.outcome_of("check_run", &asked(ADA, id, &sha, Some("approve"))).await;
    assert_eq!(outcome, "refused: another App has made the check");
    let suite = json!({
        "action": "rerequested", "check_suite": {"id": id, "head_sha": sha},
        "repository": asked(ADA, id, &sha, None)["repository"], "sender": {"login": "ada", "id": 1, "type": "User"},
    });
    assert_eq!(it.outcome_of("check_suite", &suite).await, "refused: another App has made the check");
    assert_waiting(&it, 1..=1).await;
    it.app.stop().await;
}
