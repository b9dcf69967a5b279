//! Builds by schedule, by the clock of the database.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use trainyard::domain::{CronInterval, RepoId, TriggerKind};
use trainyard::store::crons::{self, MAX_CRONS};

use crate::support::app::App;
use crate::support::payload::{self, Delivery};
use crate::support::web::{build, push, repo};
use crate::support::{database, docker};

async fn set(db: &PgPool, repo: RepoId, branch: &str, every: CronInterval, skip_if_recent: bool) -> bool {
    crons::set(&mut db.acquire().await.unwrap(), repo, branch, every, skip_if_recent).await.unwrap()
}

/// Moves the beginning and the next run of all crons into the past.
async fn age(db: &PgPool, by: &'static str) {
    sqlx::query("update cron set created_at = created_at - $1::text::interval, next_at = next_at - $1::text::interval")
        .bind(by)
        .execute(db)
        .await
        .unwrap();
}

async fn now(db: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("select now()").fetch_one(db).await.unwrap()
}

async fn open_requests(db: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from delivery where done_at is null").fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn missed_runs_are_one_and_the_next_is_at_a_whole_interval() {
    let db = database::pool().await;
    let repo = repo(&db).await;
    for (every, missed, least, most) in [
        (CronInterval::Daily, "10 days 1 hour", 22, 24),
        (CronInterval::Weekly, "15 days", 24 * 6 - 1, 24 * 6 + 1),
        (CronInterval::Monthly, "100 days", 24 * 18, 24 * 25),
        (CronInterval::Monthly, "3650 days", 0, 24 * 31),
    ] {
        assert!(set(&db, repo, "main", every, false).await);
        assert_eq!(crons::run_due(&db).await.unwrap(), 1, "the first run is due at once");
        assert_eq!(crons::run_due(&db).await.unwrap(), 0);
        age(&db, missed).await;
        let before = open_requests(&db).await;
        assert_eq!(crons::run_due(&db).await.unwrap(), 1, "{every} after {missed}");
        assert_eq!(crons::run_due(&db).await.unwrap(), 0);
        assert_eq!(open_requests(&db).await, before + 1);
        let next = crons::of(&db, repo).await.unwrap()[0].next_at;
        let wait = next - now(&db).await;
        let (least, most) = (TimeDelta::hours(least), TimeDelta::hours(most));
        assert!(wait > TimeDelta::zero() && wait >= least && wait <= most, "{every} after {missed}: {wait}");
    }
    // A run of a clock that was years ahead.
    sqlx::query("update cron set next_at = now() + interval '3 years'").execute(&db).await.unwrap();
    assert_eq!(crons::run_due(&db).await.unwrap(), 1);
}

#[tokio::test]
async fn a_cron_may_wait_for_a_day_without_another_build() {
    let db = database::pool().await;
    let repo = repo(&db).await;
    assert!(set(&db, repo, "main", CronInterval::Daily, true).await);
    build(&db, repo, &push("other"), &[], &[]).await;
    assert_eq!(crons::run_due(&db).await.unwrap(), 1, "the build is of another branch");
    build(&db, repo, &push("main"), &[], &[]).await;
    age(&db, "1 day").await;
    assert_eq!(crons::run_due(&db).await.unwrap(), 0);
    let told = crons::of(&db, repo).await.unwrap().remove(0).last_outcome;
    assert_eq!(told.as_deref(), Some("no build: there was one within 24 hours"));
    // Its own builds do not count, nor do old ones.
    sqlx::query("update build set created_at = now() - interval '25 hours'").execute(&db).await.unwrap();
    let own = trainyard::domain::Trigger { kind: TriggerKind::Cron, ..push("main") };
    build(&db, repo, &own, &[], &[]).await;
    age(&db, "1 day").await;
    assert_eq!(crons::run_due(&db).await.unwrap(), 1);
}

#[tokio::test]
async fn a_repository_has_a_bounded_number_of_crons() {
    let db = database::pool().await;
    let repo = repo(&db).await;
    for n in 0..MAX_CRONS {
        assert!(set(&db, repo, &format!("b{n}"), CronInterval::Daily, false).await);
    }
    assert!(!set(&db, repo, "one-more", CronInterval::Daily, false).await);
    assert!(set(&db, repo, "b0", CronInterval::Weekly, false).await, "one that is there can change");
    assert!(crons::remove(&db, repo, "b1").await.unwrap() && !crons::remove(&db, repo, "b1").await.unwrap());
    assert!(set(&db, repo, "one-more", CronInterval::Daily, false).await);
}

#[tokio::test]
async fn a_cron_builds_the_head_of_its_branch() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let git = app.github.repo("acme/styles");
    let script = "echo \"by $TRAVIS_EVENT_TYPE\"; test -e new || test $TRAVIS_EVENT_TYPE = push";
    git.write(".travis.yml", &format!("language: shell\nscript: {script}\n"));
    let sha = git.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &git, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    // A commit without a webhook.
    git.write("new", "new\n");
    let sha = git.commit("Add a file");
    git.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let address = format!("{}/api/v1/repos/acme/styles/crons/main", app.base);
    let client = reqwest::Client::new();
    let body = "{\"interval\": \"weekly\"}";
    assert_eq!(client.put(&address).body(body).send().await.unwrap().status(), 401);
    assert_eq!(client.delete(&address).send().await.unwrap().status(), 401);
    let bad = client.put(&address).bearer_auth(TOKEN).body("{\"interval\": \"hourly\"}").send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let answer = client.put(&address).bearer_auth(TOKEN).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "success", "{}", end.description);
    let log = String::from_utf8(app.log(2).await).unwrap();
    assert!(log.contains("by cron"), "{log}");
    let (_, page) = app.get("/acme/styles").await;
    assert!(page.contains("<td>weekly</td>") && page.contains("acme/styles#2"), "{page}");
    assert_eq!(client.delete(&address).bearer_auth(TOKEN).send().await.unwrap().status(), 200);
    assert_eq!(client.delete(&address).bearer_auth(TOKEN).send().await.unwrap().status(), 404);
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}
