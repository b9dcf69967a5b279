//! Claims per second of the claim path alone: four claimers, once with a queue of builds with one job each and once
//! with as many jobs as a build may have, against `pgbench` with a bare claim, which touches only the job's row.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use trainyard::store::{DatabaseConfig, queue};

use crate::deliveries::{connect, psql, tps};
use crate::yard::Yard;
use crate::{Sides, report};

const CLAIMERS: usize = 4;
const ROUNDS: usize = 3;
const JOBS: i32 = 12_000;
/// Claims of each claimer: fewer than there are jobs, since a claim that finds none does not count.
const CLAIMS: u32 = 2_500;
const LEASE: Duration = Duration::from_secs(600);

/// The smallest possible claim of a job.
const BARE: &str =
    "with next as (select id from job where state = 'queued' and not has_requirements and not_before <= now()
     order by repo_id, priority desc, id limit 1 for update skip locked)
     update job set state = 'running', attempt = attempt + 1, runner = 'b', lease_until = now() + interval '10 min'
     from next where job.id = next.id;\n";

pub async fn claimed(yard: &Yard) {
    // A separate database, since the service's workers would help.
    let db = connect(yard).await;
    sqlx::query("create database bench_claims").execute(&db).await.unwrap();
    // The service's own pool.
    let db = DatabaseConfig::default().pools(db.connect_options().as_ref().clone().database("bench_claims")).jobs;
    trainyard::store::MIGRATOR.run(&db).await.unwrap();
    std::fs::write(yard.folder.path().join("claim.sql"), BARE.replace('\n', " ") + "\n").unwrap();
    for (what, of_a_build) in [("a build each", 1), ("200 of a build", 200)] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        // The first round of each side is not counted.
        for round in 0..=ROUNDS {
            fill(&db, of_a_build).await;
            let claims = claim(&db).await;
            fill(&db, of_a_build).await;
            let claimed = pgbench(yard);
            if round > 0 {
                ours.push(claims);
                bare.push(claimed);
            }
        }
        let Sides { ours, limit, ratio, .. } = Sides::of(ours, bare);
        let what = format!("claims per second, {what}");
        report(&what, &format!("{ours:.0}"), &format!("{limit:.0}"), Some(ratio), "at least 2,000 a second");
    }
}

/// Fills the queue again.
async fn fill(db: &PgPool, of_a_build: i32) {
    sqlx::raw_sql("truncate repo, build, job, wish restart identity cascade").execute(db).await.unwrap();
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url)
             values (1, 'acme', 'styles', false, 'main', 'http://localhost/')",
    )
    .execute(db)
    .await
    .unwrap();
    sqlx::query(
        "insert into build (repo_id, number, kind, sha, built_sha)
         select 1, n, 'push', lpad(n::text, 40, '0'), repeat('0', 40) from generate_series(1, $1 / $2) n",
    )
    .bind(JOBS)
    .bind(of_a_build)
    .execute(db)
    .await
    .unwrap();
    sqlx::raw_sql(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path)
         select 1, sha, 'trainyard/push', id, 'pending', 'queued: some jobs', '/' from build",
    )
    .execute(db)
    .await
    .unwrap();
    sqlx::query(
        "insert into job (repo_id, build_id, number, kind, config)
         select 1, 1 + n / $2, 1 + n % $2, 'script', '{}' from generate_series(0, $1 - 1) n",
    )
    .bind(JOBS)
    .bind(of_a_build)
    .execute(db)
    .await
    .unwrap();
    sqlx::raw_sql("vacuum analyze job").execute(db).await.unwrap();
    sqlx::raw_sql("checkpoint").execute(db).await.unwrap();
}

async fn claim(db: &PgPool) -> f64 {
    let begin = Instant::now();
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..CLAIMERS {
        let db = db.clone();
        claimers.spawn(async move {
            for _ in 0..CLAIMS {
                assert!(queue::claim(&db, "bench", LEASE).await.unwrap().is_some(), "there are jobs left");
            }
        });
    }
    claimers.join_all().await;
    f64::from(CLAIMS) * CLAIMERS as f64 / begin.elapsed().as_secs_f64()
}

fn pgbench(yard: &Yard) -> f64 {
    let mut pgbench = psql(yard, "pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", &CLAIMERS.to_string(), "-j", "2", "-t", &CLAIMS.to_string(), "-f"]);
    tps(pgbench.arg(yard.folder.path().join("claim.sql")).arg("bench_claims"))
}
