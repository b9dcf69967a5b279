//! The author of a pull request, who wants every slot of every runner. Each case has a real Postgres, and shows how many
//! jobs of the attacker begin between the arrival of another job and its turn.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinSet;
use trainyard::domain::{
    BuildId, GpuRequest, JobKind, Priority, PullRequest, RepoId, RepoName, Requirements, Scope, Trigger, TriggerKind,
};
use trainyard::store::builds::{self, NewBuild};
use trainyard::store::queue::superseded::Cancels;
use trainyard::store::queue::{self, Claimed, NewJob, QueueConfig};
use trainyard::store::repos::{self, RepoFacts};
use trainyard::store::runner::gpus::{self, Seen};
use trainyard::store::runner::runners::{self, Runner};

use crate::support::database::{self, Passage, Way};

const LEASE: Duration = Duration::from_secs(60);
const UNLIMITED: QueueConfig = QueueConfig { slots_per_repository: 0, slots_for_forks: 0, has_own_limits: false };

/// The origin of a build.
#[derive(Clone, Copy)]
enum By {
    Fork,
    PullRequest,
    Push,
    DefaultBranch,
}

async fn repo(db: &PgPool, id: i64) -> RepoId {
    let facts = RepoFacts {
        forge: "github".to_owned(),
        github_id: id,
        name: format!("acme/r{id}").parse().unwrap(),
        private: false,
        default_branch: "main".to_owned(),
        clone_url: "http://localhost/".to_owned(),
    };
    repos::upsert(&mut db.acquire().await.unwrap(), &facts).await.unwrap()
}

fn trigger(by: By) -> Trigger {
    let repo: RepoName = "acme/styles".parse().unwrap();
    let branch = if matches!(by, By::Push) { "topic" } else { "main" };
    let mut trigger = Trigger::push(repo, branch, "1".repeat(40).parse().unwrap());
    let head = match by {
        By::Fork => "mallory/styles",
        By::PullRequest => "acme/styles",
        By::Push | By::DefaultBranch => return trigger,
    };
    trigger.kind = TriggerKind::PullRequest;
    trigger.pull_request = Some(PullRequest {
        number: 7,
        title: "Free slots".to_owned(),
        head_branch: "main".to_owned(),
        head_repo: Some(head.parse().unwrap()),
        draft: false,
    });
    trigger
}

/// Inserts a build of `count` jobs, as intake does.
async fn build_of(db: &PgPool, repo: RepoId, by: By, count: usize, requirements: Requirements) -> BuildId {
    let job = NewJob {
        kind: JobKind::Script,
        stage: None,
        name: None,
        allow_failure: false,
        config: json!({ "script": ["true"] }),
        requirements,
    };
    let (trigger, jobs) = (trigger(by), vec![job; count]);
    let new = NewBuild {
        delivery: None,
        repo,
        trigger: &trigger,
        built_sha: &trigger.sha,
        jobs: &jobs,
        problems: &[],
        decided: None,
        webhooks: None,
        chats: &[],
        fast_finish: false,
        linted: false,
        needs_approval: false,
        scope: Scope::Commit,
        lines: &[],
        cancels: Some(Cancels::Queued),
    };
    let mut tx = db.begin().await.unwrap();
    let created = builds::create(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    created.id
}

async fn build(db: &PgPool, repo: RepoId, by: By, count: usize) -> BuildId {
    build_of(db, repo, by, count, Requirements::default()).await
}

async fn claim(db: &PgPool) -> Option<Claimed> {
    queue::claim(db, "w", LEASE).await.unwrap()
}

/// Ends the jobs in `running` one by one, and claims another for each slot, until a job of `wanted` begins. Returns the
/// number of other jobs that began before it.
async fn others_before(db: &PgPool, running: &mut Vec<Claimed>, wanted: BuildId) -> usize {
    for others in 0.. {
        let ended = running.remove(0);
        database::finish(db, &ended).await;
        let next = claim(db).await.expect("a job waits");
        let is_wanted = next.build_id == wanted;
        running.push(next);
        if is_wanted {
            return others;
        }
    }
    unreachable!()
}

/// Fills `slots` with jobs of the queue.
async fn fill(db: &PgPool, slots: usize) -> Vec<Claimed> {
    let mut running = Vec::new();
    for _ in 0..slots {
        running.push(claim(db).await.expect("a job waits"));
    }
    running
}

/// Claims and ends every job with one slot. Returns the builds in their order.
async fn in_turn(db: &PgPool) -> Vec<BuildId> {
    let mut order = Vec::new();
    while let Some(job) = claim(db).await {
        order.push(job.build_id);
        database::finish(db, &job).await;
    }
    order
}

#[tokio::test]
async fn two_hundred_jobs_delay_a_push_elsewhere_by_the_end_of_one_job() {
    for slots in [1, 2, 8] {
        let db = database::pool().await;
        build(&db, repo(&db, 1).await, By::PullRequest, 200).await;
        let mut running = fill(&db, slots).await;
        let push = build(&db, repo(&db, 2).await, By::DefaultBranch, 1).await;
        assert_eq!(others_before(&db, &mut running, push).await, 0, "with {slots} slots");
    }
}

#[tokio::test]
async fn they_delay_a_pull_request_elsewhere_by_the_end_of_one_job_too() {
    for slots in [1, 2, 8] {
        let db = database::pool().await;
        build(&db, repo(&db, 1).await, By::PullRequest, 200).await;
        let mut running = fill(&db, slots).await;
        let other = build(&db, repo(&db, 2).await, By::PullRequest, 1).await;
        // With one slot no job runs when it becomes free, so the time of the last end decides.
        assert_eq!(others_before(&db, &mut running, other).await, 0, "with {slots} slots");
    }
}

#[tokio::test]
async fn crowds_on_default_branches_delay_a_pull_request_elsewhere_by_the_end_of_one_job_too() {
    for slots in [1, 2, 8] {
        let db = database::pool().await;
        for crowd in 1..=slots {
            build(&db, repo(&db, crowd).await, By::DefaultBranch, 200).await;
        }
        let mut running = fill(&db, usize::try_from(slots).unwrap()).await;
        let other = build(&db, repo(&db, slots + 1).await, By::PullRequest, 1).await;
        assert_eq!(others_before(&db, &mut running, other).await, 0, "with {slots} slots");
    }
}

#[tokio::test]
async fn two_crowds_get_every_other_job_of_a_single_slot() {
    let db = database::pool().await;
    let first = build(&db, repo(&db, 1).await, By::PullRequest, 20).await;
    let second = build(&db, repo(&db, 2).await, By::PullRequest, 20).await;
    let order = in_turn(&db).await;
    let alternating = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((order.len(), alternating), (40, 39), "{first} and {second}: {order:?}");
}

#[tokio::test]
async fn long_jobs_of_one_repository_do_not_keep_the_slots_from_short_ones_of_another() {
    let db = database::pool().await;
    build(&db, repo(&db, 1).await, By::PullRequest, 200).await;
    let short = build(&db, repo(&db, 2).await, By::PullRequest, 50).await;
    let mut slots = fill(&db, 2).await;
    // Only the short jobs end: each time, their repository has the smaller share.
    for _ in 0..40 {
        let ended = slots.iter().position(|job| job.build_id == short).expect("a short job runs");
        database::finish(&db, &slots.remove(ended)).await;
        slots.push(claim(&db).await.unwrap());
        assert!(slots.iter().any(|job| job.build_id == short));
    }
}

#[tokio::test]
async fn forks_of_fifty_repositories_do_not_come_before_a_push() {
    let db = database::pool().await;
    for id in 1..=50 {
        build(&db, repo(&db, id).await, By::Fork, 4).await;
    }
    let mut running = fill(&db, 2).await;
    let push = build(&db, repo(&db, 51).await, By::DefaultBranch, 1).await;
    assert_eq!(others_before(&db, &mut running, push).await, 0);
}

#[tokio::test]
async fn in_a_repository_the_default_branch_comes_first_and_forks_last() {
    let db = database::pool().await;
    let repo = repo(&db, 1).await;
    let mut builds = Vec::new();
    for by in [By::Fork, By::PullRequest, By::Push, By::DefaultBranch] {
        builds.push(build(&db, repo, by, 3).await);
    }
    // The pull request of the repository itself has superseded that of the fork, since both are number 7.
    let stored: Vec<(BuildId, Priority)> =
        sqlx::query_as("select distinct build_id, priority from job order by 1").fetch_all(&db).await.unwrap();
    let ranks = [Priority::Fork, Priority::PullRequest, Priority::Push, Priority::DefaultBranch];
    assert_eq!(stored, builds.iter().copied().zip(ranks).collect::<Vec<_>>());
    let mut order = in_turn(&db).await;
    order.dedup();
    assert_eq!(order, [builds[3], builds[2], builds[1]]);
}

#[tokio::test]
async fn a_push_overtakes_the_crowd_of_its_own_repository() {
    let db = database::pool().await;
    let repo = repo(&db, 1).await;
    build(&db, repo, By::Fork, 200).await;
    let mut running = fill(&db, 2).await;
    let push = build(&db, repo, By::Push, 1).await;
    assert_eq!(others_before(&db, &mut running, push).await, 0);
}

/// Lets eight claimers at once claim as many jobs as they get under these limits. Returns the claimed jobs.
async fn rush(db: &PgPool, limits: QueueConfig) -> Vec<Claimed> {
    let mut claimers = JoinSet::new();
    for n in 0..8 {
        let db = db.clone();
        claimers.spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = queue::claim_limited(&db, &format!("w{n}"), LEASE, &limits).await.unwrap() {
                mine.push(job);
            }
            mine
        });
    }
    claimers.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forks_never_hold_more_slots_than_their_limit() {
    let db = database::pool().await;
    for id in 1..=20 {
        build(&db, repo(&db, id).await, By::Fork, 5).await;
    }
    let own = build(&db, repo(&db, 21).await, By::PullRequest, 9).await;
    let limits = QueueConfig { slots_for_forks: 3, ..UNLIMITED };
    let running = rush(&db, limits).await;
    let of_own = running.iter().filter(|job| job.build_id == own).count();
    assert_eq!((running.len() - of_own, of_own), (3, 9), "the limit holds in all repositories together");
    // The end of one makes room for exactly one.
    let fork = running.iter().find(|job| job.build_id != own).unwrap();
    database::finish(&db, fork).await;
    assert_eq!(rush(&db, limits).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repository_never_holds_more_slots_than_its_limit() {
    let db = database::pool().await;
    for id in 1..=3 {
        build(&db, repo(&db, id).await, By::DefaultBranch, 30).await;
    }
    let limits = QueueConfig { slots_per_repository: 4, ..UNLIMITED };
    let running = rush(&db, limits).await;
    assert_eq!(running.len(), 12);
    database::finish(&db, &running[0]).await;
    let next = rush(&db, limits).await;
    assert_eq!((next.len(), next[0].build_id), (1, running[0].build_id));
}

#[tokio::test]
async fn a_crowd_at_its_limit_does_not_hide_the_jobs_behind_it() {
    let db = database::pool().await;
    build(&db, repo(&db, 1).await, By::Fork, 200).await;
    let limits = QueueConfig { slots_for_forks: 1, ..UNLIMITED };
    let claim = async || queue::claim_limited(&db, "w", LEASE, &limits).await.unwrap();
    assert!(claim().await.is_some());
    assert!(claim().await.is_none());
    let other = build(&db, repo(&db, 2).await, By::PullRequest, 1).await;
    assert_eq!(claim().await.unwrap().build_id, other);
}

#[tokio::test]
async fn a_job_that_kills_its_worker_again_and_again_gets_no_turn_of_others() {
    let db = database::pool().await;
    let bad = build(&db, repo(&db, 1).await, By::Fork, 10).await;
    let good = build(&db, repo(&db, 2).await, By::Fork, 10).await;
    let mut order = Vec::new();
    for _ in 0..8 {
        let job = claim(&db).await.unwrap();
        order.push(job.build_id);
        if job.build_id == good {
            database::finish(&db, &job).await;
        } else {
            sqlx::query("update job set lease_until = now() - interval '1 s' where id = $1")
                .bind(job.id)
                .execute(&db)
                .await
                .unwrap();
            assert_eq!(database::rescue(&db).await, [job.id]);
        }
    }
    assert_eq!(order.iter().filter(|build| **build == good).count(), 4, "{bad} and {good}: {order:?}");
}

#[tokio::test]
async fn to_push_again_and_again_gives_no_earlier_turn() {
    let db = database::pool().await;
    let (pushy, quiet) = (repo(&db, 1).await, repo(&db, 2).await);
    let patient = build(&db, quiet, By::PullRequest, 3).await;
    let mut running = Vec::new();
    for push in 0..30 {
        // Each supersedes the queued one before.
        build(&db, pushy, By::PullRequest, 20).await;
        if push % 10 == 0 {
            running.push(claim(&db).await.unwrap());
            running.push(claim(&db).await.unwrap());
            assert_eq!(running.iter().filter(|job| job.build_id == patient).count(), running.len() / 2);
        }
    }
}

#[tokio::test]
async fn delayed_jobs_hold_no_place() {
    let db = database::pool().await;
    build(&db, repo(&db, 1).await, By::DefaultBranch, 50).await;
    sqlx::query("update job set not_before = now() + interval '1 h'").execute(&db).await.unwrap();
    let other = build(&db, repo(&db, 2).await, By::Fork, 1).await;
    assert_eq!(claim(&db).await.unwrap().build_id, other);
    assert!(claim(&db).await.is_none());
    assert!(queue::order(&db, &UNLIMITED, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_shown_order_is_the_order_of_the_claims() {
    let db = database::pool().await;
    for (id, by, count) in
        [(1, By::Fork, 9), (2, By::PullRequest, 2), (3, By::DefaultBranch, 4), (1, By::Push, 2), (4, By::Push, 1)]
    {
        build(&db, repo(&db, id).await, by, count).await;
    }
    let running = fill(&db, 3).await;
    database::finish(&db, &running[1]).await;
    let shown: Vec<i64> = queue::order(&db, &UNLIMITED, 100).await.unwrap().iter().map(|job| job.id.0).collect();
    let mut claimed = Vec::new();
    while let Some(job) = claim(&db).await {
        claimed.push(job.id.0);
    }
    assert_eq!((shown.len(), shown), (15, claimed));
}

#[tokio::test]
async fn what_a_limit_holds_back_is_shown_last() {
    let db = database::pool().await;
    build(&db, repo(&db, 1).await, By::Fork, 3).await;
    let limits = QueueConfig { slots_per_repository: 2, slots_for_forks: 1, has_own_limits: false };
    queue::claim_limited(&db, "w", LEASE, &limits).await.unwrap().unwrap();
    build(&db, repo(&db, 2).await, By::Push, 3).await;
    let order = queue::order(&db, &limits, 10).await.unwrap();
    let held: Vec<bool> = order.iter().map(|job| job.is_held).collect();
    assert_eq!(held, [false, false, true, true, true]);
    let ranks: Vec<Priority> = order.iter().map(|job| job.priority).collect();
    use Priority::{Fork, Push};
    assert_eq!(ranks, [Push, Push, Fork, Push, Fork]);
}

/// Announces a runner with these GPUs, all of them empty.
async fn gpu_host(db: &PgPool, uuids: &[&str]) {
    let runner = Runner { name: "gpu-host", endpoint: "unix:///x", slots: 8, labels: &[], host: "here" };
    runners::upsert(db, &runner).await.unwrap();
    look(db, uuids).await;
}

async fn look(db: &PgPool, uuids: &[&str]) {
    let seen = |uuid: &&str| Seen {
        uuid: (*uuid).to_owned(),
        name: "T4".to_owned(),
        class: "t4".to_owned(),
        memory: 16,
        unusable: None,
    };
    let all: Vec<Seen> = uuids.iter().map(seen).collect();
    gpus::record_check(db, "gpu-host", gpus::now(db).await.unwrap(), &all).await.unwrap();
}

fn one_gpu(preemptible: bool) -> Requirements {
    let gpus = Some(GpuRequest { count: 1, memory: 0, class: None });
    Requirements { gpus, labels: Vec::new(), preemptible }
}

async fn claim_gpu(db: &PgPool, limits: &QueueConfig) -> Option<Claimed> {
    queue::claim_with_requirements(db, "gpu-host", LEASE, limits).await.unwrap()
}

#[tokio::test]
async fn a_crowd_of_trainings_delays_the_training_of_another_by_one() {
    const GPUS: [&str; 2] = ["GPU-1", "GPU-2"];
    let db = database::pool().await;
    gpu_host(&db, &GPUS).await;
    build_of(&db, repo(&db, 1).await, By::PullRequest, 100, one_gpu(false)).await;
    let running = [claim_gpu(&db, &UNLIMITED).await.unwrap(), claim_gpu(&db, &UNLIMITED).await.unwrap()];
    assert!(claim_gpu(&db, &UNLIMITED).await.is_none());
    let other = build_of(&db, repo(&db, 2).await, By::PullRequest, 1, one_gpu(false)).await;
    database::finish(&db, &running[0]).await;
    look(&db, &GPUS).await;
    assert_eq!(claim_gpu(&db, &UNLIMITED).await.unwrap().build_id, other);
}

#[tokio::test]
async fn a_crowd_for_other_gpus_does_not_hide_a_training_that_fits() {
    let db = database::pool().await;
    gpu_host(&db, &["GPU-1"]).await;
    let repo = repo(&db, 1).await;
    let of_class = |class: &str| {
        let gpus = Some(GpuRequest { count: 1, memory: 0, class: Some(class.to_owned()) });
        Requirements { gpus, ..Requirements::default() }
    };
    build_of(&db, repo, By::DefaultBranch, 100, of_class("h100")).await;
    let fitting = build_of(&db, repo, By::PullRequest, 1, of_class("t4")).await;
    assert_eq!(claim_gpu(&db, &UNLIMITED).await.unwrap().build_id, fitting);
}

#[tokio::test]
async fn a_claimer_that_goes_silent_does_not_stop_the_claims_of_others() {
    let url = database::url().await;
    let db = PgPool::connect(&url).await.unwrap();
    trainyard::store::MIGRATOR.run(&db).await.unwrap();
    build(&db, repo(&db, 1).await, By::Push, 2).await;
    let limits = QueueConfig { slots_per_repository: 4, ..UNLIMITED };
    // A machine loses its power in the middle of a claim, which has the lock of all claims.
    let way = Way::to(&url).await;
    let far = PgPool::connect(&way.url).await.unwrap();
    let mut blocking = db.begin().await.unwrap();
    sqlx::query("lock table job").execute(&mut *blocking).await.unwrap();
    let mut silent = JoinSet::new();
    silent.spawn(async move { queue::claim_limited(&far, "far", LEASE, &limits).await });
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and granted
        and database = (select oid from pg_database where datname = current_database())";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&db).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    way.set(Passage::Silent);
    blocking.commit().await.unwrap();
    let begin = Instant::now();
    assert!(queue::claim_limited(&db, "w", LEASE, &limits).await.unwrap().is_some());
    assert!(begin.elapsed() > Duration::from_secs(1), "the silent claim had the lock");
    let state: String = sqlx::query_scalar("select state::text from job order by id").fetch_one(&db).await.unwrap();
    assert_eq!(state, "running", "what the silent claim took is free again");
    silent.abort_all();
}

#[tokio::test]
async fn a_limit_counts_the_slots_of_trainings_too() {
    let db = database::pool().await;
    gpu_host(&db, &["GPU-1", "GPU-2", "GPU-3"]).await;
    let crowd = repo(&db, 1).await;
    build_of(&db, crowd, By::PullRequest, 5, one_gpu(false)).await;
    build(&db, crowd, By::Push, 5).await;
    let limits = QueueConfig { slots_per_repository: 2, slots_for_forks: 0, has_own_limits: false };
    assert!(claim_gpu(&db, &limits).await.is_some());
    assert!(queue::claim_limited(&db, "w", LEASE, &limits).await.unwrap().is_some());
    assert!(claim_gpu(&db, &limits).await.is_none());
    assert!(queue::claim_limited(&db, "w", LEASE, &limits).await.unwrap().is_none());
}

#[tokio::test]
async fn a_job_that_its_limit_holds_back_preempts_nothing() {
    let db = database::pool().await;
    gpu_host(&db, &["GPU-1"]).await;
    build_of(&db, repo(&db, 1).await, By::PullRequest, 1, one_gpu(true)).await;
    claim_gpu(&db, &UNLIMITED).await.unwrap();
    let greedy = repo(&db, 2).await;
    build(&db, greedy, By::Push, 1).await;
    claim(&db).await.unwrap();
    build_of(&db, greedy, By::Push, 1, one_gpu(false)).await;
    let preempted = async || -> i64 {
        sqlx::query_scalar("select count(*) from job where preempted_by is not null").fetch_one(&db).await.unwrap()
    };
    queue::mark_preemptions(&db, "gpu-host", &QueueConfig { slots_per_repository: 1, ..UNLIMITED }).await.unwrap();
    assert_eq!(preempted().await, 0);
    queue::mark_preemptions(&db, "gpu-host", &UNLIMITED).await.unwrap();
    assert_eq!(preempted().await, 1);
}

#[tokio::test]
async fn a_crowd_that_no_runner_can_serve_does_not_hide_why_others_wait() {
    let db = database::pool().await;
    gpu_host(&db, &[]).await;
    let hopeless = Requirements { labels: vec!["s390x".to_owned()], ..Requirements::default() };
    build_of(&db, repo(&db, 1).await, By::Fork, 300, hopeless.clone()).await;
    let other = build_of(&db, repo(&db, 2).await, By::Fork, 1, hopeless).await;
    queue::update_wait_reasons(&db, Duration::from_secs(60)).await.unwrap();
    let reason: Option<String> =
        sqlx::query_scalar("select wait_reason from job where build_id = $1").bind(other).fetch_one(&db).await.unwrap();
    assert_eq!(reason.as_deref(), Some("no runner has the labels that it needs: s390x"));
}
