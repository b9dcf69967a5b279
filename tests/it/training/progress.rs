//! The progress of a running training: its row, and the pace at which a status tells of it.

use std::time::Duration;

use sqlx::PgPool;
use trainyard::domain::{BuildId, JobId};
use trainyard::lora::series::Point;
use trainyard::store::queue::{self, Claimed, Place, Progress};

use crate::support::database;

/// Makes a database with a train job that runs.
async fn training() -> (PgPool, Claimed) {
    let db = database::pool().await;
    database::insert_build(&db, 12).await;
    sqlx::query("insert into job (repo_id, build_id, number, kind, config) values (1, 1, 1, 'train', '{}')")
        .execute(&db)
        .await
        .unwrap();
    let job = queue::claim(&db, "local", Duration::from_secs(60)).await.unwrap().unwrap();
    (db, job)
}

fn place(step: u64) -> Place {
    let loss = Some(Point { step, value: 0.08 });
    Place { step, steps: Some(400), loss, per_step: Some(Duration::from_millis(1500)) }
}

async fn progress(db: &PgPool) -> Option<Progress> {
    queue::progress_of(&mut db.acquire().await.unwrap(), BuildId(1)).await.unwrap().remove(&JobId(1))
}

async fn status(db: &PgPool) -> String {
    sqlx::query_scalar("select description from wish where kind = 'status'").fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn only_the_running_attempt_records_its_progress() {
    let (db, job) = training().await;
    assert_eq!(progress(&db).await, None);
    assert!(queue::record_progress(&db, job.attempt_id(), &place(120)).await.unwrap());
    let left = progress(&db).await.unwrap().left.unwrap();
    assert!((418.0..=420.0).contains(&left.as_secs_f64()), "280 steps of 1.5 s: {left:?}");
    // A step that takes longer than usual takes nothing from the time of those after it.
    sqlx::query("update progress set at = now() - interval '1 hour'").execute(&db).await.unwrap();
    let left = progress(&db).await.unwrap().left.unwrap();
    assert!((left.as_secs_f64() - 418.5).abs() < 0.1, "{left:?}");
    let last = Place { step: 400, ..place(400) };
    assert!(queue::record_progress(&db, job.attempt_id(), &last).await.unwrap());
    assert_eq!(progress(&db).await.unwrap().left, Some(Duration::ZERO));
    for unknown in [Place { per_step: None, ..place(130) }, Place { steps: None, ..place(130) }] {
        assert!(queue::record_progress(&db, job.attempt_id(), &unknown).await.unwrap());
        assert_eq!(progress(&db).await.unwrap().left, None);
    }
    assert!(queue::requeue(&db, job.attempt_id(), Duration::ZERO, "its machine was lost").await.unwrap());
    assert!(!queue::record_progress(&db, job.attempt_id(), &place(130)).await.unwrap());
    let next = queue::claim(&db, "local", Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(progress(&db).await, None, "the next attempt has told nothing yet");
    assert!(!queue::record_progress(&db, job.attempt_id(), &place(140)).await.unwrap(), "it is stale");
    assert!(queue::record_progress(&db, next.attempt_id(), &place(1)).await.unwrap());
    assert_eq!(progress(&db).await.map(|progress| progress.step), Some(1));
    database::finish(&db, &next).await;
    assert_eq!(progress(&db).await, None);
}

#[tokio::test]
async fn the_status_tells_at_a_pace_that_github_takes() {
    let (db, job) = training().await;
    queue::record_progress(&db, job.attempt_id(), &place(120)).await.unwrap();
    assert!(queue::tell_progress(&db, job.id).await.unwrap());
    assert_eq!(status(&db).await, "running: 1 job, 12.1 step 120 of 400, loss 0.08, 6 min left");
    queue::record_progress(&db, job.attempt_id(), &place(125)).await.unwrap();
    assert!(!queue::tell_progress(&db, job.id).await.unwrap(), "a minute has not passed");
    assert!(status(&db).await.contains("step 120"));
    let after = async |running: &str, told: &str| {
        sqlx::query(
            "update build set started_at = now() - $1::text::interval, progress_told_at = now() - $2::text::interval",
        )
        .bind(running)
        .bind(told)
        .execute(&db)
        .await
        .unwrap();
        queue::tell_progress(&db, job.id).await.unwrap()
    };
    assert!(after("10 min", "61 s").await);
    assert!(status(&db).await.contains("step 125"));
    assert!(!after("1 day", "47 min").await, "a long training tells less often");
    assert!(after("1 day", "49 min").await);
    database::finish(&db, &job).await;
    assert!(!after("1 day", "1 day").await, "the build has ended");
    assert!(status(&db).await.starts_with("passed: 1 job"));
}
