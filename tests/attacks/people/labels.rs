//! Attacks on the approval by a label: a stranger's code that runs without a person who may push and who has seen the
//! commit. Each attack leaves the build waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::payload;
use crate::support::people::proposal::{ADA, BOB, HELLO, NUMBER, Proposal, REPO};

const FILES: [(&str, &str); 1] = [(".travis.yml", HELLO)];
const LABEL: &str = "ci: approved";

/// A proposal, with a history of labels at GitHub.
struct Labels {
    it: Proposal,
    payloads: AtomicUsize,
}

impl Labels {
    /// Starts a service where the label approves.
    async fn start() -> Self {
        let it = Proposal::start_with_forks("", &FILES, &format!("approve_label = {LABEL:?}")).await;
        Self { it, payloads: AtomicUsize::new(0) }
    }

    /// Delivers that a person has set the label when the pull request was at `head`. Returns what became of it.
    async fn deliver(&self, by: (&str, i64), label: &str, head: &str) -> String {
        let mut payload = payload::labeled(&self.it.app.github, &self.it.repo, NUMBER, by, label, head);
        // Two payloads of GitHub are never the same: they have times.
        payload["number"] = json!(1000 + self.payloads.fetch_add(1, Ordering::Relaxed));
        self.it.outcome_of("pull_request", &payload).await
    }

    /// Sets the label at GitHub some seconds from now, and delivers that.
    async fn set(&self, by: (&str, i64), seconds: i64) -> String {
        self.it.app.github.pulls.label(REPO, NUMBER.into(), by.0, "labeled", LABEL, seconds);
        self.deliver(by, LABEL, &self.it.head).await
    }

    /// Makes all builds a minute older, so that they were there before a label that is set now.
    async fn age(&self) {
        let query = "update build set created_at = created_at - interval '1 minute'";
        sqlx::query(query).execute(&self.it.app.db).await.unwrap();
    }

    /// Checks that no job of these builds has begun.
    async fn assert_waiting(&self, builds: std::ops::RangeInclusive<i32>) {
        for build in builds {
            let jobs = self.it.jobs(build).await;
            assert!(!jobs.is_empty() && jobs.iter().all(|(_, _, attempts)| *attempts == 0), "#{build}: {jobs:?}");
        }
        let query = "select count(*) from build where approved_at is not null";
        assert_eq!(sqlx::query_scalar::<_, i64>(query).fetch_one(&self.it.app.db).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_label_of_who_may_push_approves_one_commit() {
    let mut labels = Labels::start().await;
    labels.age().await;
    let outcome = labels.set(ADA, 0).await;
    assert!(outcome.starts_with("Approved builds of ") && outcome.ends_with(": #1."), "{outcome}");
    assert_eq!(labels.it.end_of(1).await, "passed");
    let by: String = sqlx::query_scalar("select approved_by from build").fetch_one(&labels.it.app.db).await.unwrap();
    assert_eq!(by, "ada");
    let told = labels.it.settled().await;
    assert!(told.len() == 1 && told[0].contains("Approved builds"), "{told:?}");
    // The label is still there at the next push, and the payload of the push has it.
    labels.it.push("second", |it| it["pull_request"]["labels"] = json!([{"name": LABEL}])).await;
    assert_eq!(labels.it.jobs(2).await, [("waiting".to_owned(), None, 0)]);
    // Nor is the old event good for the new commit, delivered as it was, or with the new head.
    labels.age().await;
    labels.it.app.github.pulls.push_in(REPO, NUMBER.into(), 1);
    let old = labels.it.repo.git(&["rev-parse", "watercolour~1"]).trim().to_owned();
    let outcome = labels.deliver(ADA, LABEL, &old).await;
    assert!(outcome.contains("The label was set when the pull request was at"), "{outcome}");
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert!(outcome.contains("had a push after the label"), "{outcome}");
    assert_eq!(labels.it.jobs(2).await, [("waiting".to_owned(), None, 0)]);
    // Taken off and set again, it approves the new commit.
    labels.it.app.github.pulls.push_in(REPO, NUMBER.into(), -30);
    labels.it.app.github.pulls.label(REPO, NUMBER.into(), ADA.0, "unlabeled", LABEL, 0);
    assert!(labels.set(ADA, 0).await.ends_with(": #2."));
    assert_eq!(labels.it.end_of(2).await, "passed");
    labels.it.app.stop().await;
}

#[tokio::test]
async fn a_label_approves_nothing_unless_the_configuration_names_it() {
    let labels = Labels { it: Proposal::start("", &FILES).await, payloads: AtomicUsize::new(0) };
    labels.age().await;
    let requests = labels.it.app.github.pulls.requests().len();
    assert_eq!(labels.set(ADA, 0).await, "pull request labeled");
    assert_eq!(labels.deliver(ADA, "", &labels.it.head).await, "pull request labeled");
    assert_eq!(labels.it.app.github.pulls.requests().len(), requests, "GitHub is not even asked");
    labels.assert_waiting(1..=1).await;
    labels.it.app.stop().await;

    let labels = Labels::start().await;
    labels.age().await;
    for other in ["ci: Approved", "ci: approved ", "ci", "train"] {
        labels.it.app.github.pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", other, 0);
        assert!(!labels.deliver(ADA, other, &labels.it.head).await.contains("Approved builds"), "{other}");
    }
    labels.assert_waiting(1..=1).await;
    labels.it.app.stop().await;
}

#[tokio::test]
async fn who_may_triage_sets_labels_and_approves_nothing() {
    let labels = Labels::start().await;
    labels.age().await;
    for permission in ["read", "triage", "none"] {
        labels.it.app.github.pulls.person(BOB.0, BOB.1, permission);
        let outcome = labels.set(BOB, 0).await;
        assert_eq!(outcome, "bob may not push to acme/styles, so the label has no effect.", "{permission}");
    }
    assert_eq!(labels.it.settled().await.len(), 1, "told once");
    // A right that was lost by the time of the question, and a login that somebody else has taken.
    labels.it.app.github.pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", LABEL, 0);
    labels.it.app.github.pulls.person(ADA.0, ADA.1, "read");
    assert!(labels.deliver(ADA, LABEL, &labels.it.head).await.contains("ada may not push"));
    labels.it.app.github.pulls.person(ADA.0, 99, "write");
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert!(outcome.contains("ada may not push"), "{outcome}");
    labels.assert_waiting(1..=1).await;
    labels.it.app.stop().await;
}

#[tokio::test]
async fn a_webhook_that_github_contradicts_approves_nothing() {
    let labels = Labels::start().await;
    labels.age().await;
    let pulls = &labels.it.app.github.pulls;
    // GitHub knows of no label, of one by somebody else, of one that was taken off, of one by a program.
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: the pull request does not have the label");
    pulls.label(REPO, NUMBER.into(), BOB.0, "labeled", LABEL, 0);
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: somebody else, or a program, has set the label");
    pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", LABEL, 0);
    pulls.label(REPO, NUMBER.into(), ADA.0, "unlabeled", LABEL, 0);
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: the pull request does not have the label");
    pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", LABEL, 0);
    pulls.change_last_entry(|entry| entry["performed_via_github_app"] = json!({"id": 1}));
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: somebody else, or a program, has set the label");
    pulls.change_last_entry(|entry| entry["actor"] = Value::Null);
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: somebody else, or a program, has set the label");
    // A program that sets labels, as of a workflow that the author of the pull request can trigger.
    pulls.bot("labeler[bot]", 9);
    let mut payload =
        payload::labeled(&labels.it.app.github, &labels.it.repo, NUMBER, ("labeler[bot]", 9), LABEL, &labels.it.head);
    payload["sender"]["type"] = json!("Bot");
    assert_eq!(labels.it.outcome_of("pull_request", &payload).await, "the sender is a program");
    // An old label, another pull request's, and a history that is too long to be read.
    labels.it.app.github.pulls.label(REPO, NUMBER.into(), ADA.0, "labeled", LABEL, -90_000);
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: the label was set more than a day ago");
    pulls.label(REPO, NUMBER.into(), ADA.0, "unlabeled", LABEL, 0);
    pulls.label(REPO, 8, ADA.0, "labeled", LABEL, 0);
    let outcome = labels.deliver(ADA, LABEL, &labels.it.head).await;
    assert_eq!(outcome, "refused: the pull request does not have the label");
    labels.assert_waiting(1..=1).await;
    labels.it.app.stop().await;
}

#[tokio::test]
async fn a_label_is_found_in_a_long_history_and_refused_in_an_endless_one() {
    let labels = Labels::start().await;
    labels.age().await;
    labels.it.app.github.pulls.commit_to(REPO, NUMBER.into(), 1000);
    let outcome = labels.set(ADA, 0).await;
    assert!(outcome.starts_with("refused: ") && outcome.contains("over 1000 entries"), "{outcome}");
    labels.assert_waiting(1..=1).await;
    labels.it.app.stop().await;

    let labels = Labels::start().await;
    labels.age().await;
    labels.it.app.github.pulls.commit_to(REPO, NUMBER.into(), 250);
    assert!(labels.set(ADA, 0).await.starts_with("Approved builds of "));
    labels.it.end_of(1).await;
    labels.it.app.stop().await;
}

#[tokio::test]
async fn a_label_is_not_for_a_commit_that_its_person_has_not_seen() {
    let mut labels = Labels::start().await;
    // Set before the build was there: the person has seen no result of the lint, and maybe another commit.
    let outcome = labels.set(ADA, -30).await;
    assert!(outcome.contains("waited for an approval when the label was set"), "{outcome}");
    labels.age().await;
    // A push of which no webhook came yet, and one after the label, to any branch of the fork.
    let seen = labels.it.head.clone();
    labels.it.push_silently("unseen");
    let outcome = labels.set(ADA, 0).await;
    assert!(outcome.contains("but the newest build, #1, is of"), "{outcome}");
    let outcome = labels.deliver(ADA, LABEL, &seen).await;
    assert!(outcome.contains("The label was set when the pull request was at"), "{outcome}");
    labels.it.push("second", |_| {}).await;
    labels.age().await;
    for seconds in [0, 1, 3600] {
        labels.it.app.github.pulls.push_in(REPO, NUMBER.into(), seconds);
        let outcome = labels.set(ADA, 0).await;
        assert!(outcome.contains("had a push after the label"), "{outcome}");
    }
    labels.it.app.github.pulls.change(REPO, NUMBER.into(), |pull| pull["head"]["repo"] = Value::Null);
    let outcome = labels.set(ADA, 0).await;
    assert!(outcome.contains("had a push after the label, or is gone"), "{outcome}");
    labels.assert_waiting(1..=2).await;
    labels.it.app.stop().await;
}

#[tokio::test]
async fn a_pull_request_that_brings_the_label_is_not_approved() {
    let mut labels = Labels::start().await;
    let with_label = |it: &mut Value| it["pull_request"]["labels"] = json!([{"name": LABEL}]);
    labels.it.push("second", with_label).await;
    labels
        .it
        .push("third", |it| {
            with_label(it);
            it["action"] = json!("reopened");
        })
        .await;
    assert_eq!(labels.it.app.github.pulls.count("GET", "/timeline"), 0);
    // The second build was superseded by the third.
    assert!(labels.it.jobs(3).await.iter().all(|(_, _, attempts)| *attempts == 0));
    labels.it.app.stop().await;
}
