//! Retention of logs and artifacts, and what the pages show after their removal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use sqlx::PgPool;
use trainyard::config::Config;
use trainyard::inputs::{Inputs, InputsConfig};
use trainyard::janitor::{Archiver, Duties, Kept};
use trainyard::outgoing::SystemNames;
use trainyard::storage::{CacheConfig, Caches, Keys, Objects, Room, StorageConfig};
use trainyard::store::output::retention::RetentionConfig;

use crate::support::app::App;
use crate::support::database;
use crate::support::git_host;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::s3::S3;

const NOW: Duration = Duration::ZERO;
const PAGE: &str = "/acme/styles/builds/1/jobs/1";
const LOG: &str = "/api/v1/jobs/1/log";
const ARTIFACT: &str = "/api/v1/jobs/1/artifacts/w.bin";

fn inputs_in(folder: &Path) -> Inputs {
    let room = Room::new(folder.to_owned(), ByteSize::b(0));
    Inputs::new(folder.join("inputs"), InputsConfig::default(), room, Arc::new(SystemNames)).unwrap()
}

fn archiver(db: &PgPool, folder: &Path, retention: RetentionConfig) -> Archiver {
    let objects = Objects::open(&StorageConfig::default(), folder).unwrap();
    let caches = Caches::new(folder.join("caches"), CacheConfig::default());
    let mirrors = git_host::mirrors(folder.join("mirrors"));
    Archiver::new(
        Duties::Installation,
        db.clone(),
        Kept { objects, keys: Keys { instance: "i".to_owned() }, caches, inputs: inputs_in(folder), mirrors },
        retention,
    )
}

/// Makes four finished builds and a running one, each with one job. The jobs ended 40, 30, 20 and 10 days ago. Each has
/// a log and an artifact of 100 bytes as objects.
async fn five_builds(folder: &Path) -> PgPool {
    let db = database::pool().await;
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url, last_build)
             values (1, 'acme', 'styles', false, 'main', 'http://localhost/', 5);
         insert into build (repo_id, number, kind, sha, built_sha, state, finished_at)
             select 1, n, 'push', repeat('0', 40), repeat('0', 40), case when n < 5 then 'passed' else 'running' end::build_state,
                 case when n < 5 then now() - (50 - n * 10) * interval '1 day' end from generate_series(1, 5) n;
         insert into job (repo_id, build_id, number, kind, config, state, verdict, attempt, archived_attempt, finished_at)
             select 1, n, 1, 'script', '{}', 'finished', 'passed', 1, 1, now() - (50 - n * 10) * interval '1 day'
             from generate_series(1, 5) n;
         insert into log_object (repo_id, job_id, attempt, key, length, size, frame, frames)
             select 1, n, 1, 'i/log-' || n, 200, 100, 262144, '{0}' from generate_series(1, 5) n;
         insert into artifact (repo_id, job_id, attempt, path, key, size, sha256)
             select 1, n, 1, 'w', 'i/artifact-' || n, 100, sha256('') from generate_series(1, 5) n;",
    )
    .execute(&db)
    .await
    .unwrap();
    std::fs::create_dir_all(folder.join("objects/i")).unwrap();
    for n in 1..=5 {
        std::fs::write(folder.join(format!("objects/i/log-{n}")), [0; 100]).unwrap();
        std::fs::write(folder.join(format!("objects/i/artifact-{n}")), [0; 100]).unwrap();
    }
    db
}

fn left(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("objects/i")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn why(db: &PgPool, table: &'static str, job: i64) -> Option<String> {
    let query = if table == "log" {
        "select removed from log_object where job_id = $1"
    } else {
        "select removed from artifact where job_id = $1"
    };
    sqlx::query_scalar(query).bind(job).fetch_one(db).await.unwrap()
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

#[tokio::test]
async fn logs_and_artifacts_have_ages_of_their_own_and_nothing_of_a_running_build_goes() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    let retention = RetentionConfig { logs: days(35), artifacts: days(15), ..RetentionConfig::default() };
    assert_eq!(archiver(&db, folder.path(), retention.clone()).prune().await.unwrap(), 4);
    assert_eq!(left(folder.path()), ["artifact-4", "artifact-5", "log-2", "log-3", "log-4", "log-5"]);
    assert_eq!(why(&db, "log", 1).await.unwrap(), "it was removed after 35 days (retention.logs)");
    assert_eq!(why(&db, "artifact", 3).await.unwrap(), "it was removed after 15 days (retention.artifacts)");
    assert_eq!(archiver(&db, folder.path(), retention).prune().await.unwrap(), 0);
    // Build 5 is running, so its objects stay, however old they are.
    sqlx::query("update job set finished_at = now() - interval '1 year' where id = 5").execute(&db).await.unwrap();
    let nothing = RetentionConfig {
        logs: NOW,
        artifacts: NOW,
        builds: 0,
        total_size: ByteSize::b(0),
        ..RetentionConfig::default()
    };
    archiver(&db, folder.path(), nothing).prune().await.unwrap();
    assert_eq!(left(folder.path()), ["artifact-5", "log-5"]);
}

#[tokio::test]
async fn an_unfinished_build_with_many_objects_keeps_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    sqlx::raw_sql(
        "update build set state = 'running', finished_at = null where id = 1;
         insert into artifact (repo_id, job_id, attempt, path, key, size, sha256)
             select 1, 1, 1, 'many-' || n, 'i/many-' || n, 100, sha256('') from generate_series(1, 30) n;",
    )
    .execute(&db)
    .await
    .unwrap();
    let retention = RetentionConfig { artifacts: days(25), ..RetentionConfig::default() };
    assert_eq!(archiver(&db, folder.path(), retention).prune().await.unwrap(), 1);
    assert!(why(&db, "artifact", 2).await.is_some());
}

#[tokio::test]
async fn of_too_many_builds_and_of_too_many_bytes_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    let retention =
        RetentionConfig { logs: days(1000), artifacts: days(1000), builds: 4, ..RetentionConfig::default() };
    assert_eq!(archiver(&db, folder.path(), retention.clone()).prune().await.unwrap(), 2);
    assert_eq!(why(&db, "log", 1).await.unwrap(), "it was removed when there were 4 newer builds (retention.builds)");
    let retention = RetentionConfig { total_size: ByteSize::b(500), ..retention };
    assert_eq!(archiver(&db, folder.path(), retention).prune().await.unwrap(), 3);
    let kept = left(folder.path());
    assert_eq!(kept.len(), 5);
    assert!(kept.contains(&"log-4".to_owned()) && kept.contains(&"artifact-4".to_owned()), "{kept:?}");
    assert!(why(&db, "log", 2).await.unwrap().contains("to make room for newer ones (retention.total_size)"));
}

#[tokio::test]
async fn what_strangers_leave_takes_no_room_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    let of_a_fork = "update artifact set key = 'i/artifacts/forks/1/4-1/x', size = 1000 where job_id = 4";
    sqlx::query(of_a_fork).execute(&db).await.unwrap();
    let retention = RetentionConfig {
        logs: days(1000),
        artifacts: days(1000),
        total_size: ByteSize::b(950),
        ..RetentionConfig::default()
    };
    assert_eq!(archiver(&db, folder.path(), retention).prune().await.unwrap(), 1);
    assert!(why(&db, "artifact", 4).await.unwrap().contains("retention.total_size"));
}

#[tokio::test]
async fn objects_that_no_row_names_are_swept_after_a_while_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    let place = folder.path().join("objects/i");
    std::fs::write(place.join("lost"), "x").unwrap();
    std::fs::write(place.join("half#1"), "x").unwrap();
    std::fs::create_dir_all(folder.path().join("objects/another")).unwrap();
    std::fs::write(folder.path().join("objects/another/installation"), "x").unwrap();
    let archiver = archiver(&db, folder.path(), RetentionConfig::default());
    assert_eq!(archiver.sweep(days(1)).await.unwrap(), 0, "they are young");
    assert_eq!(archiver.sweep(NOW).await.unwrap(), 2);
    assert_eq!(left(folder.path()).len(), 10);
    assert!(folder.path().join("objects/another/installation").exists());
}

#[tokio::test]
async fn deliveries_that_were_processed_long_ago_go_and_their_builds_stay() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    sqlx::raw_sql(
        "insert into delivery (id, event, body, done_at, outcome) values
             ('old', 'push', 'body', now() - interval '31 days', 'x'), ('new', 'push', 'body', now(), 'x');
         insert into delivery (id, event, body, received_at) values ('open', 'push', 'body', now() - interval '1 year');
         update build set delivery_id = 'old' where id = 3;",
    )
    .execute(&db)
    .await
    .unwrap();
    archiver(&db, folder.path(), RetentionConfig::default()).prune().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("select id from delivery order by id").fetch_all(&db).await.unwrap();
    assert_eq!(left, ["new", "open"]);
    let builds: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&db).await.unwrap();
    assert_eq!(builds, 5);
}

/// Adds a row of each kind that may belong to a build.
async fn everything_of_each_build(db: &PgPool) {
    sqlx::raw_sql(
        "insert into problem (build_id, position, severity, rule, message) select id, 1, 'info', 'r', 'm' from build;
         insert into log_chunk (job_id, attempt, start, length, bytes) select id, 1, 0, 1, 'x' from job;
         insert into report (job_id, kind, body) select id, 'training', '{}' from job;
         insert into series (job_id, name, steps, points) select id, 'loss', '{1}', '{1}' from job;
         insert into lost_attempt (job_id, attempt, reason, log_length) select id, 1, 'lost', 0 from job;
         insert into restart (job_id, requested_by, verdict, finished_at, log_length)
             select id, 'anna', 'failed', now(), 0 from job;
         insert into wish (repo_id, sha, context, build_id, state, description, target_path)
             select 1, id, 'trainyard/push', id, 'success', 'passed', '/' from build;
         insert into repo_key (repo_id, private_key, public_key) values (1, 'x', 'x');",
    )
    .execute(db)
    .await
    .unwrap();
}

/// Returns the builds that have rows, by table.
async fn builds_left(db: &PgPool) -> Vec<(String, Vec<i64>)> {
    sqlx::query_as(
        "select what, array_agg(distinct build order by build) from (
             select 'build' as what, id as build from build
             union all select 'job', build_id from job
             union all select 'problem', build_id from problem
             union all select 'wish', build_id from wish
             union all select 'log_chunk', build_id from log_chunk join job on job.id = job_id
             union all select 'log_object', build_id from log_object join job on job.id = job_id
             union all select 'artifact', build_id from artifact join job on job.id = job_id
             union all select 'report', build_id from report join job on job.id = job_id
             union all select 'series', build_id from series join job on job.id = job_id
             union all select 'lost_attempt', build_id from lost_attempt join job on job.id = job_id
             union all select 'restart', build_id from restart join job on job.id = job_id
         ) named group by what order by what",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn builds_go_with_everything_that_belongs_to_them_by_age_and_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    everything_of_each_build(&db).await;
    let keep = RetentionConfig { logs: days(1000), artifacts: days(1000), ..RetentionConfig::default() };
    // Build 1 ended 40 days ago, build 2 30 days.
    archiver(&db, folder.path(), RetentionConfig { history: days(35), ..keep.clone() }).prune().await.unwrap();
    let left = builds_left(&db).await;
    assert_eq!(left.len(), 11);
    assert!(left.iter().all(|(_, builds)| *builds == [2, 3, 4, 5]), "{left:?}");
    assert!(!self::left(folder.path()).iter().any(|file| file.ends_with("-1")), "its objects are gone too");
    // Build 5 runs, so it stays although only one is to be kept.
    archiver(&db, folder.path(), RetentionConfig { history_builds: 1, ..keep }).prune().await.unwrap();
    let left = builds_left(&db).await;
    assert!(left.len() == 11 && left.iter().all(|(_, builds)| *builds == [5]), "{left:?}");
    assert_eq!(self::left(folder.path()), ["artifact-5", "log-5"]);
}

#[tokio::test]
async fn a_build_with_a_job_that_goes_on_stays_however_old_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    // The job may fail, and the build has ended before it (`fast_finish`).
    sqlx::raw_sql(
        "insert into job (repo_id, build_id, number, kind, config, state, lease_until, runner)
             values (1, 1, 2, 'script', '{}', 'running', now(), 'w')",
    )
    .execute(&db)
    .await
    .unwrap();
    let keep = RetentionConfig { history: days(1), ..RetentionConfig::default() };
    archiver(&db, folder.path(), keep).prune().await.unwrap();
    let left: Vec<i64> = sqlx::query_scalar("select id from build order by id").fetch_all(&db).await.unwrap();
    assert_eq!(left, [1, 5]);
}

#[tokio::test]
async fn a_build_stays_a_week_for_a_status_that_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    // Build 1 ended a month ago, build 2 a week, and the others today. The statuses of 4 and 5 are done with.
    sqlx::raw_sql(
        "update build set state = 'passed', finished_at = now() - case id when 1 then 40 when 2 then 8 else 0 end * interval '1 day';
         insert into wish (repo_id, sha, context, build_id, state, description, target_path, sent_seq, given_up_seq)
             select 1, id, 'trainyard/push', id, 'success', 'x', '/', case id when 4 then 1 else 0 end, case id when 5 then 1 else 0 end
             from build;",
    )
    .execute(&db)
    .await
    .unwrap();
    let keep = RetentionConfig { history: NOW, ..RetentionConfig::default() };
    archiver(&db, folder.path(), keep).prune().await.unwrap();
    let left: Vec<i64> = sqlx::query_scalar("select id from build order by id").fetch_all(&db).await.unwrap();
    assert_eq!(left, [3]);
}

#[tokio::test]
async fn old_statuses_go_once_they_were_sent_and_their_build_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let db = five_builds(folder.path()).await;
    sqlx::raw_sql(
        "insert into wish (repo_id, sha, context, build_id, state, description, target_path, sent_seq, not_before)
             select 1, name, 'trainyard/push', build, 'success', 'x', '/', sent, now() - days * interval '1 day'
             from (values ('old', 1, 1, 91), ('owed', 2, 0, 91), ('young', 3, 1, 89), ('running', 5, 1, 91))
                 wish (name, build, sent, days)",
    )
    .execute(&db)
    .await
    .unwrap();
    archiver(&db, folder.path(), RetentionConfig::default()).prune().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("select sha from wish order by sha").fetch_all(&db).await.unwrap();
    assert_eq!(left, ["owed", "running", "young"]);
}

#[tokio::test]
async fn what_many_fetches_left_in_a_mirror_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = folder.path().join("mirrors/acme/styles.git");
    std::fs::create_dir_all(&mirror).unwrap();
    let git = |args: &[&str], input: &str| {
        use std::io::Write as _;
        let mut git = std::process::Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        git.arg("-C").arg(&mirror).args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = git.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--quiet", "--bare"], "");
    // Commits that only their own refs lead to, as after forced pushes, each a second younger than the one before.
    let commits: String = (1..=1100)
        .map(|n| format!("commit refs/trainyard/commit/{n}\ncommitter A <a@b> {n} +0000\ndata 1\nx\nM 644 inline n\ndata <<E\n{n}\nE\n\n"))
        .collect();
    git(&["-c", "fastimport.unpackLimit=100000", "fast-import", "--quiet"], &commits);
    let loose = || -> usize { git(&["count-objects"], "").split(' ').next().unwrap().parse().unwrap() };
    assert_eq!(loose(), 3300);
    let mirrors = git_host::mirrors(folder.path().join("mirrors"));
    mirrors.tidy().await.unwrap();
    let refs = git(&["for-each-ref", "--format=%(refname)"], "");
    assert_eq!(refs.lines().count(), 1000);
    assert!(
        refs.contains("commit/101\n") && refs.contains("commit/1100\n") && !refs.contains("commit/100\n"),
        "{refs}"
    );
    assert!(loose() < 1000, "{}", loose());
    // A commit without a ref still exists, for a process that was about to use it.
    let sha = git(&["rev-parse", "refs/trainyard/commit/1100"], "");
    assert_eq!(git(&["cat-file", "--batch-check", "--batch-all-objects"], "").lines().count(), 3300);
    let name = "acme/styles".parse().unwrap();
    assert_eq!(mirrors.files(&name, &sha.trim().parse().unwrap()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn mirrors_that_nothing_was_fetched_into_for_long_go() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = folder.path().join("mirrors/acme/styles.git");
    std::fs::create_dir_all(mirror.join("refs/trainyard/commit")).unwrap();
    let mirrors = git_host::mirrors(folder.path().join("mirrors"));
    let now = std::time::SystemTime::now();
    assert_eq!(mirrors.prune(now, days(45)).await.unwrap(), 0);
    assert_eq!(mirrors.prune(now + days(46), days(45)).await.unwrap(), 1);
    assert!(!mirror.exists());
}

#[tokio::test]
async fn the_page_says_why_a_log_and_an_artifact_are_gone() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\naddons: {artifacts: {paths: [w.bin]}}\nscript: echo to-be-forgotten; echo w > w.bin\n",
    );
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let in_rows = app.get(LOG).await;
    assert!(in_rows.0 == 200 && in_rows.1.contains("to-be-forgotten"));

    let retention = RetentionConfig { logs: days(1), artifacts: days(1), ..RetentionConfig::default() };
    let archiver = archiver(&app.db, &app.data(), retention);
    assert_eq!(archiver.archive(NOW).await.unwrap(), 1);
    assert_eq!(app.get(LOG).await, in_rows, "the raw log is the same from its object");
    assert!(app.get(PAGE).await.1.contains("to-be-forgotten"));
    assert_eq!(archiver.prune().await.unwrap(), 0);

    sqlx::query("update job set finished_at = now() - interval '2 days'").execute(&app.db).await.unwrap();
    assert_eq!(archiver.prune().await.unwrap(), 2);
    let (status, page) = app.get(PAGE).await;
    assert!(status == 200 && !page.contains(">to-be-forgotten"), "{page}");
    assert!(page.contains("The log is no longer here: it was removed after 1 day (retention.logs)."), "{page}");
    assert!(page.contains("it was removed after 1 day (retention.artifacts)"), "{page}");
    for (gone, what) in [(LOG, "The log of this job"), (ARTIFACT, "This artifact")] {
        let (status, text) = app.get(gone).await;
        assert!(
            status == 410 && text.contains(&format!("{what} is no longer here: it was removed after 1 day")),
            "{text}"
        );
    }
    let (status, stream) = app.get("/api/v1/jobs/1/log/stream").await;
    assert!(status == 200 && stream.contains("event: end"), "{stream}");
    app.stop().await;
}

#[tokio::test]
async fn while_the_storage_is_away_pages_say_so_and_logs_wait_in_rows() {
    let s3 = S3::start().await;
    let app = App::start(&s3.configuration()).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\naddons: {artifacts: {paths: [w.bin]}}\nscript: echo w | tee w.bin\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let config = Config::load(Some(&app.folder.path().join("config.toml")), std::iter::empty()).unwrap();
    let objects = Objects::open(&config.storage, &app.data()).unwrap();
    let kept = Kept {
        objects,
        keys: Keys { instance: "i".to_owned() },
        caches: Caches::new(app.data().join("c"), CacheConfig::default()),
        inputs: inputs_in(&app.data()),
        mirrors: git_host::mirrors(app.data().join("m")),
    };
    let archiver = Archiver::new(Duties::Installation, app.db.clone(), kept, RetentionConfig::default());

    s3.is_away(true);
    assert_eq!(archiver.archive(NOW).await.unwrap(), 0);
    let (_, page) = app.get(PAGE).await;
    assert!(page.contains("finished logs stay in Postgres, because they cannot be moved"), "{page}");
    assert_eq!(app.get(LOG).await.0, 200);
    let (status, text) = app.get(ARTIFACT).await;
    assert!(status == 503 && text.contains("The storage of logs and artifacts does not answer"), "{text}");

    s3.is_away(false);
    assert_eq!(archiver.archive(NOW).await.unwrap(), 1);
    let (status, page) = app.get(PAGE).await;
    assert!(status == 200 && !page.contains("cannot be moved"), "{page}");
    assert_eq!(app.get(ARTIFACT).await, (200, "w\n".to_owned()));
    s3.is_away(true);
    assert_eq!(app.get(PAGE).await.0, 503);
    app.stop().await;
}

#[tokio::test]
async fn the_service_does_all_this_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("data/objects/i/half#1");
    std::fs::create_dir_all(half.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&half).unwrap();
    file.set_modified(std::time::SystemTime::now() - days(2)).unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let app = App::start_in(folder, github, "").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo to-be-moved\n");
    let sha = repo.commit("Begin");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let before = app.get(LOG).await;
    sqlx::query("update job set finished_at = now() - interval '6 minutes'").execute(&app.db).await.unwrap();
    let begin = std::time::Instant::now();
    loop {
        let moved: Option<String> =
            sqlx::query_scalar("select key from log_object").fetch_optional(&app.db).await.unwrap();
        if let Some(key) = moved {
            assert!(app.data().join("objects").join(key).is_file());
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(40), "the log is not moved");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let chunks: i64 = sqlx::query_scalar("select count(*) from log_chunk").fetch_one(&app.db).await.unwrap();
    assert_eq!((chunks, half.exists()), (0, false));
    assert_eq!(app.get(LOG).await, before);
    app.stop().await;
}
