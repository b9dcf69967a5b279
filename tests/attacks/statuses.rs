//! A GitHub that refuses, limits or answers nonsense, and clocks that jump: each may delay its own statuses within a
//! bound, and nothing else.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use trainyard::domain::CommitState::{Pending, Success};
use trainyard::domain::RepoName;
use trainyard::janitor::{Duties, Janitor};
use trainyard::outbox::LONGEST_PAUSE;
use trainyard::outbox::pacing::Window;
use trainyard::storage::Room;
use trainyard::store::delays::{self, LongestWaits};
use trainyard::store::repos::{self, RepoFacts};
use trainyard::store::wakeup::bell::Bells;
use trainyard::store::{alerts, wishes};
use trainyard::worker::Database;

use crate::support::database;
use crate::support::github::Fault;
use crate::support::post::{CONTEXT, OTHER, Post, SHA, STYLES, commit_of};

/// The bound of an answer that is not an acceptance.
enum Bound {
    /// The wish alone waits, for this number of seconds.
    Wish(RangeInclusive<u64>),
    /// All wishes wait, for this number of seconds.
    All(RangeInclusive<u64>),
    /// The wish is given up.
    End,
}

struct Case {
    attack: &'static str,
    answer: Fault,
    bound: Bound,
    /// Words that the alert has.
    alert: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |attack, answer, bound, alert| Case { attack, answer, bound, alert };
    let says = |code, message: &str| Fault::Says(code, message.to_owned());
    let (minute, hour) = (Bound::Wish, Bound::All);
    vec![
        case("a repository that the token does not see", Fault::Status(404, None), minute(55..=60), "github.token"),
        case("a repository that was archived", Fault::Status(403, None), minute(55..=60), "acme/styles"),
        case("a repository that is gone", Fault::Status(410, None), minute(55..=60), "acme/styles"),
        case("a repository that a court closed", Fault::Status(451, None), minute(55..=60), "acme/styles"),
        case("a commit that was forced away", says(422, "No commit found"), minute(55..=60), "No commit found"),
        case("an answer that no version of the API has", Fault::Status(418, None), minute(55..=60), "418"),
        case("a NUL in GitHub's words", says(422, "a\0b\u{1b}[31m"), minute(55..=60), "ab[31m"),
        case("a megabyte of words", says(422, &"long ".repeat(200_000)), minute(55..=60), "refused (422)"),
        case("a server that is broken", Fault::Status(502, None), minute(0..=1), "502"),
        case("a server that does not answer", Fault::Hang(Duration::from_secs(2)), minute(0..=1), "no answer"),
        case("a token that has expired", Fault::Status(401, None), hour(55..=60), "github.token"),
        case("no requests left for half an hour", Fault::NoneLeft(1800), hour(1795..=1800), "wait 30m"),
        case("no requests left for a year", Fault::NoneLeft(31_536_000), hour(3595..=3600), "wait 1h"),
        case("no requests left since an hour", Fault::NoneLeft(0), hour(0..=1), "wait 1s"),
        case("a second limit without a header", Fault::Secondary(403, None), hour(55..=60), "secondary"),
        case("the same as a 429", Fault::Secondary(429, None), hour(55..=60), "secondary"),
        case("a second limit of five seconds", Fault::Secondary(403, Some(5)), hour(55..=60), "secondary"),
        case("a second limit of two minutes", Fault::Secondary(403, Some(120)), hour(115..=120), "wait 2m"),
        case("a 429 that names a time", Fault::Status(429, Some(7)), hour(5..=7), "wait 7s"),
        case("a time of eleven days", Fault::Status(429, Some(999_999)), hour(3595..=3600), "wait 1h"),
        case("a limit in words alone", says(403, "API rate limit exceeded"), hour(55..=60), "wait 1m"),
        case(
            "a commit with a thousand statuses",
            says(422, "This SHA and context has reached the maximum number of statuses."),
            Bound::End,
            "given up",
        ),
    ]
}

#[tokio::test]
async fn every_answer_has_its_bound() {
    for Case { attack, answer, bound, alert } in cases() {
        let post = Post::new().await;
        post.github.fail_next([answer]);
        post.want(1, Success, "passed").await;
        assert!(post.outbox.step().await.unwrap(), "{attack}");
        let waits = post.due_in().await.as_secs();
        let given_up = number(&post.db, "select given_up_seq from wish").await;
        let told = alerts::all(&post.db).await.unwrap();
        assert!(told.iter().any(|told| told.message.contains(alert)), "{attack}: {told:?}");
        // The other repository shows if everything waits.
        post.want_of(OTHER, SHA, 1, Success, "passed").await;
        let asked = post.drain().await;
        match bound {
            Bound::Wish(seconds) => {
                assert!(seconds.contains(&waits), "{attack}: the wish waits {waits} s");
                assert_eq!((asked, given_up), (1, 0), "{attack}");
            }
            Bound::All(seconds) => {
                assert_eq!((asked, waits, given_up), (0, 0, 0), "{attack}");
                let rest =
                    "select coalesce(max(extract(epoch from quiet_until - now())), 60)::bigint from status_request";
                let rest = number(&post.db, rest).await.unsigned_abs();
                assert!(seconds.contains(&rest), "{attack}: all wait {rest} s");
            }
            Bound::End => assert_eq!((asked, given_up), (1, 1), "{attack}"),
        }
    }
}

async fn number(db: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(db).await.unwrap()
}

/// Fails each due wish until nothing is due, after the pauses of the rows and of the process are over.
async fn try_again(post: &mut Post) -> usize {
    post.crash();
    wishes::all_due(&post.db).await.unwrap();
    post.drain().await
}

#[tokio::test]
async fn four_hundred_refused_wishes_cost_one_request() {
    let post = Post::within(Window::of(60, 450)).await;
    post.github.refuse(STYLES.1, 404);
    post.want_many(STYLES, Success, 417).await;
    post.want_of(OTHER, SHA, 1, Success, "passed").await;
    assert_eq!(post.drain().await, 2);
    assert_eq!(post.github.posted().len(), 1, "the other repository waits for the one that refuses");
    assert_eq!(number(&post.db, "select count(*) from wish where tried_seq = wanted_seq").await, 417);
}

#[tokio::test]
async fn new_pushes_to_a_repository_that_refuses_wait_for_its_probe() {
    let post = Post::new().await;
    post.github.refuse(STYLES.1, 403);
    post.want(1, Pending, "queued").await;
    assert_eq!(post.drain().await, 1);
    post.want_many(STYLES, Pending, 50).await;
    assert_eq!(post.drain().await, 0, "each push asks GitHub again");
}

#[tokio::test]
async fn a_restart_asks_a_repository_that_refuses_once() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 404);
    post.want_many(STYLES, Success, 50).await;
    post.drain().await;
    assert_eq!(try_again(&mut post).await, 1);
}

#[tokio::test]
async fn a_repository_that_accepts_again_gets_all_its_wishes() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 404);
    post.want_many(STYLES, Success, 30).await;
    post.drain().await;
    assert!(!alerts::all(&post.db).await.unwrap().is_empty());
    post.github.accept(STYLES.1);
    assert_eq!(try_again(&mut post).await, 30);
    assert_eq!(alerts::all(&post.db).await.unwrap(), []);
}

#[tokio::test]
async fn an_accepted_status_leaves_the_refused_ones_of_its_repository_alone() {
    let post = Post::new().await;
    post.github.fail_next([Fault::Says(422, "No commit found".to_owned())]);
    post.want(1, Success, "passed").await;
    assert_eq!(post.drain().await, 1);
    post.want_many(STYLES, Success, 5).await;
    assert_eq!(post.drain().await, 5);
    assert!(post.due_in().await > Duration::from_secs(50), "each accepted status asks for the refused one again");
}

#[tokio::test]
async fn many_commits_that_are_gone_are_tried_one_by_one() {
    let post = Post::new().await;
    post.github.refuse(STYLES.1, 422);
    post.want_many(STYLES, Success, 50).await;
    assert_eq!(post.drain().await, 3, "three refusals in a row close the repository for a minute");
}

#[tokio::test]
async fn the_pause_of_a_wish_doubles_up_to_a_day() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 404);
    post.want(1, Success, "passed").await;
    let mut pauses = Vec::new();
    for _ in 0..13 {
        assert_eq!(try_again(&mut post).await, 1);
        pauses.push(post.due_in().await.as_secs_f64() / 60.0);
    }
    let wanted = (0..13).map(|tries| f64::from(1 << tries).min(1440.0));
    assert!(pauses.iter().zip(wanted).all(|(pause, wanted)| (pause - wanted).abs() < 0.2), "{pauses:?}");
}

#[tokio::test]
async fn a_wish_that_was_refused_for_three_days_is_given_up_with_an_alert() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 404);
    post.want(1, Success, "passed").await;
    for _ in 0..8 {
        try_again(&mut post).await;
    }
    sqlx::raw_sql("update wish set failing_since = now() - interval '73 hours'").execute(&post.db).await.unwrap();
    assert_eq!(try_again(&mut post).await, 1);
    assert_eq!(try_again(&mut post).await, 0, "it is tried for ever");
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told[0].component == "github acme/styles" && told[0].message.contains("given up"), "{told:?}");
    // A newer build of the commit is another matter.
    post.github.accept(STYLES.1);
    post.want(2, Success, "passed again").await;
    assert_eq!(post.drain().await, 1);
    assert_eq!(alerts::all(&post.db).await.unwrap(), []);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_gives_no_wish_up() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 404);
    post.want(1, Success, "passed").await;
    post.drain().await;
    sqlx::raw_sql("update wish set failing_since = now() - interval '10 years'").execute(&post.db).await.unwrap();
    try_again(&mut post).await;
    assert_eq!(number(&post.db, "select given_up_seq from wish").await, 0);
}

#[tokio::test]
async fn the_alert_of_a_repository_that_is_gone_ends_a_week_later() {
    let post = Post::new().await;
    post.github.repeat(&posted_of(&post).await, 999);
    post.want(2, Success, "once more").await;
    post.drain().await;
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told[0].message.contains("1,000 statuses"), "{told:?}");
    alerts::forget_repositories(&post.db).await.unwrap();
    assert_eq!(alerts::all(&post.db).await.unwrap().len(), 1);
    sqlx::raw_sql("update wish set not_before = now() - interval '8 days'").execute(&post.db).await.unwrap();
    alerts::forget_repositories(&post.db).await.unwrap();
    assert_eq!(alerts::all(&post.db).await.unwrap(), []);
}

async fn posted_of(post: &Post) -> crate::support::github::Posted {
    post.want(1, Success, "passed").await;
    post.drain().await;
    post.github.posted().remove(0)
}

#[tokio::test]
async fn a_name_that_no_request_can_have_is_a_failure_of_its_wish() {
    let post = Post::new().await;
    sqlx::raw_sql("update repo set name = repeat('x', 101) where id = 1").execute(&post.db).await.unwrap();
    post.want(1, Success, "passed").await;
    post.want_of(OTHER, SHA, 1, Pending, "queued").await;
    assert_eq!(post.drain().await, 1, "the wish keeps the others waiting");
    assert!(post.due_in().await > Duration::from_secs(50));
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told.iter().any(|told| told.message.contains("cannot be sent")), "{told:?}");
}

#[tokio::test]
async fn a_repository_that_lost_its_name_has_one_that_github_could_have() {
    let db = database::pool().await;
    let name = format!("acme/{}", "x".repeat(100));
    for github_id in 1..=3 {
        let facts = RepoFacts {
            forge: "github".to_owned(),
            github_id,
            name: name.parse().unwrap(),
            private: false,
            default_branch: "main".to_owned(),
            clone_url: "http://localhost/".to_owned(),
        };
        repos::upsert(&mut db.acquire().await.unwrap(), &facts).await.unwrap();
    }
    let names: Vec<String> = sqlx::query_scalar("select owner || '/' || name from repo").fetch_all(&db).await.unwrap();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.parse::<RepoName>().is_ok()), "{names:?}");
}

#[tokio::test]
async fn the_alert_of_a_status_that_was_given_up_outlasts_other_statuses() {
    let mut post = Post::new().await;
    post.github.repeat(&posted_of(&post).await, 999);
    post.want(2, Success, "once more").await;
    post.drain().await;
    post.want_of(STYLES, &commit_of(7), 1, Success, "passed").await;
    assert_eq!(post.drain().await, 1);
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told[0].component == "github acme/styles" && told[0].message.contains("given up"), "{told:?}");
    // Another refusal, and its end, leave the first one to show.
    post.github.fail_next([Fault::Status(422, None)]);
    post.want_of(STYLES, &commit_of(8), 1, Success, "passed").await;
    post.drain().await;
    assert_eq!(try_again(&mut post).await, 1);
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told[0].message.contains("maximum number of statuses"), "{told:?}");
    // A build that is started again has another status, which GitHub takes once the old ones are gone.
    sqlx::raw_sql("update wish set not_before = now() - interval '8 days'").execute(&post.db).await.unwrap();
    post.want_of(STYLES, &commit_of(9), 1, Success, "passed").await;
    post.drain().await;
    assert_eq!(alerts::all(&post.db).await.unwrap(), []);
}

#[tokio::test]
async fn the_thousand_and_first_status_is_given_up_at_once() {
    let mut post = Post::new().await;
    post.github.repeat(&posted_of(&post).await, 999);
    post.want(2, Success, "once more").await;
    assert_eq!(post.drain().await, 1);
    assert_eq!(try_again(&mut post).await, 0);
    let reason: String = sqlx::query_scalar("select last_error from wish").fetch_one(&post.db).await.unwrap();
    assert!(reason.contains("maximum number of statuses"), "{reason}");
}

#[tokio::test]
async fn a_flood_of_builds_stays_within_the_windows() {
    let mut post = Post::within(Window::of(60, 450)).await;
    post.want_many(STYLES, Success, 100).await;
    assert_eq!(post.drain().await, 20, "a third of a minute's requests is the largest burst");
    assert_eq!(post.github.busiest(Duration::from_secs(20)), 20);
    post.crash();
    assert_eq!(post.drain().await, 0, "a restart begins with new windows");
}

#[tokio::test]
async fn news_leave_room_for_results() {
    let post = Post::within(Window::of(60, 450)).await;
    for commit in 0..50 {
        post.want_of(STYLES, &commit_of(commit), 1, Pending, "queued").await;
    }
    assert_eq!(post.drain().await, 13, "news of builds may use two thirds");
    post.want(1, Success, "passed").await;
    assert_eq!(post.drain().await, 1, "a result waits for news");
    assert_eq!(post.github.states(SHA, CONTEXT), ["success"]);
}

#[tokio::test]
async fn an_hours_requests_are_used_up_with_an_alert() {
    let post = Post::within(Window::of(0, 30)).await;
    post.want_many(STYLES, Success, 31).await;
    assert_eq!(post.drain().await, 30);
    let told = alerts::all(&post.db).await.unwrap();
    assert!(told.iter().any(|told| told.message.contains("30 statuses were set within 1h")), "{told:?}");
}

#[tokio::test]
async fn fresh_wishes_go_before_those_that_failed() {
    let mut post = Post::new().await;
    post.github.refuse(STYLES.1, 422);
    post.want(1, Success, "passed").await;
    post.drain().await;
    post.github.accept(STYLES.1);
    post.want_of(OTHER, SHA, 1, Pending, "queued").await;
    post.want_of(OTHER, &commit_of(7), 1, Success, "passed").await;
    try_again(&mut post).await;
    let order: Vec<String> =
        post.github.posted().iter().map(|posted| format!("{} {}", posted.repo, posted.state)).collect();
    assert_eq!(order, ["acme/other success", "acme/other pending", "acme/styles success"]);
}

#[tokio::test]
async fn one_broken_repository_does_not_stop_the_others() {
    let post = Post::new().await;
    post.github.refuse(STYLES.1, 500);
    post.want_many(STYLES, Success, 20).await;
    for commit in 0..20 {
        post.want_of(OTHER, &commit_of(commit), 1, Success, "passed").await;
    }
    assert_eq!(post.drain().await, 21);
    assert_eq!(post.github.posted().len(), 20);
}

#[tokio::test]
async fn an_outage_of_github_costs_few_requests() {
    let post = Post::new().await;
    for repo in [STYLES, OTHER] {
        post.github.refuse(repo.1, 503);
        post.want_many(repo, Success, 50).await;
    }
    assert_eq!(post.drain().await, 2, "two repositories in a row mean that GitHub itself is broken");
}

/// Times that a clock a year ahead has written, and the number of rows that have one afterwards.
const FAR: [(&str, &str, &str); 7] = [
    (
        "a wish",
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path, tried_seq, failing_since, not_before)
         values (1, repeat('0', 40), 'c', 1, 'success', 'd', '/', 1, now() + interval '1 year', now() + interval '1 year')",
        "select count(*) from wish where not_before > now() + interval '1 day' or failing_since > now()",
    ),
    (
        "a delivery",
        "insert into delivery (id, event, body, not_before) values ('d', 'push', '', now() + interval '1 year')",
        "select count(*) from delivery where not_before > now() + interval '700 s'",
    ),
    (
        "a job",
        "insert into job (repo_id, build_id, number, kind, config, not_before)
         values (1, 1, 1, 'script', '{}', now() + interval '1 year')",
        "select count(*) from job where not has_requirements and not_before > now() + interval '5 s'",
    ),
    (
        "a job with requirements",
        "insert into job (repo_id, build_id, number, kind, config, labels, not_before)
         values (1, 1, 2, 'script', '{}', '{arm64}', now() + interval '1 year')",
        "select count(*) from job where has_requirements and not_before > now() + interval '5 s'",
    ),
    (
        "a notification",
        "insert into notification (repo_id, build_id, event, state, receiver, not_before, held_until)
         values (1, 1, 'finished', 'passed', '{\"chat\": \"team\"}', now() + interval '1 year', now() + interval '1 year')",
        "select count(*) from notification where greatest(not_before, held_until) > now() + interval '1 hour'",
    ),
    (
        "a GPU that its last job has left",
        "insert into runner (name, endpoint, slots) values ('gpu-host', 'tcp://gpu-host', 1);
         insert into gpu (uuid, runner, name, class, memory, since)
         values ('GPU-1', 'gpu-host', 'T4', 't4', 16, now() + interval '1 year')",
        "select count(*) from gpu where since > now()",
    ),
    (
        "the last turn of a repository",
        "update repo set served_at = now() + interval '1 year' where id = 1",
        "select count(*) from repo where served_at > now()",
    ),
];

#[tokio::test]
async fn no_wait_outlasts_a_clock_that_jumped_ahead_and_back() {
    let longest = LongestWaits {
        wish: LONGEST_PAUSE,
        delivery: trainyard::intake::LONGEST_WAIT,
        job: trainyard::worker::REQUEUE_DELAY,
        notification: trainyard::notifier::PATIENCE,
    };
    for (what, insert, far) in FAR {
        let post = Post::new().await;
        sqlx::raw_sql(insert).execute(&post.db).await.unwrap();
        assert_eq!(number(&post.db, far).await, 1, "{what}");
        assert_eq!(delays::shorten(&post.db, &longest).await.unwrap(), 1, "{what}");
        assert_eq!(number(&post.db, far).await, 0, "{what}");
        assert_eq!(delays::shorten(&post.db, &longest).await.unwrap(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_service_that_starts_shortens_the_waits_of_all_rows() {
    let url = database::url().await;
    let db = PgPool::connect(&url).await.unwrap();
    trainyard::store::MIGRATOR.run(&db).await.unwrap();
    database::insert_build(&db, 1).await;
    for (_, insert, _) in FAR {
        sqlx::raw_sql(insert).execute(&db).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let github = crate::support::github::GitHub::start(folder.path().join("github")).await;
    let app = crate::support::app::App::start_on(folder, github, &url, &url, "").await;
    for _ in 0..600 {
        let mut left = 0;
        for (_, _, far) in FAR {
            left += number(&db, far).await;
        }
        if left == 0 {
            return app.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waits of a year are left");
}

#[tokio::test]
async fn a_request_of_the_future_counts_as_one_of_now() {
    let mut post = Post::within(Window::of(60, 450)).await;
    sqlx::raw_sql(
        "insert into status_request (at, quiet_until) select now() + interval '1 year', null from generate_series(1, 5);
         insert into status_request (at, quiet_until) values (now() + interval '1 year', now() - interval '1 s')",
    )
    .execute(&post.db)
    .await
    .unwrap();
    post.crash();
    post.want_many(STYLES, Success, 100).await;
    assert_eq!(post.drain().await, 15);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_errors_no_job_for_want_of_a_runner() {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    sqlx::raw_sql(
        "insert into job (repo_id, build_id, number, kind, config, labels) values (1, 1, 1, 'script', '{}', '{arm64}');
         insert into runner (name, endpoint, slots, labels) values ('far', 'tcp://far', 1, '{arm64}');",
    )
    .execute(&db)
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let room = Room::new(folder.path().to_owned(), bytesize::ByteSize::b(0));
    let database = Database { pool: db.clone(), bells: Bells::new() };
    let mut janitor = Janitor::new(Duties::Installation, database, Vec::new(), room);
    let start = Instant::now();
    let errored = "select count(*) from job where verdict = 'errored'";
    for seconds in (0..60).step_by(4) {
        janitor.step(start + Duration::from_secs(seconds)).await.unwrap();
    }
    assert_eq!(number(&db, errored).await, 0);
    // A jump of the clock, seen from Postgres: all that happened lies hours back.
    let jump = "update runner set seen_at = seen_at - interval '2 h';
        update job set not_before = not_before - interval '2 h'";
    sqlx::raw_sql(jump).execute(&db).await.unwrap();
    let jumped = start + Duration::from_secs(2 * 3600);
    for seconds in (0..28).step_by(4) {
        janitor.step(jumped + Duration::from_secs(seconds)).await.unwrap();
        assert_eq!(number(&db, errored).await, 0, "{seconds} s after the jump");
    }
    for seconds in [28, 32] {
        janitor.step(jumped + Duration::from_secs(seconds)).await.unwrap();
    }
    assert_eq!(number(&db, errored).await, 1, "a runner that has not reported since is gone");
}
