//! Budgets of GPU hours: what counts, what is held and why, and who sees it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt as _;
use trainyard::domain::JobId;
use trainyard::store::queue::{self, Claimed, QueueConfig};
use trainyard::store::runner::budgets::{self, BudgetConfig};
use trainyard::store::runner::gpus::{self, Seen};
use trainyard::store::runner::runners::{self, Runner};
use trainyard::web;

use crate::support::database;
use crate::support::web as support;

const LEASE: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);
const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

/// Makes two repositories with a build each, of `ada` and of `eve`, with two queued jobs that request a GPU, and a job
/// without one.
async fn queue() -> PgPool {
    let db = database::pool().await;
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url)
             select n, 'acme', 'r' || n, n = 2, 'main', 'http://localhost/' from generate_series(1, 2) n;
         insert into build (repo_id, number, kind, sha, built_sha, sender)
             select id, 12, 'push', repeat('0', 40), repeat('0', 40), case id when 1 then 'Ada (laptop)' else 'eve' end from repo;
         insert into job (repo_id, build_id, number, kind, config, gpu_count)
             select build.repo_id, build.id, n, 'train', '{}', case n when 3 then 0 else 1 end
             from build, generate_series(1, 3) n order by n, build.id",
    )
    .execute(&db)
    .await
    .unwrap();
    let runner = Runner { name: "gpu-host", endpoint: "unix:///x", slots: 8, labels: &[], host: "here" };
    runners::upsert(&db, &runner).await.unwrap();
    check(&db).await;
    db
}

/// Records a check that found four empty GPUs.
async fn check(db: &PgPool) {
    let seen = |n: i32| Seen {
        uuid: format!("GPU-{n}"),
        name: "Tesla T4".to_owned(),
        class: "t4".to_owned(),
        memory: 16_000_000_000,
        unusable: None,
    };
    let all: Vec<Seen> = (1..=4).map(seen).collect();
    gpus::record_check(db, "gpu-host", gpus::now(db).await.unwrap(), &all).await.unwrap();
}

async fn claim(db: &PgPool) -> Option<Claimed> {
    queue::claim_with_requirements(db, "gpu-host", LEASE, &QueueConfig::default()).await.unwrap()
}

async fn set(db: &PgPool, config: &str) {
    let all: toml::Table = toml::from_str(config).unwrap();
    let budgets: Vec<BudgetConfig> = all["budget"].clone().try_into().unwrap();
    budgets::set_budgets(db, &budgets).await.unwrap();
}

/// Lets the uses that have not ended begin earlier.
async fn pass(db: &PgPool, hours: i32) {
    sqlx::query("update gpu_use set started_at = now() - $1 * interval '1 hour' where ended_at = 'infinity'")
        .bind(hours)
        .execute(db)
        .await
        .unwrap();
}

async fn reason(db: &PgPool, job: i64) -> Option<String> {
    sqlx::query_scalar("select wait_reason from job where id = $1").bind(job).fetch_one(db).await.unwrap()
}

/// Lists `name used` of the budgets, in whole hours.
async fn used(db: &PgPool) -> Vec<String> {
    let uses = budgets::budget_uses(db).await.unwrap();
    uses.iter().map(|it| format!("{} {:.0}", it.name, it.used)).collect()
}

#[tokio::test]
async fn a_repository_over_its_budget_is_held_and_others_go_on() {
    let db = queue().await;
    set(&db, "budget = [{repositories = ['acme/R1', 'other/*'], gpu_hours = 0.5, per = 'day'}, {repositories = ['*'], gpu_hours = 99, per = 'day'}]")
        .await;
    assert_eq!(claim(&db).await.unwrap().id, JobId(1));
    assert_eq!(used(&db).await, ["acme/r1 0"]);
    // A use that began before the day counts from the begin of the day; the test may run at any time of it.
    sqlx::query("update budget set gpu_hours = 1e-9 where place = 0").execute(&db).await.unwrap();
    assert_eq!(claim(&db).await.unwrap().id, JobId(2), "the other repository has a budget of its own");
    assert_eq!(claim(&db).await.unwrap().id, JobId(4));
    assert!(claim(&db).await.is_none(), "job 3 is held");
    queue::update_wait_reasons(&db, NEVER).await.unwrap();
    let told = reason(&db, 3).await.unwrap();
    assert!(
        told.starts_with("held: the GPU budget of acme/r1 (0.000000001 hours a day) is used up until 20")
            && told.ends_with(" 00:00 UTC; an operator may raise it"),
        "{told}"
    );
    queue::update_wait_reasons(&db, Duration::ZERO).await.unwrap();
    let states: Vec<String> =
        sqlx::query_scalar("select state::text from job where id in (1, 3) order by id").fetch_all(&db).await.unwrap();
    assert_eq!(states, ["running", "queued"], "no running job is stopped, and no held one ends");
    assert_eq!(queue::claim(&db, "gpu-host", LEASE).await.unwrap().unwrap().id, JobId(5), "it needs no GPU");
    // An operator raises the budget.
    set(&db, "budget = [{repositories = ['acme/*'], gpu_hours = 99, per = 'month'}]").await;
    queue::update_wait_reasons(&db, NEVER).await.unwrap();
    assert_eq!(reason(&db, 3).await, None, "it only waits for a slot");
    assert_eq!(claim(&db).await.unwrap().id, JobId(3));
}

#[tokio::test]
async fn gpus_count_from_the_claim_to_the_end_of_each_attempt_within_the_period() {
    let db = queue().await;
    set(&db, "budget = [{repositories = ['*'], gpu_hours = 100, per = 'month'}, {people = ['ada'], gpu_hours = 100, per = 'month'}]").await;
    let job = claim(&db).await.unwrap();
    assert_eq!(job.id, JobId(1));
    sqlx::query("update gpu_use set gpus = 2").execute(&db).await.unwrap();
    pass(&db, 3).await;
    // Only the part in this month counts.
    let in_month: f64 = sqlx::query_scalar(
        "select extract(epoch from now() - greatest(now() - interval '3 hours', date_trunc('month', now(), 'UTC')))::float8 / 1800",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    let whole = format!("{in_month:.0}");
    assert_eq!(used(&db).await, [format!("acme/r1 {whole}"), format!("ada {whole}")]);
    // The attempt is lost. What it has used stays, and does not grow.
    assert!(queue::requeue(&db, job.attempt_id(), Duration::ZERO, "its machine was lost").await.unwrap());
    let open: i64 =
        sqlx::query_scalar("select count(*) from gpu_use where ended_at = 'infinity'").fetch_one(&db).await.unwrap();
    assert_eq!((open, used(&db).await[0].clone()), (0, format!("acme/r1 {whole}")));
    check(&db).await;
    while let Some(job) = claim(&db).await {
        database::finish(&db, &job).await;
    }
    assert_eq!(used(&db).await, [format!("acme/r1 {whole}"), "acme/r2 0".to_owned(), format!("ada {whole}")]);
    // What ended long ago is forgotten, and the rows of a removed repository go with it.
    sqlx::query("update gpu_use set started_at = now() - interval '50 days', ended_at = now() - interval '40 days' where repo_id = 1")
        .execute(&db)
        .await
        .unwrap();
    assert_eq!(used(&db).await, ["acme/r2 0"]);
    let rows: i64 = sqlx::query_scalar("select count(*) from gpu_use where repo_id = 1").fetch_one(&db).await.unwrap();
    assert_eq!(budgets::forget(&db, 100).await.unwrap(), rows.unsigned_abs());
}

#[tokio::test]
async fn a_person_over_the_budget_is_held_in_all_repositories_and_is_told() {
    let db = queue().await;
    set(&db, "budget = [{people = ['*'], gpu_hours = 1e-9, per = 'week'}]").await;
    assert_eq!(claim(&db).await.unwrap().id, JobId(1));
    assert_eq!(claim(&db).await.unwrap().id, JobId(2), "eve has a budget of her own");
    assert!(claim(&db).await.is_none());
    // Another person's job is not held behind those of the first.
    sqlx::query("update build set sender = 'zoe' where id = 2").execute(&db).await.unwrap();
    assert_eq!(claim(&db).await.unwrap().id, JobId(4));
    queue::update_wait_reasons(&db, NEVER).await.unwrap();
    let told = reason(&db, 3).await.unwrap();
    assert!(told.starts_with("held: the GPU budget of ada (0.000000001 hours a week)"), "{told}");

    let auth = format!("tokens = {{ ops = {OPERATOR:?} }}");
    let state = web::State { access: support::access(&db, &auth), ..support::state(&db) };
    let get = async |path: &str, token: &str| {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let response = web::router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let listed: Value = serde_json::from_str(&get("/api/v1/budgets", OPERATOR).await).unwrap();
    let names: Vec<&str> =
        listed["budgets"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ada", "eve", "zoe"]);
    let first = &listed["budgets"][0];
    assert_eq!((&first["of"], &first["per"], &first["is_used_up"]), (&"person".into(), &"week".into(), &true.into()));
    let page = get("/runners", OPERATOR).await;
    assert!(page.contains("used up") && page.contains("<td>zoe</td>"), "{page}");
    let queue: Value = serde_json::from_str(&get("/api/v1/queue", OPERATOR).await).unwrap();
    let held = queue["jobs"].as_array().unwrap().iter().find(|job| job["id"] == 3).unwrap();
    assert_eq!((&held["is_held"], &held["estimated_start"]), (&true.into(), &Value::Null));
    let metrics = get("/metrics", OPERATOR).await;
    assert!(
        metrics.contains("trainyard_gpu_budget_used_seconds{of=\"person\",name=\"ada\",per=\"week\"}"),
        "{metrics}"
    );
}
