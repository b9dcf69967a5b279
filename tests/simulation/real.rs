//! The real SQL on a real Postgres, beside the model: after each step, the rows are those of the model.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use trainyard::domain::{
    AttemptId, BuildId, BuildState, CommitState, GpuRequest, JobId, JobKind, JobState, Priority, PullRequest, RepoId,
    Requirements, Scope, Trigger, TriggerKind, Verdict,
};
use trainyard::store::builds::{self, NewBuild};
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::superseded::Cancels;
use trainyard::store::queue::{self, Beat, Finish, LogEnd, RestartError};
use trainyard::store::repos::{self, RepoFacts};
use trainyard::store::runner::gpus::{self, Seen};
use trainyard::store::runner::runners::{self, Runner};

use crate::gpus::{Gpu, uuid};
use crate::model::{Answer, Model, Push};
use crate::random::{Random, first_seed};
use crate::schedule::{Op, REPOS, apply, begin, next};
use crate::support::database;

const SCHEDULES: u64 = 60;
const STEPS: usize = 60;
const LEASE: Duration = Duration::from_secs(600);
const RUNNER: &str = "gpu-host";

fn id(place: usize) -> i64 {
    i64::try_from(place).unwrap() + 1
}

fn place(id: i64) -> usize {
    usize::try_from(id).unwrap() - 1
}

fn attempt_id(job: usize, number: i32) -> AttemptId {
    AttemptId { job: JobId(id(job)), number }
}

/// Empties the database, and makes the repositories and the runner.
async fn reset(db: &PgPool, model: &Model) {
    sqlx::raw_sql("truncate repo, build, job, wish, gpu, runner restart identity cascade").execute(db).await.unwrap();
    for repo in 0..REPOS {
        let facts = RepoFacts {
            forge: "github".to_owned(),
            github_id: id(repo),
            name: format!("acme/r{repo}").parse().unwrap(),
            private: false,
            default_branch: "main".to_owned(),
            clone_url: "http://localhost/".to_owned(),
        };
        repos::upsert(&mut db.acquire().await.unwrap(), &facts).await.unwrap();
    }
    let runner = Runner { name: RUNNER, endpoint: "unix:///x", slots: 8, labels: &[], host: "here" };
    runners::upsert(db, &runner).await.unwrap();
    look(db, model).await;
}

async fn look(db: &PgPool, model: &Model) {
    let seen =
        |place| Seen { uuid: uuid(place), name: "T4".to_owned(), class: "t4".to_owned(), memory: 16, unusable: None };
    let all: Vec<Seen> = (0..model.gpus.len()).map(seen).collect();
    gpus::record_check(db, RUNNER, gpus::now(db).await.unwrap(), &all).await.unwrap();
}

fn trigger(push: &Push, build: usize) -> Trigger {
    let repo = format!("acme/r{}", push.repo).parse().unwrap();
    let sha = format!("{:040x}", build + 1).parse().unwrap();
    let pull = |number, head: String| PullRequest {
        number,
        title: String::new(),
        head_branch: "main".to_owned(),
        head_repo: Some(head.parse().unwrap()),
        draft: false,
    };
    let mut trigger = Trigger::push(repo, if push.priority == Priority::Push { "topic" } else { "main" }, sha);
    match (push.priority, push.line) {
        (Priority::Fork, _) => trigger.pull_request = Some(pull(1, "mallory/r0".to_owned())),
        (Priority::PullRequest, _) => trigger.pull_request = Some(pull(2, format!("acme/r{}", push.repo))),
        (_, None) => (trigger.kind, trigger.branch, trigger.tag) = (TriggerKind::Tag, None, Some("v1".to_owned())),
        (_, Some(_)) => {}
    }
    if trigger.pull_request.is_some() {
        trigger.kind = TriggerKind::PullRequest;
    }
    trigger
}

async fn insert(db: &PgPool, push: &Push, build: usize) {
    let job = |new: &crate::model::NewJob| queue::NewJob {
        kind: JobKind::Script,
        stage: Some(format!("stage {}", new.stage)),
        name: None,
        allow_failure: new.allow_failure,
        config: json!({}),
        requirements: Requirements {
            gpus: (new.gpus > 0).then(|| GpuRequest {
                count: i32::try_from(new.gpus).unwrap(),
                memory: 0,
                class: None,
            }),
            labels: Vec::new(),
            preemptible: new.preemptible,
        },
    };
    let jobs: Vec<queue::NewJob> = push.jobs.iter().map(job).collect();
    let trigger = trigger(push, build);
    let new = NewBuild {
        delivery: None,
        repo: RepoId(id(push.repo)),
        trigger: &trigger,
        built_sha: &trigger.sha,
        jobs: &jobs,
        problems: &[],
        decided: None,
        webhooks: None,
        chats: &[],
        fast_finish: push.fast_finish,
        linted: false,
        needs_approval: false,
        scope: Scope::Commit,
        lines: &[],
        cancels: Some(Cancels::Queued),
    };
    let mut tx = db.begin().await.unwrap();
    builds::create(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
}

/// Claims as a worker does, and checks that the order of the queue announced the job.
async fn claim(db: &PgPool, model: &Model) -> Option<usize> {
    let order = queue::order(db, &model.limits, 50).await.unwrap();
    let claimed = if model.limits.is_unlimited() {
        queue::claim(db, "w", LEASE).await.unwrap()
    } else {
        queue::claim_limited(db, "w", LEASE, &model.limits).await.unwrap()
    };
    let claimed = claimed.map(|job| job.id);
    assert_eq!(order.iter().find(|job| !job.is_held).map(|job| job.id), claimed, "the order announced another job");
    claimed.map(|job| place(job.0))
}

/// Applies an operation to the database. Returns its result in the words of [`apply`].
async fn perform(db: &PgPool, op: &Op, model: &Model) -> String {
    let told = |done: bool| done.to_string();
    match op {
        Op::Push(push) => insert(db, push, model.builds.len()).await,
        Op::Claim => return format!("{:?}", claim(db, model).await),
        Op::ClaimGpu => {
            let claimed = queue::claim_with_requirements(db, RUNNER, LEASE, &model.limits).await.unwrap();
            return format!("{:?}", claimed.map(|job| place(job.id.0)));
        }
        Op::MarkPreemptions => queue::mark_preemptions(db, RUNNER, &model.limits).await.unwrap(),
        Op::Look => look(db, model).await,
        Op::Beat { job, attempt } => {
            let answer = match queue::beat(db, attempt_id(*job, *attempt), LEASE).await.unwrap() {
                Beat::Ours => Answer::Ours,
                Beat::Lost => Answer::Lost,
                Beat::Stop(trainyard::domain::Stop::Preempted, _) => Answer::Preempted,
                Beat::Stop(..) => Answer::Canceled,
            };
            return format!("{answer:?}");
        }
        Op::RunOnlyOnce { job, attempt } => {
            return told(queue::run_only_once(db, attempt_id(*job, *attempt), Some("it may deploy")).await.unwrap());
        }
        Op::Finish { job, attempt, verdict } => {
            let end = Finish {
                verdict: *verdict,
                exit_status: Some(0),
                reason: None,
                tail: b"",
                offset: 0,
                reports: Reports::default(),
            };
            return told(queue::finish(db, attempt_id(*job, *attempt), &end).await.unwrap());
        }
        Op::Lose { job } => return told(lose(db, JobId(id(*job))).await),
        Op::Requeue { job, attempt } => {
            let requeued = queue::requeue(db, attempt_id(*job, *attempt), Duration::ZERO, "it was lost").await;
            return told(requeued.unwrap());
        }
        Op::Preempt { job, attempt } => {
            let end = LogEnd { offset: 0, tail: b"" };
            return told(queue::preempt(db, attempt_id(*job, *attempt), end, "it gave way").await.unwrap());
        }
        Op::CancelBuild(build) => cancel(db, *build, None).await,
        Op::CancelJob(job) => cancel(db, model.jobs[*job].build, Some(*job)).await,
        Op::RestartBuild(build) => return restart(db, *build, None).await,
        Op::RestartJob(job) => return restart(db, model.jobs[*job].build, Some(*job)).await,
        Op::Send { .. } => {}
    }
    String::new()
}

async fn lose(db: &PgPool, job: JobId) -> bool {
    sqlx::query("update job set lease_until = now() - interval '1 s' where id = $1 and state = 'running'")
        .bind(job)
        .execute(db)
        .await
        .unwrap();
    database::rescue(db).await == [job]
}

async fn cancel(db: &PgPool, build: usize, job: Option<usize>) {
    let mut tx = db.begin().await.unwrap();
    queue::cancel(&mut tx, BuildId(id(build)), job.map(|job| JobId(id(job))), "by ada").await.unwrap();
    tx.commit().await.unwrap();
}

async fn restart(db: &PgPool, build: usize, job: Option<usize>) -> String {
    let mut tx = db.begin().await.unwrap();
    let restarted = queue::restart(&mut tx, BuildId(id(build)), job.map(|job| JobId(id(job))), "ada").await.unwrap();
    let told = restarted.map_err(|refused| match refused {
        RestartError::Unfinished { .. } => "Unfinished",
        RestartError::EarlierStage { .. } => "EarlierStage",
        RestartError::LaterStage { .. } => "LaterStage",
        RestartError::NoJob | RestartError::TooOften { .. } => "unexpected",
    });
    tx.commit().await.unwrap();
    format!("{told:?}")
}

/// Compares the rows with the model.
async fn compare(db: &PgPool, model: &Model) -> Result<(), String> {
    type Row = (JobState, Option<Verdict>, i32, i32, i32, Vec<String>, bool, bool, Option<i64>, Priority);
    let rows: Vec<Row> = sqlx::query_as(
        "select state, verdict, attempt, preemptions, earlier_attempts,
             array(select verdict::text from restart where job_id = job.id order by restart.id), cancel_requested, only_once is not null, preempted_by, priority
         from job order by id",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let jobs: Vec<Row> = model
        .jobs
        .iter()
        .map(|job| {
            let by = job.preempted_by.map(id);
            (
                job.state,
                job.verdict,
                job.attempt,
                job.preemptions,
                job.earlier_attempts,
                job.earlier.iter().map(|verdict| word(*verdict)).collect(),
                job.cancel_requested,
                job.only_once,
                by,
                job.priority,
            )
        })
        .collect();
    same("jobs", &rows, &jobs)?;
    let rows: Vec<(BuildState, CommitState)> =
        sqlx::query_as("select build.state, wish.state from build join wish on build_id = build.id order by build.id")
            .fetch_all(db)
            .await
            .unwrap();
    let builds: Vec<(BuildState, CommitState)> =
        model.builds.iter().map(|build| (build.state, commit_state(build.state))).collect();
    same("builds and their statuses", &rows, &builds)?;
    let rows: Vec<(String, Option<i64>, Option<i32>)> =
        sqlx::query_as("select state::text, job_id, attempt from gpu order by uuid").fetch_all(db).await.unwrap();
    let gpu = |gpu: &Gpu| match gpu {
        Gpu::Free => ("free".to_owned(), None, None),
        Gpu::Settling => ("quarantined".to_owned(), None, None),
        Gpu::Held { job, attempt } => ("held".to_owned(), Some(id(*job)), Some(*attempt)),
    };
    same("GPUs", &rows, &model.gpus.iter().map(gpu).collect::<Vec<_>>())?;
    let rows: Vec<i64> = sqlx::query_scalar("select id from repo where served_at is not null order by served_at")
        .fetch_all(db)
        .await
        .unwrap();
    let mut served: Vec<usize> = (0..REPOS).filter(|repo| model.served[*repo].is_some()).collect();
    served.sort_by_key(|repo| model.served[*repo]);
    same("the order of the last ends", &rows, &served.into_iter().map(id).collect::<Vec<_>>())
}

fn word(verdict: Verdict) -> String {
    serde_json::to_value(verdict).unwrap().as_str().unwrap().to_owned()
}

fn commit_state(state: BuildState) -> CommitState {
    match state {
        BuildState::Queued | BuildState::Running => CommitState::Pending,
        BuildState::Passed => CommitState::Success,
        BuildState::Failed => CommitState::Failure,
        BuildState::Errored | BuildState::Canceled => CommitState::Error,
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, rows: &[T], model: &[T]) -> Result<(), String> {
    if rows == model {
        return Ok(());
    }
    let at = rows.iter().zip(model).position(|(row, wanted)| row != wanted);
    let pair = at.map(|at| format!("{at}: {:?} in the rows, {:?} in the model", rows[at], model[at]));
    Err(format!("{what} differ at {}", pair.unwrap_or_else(|| format!("their number, {}", rows.len()))))
}

/// Kinds of operations with their results, for the question whether the schedules meet everything.
type Met = BTreeSet<String>;

fn kind(op: &Op, result: &str) -> String {
    let name = format!("{op:?}");
    let name = name.split([' ', '(', '{']).next().unwrap_or_default();
    let result = if let "Some" | "Ok" = result.split('(').next().unwrap_or_default() { "done" } else { result };
    format!("{name} {result}")
}

async fn run(db: &PgPool, seed: u64, met: &mut Met) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut model = begin(&mut random);
    reset(db, &model).await;
    let mut done = Vec::new();
    for _ in 0..STEPS {
        let op = next(&mut random, &model);
        let real = perform(db, &op, &model).await;
        let wanted = apply(&mut model, &op);
        met.insert(kind(&op, &wanted));
        met.extend(model.jobs.iter().filter(|job| job.preempted_by.is_some()).map(|_| "preempted".to_owned()));
        met.extend(model.jobs.iter().filter_map(|job| Some(format!("{:?}", job.verdict?))));
        done.push(op);
        if real != wanted {
            return Err(format!("the last step gave {real}, and {wanted} in the model\n{done:#?}"));
        }
        compare(db, &model).await.map_err(|why| format!("{why}\n{done:#?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_rows_are_those_of_the_model() {
    let db = database::pool().await;
    let (first, mut met) = (first_seed(), Met::new());
    for seed in first..first + SCHEDULES {
        if let Err(why) = run(&db, seed, &mut met).await {
            panic!("SIMULATION_SEED={seed}: {why}");
        }
    }
    let yes_and_no = ["RunOnlyOnce", "Finish", "Lose", "Requeue", "Preempt"];
    let all = yes_and_no.iter().flat_map(|name| [format!("{name} true"), format!("{name} false")]);
    let all = all.chain(["Claim", "ClaimGpu"].iter().flat_map(|name| [format!("{name} done"), format!("{name} None")]));
    let restarts = ["RestartBuild done", "RestartJob done", "RestartBuild Err(\"Unfinished\")"];
    let refused = ["Unfinished", "EarlierStage", "LaterStage"].map(|why| format!("RestartJob Err({why:?})"));
    let all = all.chain(restarts.map(str::to_owned)).chain(refused);
    let all = all.chain(["Ours", "Canceled", "Preempted", "Lost"].map(|answer| format!("Beat {answer}")));
    let all = all.chain(["Passed", "Failed", "Errored", "Canceled", "TimedOut", "preempted"].map(str::to_owned));
    let missed: Vec<String> = all.filter(|one| !met.contains(one)).collect();
    assert!(missed.is_empty(), "the schedules never met {missed:?}");
}
