//! Commands in comments of pull requests: their effects, and their answers.

use std::time::Duration;

use trainyard::store::missed::FOUND;

use super::openapi;
use crate::support::github::Fault;
use crate::support::github::pulls::TOKEN_ACCOUNT;
use crate::support::payload;
use crate::support::people::proposal::{ADA, BOB, HELLO, NUMBER, Proposal, REPO};

/// A trainer that prints what a real one would, and saves what it is told to save.
const TRAINER: &str = include_str!("../../fixtures/trainer/train.py");
const CONFIG: &str = "base_model: ./models/sd.safetensors\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\n\
                      output_dir: ./out\nlora_rank: 16\nmax_train_steps: 1000\nlearning_rate: 1.0e-4\n";

#[tokio::test]
async fn an_approval_in_a_comment_lets_the_build_run_and_gets_a_thumb() {
    let it = Proposal::start("", &[(".travis.yml", HELLO)]).await;
    assert_eq!(it.jobs(1).await, [("waiting".to_owned(), None, 0)]);
    let (id, outcome) = it.comment(ADA, "/approve\n\nLooks good to me.").await;
    assert!(outcome.starts_with("Approved builds of ") && outcome.ends_with(": #1."), "{outcome}");
    assert_eq!(it.end_of(1).await, "passed");
    assert_eq!(it.settled().await, Vec::<String>::new());
    assert_eq!(it.app.github.pulls.reactions(), [(id, "+1".to_owned())]);
    let page = it.app.get("/acme/styles/builds/1").await.1;
    assert!(page.contains("<dt>Approved by</dt><dd>ada</dd>"), "{page}");
    // A second one has nothing to approve.
    let (_, outcome) = it.comment(ADA, "/approve").await;
    assert!(outcome.ends_with("waits for an approval."), "{outcome}");
    let told = it.settled().await;
    assert!(told.len() == 1 && told[0].contains("waits for an approval") && told[0].contains("/acme/styles/builds/1)"));
    // All requests are such as GitHub describes them.
    let api = openapi::description();
    for (method, path, body) in it.app.github.pulls.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path} {body}");
    }
    it.app.stop().await;
}

#[tokio::test]
async fn a_label_approves_a_commit() {
    let it = Proposal::start_with_forks("", &[(".travis.yml", HELLO)], "approve_label = 'ci: approved'").await;
    // The build was there before the label.
    sqlx::query("update build set created_at = created_at - interval '1 minute'").execute(&it.app.db).await.unwrap();
    it.app.github.pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", "ci: approved", 0);
    let labeled = payload::labeled(&it.app.github, &it.repo, NUMBER, ADA, "ci: approved", &it.head);
    let outcome = it.outcome_of("pull_request", &labeled).await;
    assert!(outcome.starts_with("Approved builds of ") && outcome.ends_with(": #1."), "{outcome}");
    assert_eq!(it.end_of(1).await, "passed");
    let told = it.settled().await;
    assert!(told.len() == 1 && told[0].contains("Approved builds of"), "{told:?}");
    let page = it.app.get("/acme/styles/builds/1").await.1;
    assert!(page.contains("<dt>Approved by</dt><dd>ada</dd>"), "{page}");
    let api = openapi::description();
    assert_eq!(it.app.github.pulls.count("GET", "/timeline"), 1);
    for (method, path, body) in it.app.github.pulls.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path} {body}");
    }
    it.app.stop().await;
}

#[tokio::test]
async fn a_build_is_canceled_and_its_failed_jobs_run_again() {
    let travis = "language: shell\njobs:\n  include:\n  - {stage: one, script: 'true'}\n  - {stage: one, script: 'exit 1'}\n  \
                  - {stage: two, script: echo two}\n";
    let it = Proposal::start("", &[(".travis.yml", travis)]).await;
    let (_, outcome) = it.comment(ADA, "/retry").await;
    assert_eq!(outcome, "No job of build #1 has failed.");
    it.comment(ADA, "/approve").await;
    assert_eq!(it.end_of(1).await, "failed");
    let (id, outcome) = it.comment(ADA, "/retry").await;
    assert_eq!(outcome, "Jobs of build #1 that run again: 2.");
    assert_eq!(it.end_of(1).await, "failed");
    let attempts: Vec<i32> = it.jobs(1).await.into_iter().map(|(_, _, attempt)| attempt).collect();
    assert_eq!(attempts, [1, 2, 0], "what had passed does not run again");
    let (_, outcome) = it.comment(ADA, "/cancel").await;
    assert_eq!(outcome, "Build #1 has ended already.");
    let told = it.settled().await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(it.app.github.pulls.reactions().contains(&(id, "+1".to_owned())));
    it.app.stop().await;
}

#[tokio::test]
async fn a_running_build_is_canceled_by_a_comment() {
    let it = Proposal::start("", &[(".travis.yml", "language: shell\nscript: sleep 60\n")]).await;
    it.comment(ADA, "/approve").await;
    it.app.github.wait_for(Duration::from_secs(60), |it| it.description.starts_with("running")).await;
    let (id, outcome) = it.comment(ADA, "/cancel").await;
    assert_eq!(outcome, "Canceled jobs of build #1: 1.");
    assert_eq!(it.end_of(1).await, "canceled");
    let end = it.app.github.wait_for_end(&it.head, "trainyard/pr").await;
    assert!(end.description.contains("canceled by ada"), "{end:?}");
    it.settled().await;
    assert!(it.app.github.pulls.reactions().contains(&(id, "+1".to_owned())));
    it.app.stop().await;
}

#[tokio::test]
async fn smoke_jobs_on_request_have_a_build_and_a_status_of_their_own() {
    let files = [
        (".travis.yml", "language: python\nscript: echo tested\n"),
        ("train.py", TRAINER),
        ("configs/ink.yaml", CONFIG),
        ("configs/oil.yaml", CONFIG),
    ];
    let it = Proposal::start("", &files).await;
    it.comment(ADA, "/approve").await;
    assert_eq!(it.end_of(1).await, "passed");
    // A commit that a check has found is built once, but tried as often as people ask.
    sqlx::query("update build set sender = $1").bind(FOUND).execute(&it.app.db).await.unwrap();
    let (id, outcome) = it.comment(ADA, "/smoke configs/ink.yaml").await;
    assert!(outcome.starts_with("Requested a build: request-"), "{outcome}");
    wait_for_build(&it, 2).await;
    // Smoke jobs of a stranger's commit run code of it, too.
    assert_eq!(it.jobs(2).await, [("waiting".to_owned(), None, 0)]);
    let (_, outcome) = it.comment(ADA, "/approve").await;
    assert!(outcome.ends_with(": #2."), "{outcome}");
    assert_eq!(it.end_of(2).await, "passed");
    assert_eq!(it.app.github.wait_for_end(&it.head, "trainyard/smoke").await.state, "success");
    it.comment(ADA, "/smoke").await;
    wait_for_build(&it, 3).await;
    let names: Vec<String> = sqlx::query_scalar("select job.name from job where build_id in (2, 3) order by id")
        .fetch_all(&it.app.db)
        .await
        .unwrap();
    assert_eq!(names, ["smoke configs/ink.yaml", "smoke configs/ink.yaml", "smoke configs/oil.yaml"]);
    // Neither of them says anything about the other jobs.
    let states: Vec<(i32, String)> =
        sqlx::query_as("select build_id::int, state::text from wish where context = 'trainyard/pr'")
            .fetch_all(&it.app.db)
            .await
            .unwrap();
    assert_eq!(states, [(1, "success".to_owned())]);
    let (_, outcome) = it.comment(ADA, "/smoke missing.yaml").await;
    assert!(outcome.starts_with("Requested"), "{outcome}");
    wait_for_build(&it, 4).await;
    assert_eq!(it.end_of(4).await, "errored");
    let told = "missing.yaml has no smoke job";
    it.app.github.wait_for(Duration::from_secs(30), |it| it.description.contains(told)).await;
    assert!(it.app.github.pulls.reactions().contains(&(id, "eyes".to_owned())));
    it.app.stop().await;
}

async fn wait_for_build(it: &Proposal, number: i32) {
    for _ in 0..600 {
        let query = "select exists (select from build where number = $1)";
        if sqlx::query_scalar(query).bind(number).fetch_one(&it.app.db).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there is no build {number}");
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_once_in_words() {
    let it = Proposal::start("", &[(".travis.yml", HELLO)]).await;
    for (body, told) in [
        ("/aprove", "Did you mean /approve?"),
        ("/retry 3", "/retry stands alone on its line."),
        ("/train configs/ink.yaml", "Whole trainings are not there yet."),
    ] {
        let (_, outcome) = it.comment(ADA, body).await;
        assert!(outcome.contains(told), "{body}: {outcome}");
    }
    let mut labeled = payload::pull_request(&it.app.github, &it.repo, NUMBER, &it.head, &it.head);
    labeled["action"] = "labeled".into();
    labeled["label"] = serde_json::json!({"name": "train"});
    labeled["sender"] = serde_json::json!({"login": ADA.0, "id": ADA.1, "type": "User"});
    for _ in 0..2 {
        labeled["again"] = serde_json::json!(it.app.github.pulls.requests().len());
        assert!(it.outcome_of("pull_request", &labeled).await.contains("Whole trainings"));
    }
    labeled["label"]["name"] = "bug".into();
    assert_eq!(it.outcome_of("pull_request", &labeled).await, "pull request labeled");
    let told = it.settled().await;
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(it.app.github.pulls.reactions().is_empty());
    // GitHub sends our own comments, too. They ask for nothing, although our account may push.
    it.app.github.pulls.person("trainyard-ci", TOKEN_ACCOUNT, "admin");
    for (id, body) in (9000..).zip(&told) {
        let own = it.payload(("trainyard-ci", TOKEN_ACCOUNT), id, body);
        assert_eq!(it.outcome_of("issue_comment", &own).await, "a comment without a command", "{body}");
    }
    it.app.stop().await;
}

#[tokio::test]
async fn other_comments_and_other_programs_are_ignored() {
    let it = Proposal::start("", &[(".travis.yml", HELLO)]).await;
    it.app.github.pulls.bot("helper[bot]", 9);
    let requests = it.app.github.pulls.requests().len();
    for (body, outcome) in [
        ("Looks good", "a comment without a command"),
        ("\n/approve", "a comment without a command"),
        ("I would /approve this", "a comment without a command"),
        ("/lgtm", "a comment without a command"),
    ] {
        assert_eq!(it.comment(ADA, body).await.1, outcome, "{body}");
    }
    let id = it.app.github.pulls.comment(REPO, NUMBER.into(), ADA.0, "/approve");
    let of = |change: fn(&mut serde_json::Value)| {
        let mut payload = it.payload(ADA, id, "/approve");
        change(&mut payload);
        payload
    };
    let others = [
        (of(|it| it["action"] = "edited".into()), "comment edited"),
        (of(|it| it["action"] = "deleted".into()), "comment deleted"),
        (of(|it| drop(it["issue"].as_object_mut().unwrap().remove("pull_request"))), "a comment on an issue"),
        (of(|it| it["comment"]["user"]["type"] = "Bot".into()), "the sender is a program"),
        (of(|it| it["comment"]["performed_via_github_app"] = serde_json::json!({"id": 1})), "a comment of a program"),
        (of(|it| it["issue"]["number"] = 8.into()), "pull request #8 has no build here"),
    ];
    for (payload, told) in others {
        assert_eq!(it.outcome_of("issue_comment", &payload).await, told);
    }
    assert_eq!(it.app.github.pulls.requests().len(), requests, "GitHub was not even asked");
    assert_eq!(it.settled().await, Vec::<String>::new());
    assert_eq!(it.jobs(1).await, [("waiting".to_owned(), None, 0)]);
    it.app.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_not_written_twice() {
    let it = Proposal::start_with_app("", &[(".travis.yml", HELLO)]).await;
    let (_, outcome) = it.comment(BOB, "/approve").await;
    assert!(outcome.contains("bob may not push to acme/styles"), "{outcome}");
    let told = it.settled().await;
    assert_eq!(told.len(), 1, "{told:#?}");
    // As if the process had died before it recorded GitHub's answer; meanwhile a stranger has copied our words.
    it.app.github.pulls.comment(REPO, NUMBER.into(), BOB.0, &told[0]);
    let lost = "update wish set shown_id = null, shown_hash = null, sent_seq = 0 where kind = 'reply'";
    sqlx::query(lost).execute(&it.app.db).await.unwrap();
    it.app.github.fail_next([Fault::Status(502, None)]);
    assert_eq!(it.settled().await, told);
    assert_eq!(it.app.github.pulls.count("POST", "/issues/7/comments"), 1);
    it.app.stop().await;
}

#[tokio::test]
async fn a_comment_that_is_delivered_twice_has_one_effect() {
    let it = Proposal::start("", &[(".travis.yml", HELLO)]).await;
    let (id, _) = it.comment(ADA, "/smoke").await;
    // Each payload has other bytes, as each of GitHub has.
    let again = it.outcome_of("issue_comment", &it.payload(ADA, id, "/smoke")).await;
    assert_eq!(again, "the comment was dealt with before");
    let requests: i64 = sqlx::query_scalar("select count(*) from delivery where source = 'request'")
        .fetch_one(&it.app.db)
        .await
        .unwrap();
    assert_eq!(requests, 1);
    it.app.stop().await;
}
