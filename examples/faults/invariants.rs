//! Invariants: conditions that must hold after every fault, and those that must hold in the end.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use trainyard::domain::{AttemptId, JobId};
use trainyard::storage::{Logs, Objects, StorageConfig};

use crate::fault::containers;
use crate::load::{End, LINES, Load};
use crate::yard::{SLOTS, Yard};

/// Facts that were seen before and must not change.
#[derive(Default)]
pub struct Memory {
    verdicts: HashMap<i64, (String, i32, i64)>,
    attempts: HashMap<i64, i32>,
}

type Checked = Result<(), String>;

impl Memory {
    /// Checks the conditions that hold at any time.
    pub async fn check(&mut self, yard: &Yard) -> Checked {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.try_check(&yard.db().await).await {
                Ok(checked) => return checked.and_then(|()| statuses(yard)),
                // Postgres went away meanwhile, which some faults cause.
                Err(error) if Instant::now() > deadline => return Err(format!("Postgres cannot be asked: {error}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn try_check(&mut self, db: &PgPool) -> sqlx::Result<Checked> {
        let jobs: Vec<(i64, String, Option<String>, i32, i64)> =
            sqlx::query_as("select id, state::text, verdict::text, attempt, log_length from job order by id")
                .fetch_all(db)
                .await?;
        for (id, _, verdict, attempt, length) in &jobs {
            let before = self.attempts.insert(*id, *attempt).unwrap_or(0);
            if *attempt < before {
                return Ok(Err(format!("job {id} went from attempt {before} back to {attempt}")));
            }
            let Some(verdict) = verdict else {
                if let Some((verdict, ..)) = self.verdicts.get(id) {
                    return Ok(Err(format!("job {id} had the verdict {verdict}, and has none now")));
                }
                continue;
            };
            let now = (verdict.clone(), *attempt, *length);
            let first = self.verdicts.entry(*id).or_insert_with(|| now.clone());
            if *first != now {
                return Ok(Err(format!("job {id} ended as {first:?}, and is {now:?} now")));
            }
        }
        for (runner, slots) in SLOTS {
            let running: i64 = sqlx::query_scalar("select count(*) from job where state = 'running' and runner = $1")
                .bind(runner)
                .fetch_one(db)
                .await?;
            if running > slots {
                return Ok(Err(format!("{running} jobs run on the {slots} slots of {runner}")));
            }
        }
        for (what, query) in ALWAYS {
            let wrong: Vec<String> = sqlx::query_scalar(query).fetch_all(db).await?;
            if !wrong.is_empty() {
                return Ok(Err(format!("{what}: {}", wrong.join(", "))));
            }
        }
        Ok(Ok(()))
    }

    /// Waits until everything has ended, and checks the final conditions. Returns a summary.
    pub async fn check_end(&mut self, yard: &mut Yard, load: &Load, limit: Duration) -> Result<String, String> {
        let begin = Instant::now();
        while !all_decided(yard, load) {
            if begin.elapsed() > limit {
                let open = open_in_words(yard, load).await.map_err(|error| error.to_string())?;
                return Err(format!("not everything has ended {} s after the last fault:\n{open}", limit.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let healed = begin.elapsed();
        self.check(yard).await?;
        let db = yard.db().await;
        let builds = builds(&db).await.map_err(|error| error.to_string())?;
        let mut errored: BTreeMap<String, u32> = BTreeMap::new();
        for pushed in &load.pushed {
            let of_sha = builds.get(&pushed.sha).map_or(&[][..], Vec::as_slice);
            let [state] = of_sha else {
                return Err(format!("the push of {} has {} builds", pushed.sha, of_sha.len()));
            };
            let states = yard.github.states(&pushed.sha, "trainyard/push");
            let wanted = match state.as_str() {
                "passed" => "success",
                "failed" => "failure",
                _ => "error",
            };
            if states.last().map(String::as_str) != Some(wanted) {
                return Err(format!("{} is {state}, and GitHub was told {states:?}", pushed.sha));
            }
            let end = match state.as_str() {
                "passed" => End::Passed,
                "failed" => End::Failed,
                _ => End::Errored,
            };
            if pushed.end != End::Any && end != pushed.end && end != End::Errored {
                let jobs = jobs_in_words(&db, &yard.data(), &pushed.sha).await?;
                return Err(format!("{} is {state}, and must be {:?}:\n{jobs}", pushed.sha, pushed.end));
            }
            if state == "errored" {
                *errored.entry(why(&db, &pushed.sha).await.map_err(|error| error.to_string())?).or_default() += 1;
            }
        }
        let logs = logs(&db, &yard.data()).await?;
        self.check_what_is_left(yard).await?;
        println!("\n{:<100} builds", "errored, since");
        errored.iter().for_each(|(why, builds)| println!("{why:<100} {builds:>6}"));
        let count = builds.values().map(Vec::len).sum::<usize>();
        Ok(format!("{count} builds, {logs} whole logs, all ended {:.1} s after the last fault", healed.as_secs_f64()))
    }
}

/// Queries that must return no rows: each row is a fault of Trainyard.
const ALWAYS: [(&str, &str); 7] = [
    (
        "GPUs that are held by no running attempt",
        "select uuid from gpu where state = 'held' and not exists (
             select from job where id = job_id and job.attempt = gpu.attempt and job.state = 'running')",
    ),
    (
        "attempts that are neither the last one nor told of as lost",
        "select id::text from job where attempt > 0 and attempt <> (select count(*) from lost_attempt where job_id = job.id)
             + (state in ('running', 'finished') and not exists (
                    select from lost_attempt where job_id = job.id and lost_attempt.attempt = job.attempt))::int",
    ),
    (
        "deliveries with several builds",
        "select delivery_id from build where delivery_id is not null group by 1 having count(*) > 1",
    ),
    (
        "processed deliveries without an outcome",
        "select id from delivery where done_at is not null and outcome is null",
    ),
    (
        "builds without jobs or a reason",
        "select id::text from build b where state not in ('errored', 'failed', 'passed')
         and not exists (select from job where build_id = b.id)",
    ),
    (
        "logs with a gap or a repeat",
        "select job_id::text from (
             select job_id, start, lag(start + length) over (partition by job_id, attempt order by start) as before
             from log_chunk) chunks
         where start <> coalesce(before, 0)",
    ),
    (
        "finished jobs whose log is not as long as it says",
        "select id::text from job where state = 'finished' and log_length <> coalesce(
             (select length from log_object where job_id = job.id and attempt = job.attempt),
             (select max(start + length) from log_chunk where job_id = job.id and attempt = job.attempt), 0)",
    ),
];

impl Memory {
    /// Checks that no container of a job is left; and after the end of the service, that nothing at all is left of it.
    async fn check_what_is_left(&self, yard: &mut Yard) -> Checked {
        let instance = trainyard::store::instance(&yard.db().await).await.map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let of_jobs = |yard: &Yard| -> Vec<String> {
            let waits = |name: &String| ["-ready-", "-spare-"].iter().any(|part| name.contains(part));
            containers(yard, &instance).into_iter().filter(|name| !waits(name) && !name.ends_with("-gpus")).collect()
        };
        // The janitor looks for orphans twice a minute.
        while !of_jobs(yard).is_empty() {
            if begin.elapsed() > Duration::from_secs(60) {
                return Err(format!("containers of jobs are left: {}", of_jobs(yard).join(", ")));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        yard.interrupt();
        let left = containers(yard, &instance);
        let volumes = yard.remote.docker(&["volume", "ls", "--quiet"]);
        if !left.is_empty() || !volumes.is_empty() {
            return Err(format!("the service left containers {left:?} and volumes {volumes:?}"));
        }
        Ok(())
    }
}

/// Checks that no status at GitHub goes back: once decided, a context stays so.
fn statuses(yard: &Yard) -> Checked {
    let mut decided: BTreeMap<(String, String), String> = BTreeMap::new();
    for status in yard.github.posted() {
        let key = (status.sha.clone(), status.context.clone());
        if let Some(before) = decided.get(&key)
            && *before != status.state
        {
            return Err(format!("{} of {} was {before}, and then {}", status.context, status.sha, status.state));
        }
        if status.state != "pending" {
            decided.insert(key, status.state);
        }
    }
    Ok(())
}

fn all_decided(yard: &Yard, load: &Load) -> bool {
    let posted = yard.github.posted();
    load.pushed.iter().all(|pushed| posted.iter().any(|it| it.sha == pushed.sha && it.state != "pending"))
}

/// Returns the reason why a build is errored, in words without numbers.
async fn why(db: &PgPool, sha: &str) -> sqlx::Result<String> {
    let why: Option<String> = sqlx::query_scalar(
        "select coalesce(job.reason, problem.message) from build left join job on job.build_id = build.id
             and verdict = 'errored' left join problem on problem.build_id = build.id
         where sha = $1 limit 1",
    )
    .bind(sha)
    .fetch_one(db)
    .await?;
    let words: String = why.unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).take(100).collect();
    Ok(words)
}

/// Describes the pushes that GitHub shows no end of, with their deliveries and statuses.
async fn open_in_words(yard: &Yard, load: &Load) -> sqlx::Result<String> {
    let posted = yard.github.posted();
    let is_open = |sha: &str| !posted.iter().any(|it| it.sha == sha && it.state != "pending");
    let mut words = String::new();
    for pushed in load.pushed.iter().filter(|pushed| is_open(&pushed.sha)) {
        let db = yard.db().await;
        let delivery: Option<String> =
            sqlx::query_scalar("select (to_jsonb(delivery) - 'body' - 'body_hash')::text from delivery where id = $1")
                .bind(&pushed.delivery.id)
                .fetch_optional(&db)
                .await?;
        let statuses: Vec<String> = sqlx::query_scalar("select to_jsonb(wish)::text from wish where sha = $1")
            .bind(&pushed.sha)
            .fetch_all(&db)
            .await?;
        words += &format!("{}\n  {delivery:?}\n  {statuses:?}\n", pushed.sha);
    }
    let alerts: Vec<String> =
        sqlx::query_scalar("select component || ': ' || message from alert").fetch_all(&yard.db().await).await?;
    Ok(words + &alerts.join("\n"))
}

/// Describes the jobs of a commit, with the ends of their logs.
async fn jobs_in_words(db: &PgPool, data: &Path, sha: &str) -> Result<String, String> {
    type Row = (i64, i32, Option<String>, Option<i64>, Option<String>, String);
    let jobs: Vec<Row> = sqlx::query_as(
        "select job.id, attempt, verdict::text, exit_status, reason, owner || '/' || repo.name
         from job join build on build.id = build_id join repo on repo.id = build.repo_id where sha = $1 order by job.id",
    )
    .bind(sha)
    .fetch_all(db)
    .await
    .map_err(|error| error.to_string())?;
    let logs =
        Logs::new(db.clone(), Objects::open(&StorageConfig::default(), data).map_err(|error| error.to_string())?);
    let mut words = String::new();
    for (job, number, verdict, status, reason, repo) in jobs {
        let attempt = AttemptId { job: JobId(job), number };
        let log = logs.read(attempt, 0, usize::MAX).await.map_err(|error| format!("{error:#}"))?;
        let log = String::from_utf8_lossy(&log.bytes).into_owned();
        let end: Vec<&str> = log.lines().rev().take(20).collect();
        let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
        words += &format!("job {job} of {repo}, attempt {number}: {verdict:?}, {status:?}, {reason:?}\n{end}\n");
    }
    Ok(words)
}

/// Lists the states of the builds, by commit.
async fn builds(db: &PgPool) -> sqlx::Result<HashMap<String, Vec<String>>> {
    let rows: Vec<(String, String)> = sqlx::query_as("select sha, state::text from build").fetch_all(db).await?;
    let mut builds: HashMap<String, Vec<String>> = HashMap::new();
    rows.into_iter().for_each(|(sha, state)| builds.entry(sha).or_default().push(state));
    Ok(builds)
}

/// Checks that every counting job that came to its own end has every line once and in order. Returns the number of these
/// jobs.
async fn logs(db: &PgPool, data: &Path) -> Result<usize, String> {
    let ended = "select job.id, attempt from job join repo on repo.id = repo_id
        where verdict in ('passed', 'failed') and owner || '/' || repo.name = 'acme/styles' order by job.id";
    let jobs: Vec<(i64, i32)> = sqlx::query_as(ended).fetch_all(db).await.map_err(|error| error.to_string())?;
    // In a long run, the first logs are moved into objects.
    let objects = Objects::open(&StorageConfig::default(), data).map_err(|error| error.to_string())?;
    let stored = Logs::new(db.clone(), objects);
    for (job, attempt) in &jobs {
        let read = stored.read(AttemptId { job: JobId(*job), number: *attempt }, 0, usize::MAX).await;
        let text = String::from_utf8_lossy(&read.map_err(|error| format!("{error:#}"))?.bytes).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("line ") && line.ends_with('.')).collect();
        let wanted: Vec<String> = (1..=LINES).map(|line| format!("line {line}.")).collect();
        if lines != wanted {
            return Err(format!("the log of job {job} has {} of {LINES} lines:\n{text}", lines.len()));
        }
    }
    Ok(jobs.len())
}
