//! Pages and streams with the viewer's rights checked, against those of a service that everyone may read.

use std::time::{Duration, Instant};

use reqwest::Client;
use sqlx::PgPool;

use crate::deliveries::connect;
use crate::support::github::people::{CLIENT_ID, CLIENT_SECRET};
use crate::support::people;
use crate::support::web::repo_named;
use crate::yard::Yard;
use crate::{Sides, report};

const ROUNDS: usize = 300;
/// Number of repositories and of builds in each.
const REPOS: i64 = 50;
const BUILDS: i64 = 100;
const PAGES: [(&str, &str); 3] =
    [("the latest builds", "/"), ("a repository", "/acme/r1"), ("a build as JSON", "/api/v1/repos/acme/r1/builds/1")];
/// Each with its first event.
const STREAMS: [(&str, &str, &str); 2] = [
    ("a stream of builds", "/api/v1/repos/acme/r1/events", "event: begin"),
    ("a stream of a log", "/api/v1/jobs/1/log/stream", "event: end"),
];

/// Fills a service with builds of private repositories. Returns the cookie of a person who may read all of them.
async fn fill(yard: &Yard) -> String {
    let db: PgPool = connect(yard).await;
    let person = people::person(&db, 1, "anna").await;
    for number in 1..=REPOS {
        let repo = repo_named(&db, number, &format!("acme/r{number}"), true).await;
        people::allow(&db, person.id, repo, Some(trainyard::domain::Right::Read)).await;
        sqlx::query(
            "insert into build (repo_id, number, kind, branch, sha, built_sha, state, finished_at, message)
             select $1, n, 'push', 'main', repeat('0', 40), repeat('0', 40), 'passed', now(), 'Raise the rank'
             from generate_series(1, $2) n",
        )
        .bind(repo)
        .bind(i32::try_from(BUILDS).unwrap())
        .execute(&db)
        .await
        .unwrap();
    }
    sqlx::query(
        "insert into job (build_id, repo_id, number, kind, config, state, verdict, attempt, started_at, finished_at)
         select id, repo_id, 1, 'script', '{}', 'finished', 'passed', 1, now(), now() from build order by id limit 1",
    )
    .execute(&db)
    .await
    .unwrap();
    sqlx::query("analyze").execute(&db).await.unwrap();
    people::session(&db, person.id).await
}

pub async fn checked() {
    let place = std::env::temp_dir();
    let open = Yard::start_in(&place, "", 0).await;
    let login = format!("[github]\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n");
    let closed = Yard::start_in(&place, &login, 0).await;
    fill(&open).await;
    let cookie = format!("trainyard={}", fill(&closed).await);
    let client = Client::new();
    let get = async |yard: &Yard, path: &str, cookie: &str| {
        let begin = Instant::now();
        let request = client.get(format!("{}{path}", yard.service.base)).header("cookie", cookie);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert!(answer.text().await.unwrap().contains("acme"), "{path}");
        begin.elapsed()
    };
    let begin_stream = async |yard: &Yard, path: &str, first: &str, cookie: &str| {
        let begin = Instant::now();
        let request = client.get(format!("{}{path}", yard.service.base)).header("cookie", cookie);
        let mut answer = request.send().await.unwrap();
        let piece = answer.chunk().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&piece).contains(first), "{path}: {piece:?}");
        begin.elapsed()
    };
    for (name, path) in PAGES {
        compare(name, async || (get(&closed, path, &cookie).await, get(&open, path, "").await)).await;
    }
    for (name, path, first) in STREAMS {
        let both =
            async || (begin_stream(&closed, path, first, &cookie).await, begin_stream(&open, path, first, "").await);
        compare(name, both).await;
    }
    open.stop();
    closed.stop();
}

/// Reports the times of both sides.
async fn compare(name: &str, both: impl AsyncFn() -> (Duration, Duration)) {
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 20 {
        let times = both().await;
        // The first ones fill caches.
        if round >= 20 {
            ours.push(milliseconds(times.0));
            limit.push(milliseconds(times.1));
        }
    }
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, limit);
    let what = format!("rights checked: {name}, ms ({spread})");
    report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), "at most 1 ms more");
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
