//! GPUs in Postgres: leases, releases, and the reasons of jobs that wait.

use std::time::Duration;

use sqlx::PgPool;
use trainyard::domain::{AttemptId, BuildId, JobId, Stop, Verdict};
use trainyard::store::queue::{self, Beat, Claimed, LogEnd, QueueConfig};
use trainyard::store::runner::gpus::{self, Seen};
use trainyard::store::runner::runners::{self, Runner};

use crate::support::database;

const LEASE: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(3600);

/// Makes a database with the runner `gpu-host` and a build whose queued jobs request these numbers of GPUs.
async fn queue(jobs: &[i32]) -> PgPool {
    let db = database::pool().await;
    database::insert_build(&db, 12).await;
    sqlx::query(
        "insert into job (repo_id, build_id, number, kind, config, gpu_count)
         select 1, 1, place, 'script', '{}', gpus from unnest($1::int[]) with ordinality as wanted (gpus, place)",
    )
    .bind(jobs)
    .execute(&db)
    .await
    .unwrap();
    runners::upsert(&db, &Runner { name: "gpu-host", endpoint: "unix:///x", slots: 4, labels: &[], host: "here" })
        .await
        .unwrap();
    db
}

fn seen(uuid: &str, unusable: Option<&str>) -> Seen {
    let [name, class] = ["Tesla T4", "t4"].map(str::to_owned);
    Seen { uuid: uuid.to_owned(), name, class, memory: 16_000_000_000, unusable: unusable.map(str::to_owned) }
}

/// Records a check that found exactly these GPUs of the runner, all of them empty.
async fn look(db: &PgPool, uuids: &[&str]) -> gpus::Checked {
    let all: Vec<Seen> = uuids.iter().map(|uuid| seen(uuid, None)).collect();
    gpus::record_check(db, "gpu-host", gpus::now(db).await.unwrap(), &all).await.unwrap()
}

async fn claim(db: &PgPool) -> Option<Claimed> {
    queue::claim_with_requirements(db, "gpu-host", LEASE, &QueueConfig::default()).await.unwrap()
}

/// Lists `UUID state job` of every GPU.
async fn states(db: &PgPool) -> Vec<String> {
    let query = "select uuid || ' ' || state || coalesce(' ' || job_id, '') from gpu order by uuid";
    sqlx::query_scalar(query).fetch_all(db).await.unwrap()
}

async fn leases_without_a_running_attempt(db: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(*) from gpu where state = 'held' and not exists (
             select from job where id = job_id and job.attempt = gpu.attempt and job.state = 'running')",
    )
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_gpu_is_ever_held_by_two_jobs() {
    const GPUS: [&str; 3] = ["GPU-1", "GPU-2", "GPU-3"];
    let wanted: Vec<i32> = (0..60).map(|n| 1 + n % 3).collect();
    let db = queue(&wanted).await;
    look(&db, &GPUS).await;
    let holders = std::sync::Arc::new(GPUS.map(|_| std::sync::atomic::AtomicBool::new(false)));
    let mut claimers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (db, holders) = (db.clone(), std::sync::Arc::clone(&holders));
        claimers.spawn(async move {
            let mut mine = 0;
            loop {
                let left: bool = sqlx::query_scalar("select exists (select from job where state <> 'finished')")
                    .fetch_one(&db)
                    .await
                    .unwrap();
                if !left {
                    return mine;
                }
                let Some(job) = claim(&db).await else {
                    // As the worker does between two jobs.
                    look(&db, &GPUS).await;
                    continue;
                };
                let places: Vec<usize> =
                    job.gpus.iter().map(|uuid| GPUS.iter().position(|gpu| gpu == uuid).unwrap()).collect();
                assert_eq!(places.len(), wanted_by(job.id), "all or none");
                let order = std::sync::atomic::Ordering::SeqCst;
                assert!(places.iter().all(|place| !holders[*place].swap(true, order)), "two jobs hold a GPU");
                tokio::task::yield_now().await;
                places.iter().for_each(|place| holders[*place].store(false, order));
                // Every kind of end; after some of them, the job is queued again.
                if n % 2 == 0 && job.attempt == 1 {
                    assert!(queue::requeue(&db, job.attempt_id(), Duration::ZERO, "engine").await.unwrap());
                } else {
                    database::finish(&db, &job).await;
                    mine += 1;
                }
            }
        });
    }
    assert_eq!(claimers.join_all().await.into_iter().sum::<i32>(), 60);
    assert_eq!(leases_without_a_running_attempt(&db).await, 0);
}

fn wanted_by(job: JobId) -> usize {
    usize::try_from(1 + (job.0 - 1) % 3).unwrap()
}

#[tokio::test]
async fn a_gpu_is_let_go_with_the_end_of_its_attempt_and_free_when_it_is_seen_empty() {
    let db = queue(&[1, 1]).await;
    assert!(claim(&db).await.is_none(), "there is no GPU yet");
    assert_eq!(look(&db, &["GPU-1"]).await.freed, ["GPU-1"]);
    let first = claim(&db).await.unwrap();
    assert_eq!((first.id, first.gpus.as_slice()), (JobId(1), ["GPU-1".to_owned()].as_slice()));
    assert_eq!(states(&db).await, ["GPU-1 held 1"]);
    assert!(claim(&db).await.is_none());
    // A check changes nothing about a held GPU, and a check that began before the end does not free it.
    let begun = gpus::now(&db).await.unwrap();
    let dirty = [seen("GPU-1", Some("a process is on it"))];
    assert_eq!(gpus::record_check(&db, "gpu-host", begun, &dirty).await.unwrap(), gpus::Checked::default());
    database::finish(&db, &first).await;
    assert_eq!(states(&db).await, ["GPU-1 quarantined"]);
    gpus::record_check(&db, "gpu-host", begun, &[seen("GPU-1", None)]).await.unwrap();
    assert!(claim(&db).await.is_none());
    look(&db, &["GPU-1"]).await;
    let second = claim(&db).await.unwrap();
    // A restart takes the job over with its GPU.
    let adopted = queue::adopt(&db, second.attempt_id(), "gpu-host", LEASE).await.unwrap().unwrap();
    assert_eq!(adopted.gpus, ["GPU-1"]);
    // Its worker is lost: the lease ends with it, and the job waits for the GPU like any other.
    sqlx::query("update job set lease_until = now() - interval '1 s' where id = 2").execute(&db).await.unwrap();
    assert_eq!(database::rescue(&db).await, [second.id]);
    assert_eq!((states(&db).await, claim(&db).await.is_none()), (vec!["GPU-1 quarantined".to_owned()], true));
    look(&db, &["GPU-1"]).await;
    let third = claim(&db).await.unwrap();
    assert_eq!(third.attempt_id(), AttemptId { job: JobId(2), number: 2 });
    // The job is canceled, and then its worker is lost too.
    queue::cancel_build(&mut db.acquire().await.unwrap(), BuildId(1), "canceled by ada").await.unwrap();
    assert_eq!(states(&db).await, ["GPU-1 held 2"], "it runs until it is stopped");
    sqlx::query("update job set lease_until = now() - interval '1 s' where id = 2").execute(&db).await.unwrap();
    database::rescue(&db).await;
    assert_eq!(
        (leases_without_a_running_attempt(&db).await, states(&db).await),
        (0, vec!["GPU-1 quarantined".to_owned()])
    );
}

#[tokio::test]
async fn a_gpu_that_is_not_empty_is_given_to_nobody_until_it_is() {
    let db = queue(&[1]).await;
    look(&db, &["GPU-1", "GPU-2"]).await;
    let all = [seen("GPU-1", Some("a process that belongs to no job uses it: 7")), seen("GPU-2", None)];
    let looked = gpus::record_check(&db, "gpu-host", gpus::now(&db).await.unwrap(), &all).await.unwrap();
    assert_eq!(looked.quarantined.len(), 1);
    assert_eq!(states(&db).await, ["GPU-1 quarantined", "GPU-2 free"]);
    gpus::quarantine_all(&db, "gpu-host", "nvidia-smi hangs").await.unwrap();
    assert!(claim(&db).await.is_none());
    assert_eq!(look(&db, &["GPU-1", "GPU-2"]).await.freed, ["GPU-1", "GPU-2"]);
    let job = claim(&db).await.unwrap();
    assert_eq!(job.gpus, ["GPU-1"]);
    // A GPU that no longer exists is removed when no job holds it any more.
    look(&db, &[]).await;
    assert_eq!(states(&db).await, ["GPU-1 held 1"]);
    database::finish(&db, &job).await;
    look(&db, &[]).await;
    assert!(states(&db).await.is_empty());
}

#[tokio::test]
async fn jobs_without_needs_fill_the_gaps_and_a_large_job_does_not_starve() {
    let db = queue(&[1, 2, 1, 0, 0]).await;
    look(&db, &["GPU-1", "GPU-2"]).await;
    let one = claim(&db).await.unwrap();
    assert_eq!(one.id, JobId(1));
    assert!(claim(&db).await.is_none(), "the third job took the GPU that the second waits for");
    let plain = queue::claim(&db, "gpu-host", LEASE).await.unwrap().unwrap();
    assert_eq!(plain.id, JobId(4), "a job without needs waits behind GPU jobs");
    database::finish(&db, &one).await;
    look(&db, &["GPU-1", "GPU-2"]).await;
    assert_eq!(claim(&db).await.unwrap().id, JobId(2));
}

#[tokio::test]
async fn labels_keep_jobs_from_runners_that_lack_them() {
    let db = queue(&[0, 0]).await;
    sqlx::query("update job set labels = '{arm64}' where id = 1").execute(&db).await.unwrap();
    assert!(claim(&db).await.is_none());
    assert_eq!(queue::claim(&db, "gpu-host", LEASE).await.unwrap().unwrap().id, JobId(2));
    let labels = ["arm64".to_owned(), "fast".to_owned()];
    runners::upsert(&db, &Runner { name: "gpu-host", endpoint: "unix:///x", slots: 4, labels: &labels, host: "here" })
        .await
        .unwrap();
    assert_eq!(claim(&db).await.unwrap().id, JobId(1));
}

async fn wish(db: &PgPool) -> String {
    sqlx::query_scalar("select description from wish").fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn who_waits_is_told_for_whom_and_who_would_wait_for_ever_is_errored() {
    let db = queue(&[1, 1, 3, 0]).await;
    sqlx::query("update job set labels = '{osx}' where id = 4").execute(&db).await.unwrap();
    look(&db, &["GPU-1"]).await;
    let first = claim(&db).await.unwrap();
    assert_eq!(queue::update_wait_reasons(&db, NEVER).await.unwrap(), [JobId(2), JobId(3), JobId(4)]);
    assert_eq!(queue::update_wait_reasons(&db, NEVER).await.unwrap(), [], "nothing else is to be told");
    let told: String = sqlx::query_scalar("select wait_reason from job where id = 2").fetch_one(&db).await.unwrap();
    assert!(told.starts_with("waiting for GPU: held by acme/styles #12.1 since 20"), "{told}");
    let status = wish(&db).await;
    assert!(
        status.starts_with("running: 4 jobs, 12.2 waiting for GPU: held by acme/styles #12.1 since 20"),
        "{status}"
    );
    queue::update_wait_reasons(&db, Duration::ZERO).await.unwrap();
    let ends: Vec<(i32, String)> =
        sqlx::query_as("select number, reason from job where verdict = 'errored' order by 1")
            .fetch_all(&db)
            .await
            .unwrap();
    let expected = [(3, "no runner has 3 GPUs"), (4, "no runner has the labels that it needs: osx")];
    assert_eq!(ends, expected.map(|(number, reason)| (number, reason.to_owned())));
    database::finish(&db, &first).await;
    look(&db, &["GPU-1"]).await;
    queue::update_wait_reasons(&db, NEVER).await.unwrap();
    assert_eq!(wish(&db).await, "running: 4 jobs", "now it waits for a slot and nothing else");
    database::finish(&db, &claim(&db).await.unwrap()).await;
    assert!(wish(&db).await.starts_with("errored: job 12.3: no runner has 3 GPUs"));
}

async fn make_preemptible(db: &PgPool, job: i64) {
    sqlx::query("update job set preemptible = true where id = $1").bind(job).execute(db).await.unwrap();
}

#[tokio::test]
async fn a_preemptible_job_gives_its_gpus_to_one_that_waits_and_begins_again() {
    let db = queue(&[1, 2]).await;
    make_preemptible(&db, 1).await;
    // The pair must wait for the second GPU, so the first one is a gap that a smaller job can use.
    look(&db, &["GPU-1"]).await;
    let gap = claim(&db).await.unwrap();
    assert_eq!(gap.id, JobId(1));
    look(&db, &["GPU-1", "GPU-2"]).await;
    assert!(claim(&db).await.is_none(), "it was told, and is not gone yet");
    let Beat::Stop(stop, reason) = queue::beat(&db, gap.attempt_id(), LEASE).await.unwrap() else {
        panic!("it is to give way");
    };
    assert_eq!(
        (stop, reason.as_str()),
        (Stop::Preempted, "it gives its GPUs to acme/styles #12.2, which waits for them")
    );
    assert!(queue::preempt(&db, gap.attempt_id(), LogEnd { offset: 0, tail: b"stopped\n" }, &reason).await.unwrap());
    assert!(claim(&db).await.is_none(), "nobody slips into what is on its way to the pair");
    look(&db, &["GPU-1", "GPU-2"]).await;
    let pair = claim(&db).await.unwrap();
    assert_eq!((pair.id, pair.gpus.len()), (JobId(2), 2));
    database::finish(&db, &pair).await;
    look(&db, &["GPU-1", "GPU-2"]).await;
    let again = claim(&db).await.unwrap();
    assert_eq!(again.attempt_id(), AttemptId { job: JobId(1), number: 2 });
    let lost = queue::lost_attempts(&db, JobId(1)).await.unwrap();
    assert_eq!((lost.len(), lost[0].reason.as_str(), lost[0].log_length), (1, reason.as_str(), 8));
    assert_eq!(leases_without_a_running_attempt(&db).await, 0);
}

#[tokio::test]
async fn giving_way_does_not_count_as_being_lost() {
    let db = queue(&[1]).await;
    for _ in 0..=queue::MAX_ATTEMPTS {
        look(&db, &["GPU-1"]).await;
        let job = claim(&db).await.unwrap();
        assert!(queue::preempt(&db, job.attempt_id(), LogEnd { offset: 0, tail: b"" }, "a job waits").await.unwrap());
    }
    for lost in 1..=queue::MAX_ATTEMPTS {
        look(&db, &["GPU-1"]).await;
        let job = claim(&db).await.unwrap();
        assert!(queue::requeue(&db, job.attempt_id(), Duration::ZERO, "the engine went away").await.unwrap());
        let verdict: Option<Verdict> = sqlx::query_scalar("select verdict from job").fetch_one(&db).await.unwrap();
        assert_eq!(verdict, (lost == queue::MAX_ATTEMPTS).then_some(Verdict::Errored));
    }
}
