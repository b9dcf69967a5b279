//! How long jobs take by their earlier runs, and when those that wait begin.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chrono::{DateTime, Utc};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt as _;
use trainyard::domain::{JobId, JobKind};
use trainyard::store::queue::{self, InLine, QueueConfig};
use trainyard::store::runner::runners::{self, Runner};
use trainyard::web;

use crate::support::database;
use crate::support::web::{build, claim, finish, job, push, repo, state};

/// Makes a runner with this number of slots, and runs of a job that took 10, 12 and 90 minutes.
async fn history(slots: usize) -> PgPool {
    let db = database::pool().await;
    database::insert_build(&db, 12).await;
    sqlx::raw_sql(
        "insert into job (repo_id, build_id, number, kind, config, recipe, state, verdict, attempt, started_at, finished_at)
             select 1, 1, 100 + n, 'script', '{}', 'a', 'finished', case n when 4 then 'failed' else 'passed' end::verdict, 1,
                 now() - interval '1 day', now() - interval '1 day' + minutes * interval '1 min'
             from unnest('{90, 10, 12, 1}'::int[]) with ordinality as run (minutes, n)",
    )
    .execute(&db)
    .await
    .unwrap();
    runners::upsert(&db, &Runner { name: "local", endpoint: "unix:///x", slots, labels: &[], host: "here" })
        .await
        .unwrap();
    db
}

/// Inserts jobs of these recipes; returns their ids. `running` is for how many minutes they have been running.
async fn insert(db: &PgPool, recipes: &[&str], running: Option<i32>) -> Vec<JobId> {
    sqlx::query_scalar(
        "insert into job (repo_id, build_id, number, kind, config, recipe, state, attempt, runner, lease_until, started_at)
             select 1, 1, (select max(number) from job) + n, 'script', '{}', recipe::bytea,
                 case when $2::int is null then 'queued' else 'running' end::job_state, 1, case when $2 is not null then 'local' end,
                 case when $2 is not null then now() + interval '1 hour' end, now() - $2 * interval '1 min'
             from unnest($1::text[]) with ordinality as wanted (recipe, n) returning id",
    )
    .bind(recipes)
    .bind(running)
    .fetch_all(db)
    .await
    .unwrap()
}

async fn lines(db: &PgPool) -> Vec<InLine> {
    queue::lines(db, &QueueConfig::default(), 100).await.unwrap()
}

/// Returns the waits of the lines in minutes.
async fn begins(db: &PgPool) -> Vec<Option<u64>> {
    lines(db).await.iter().map(|line| Some((line.begins_in?.as_secs() + 30) / 60)).collect()
}

#[tokio::test]
async fn the_time_of_a_job_is_the_median_of_its_last_runs_that_have_passed() {
    let db = history(1).await;
    let jobs = insert(&db, &["a", "b"], None).await;
    let estimates = queue::estimates(&db, &jobs).await.unwrap();
    assert_eq!(estimates.get(&jobs[0]), Some(&Duration::from_secs(12 * 60)));
    assert_eq!(estimates.get(&jobs[1]), None, "it has never run");
    // A run that went on from an earlier attempt was shorter than the job is.
    sqlx::query("update job set attempt = 2 where finished_at = started_at + interval '12 min'")
        .execute(&db)
        .await
        .unwrap();
    assert_eq!(queue::estimates(&db, &jobs).await.unwrap()[&jobs[0]], Duration::from_secs(50 * 60));
}

#[tokio::test]
async fn jobs_begin_when_those_before_them_end() {
    let db = history(2).await;
    insert(&db, &["a"], Some(4)).await;
    insert(&db, &["b"], Some(4)).await;
    let queued = insert(&db, &["a", "a", "b", "a"], None).await;
    let places: Vec<(JobId, i64)> = lines(&db).await.iter().map(|line| (line.id, line.place)).collect();
    assert_eq!(places, queued.iter().copied().zip(1..).collect::<Vec<_>>());
    // The other running job has never passed before, so nothing is known of its slot.
    assert_eq!(begins(&db).await, [Some(8), Some(20), Some(32), None]);
    // A training tells of its steps.
    sqlx::query(
        "insert into progress (job_id, attempt, step, steps, seconds_per_step)
         select id, attempt, 10, 100, 2 from job where state = 'running' and recipe = 'b'",
    )
    .execute(&db)
    .await
    .unwrap();
    assert_eq!(begins(&db).await, [Some(3), Some(8), Some(15), Some(20)]);
    sqlx::query("update runner set seen_at = now() - interval '5 min'").execute(&db).await.unwrap();
    assert_eq!(begins(&db).await, [None; 4], "nobody serves the runner");
}

#[tokio::test]
async fn pages_and_the_api_say_the_place_and_the_start() {
    let db = database::pool().await;
    let (state, repo) = (state(&db), repo(&db).await);
    runners::upsert(&db, &Runner { name: "host/local", endpoint: "unix:///x", slots: 1, labels: &[], host: "here" })
        .await
        .unwrap();
    let jobs = [job(JobKind::Script, None, "unit")];
    build(&db, repo, &push("main"), &jobs, &[]).await;
    let first = claim(&db).await;
    sqlx::query("update job set started_at = now() - interval '20 min' where id = $1")
        .bind(first.id)
        .execute(&db)
        .await
        .unwrap();
    let get = async |path: &str| {
        let response =
            web::router(state.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let api = async |path: &str| serde_json::from_str::<Value>(&get(path).await).unwrap();
    let running = api("/api/v1/jobs/1").await;
    assert_eq!([&running["outlook"], &running["seconds_left"], &running["place"]], [&Value::Null; 3], "{running:#}");
    finish(&state, &first, 0, trainyard::domain::Verdict::Passed, None).await;

    build(&db, repo, &push("main"), &jobs, &[]).await;
    build(&db, repo, &push("main"), &jobs, &[]).await;
    let second = claim(&db).await;
    sqlx::query("update job set started_at = now() - interval '330 s' where id = $1")
        .bind(second.id)
        .execute(&db)
        .await
        .unwrap();
    let running = api("/api/v1/jobs/2").await;
    let left = running["seconds_left"].as_u64().unwrap();
    assert!((850..=871).contains(&left) && running["expected_seconds"].as_u64() >= Some(1200), "{running:#}");
    assert!(get("/acme/lora-styles/builds/2").await.contains("14 min left"));

    let waiting = api("/api/v1/jobs/3").await;
    assert_eq!((&waiting["place"], &waiting["outlook"]), (&1.into(), &"usually takes 20 min".into()), "{waiting:#}");
    let start: DateTime<Utc> = waiting["estimated_start"].as_str().unwrap().parse().unwrap();
    let wait = (start - Utc::now()).num_seconds();
    assert!((840..=871).contains(&wait), "{wait}");
    let page = get("/acme/lora-styles/builds/3/jobs/1").await;
    assert!(
        page.contains("Place 1 in the queue, begins in 14 min.") && page.contains("usually takes 20 min"),
        "{page}"
    );
    let queue = api("/api/v1/queue").await;
    assert_eq!((&queue["jobs"][0]["id"], queue["jobs"][0]["estimated_start"].is_string()), (&3.into(), true));
    assert!(get("/runners").await.contains("<td>in 14 min</td>"));
}
