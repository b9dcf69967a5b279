//! Recovery: from `kill -9` in the middle of a job to its log growing again after the restart, and to another process
//! noticing that the worker is gone for good.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::deliveries::connect;
use crate::support::payload::{self, Delivery};
use crate::yard::Yard;
use crate::{median, report};

const RUNS: usize = 5;

pub async fn of_a_job(yard: &mut Yard) {
    let repo = yard.github.repo("acme/counting");
    let count = "for i in $(seq 150); do echo $i; sleep 0.1; done";
    repo.write(".travis.yml", &format!("language: shell\ngit: {{clone: false}}\nscript:\n  - {count}\n"));
    let mut took = Vec::new();
    for run in 0..RUNS {
        let sha = repo.commit(&format!("Run {run}"));
        let payload = payload::push(&yard.github, &repo, "main");
        Delivery::new(&format!("recovery-{run}"), "push", &payload).post(&yard.service.base).await;
        let before = {
            let db = connect(yard).await;
            grown(&db, &sha, 300).await
        };
        // While no process follows the job, it keeps running.
        yard.kill();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begin = Instant::now();
        yard.restart();
        let db = connect(yard).await;
        grown(&db, &sha, before + 1).await;
        took.push(begin.elapsed().as_secs_f64());
        let end = yard.github.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!(end.state, "success", "{}", end.description);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (took, spread) = median(&mut took);
    let what = format!("restart after kill -9 to the job being followed, s ({spread})");
    report(&what, &format!("{took:.2}"), "", None, "under 2 s");
}

/// Waits until the stored log of the commit's job has this length. Returns its actual length.
pub async fn grown(db: &PgPool, sha: &str, length: i64) -> i64 {
    loop {
        let stored: Option<i64> =
            sqlx::query_scalar("select log_length from job join build on build.id = build_id where sha = $1")
                .bind(sha)
                .fetch_optional(db)
                .await
                .unwrap();
        if let Some(stored) = stored.filter(|stored| *stored >= length) {
            return stored;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
