//! Readers of pages, in floods. They are anonymous, and take nothing from running jobs.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use trainyard::domain::Verdict;
use trainyard::store::output::log_checkpoints;
use trainyard::store::queue::{self, Claimed};
use trainyard::store::{DatabaseConfig, Pools};
use trainyard::web;

use crate::support::database;
use crate::support::web::{access, finish, running_job, serve, state, write};

const PAGES: [&str; 11] = [
    "/",
    "/runners",
    "/acme/lora-styles",
    "/acme/lora-styles/builds/1",
    "/acme/lora-styles/builds/1/jobs/1",
    "/api/v1/repos/acme/lora-styles/builds",
    "/api/v1/repos/acme/lora-styles/builds/1",
    "/api/v1/repos/acme/lora-styles/key",
    "/api/v1/jobs/1/series",
    "/api/v1/jobs/1/resources",
    "/api/v1/jobs/1/artifacts",
];

async fn get(state: &web::State, path: &str) -> Response<Body> {
    get_from(web::router(state.clone()), path).await
}

async fn get_from(router: axum::Router, path: &str) -> Response<Body> {
    router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Returns the pools of a service, on a new database.
async fn pools() -> Pools {
    let options: PgConnectOptions = database::url().await.parse().unwrap();
    let pools = DatabaseConfig::default().pools(options);
    trainyard::store::MIGRATOR.run(&pools.steps).await.unwrap();
    pools
}

/// Returns a web side whose pages have these connections, as in a service.
fn of_pages(pages: &PgPool, steps: &PgPool) -> web::State {
    web::State { db: pages.clone(), access: access(pages, ""), ..state(steps) }
}

#[tokio::test]
async fn pages_beyond_the_limit_are_refused_at_once() {
    let db = database::pool().await;
    let state = web::State { limits: web::Limits::of(1, 1), ..state(&db) };
    running_job(&state).await;
    // A page that takes long: it waits for a lock on a table that each page reads.
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table repo, alert in access exclusive mode").execute(&mut *lock).await.unwrap();
    let mut slow = JoinSet::new();
    let held = state.clone();
    slow.spawn(async move { get(&held, "/").await.status() });
    while waiting(&db).await == 0 {
        tokio::task::yield_now().await;
    }
    for path in PAGES {
        let answer = get(&state, path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.headers().contains_key(header::RETRY_AFTER), "{path}");
        let is_json = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().contains("json");
        assert_eq!(is_json, path.starts_with("/api/"), "{path}");
    }
    // What GitHub and supervisors ask is answered all the same.
    assert_eq!(get(&state, "/healthz").await.status(), StatusCode::OK);
    let webhook = Request::post("/webhooks/github").body(Body::empty()).unwrap();
    assert_eq!(web::router(state.clone()).oneshot(webhook).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    lock.rollback().await.unwrap();
    assert_eq!(slow.join_next().await.unwrap().unwrap(), StatusCode::OK);
    for path in PAGES {
        assert_eq!(get(&state, path).await.status(), StatusCode::OK, "{path}");
    }
}

/// Returns the number of statements that wait for a lock in this database.
async fn waiting(db: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_flood_of_pages_takes_no_connection_from_jobs_and_steps() {
    let pools = pools().await;
    let state = of_pages(&pools.pages, &pools.steps);
    let job = running_job(&web::State { db: pools.jobs.clone(), ..state.clone() }).await;
    let mut lock = pools.steps.begin().await.unwrap();
    sqlx::query("lock table alert in access exclusive mode").execute(&mut *lock).await.unwrap();
    // Making a router takes longer than an answer.
    let router = web::router(state.clone());
    let mut flood = JoinSet::new();
    for _ in 0..60 {
        let router = router.clone();
        flood.spawn(async move { get_from(router, "/").await.status() });
    }
    // All connections of the pages wait now.
    while waiting(&pools.steps).await < 8 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let beat = queue::beat(&pools.jobs, job.attempt_id(), Duration::from_secs(6)).await;
        assert!(beat.is_ok(), "{beat:?}");
        sqlx::query("select count(*) from delivery").execute(&pools.steps).await.unwrap();
    }
    finish(&web::State { db: pools.jobs.clone(), ..state }, &job, 0, Verdict::Passed, None).await;
    lock.rollback().await.unwrap();
    assert_eq!(flood.join_all().await.len(), 60);
}

#[tokio::test]
async fn a_flood_of_pages_leaves_the_service_ready() {
    let pools = pools().await;
    let state = of_pages(&pools.pages, &pools.steps);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(pools.pages.acquire().await.unwrap());
    }
    assert_eq!(get(&state, "/readyz").await.status(), StatusCode::OK);
    // A flood of these questions takes one connection of the steps at most.
    let mut held = Vec::new();
    for _ in 1..pools.steps.options().get_max_connections() {
        held.push(pools.steps.acquire().await.unwrap());
    }
    let router = web::router(state.clone());
    let mut flood = JoinSet::new();
    for _ in 0..60 {
        let router = router.clone();
        flood.spawn(async move { get_from(router, "/readyz").await.status() });
    }
    assert!(flood.join_all().await.iter().all(|status| *status == StatusCode::OK));
    drop(held);
    // There is an answer in time even if Postgres gives none. The last one is good for a moment.
    let mut lock = pools.jobs.begin().await.unwrap();
    sqlx::query("lock table alert in access exclusive mode").execute(&mut *lock).await.unwrap();
    let begin = Instant::now();
    while get(&state, "/readyz").await.status() == StatusCode::OK {}
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn statements_of_pages_alone_have_a_time_limit() {
    let pools = pools().await;
    for (pool, limit) in [(&pools.pages, "10s"), (&pools.jobs, "0"), (&pools.steps, "0")] {
        let shown: String = sqlx::query_scalar("show statement_timeout").fetch_one(pool).await.unwrap();
        assert_eq!(shown, limit);
    }
    // A page whose statement takes too long says so, and frees its connection.
    let options = PgConnectOptions::clone(&pools.pages.connect_options());
    let hasty = PgPoolOptions::new().max_connections(1).after_connect(|connection, _| {
        Box::pin(async move { sqlx::query("set statement_timeout = '50ms'").execute(connection).await.map(drop) })
    });
    let hasty = hasty.connect_with(options).await.unwrap();
    let state = of_pages(&hasty, &pools.steps);
    let mut lock = pools.steps.begin().await.unwrap();
    sqlx::query("lock table repo, alert in access exclusive mode").execute(&mut *lock).await.unwrap();
    for path in ["/", "/acme/lora-styles", "/api/v1/repos/acme/lora-styles/builds"] {
        let answer = get(&state, path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(text(answer).await.contains("too many requests"), "{path}");
    }
    lock.rollback().await.unwrap();
    assert_eq!(get(&state, "/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_others_end() {
    let db = database::pool().await;
    let state = web::State { limits: web::Limits::of(4, 2), ..state(&db) };
    let job = running_job(&state).await;
    write(&state, &job, 0, "first\n").await;
    let stream = format!("/api/v1/jobs/{}/log/stream", job.id);
    let mut open = Vec::new();
    for _ in 0..2 {
        let answer = get(&state, &stream).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut pieces = answer.into_body().into_data_stream();
        assert!(pieces.next().await.unwrap().is_ok());
        open.push(pieces);
    }
    for path in [stream.as_str(), "/api/v1/jobs/1/log", "/api/v1/jobs/1/artifacts/out.bin"] {
        let answer = get(&state, path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.headers().contains_key(header::RETRY_AFTER), "{path}");
    }
    assert_eq!(get(&state, "/").await.status(), StatusCode::OK, "pages have a limit of their own");
    drop(open);
    assert_eq!(get(&state, &stream).await.status(), StatusCode::OK);
    assert_eq!(text(get(&state, "/api/v1/jobs/1/log").await).await, "first\n");
}

// --- long logs ---

/// Writes a log of some 13 MB with folds, colours and losses. Returns its length.
async fn write_long(state: &web::State, job: &Claimed) -> usize {
    let mut length = 0;
    for part in 0..56 {
        let mut text = String::new();
        for line in 0..2500 {
            let step = part * 2500 + line + 1;
            match line % 50 {
                0 => text.push_str(&format!("travis_fold:start:part.{step}\r\x1b[0K\x1b[3{}m$ train\n", step % 8)),
                49 => text.push_str(&format!("travis_fold:end:part.{}\r\x1b[0K", step - 49)),
                _ => {
                    text.push_str(&format!("step {step}/140000 loss={:.4} {}\n", 1.0 / f64::from(step), "x".repeat(64)))
                }
            }
        }
        if part == 55 {
            text.push_str("Done.\n");
        }
        write(state, job, length, &text).await;
        length += text.len();
    }
    length
}

/// Makes the start of a stored log unreadable.
async fn break_start(db: &PgPool, job: &Claimed, before: i64) {
    let broken = sqlx::query("update log_chunk set bytes = 'broken' where job_id = $1 and start + length <= $2")
        .bind(job.id)
        .bind(before)
        .execute(db)
        .await
        .unwrap();
    assert!(broken.rows_affected() > 10);
}

#[tokio::test]
async fn a_long_log_is_read_from_its_start_once() {
    let db = database::pool().await;
    let state = state(&db);
    let job = running_job(&state).await;
    let length = write_long(&state, &job).await;
    finish(&state, &job, length, Verdict::Passed, None).await;
    let paths = ["/acme/lora-styles/builds/1/jobs/1", "/api/v1/jobs/1/series"];
    let mut first = Vec::new();
    for path in paths {
        first.push(text(get(&state, path).await).await);
    }
    assert!(first[0].contains("step 139999/140000") && !first[0].contains("step 10/140000"));
    let places: Vec<i64> =
        sqlx::query_scalar("select place from log_checkpoint order by place").fetch_all(&db).await.unwrap();
    assert!(places.len() >= 3 && places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
    assert_eq!(*places.last().unwrap() as usize, length, "the end of a finished log has one, too");

    // The next readers need nothing of what is before the last checkpoint that the page needs.
    let shown = length - (2 << 20);
    let needed = places.iter().copied().rfind(|place| (*place as usize) <= shown).unwrap();
    break_start(&db, &job, needed).await;
    for (path, first) in paths.into_iter().zip(first) {
        let again = text(get(&state, path).await).await;
        // Before the log, a page has times that change with each second.
        let stable = |page: &str| page.split_once("id=\"log\"").map_or(page.to_owned(), |(_, log)| log.to_owned());
        assert!(stable(&again) == stable(&first), "{path} differs: {} bytes, not {}", again.len(), first.len());
    }
}

#[tokio::test]
async fn a_log_is_shown_although_its_checkpoints_cannot_be_stored() {
    let db = database::pool().await;
    let state = state(&db);
    let job = running_job(&state).await;
    let length = write_long(&state, &job).await;
    finish(&state, &job, length, Verdict::Passed, None).await;
    sqlx::query("alter table log_checkpoint add check (place < 0)").execute(&db).await.unwrap();
    for path in ["/acme/lora-styles/builds/1/jobs/1", "/api/v1/jobs/1/series"] {
        assert_eq!(get(&state, path).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_stream_starts_at_a_checkpoint() {
    let db = database::pool().await;
    let state = state(&db);
    let job = running_job(&state).await;
    let length = write_long(&state, &job).await;
    let page = text(get(&state, "/acme/lora-styles/builds/1/jobs/1").await).await;
    let after = page.split_once("?view=html&amp;after=").or(page.split_once("after=")).expect("a live page").1;
    let token: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let last: i64 = sqlx::query_scalar("select max(place) from log_checkpoint").fetch_one(&db).await.unwrap();
    break_start(&db, &job, last).await;
    write(&state, &job, length, "one more line\n").await;
    let stream = get(&state, &format!("/api/v1/jobs/1/log/stream?view=html&after={token}")).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let mut pieces = stream.into_body().into_data_stream();
    let mut told = String::new();
    while !told.contains("one more line") {
        told.push_str(std::str::from_utf8(&pieces.next().await.expect("it goes on").unwrap()).unwrap());
    }
}

#[tokio::test]
async fn a_checkpoint_of_another_version_is_passed_over() {
    let db = database::pool().await;
    let state = state(&db);
    let job = running_job(&state).await;
    write(&state, &job, 0, "step 1/2 loss=0.5\nstep 2/2 loss=0.25\n").await;
    finish(&state, &job, 38, Verdict::Passed, None).await;
    let paths = ["/acme/lora-styles/builds/1/jobs/1", "/api/v1/jobs/1/series"];
    let whole = [text(get(&state, paths[0]).await).await, text(get(&state, paths[1]).await).await];
    for (view, losses) in [("?", "{}"), ("e30", "{"), ("", ""), ("eyJhIjoxLCJvIjoxOCwibCI6OTl9", "[]")] {
        sqlx::query("delete from log_checkpoint").execute(&db).await.unwrap();
        let foreign = log_checkpoints::LogCheckpoint { place: 18, view: view.to_owned(), losses: losses.to_owned() };
        log_checkpoints::put(&db, job.attempt_id(), &foreign).await.unwrap();
        for (path, whole) in paths.iter().zip(&whole) {
            assert!(text(get(&state, path).await).await == *whole, "{path} believes {view} {losses}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_dropped() {
    let state = state(&database::pool().await);
    let job = running_job(&state).await;
    write_long(&state, &job).await;
    let bounds = web::Bounds { connections: 1, stall: Duration::from_millis(200), ..web::Bounds::default() };
    let (address, _serving) = serve(state, bounds, &CancellationToken::new()).await;
    let mut reader = TcpStream::connect(address).await.unwrap();
    // More than the buffers of both sides have room for.
    reader.write_all(b"GET /api/v1/jobs/1/log HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    reader.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    // There is one connection, so the next client is served once the first is gone.
    let next = reqwest::get(format!("http://{address}/healthz"));
    let next = tokio::time::timeout(Duration::from_secs(20), next).await.expect("the reader is dropped").unwrap();
    assert_eq!(next.status().as_u16(), 200);
    drop(reader);
}

// --- headers ---

#[tokio::test]
async fn every_answer_forbids_what_no_page_needs() {
    let db = database::pool().await;
    let state = state(&db);
    let job = running_job(&state).await;
    write(&state, &job, 0, "first\n").await;
    let others = ["/healthz", "/readyz", "/none", "/acme/none", "/api/v1/jobs/1/log", "/webhooks/github"];
    for path in PAGES.into_iter().chain(others) {
        let answer = get(&state, path).await;
        for (name, part) in [
            ("content-security-policy", "default-src 'none'"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("permissions-policy", "geolocation=()"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(value.contains(part), "{path}: {name}: {value:?}");
        }
    }
}
