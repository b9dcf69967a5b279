//! Claims, leases and attempts: which process may write what.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use trainyard::domain::{AttemptId, JobId, JobState, Stop, Verdict};
use trainyard::janitor::{Duties, Janitor};
use trainyard::storage::Room;
use trainyard::store::output::logs;
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::{self, Beat, Finish};
use trainyard::store::wakeup::bell::Bells;
use trainyard::worker;

use crate::support::database;

const LEASE: Duration = Duration::from_secs(60);

/// Makes a database with a build of `count` queued jobs.
async fn queue(count: i32) -> PgPool {
    let db = database::pool().await;
    database::insert_build(&db, 1).await;
    sqlx::query(
        "insert into job (repo_id, build_id, number, kind, config) select 1, 1, n, 'script', '{}' from generate_series(1, $1) n",
    )
    .bind(count)
    .execute(&db)
    .await
    .unwrap();
    db
}

fn end(verdict: Verdict) -> Finish<'static> {
    Finish { verdict, exit_status: Some(0), reason: None, tail: b"", offset: 0, reports: Reports::default() }
}

async fn state_of(db: &PgPool, job: JobId) -> (JobState, Option<Verdict>) {
    sqlx::query_as("select state, verdict from job where id = $1").bind(job).fetch_one(db).await.unwrap()
}

async fn expire(db: &PgPool) {
    sqlx::query("update job set lease_until = now() - interval '1 s' where state = 'running'")
        .execute(db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_claimers_take_each_job_once() {
    let db = queue(100).await;
    let mut claimers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let db = db.clone();
        claimers.spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = queue::claim(&db, &format!("worker {n}"), LEASE).await.unwrap() {
                mine.push(job.id.0);
            }
            mine
        });
    }
    let mut all: Vec<i64> = claimers.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn higher_priority_first_then_the_order_of_the_queue() {
    let db = queue(3).await;
    sqlx::query("update job set priority = 5 where id = 3").execute(&db).await.unwrap();
    let mut order = Vec::new();
    while let Some(job) = queue::claim(&db, "w", LEASE).await.unwrap() {
        order.push(job.id.0);
    }
    assert_eq!(order, [3, 1, 2]);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing() {
    let db = queue(1).await;
    let lost = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    expire(&db).await;
    assert_eq!(database::rescue(&db).await, [lost.id]);
    let new = queue::claim(&db, "other", LEASE).await.unwrap().unwrap();
    assert_eq!((new.attempt, new.log_length), (2, 0));

    let stale = lost.attempt_id();
    assert_eq!(queue::beat(&db, stale, LEASE).await.unwrap(), Beat::Lost);
    assert!(!queue::record_stop(&db, stale, Stop::Silence, "late").await.unwrap());
    assert!(!queue::requeue(&db, stale, Duration::ZERO, "late").await.unwrap());
    assert!(!queue::finish(&db, stale, &end(Verdict::Failed)).await.unwrap());
    assert!(queue::adopt(&db, stale, "w", LEASE).await.unwrap().is_none());
    let mut connection = db.acquire().await.unwrap();
    assert!(!logs::append(&mut connection, lost.attempt_id(), 0, b"stale", 5).await.unwrap());
    assert_eq!(state_of(&db, lost.id).await, (JobState::Running, None));

    assert!(queue::finish(&db, new.attempt_id(), &end(Verdict::Passed)).await.unwrap());
    assert_eq!(state_of(&db, lost.id).await, (JobState::Finished, Some(Verdict::Passed)));
}

#[tokio::test]
async fn a_verdict_never_changes() {
    let db = queue(1).await;
    let job = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    let fence = job.attempt_id();
    assert!(queue::finish(&db, fence, &end(Verdict::Passed)).await.unwrap());
    assert!(!queue::finish(&db, fence, &end(Verdict::Failed)).await.unwrap());
    assert!(database::rescue(&db).await.is_empty());
    assert!(queue::claim(&db, "w", LEASE).await.unwrap().is_none());
    assert_eq!(state_of(&db, job.id).await, (JobState::Finished, Some(Verdict::Passed)));
}

#[tokio::test]
async fn a_job_that_loses_every_worker_is_errored_in_the_end() {
    let db = queue(1).await;
    for attempt in 1..=queue::MAX_ATTEMPTS {
        let job = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
        assert_eq!(job.attempt, attempt);
        expire(&db).await;
        database::rescue(&db).await;
    }
    assert_eq!(state_of(&db, JobId(1)).await, (JobState::Finished, Some(Verdict::Errored)));
    let build: String = sqlx::query_scalar("select state::text from build").fetch_one(&db).await.unwrap();
    assert_eq!(build, "errored");
}

#[tokio::test]
async fn log_bytes_go_to_their_offset_or_nowhere() {
    let db = queue(1).await;
    let job = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    let mut connection = db.acquire().await.unwrap();
    for (offset, bytes, taken) in
        [(0, "hello ", true), (0, "hello ", false), (7, "gap", false), (6, "world", true), (6, "world", false)]
    {
        let took =
            logs::append(&mut connection, job.attempt_id(), offset, bytes.as_bytes(), bytes.len()).await.unwrap();
        assert_eq!(took, taken, "{bytes:?} at {offset}");
    }
    let read = |offset, enough| logs::read(&db, job.attempt_id(), offset, enough);
    assert_eq!(read(0, usize::MAX).await.unwrap().bytes, b"hello world");
    assert_eq!(read(4, usize::MAX).await.unwrap().bytes, b"o world");
    assert_eq!(read(0, 1).await.unwrap().bytes, b"hello ");
    assert!(read(11, usize::MAX).await.unwrap().bytes.is_empty());
}

#[tokio::test]
async fn a_claim_keeps_the_status_short_enough_for_github() {
    let db = queue(1).await;
    let full = format!("queued: {}", "x".repeat(132));
    sqlx::query(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path)
         select repo_id, sha, 'trainyard/push', id, 'pending', $1, '/' from build",
    )
    .bind(&full)
    .execute(&db)
    .await
    .unwrap();
    queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    let told: String = sqlx::query_scalar("select description from wish").fetch_one(&db).await.unwrap();
    assert_eq!(told, format!("running: {}…", "x".repeat(130)));
}

#[tokio::test]
async fn a_job_that_must_run_only_once_is_errored_when_it_is_lost_and_says_why() {
    let db = queue(2).await;
    let job = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    assert!(queue::run_only_once(&db, job.attempt_id(), Some("it may have deployed")).await.unwrap());
    expire(&db).await;
    database::rescue(&db).await;
    assert_eq!(state_of(&db, job.id).await, (JobState::Finished, Some(Verdict::Errored)));
    let reason: String = sqlx::query_scalar("select reason from job where id = 1").fetch_one(&db).await.unwrap();
    assert_eq!(reason, "its worker was lost: it may have deployed");
    assert!(!queue::run_only_once(&db, job.attempt_id(), Some("late")).await.unwrap());
    // A job whose script never began may be queued again.
    let job = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    for why in [Some("it may have deployed"), None] {
        assert!(queue::run_only_once(&db, job.attempt_id(), why).await.unwrap());
    }
    assert!(queue::requeue(&db, job.attempt_id(), Duration::ZERO, "the engine went away").await.unwrap());
    assert_eq!(state_of(&db, job.id).await.0, JobState::Queued);
    let lost = queue::lost_attempts(&db, job.id).await.unwrap();
    let told: Vec<(i32, &str, Option<&str>)> =
        lost.iter().map(|lost| (lost.attempt, lost.reason.as_str(), lost.runner.as_deref())).collect();
    assert_eq!(told, [(1, "the engine went away", Some("w"))]);
}

#[tokio::test]
async fn a_cancel_ends_queued_jobs_at_once_and_reaches_running_ones_with_their_beat() {
    let db = queue(2).await;
    let running = queue::claim(&db, "w", LEASE).await.unwrap().unwrap();
    let mut connection = db.acquire().await.unwrap();
    let concerned =
        queue::cancel_build(&mut connection, trainyard::domain::BuildId(1), "canceled by ada").await.unwrap();
    assert_eq!(concerned, 2);
    assert_eq!(state_of(&db, JobId(2)).await, (JobState::Finished, Some(Verdict::Canceled)));
    let beat = queue::beat(&db, running.attempt_id(), LEASE).await.unwrap();
    assert_eq!(beat, Beat::Stop(Stop::Canceled, "canceled by ada".to_owned()));
    // Its worker is lost before it can stop the job: the job does not run again.
    expire(&db).await;
    database::rescue(&db).await;
    assert_eq!(state_of(&db, running.id).await, (JobState::Finished, Some(Verdict::Canceled)));
}

/// Sets the end of the running job's lease.
async fn lease_ends_in(db: &PgPool, seconds: i32) {
    let query = "update job set lease_until = now() + make_interval(secs => $1) where state = 'running'";
    sqlx::query(query).bind(f64::from(seconds)).execute(db).await.unwrap();
}

#[tokio::test]
async fn a_worker_is_lost_when_its_lease_has_run_out_and_was_not_extended_for_as_long_as_one_holds() {
    let db = queue(1).await;
    let folder = tempfile::tempdir().unwrap();
    let room = Room::new(folder.path().to_owned(), bytesize::ByteSize::b(0));
    let mut janitor = Janitor::new(
        Duties::Installation,
        worker::Database { pool: db.clone(), bells: Bells::new() },
        Vec::new(),
        room,
    );
    let job = queue::claim(&db, "w", worker::LEASE).await.unwrap().unwrap();
    let begin = Instant::now();
    let mut at = async |seconds| {
        janitor.step(begin + Duration::from_secs(seconds)).await.unwrap();
        state_of(&db, job.id).await.0
    };
    assert_eq!(at(0).await, JobState::Running);
    // The clock jumps ahead: every lease has run out, although every worker lives.
    lease_ends_in(&db, -3600).await;
    assert_eq!(at(1).await, JobState::Running);
    assert_eq!(at(6).await, JobState::Running);
    assert_eq!(queue::beat(&db, job.attempt_id(), worker::LEASE).await.unwrap(), Beat::Ours);
    assert_eq!(at(7).await, JobState::Running);
    // The worker dies, and later the clock jumps back: the lease ends in an hour, and no process extends it.
    lease_ends_in(&db, 3600).await;
    assert_eq!(at(8).await, JobState::Running);
    assert_eq!(at(13).await, JobState::Running);
    assert_eq!(at(14).await, JobState::Queued);
}

/// Divides the queue's jobs into three stages: 1 | 2, 3 (may fail) | 4.
async fn staged() -> PgPool {
    let db = queue(4).await;
    sqlx::query(
        "update job set stage_order = (array[0, 1, 1, 2])[number], allow_failure = number = 3,
             state = case when number = 1 then 'queued' else 'waiting' end::job_state",
    )
    .execute(&db)
    .await
    .unwrap();
    db
}

/// Claims every queued job. Returns the fences.
async fn claim_all(db: &PgPool) -> Vec<AttemptId> {
    let mut fences = Vec::new();
    while let Some(job) = queue::claim(db, "w", LEASE).await.unwrap() {
        fences.push(job.attempt_id());
    }
    fences
}

async fn build_state(db: &PgPool) -> String {
    sqlx::query_scalar("select state::text from build").fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn a_stage_starts_when_the_one_before_has_passed() {
    let db = staged().await;
    let first = claim_all(&db).await;
    assert_eq!(first, [AttemptId { job: JobId(1), number: 1 }]);
    queue::finish(&db, first[0], &end(Verdict::Passed)).await.unwrap();
    let second = claim_all(&db).await;
    assert_eq!(second, [AttemptId { job: JobId(2), number: 1 }, AttemptId { job: JobId(3), number: 1 }]);
    queue::finish(&db, second[0], &end(Verdict::Passed)).await.unwrap();
    assert!(claim_all(&db).await.is_empty(), "a stage started before the one before had ended");
    queue::finish(&db, second[1], &end(Verdict::Failed)).await.unwrap();
    let third = claim_all(&db).await;
    assert_eq!(third, [AttemptId { job: JobId(4), number: 1 }], "a job that may fail stopped its stage");
    queue::finish(&db, third[0], &end(Verdict::Passed)).await.unwrap();
    assert_eq!(build_state(&db).await, "passed");
}

#[tokio::test]
async fn a_stage_that_does_not_pass_cancels_what_waits_and_decides() {
    let db = staged().await;
    let first = claim_all(&db).await;
    queue::finish(&db, first[0], &end(Verdict::Failed)).await.unwrap();
    assert!(claim_all(&db).await.is_empty());
    for job in [2, 3, 4] {
        assert_eq!(state_of(&db, JobId(job)).await, (JobState::Finished, Some(Verdict::Canceled)));
    }
    assert_eq!(build_state(&db).await, "failed");
    let wish: String = sqlx::query_scalar("select description from wish").fetch_one(&db).await.unwrap();
    assert_eq!(wish, "failed: job 1.1");
}

#[tokio::test]
async fn a_cancel_reaches_every_stage() {
    let db = staged().await;
    let mut connection = db.acquire().await.unwrap();
    let concerned =
        queue::cancel_build(&mut connection, trainyard::domain::BuildId(1), "canceled by ada").await.unwrap();
    assert_eq!((concerned, build_state(&db).await.as_str()), (4, "canceled"));
}
