//! Acknowledged deliveries per second at 32 connections, against `pgbench` inserting rows of that size with 32 clients
//! into the same cluster.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::github::SECRET;
use crate::support::payload;
use crate::yard::Yard;
use crate::{Sides, report};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const SIZE: usize = 20 * 1024;

pub async fn acknowledged(yard: &Yard) {
    let body = body(yard);
    prepare(yard, &body);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // The first round of each side is not counted.
    for round in 0..=ROUNDS {
        let posted = post(yard, &body).await;
        drain(yard).await;
        let inserted = pgbench(yard);
        if round > 0 {
            ours.push(posted);
            bare.push(inserted);
        }
    }
    let Sides { ours, limit, ratio, .. } = Sides::of(ours, bare);
    let what = format!("deliveries of 20 KB acknowledged per second ({ROUNDS} × {SECONDS} s)");
    report(&what, &format!("{ours:.0}"), &format!("{limit:.0}"), Some(ratio), "at least 0.5 of pgbench");
}

/// A push of 20 KB that asks for no build: the deletion of a branch.
fn body(yard: &Yard) -> Vec<u8> {
    let repo = yard.github.repo("acme/load");
    repo.commit("Load");
    let mut push = payload::push(&yard.github, &repo, "main");
    push["deleted"] = true.into();
    let commit = push["head_commit"].clone();
    while serde_json::to_vec(&push).unwrap().len() < SIZE {
        let Value::Array(commits) = &mut push["commits"] else { unreachable!("a list") };
        let mut commit = commit.clone();
        commit["id"] = format!("{:040x}", commits.len() * 0x9e37_79b9).into();
        commits.push(commit);
    }
    serde_json::to_vec(&push).unwrap()
}

/// Posts the body under new ids for some seconds. Returns the number of acknowledged deliveries per second.
async fn post(yard: &Yard, body: &[u8]) -> f64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let signature = trainyard::github::signature::sign(SECRET.as_bytes(), body);
    let client = reqwest::Client::builder().pool_max_idle_per_host(CONNECTIONS).build().unwrap();
    let begin = Instant::now();
    let until = begin + Duration::from_secs(SECONDS);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, body, signature) = (client.clone(), bytes::Bytes::copy_from_slice(body), signature.clone());
        let url = format!("{}/webhooks/github", yard.service.base);
        clients.spawn(async move {
            let mut acknowledged = 0_u64;
            while Instant::now() < until {
                let id = NEXT.fetch_add(1, Ordering::Relaxed);
                let answer = client
                    .post(&url)
                    .header("content-type", "application/json")
                    .header("x-github-delivery", format!("load-{id}"))
                    .header("x-github-event", "push")
                    .header("x-hub-signature-256", &signature)
                    .body(body.clone())
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status().as_u16(), 202);
                acknowledged += 1;
            }
            acknowledged
        });
    }
    let acknowledged: u64 = clients.join_all().await.into_iter().sum();
    acknowledged as f64 / begin.elapsed().as_secs_f64()
}

/// Waits until intake has handled everything, so that it does not work in pgbench's time.
async fn drain(yard: &Yard) {
    let db = connect(yard).await;
    loop {
        let open: i64 =
            sqlx::query_scalar("select count(*) from delivery where done_at is null").fetch_one(&db).await.unwrap();
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The inserted rows are useless now, and would make the table larger for each side in turn.
    sqlx::raw_sql("truncate delivery cascade; truncate bench_delivery; checkpoint").execute(&db).await.unwrap();
}

pub async fn connect(yard: &Yard) -> sqlx::PgPool {
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .socket(yard.sockets())
        .username("trainyard")
        .database("trainyard");
    sqlx::PgPool::connect_with(options).await.unwrap()
}

pub fn psql(yard: &Yard, program: &str) -> Command {
    let folder = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten().map(|e| e.path()).max();
    let binary = folder.map(|folder| folder.join("bin").join(program)).filter(|path| path.exists());
    let mut command = Command::new(binary.unwrap_or_else(|| program.into()));
    command.args(["-h", yard.sockets().to_str().unwrap(), "-U", "trainyard"]);
    command
}

fn prepare(yard: &Yard, body: &[u8]) {
    let create = "create table bench_delivery (like delivery including all)";
    let status = psql(yard, "psql").args(["-q", "-d", "trainyard", "-c", create]).status().expect("psql runs");
    assert!(status.success());
    // The same statement with the same bytes, and a new key each time.
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let script =
        format!("insert into bench_delivery (id, event, body) values (gen_random_uuid()::text, 'push', '\\x{hex}');\n");
    std::fs::write(yard.folder.path().join("insert.sql"), script).unwrap();
}

/// Returns the inserts per second, as pgbench counts them.
fn pgbench(yard: &Yard) -> f64 {
    let mut pgbench = psql(yard, "pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", &CONNECTIONS.to_string(), "-j", "2", "-T", &SECONDS.to_string(), "-f"]);
    tps(pgbench.arg(yard.folder.path().join("insert.sql")).arg("trainyard"))
}

/// Runs pgbench. Returns its transactions per second.
pub fn tps(pgbench: &mut Command) -> f64 {
    let output = pgbench.output().expect("pgbench runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap_or_else(|| {
        panic!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr));
    });
    line.split(' ').next().unwrap().parse().unwrap()
}
