//! Objects in a folder and in a bucket, and logs that become objects while they are read.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use sqlx::PgPool;
use trainyard::config::Config;
use trainyard::domain::{AttemptId, JobId, Verdict};
use trainyard::storage::{Away, Keys, Logs, Moved, Objects, StorageConfig};
use trainyard::store::output::log_objects;
use trainyard::store::output::logs;
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::{self, Finish};

use crate::support::database;
use crate::support::s3::real::RealS3;
use crate::support::s3::{S3, storage_section};

const JOB: JobId = JobId(1);

fn keys() -> Keys {
    Keys { instance: "instance".to_owned() }
}

fn in_folder(folder: &Path) -> Objects {
    Objects::open(&StorageConfig::default(), folder).unwrap()
}

/// Opens the objects of a bucket, configured as an operator would.
fn in_bucket(s3: &S3, folder: &Path) -> Objects {
    with_configuration(&s3.configuration(), folder)
}

fn with_configuration(text: &str, folder: &Path) -> Objects {
    let file = folder.join("config.toml");
    std::fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), std::iter::empty()).unwrap();
    Objects::open(&config.storage, folder).unwrap()
}

async fn put(objects: &Objects, key: &str, bytes: &[u8]) {
    let mut object = objects.begin(key);
    for piece in bytes.chunks(1 << 20) {
        object.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    object.finish().await.unwrap();
}

async fn listed(objects: &Objects, instance: &str) -> Vec<String> {
    let mut keys: Vec<String> = objects.list(instance).map_ok(|object| object.key).try_collect().await.unwrap();
    keys.sort();
    keys
}

/// Returns bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

/// Returns the log of a training with progress bars.
fn text(count: usize) -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "steps:  {:3}%|####      | {n}/100000 [00:{:02}<11:37, 2.31it/s, loss={:.4}]\n",
            n % 100,
            n % 60,
            1.0 / (n + 1) as f64
        )
    };
    let mut log = Vec::with_capacity(count + 100);
    (0..).map_while(|n| (log.len() < count).then(|| log.extend(line(n).as_bytes()))).for_each(drop);
    log.truncate(count);
    log
}

async fn puts_reads_lists_and_removes(objects: &Objects) {
    let large = noise(20 << 20);
    put(objects, "instance/a/small", b"0123456789").await;
    put(objects, "instance/a/large", &large).await;
    put(objects, "instance/empty", b"").await;
    put(objects, "other/x", b"x").await;
    assert_eq!(objects.range("instance/a/small", 2..5).await.unwrap().unwrap(), &b"234"[..]);
    let middle = objects.range("instance/a/large", 9_000_000..9_000_100).await.unwrap().unwrap();
    assert_eq!(middle, &large[9_000_000..9_000_100]);
    let stream = objects.read("instance/a/large", 0..large.len() as u64).await.unwrap().unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert!(pieces.concat() == large);
    let empty: Vec<Bytes> = objects.read("instance/empty", 0..0).await.unwrap().unwrap().try_collect().await.unwrap();
    assert!(empty.concat().is_empty());
    put(objects, "instance/a/small", b"another").await;
    assert_eq!(objects.range("instance/a/small", 0..7).await.unwrap().unwrap(), &b"another"[..]);
    let mut begun = objects.begin("instance/half");
    begun.write(Bytes::from(large)).await.unwrap();
    begun.abort().await;
    assert_eq!(listed(objects, "instance").await, ["instance/a/large", "instance/a/small", "instance/empty"]);
    for key in ["instance/a/large", "instance/a/small", "instance/empty", "instance/none"] {
        objects.remove(key).await.unwrap();
    }
    assert!(objects.range("instance/a/small", 0..1).await.unwrap().is_none());
    assert!(objects.read("instance/none", 0..1).await.unwrap().is_none());
    assert_eq!(listed(objects, "instance").await, [""; 0]);
    assert_eq!(listed(objects, "never-there").await, [""; 0]);
    assert_eq!(listed(objects, "other").await, ["other/x"]);
}

#[tokio::test]
async fn a_folder_keeps_objects_whole() {
    let folder = tempfile::tempdir().unwrap();
    puts_reads_lists_and_removes(&in_folder(folder.path())).await;
}

#[tokio::test]
async fn a_bucket_keeps_objects_and_every_request_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start().await;
    let objects = in_bucket(&s3, folder.path());
    objects.examine().await.unwrap();
    for n in 0..4 {
        put(&objects, &format!("many/{n}"), b"x").await;
    }
    assert_eq!(listed(&objects, "many").await.len(), 4, "a list that goes on is whole");
    puts_reads_lists_and_removes(&objects).await;
    assert_eq!(s3.refused(), [""; 0]);
    assert_eq!(s3.open_uploads(), 0, "a bucket keeps the parts of an upload that nobody ends");
    let asked = s3.asked();
    let large = "some/prefix/instance/a/large";
    for request in
        [format!("POST {large}?uploads"), format!("PUT {large}?partNumber&uploadId"), format!("POST {large}?uploadId")]
    {
        assert!(asked.contains(&request), "{request}: {asked:?}");
    }
    assert!(asked.contains(&"PUT some/prefix/instance/a/small?".to_owned()), "{asked:?}");
    assert!(!folder.path().join("objects").exists());
}

#[tokio::test]
async fn a_real_s3_server_keeps_objects() {
    let Some(server) = RealS3::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let objects = with_configuration(&storage_section(&server.endpoint), folder.path());
    objects.examine().await.unwrap();
    puts_reads_lists_and_removes(&objects).await;
    assert_eq!(server.object("some/prefix/other/x").unwrap(), b"x");
}

#[tokio::test]
async fn a_wrong_key_or_bucket_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start().await;
    let settings = |url: &str, secret: &str| StorageConfig {
        url: url.to_owned(),
        endpoint: s3.endpoint.clone(),
        access_key: crate::support::s3::ACCESS_KEY.to_owned(),
        secret_key: secret.into(),
        ..StorageConfig::default()
    };
    let told = async |settings: &StorageConfig| {
        let objects = Objects::open(settings, folder.path()).unwrap();
        format!("{:#}", objects.examine().await.unwrap_err())
    };
    let wrong_key = told(&settings("s3://trainyard", "guessed")).await;
    assert!(wrong_key.contains("SignatureDoesNotMatch"), "{wrong_key}");
    let wrong_bucket = told(&settings("s3://none", crate::support::s3::SECRET_KEY)).await;
    assert!(wrong_bucket.contains("NoSuchBucket"), "{wrong_bucket}");
    for url in ["s3:/x", "http://ci/x", "ci", "file:///tmp", "gs://x"] {
        assert!(settings(url, "x").check().is_err(), "{url}");
    }
    assert!(settings("", "x").check().is_err(), "keys without a bucket are a mistake");
    assert!(StorageConfig { access_key: String::new(), ..settings("s3://trainyard", "x") }.check().is_err());
}

// --- logs ---

/// Makes a database with a running job, whose log is `log` in pieces of these sizes.
pub async fn job_with_log(log: &[u8], sizes: &[usize]) -> (PgPool, AttemptId) {
    let db = database::pool().await;
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url, last_build)
             values (1, 'acme', 'styles', false, 'main', 'http://localhost/', 1);
         insert into build (repo_id, number, kind, sha, built_sha)
             values (1, 1, 'push', repeat('0', 40), repeat('0', 40));
         insert into job (repo_id, build_id, number, kind, config) values (1, 1, 1, 'script', '{}');",
    )
    .execute(&db)
    .await
    .unwrap();
    let claimed = queue::claim(&db, "local", Duration::from_secs(60)).await.unwrap().unwrap();
    let mut connection = db.acquire().await.unwrap();
    let mut offset = 0;
    for size in sizes.iter().cycle() {
        if offset == log.len() {
            break;
        }
        let piece = &log[offset..(offset + size).min(log.len())];
        let at = i64::try_from(offset).unwrap();
        assert!(logs::append(&mut connection, claimed.attempt_id(), at, piece, piece.len()).await.unwrap());
        offset += piece.len();
    }
    (db, claimed.attempt_id())
}

pub async fn finish(db: &PgPool, attempt: AttemptId, length: usize) {
    let offset = i64::try_from(length).unwrap();
    let end = Finish {
        verdict: Verdict::Passed,
        exit_status: Some(0),
        reason: None,
        tail: b"",
        offset,
        reports: Reports::default(),
    };
    assert!(queue::finish(db, attempt, &end).await.unwrap());
}

async fn chunks(db: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from log_chunk").fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn a_log_reads_the_same_from_rows_and_from_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start().await;
    for objects in [in_folder(folder.path()), in_bucket(&s3, folder.path())] {
        let log = text(1_300_000);
        let (db, attempt) = job_with_log(&log, &[1, 70_000, 300_000, 16]).await;
        let stored = Logs::new(db.clone(), objects.clone());
        assert_eq!(stored.archive(&keys(), JOB).await.unwrap(), Moved::Nothing, "it runs");
        finish(&db, attempt, log.len()).await;
        for is_object in [false, true] {
            if is_object {
                let Moved::Bytes(raw, packed) = stored.archive(&keys(), JOB).await.unwrap() else {
                    panic!("it is due")
                };
                assert!(raw == log.len() as u64 && packed < raw / 4, "{raw} {packed}");
                assert_eq!(chunks(&db).await, 0);
            }
            for offset in [0, 1, 69_999, 262_143, 262_144, 262_145, 1_299_999, 1_300_000] {
                for enough in [1, 1000, 262_144, usize::MAX] {
                    let read = stored.read(attempt, offset as i64, enough).await.unwrap();
                    assert_eq!(read.start, offset as i64);
                    assert!(log[offset..].starts_with(&read.bytes), "{offset} {enough}");
                    assert!(
                        read.bytes.len() >= enough.min(log.len() - offset),
                        "{offset} {enough}: {}",
                        read.bytes.len()
                    );
                }
            }
        }
        assert_eq!(stored.archive(&keys(), JOB).await.unwrap(), Moved::Nothing, "it is done");
    }
}

#[tokio::test]
async fn what_a_crash_has_left_of_a_move_is_replaced_and_no_log_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let objects = in_folder(folder.path());
    let log = text(600_000);
    let (db, attempt) = job_with_log(&log, &[100_000]).await;
    finish(&db, attempt, log.len()).await;
    // The object was written, and then the process died before the row was.
    put(&objects, &keys().log(attempt), b"of an earlier try").await;
    let stored = Logs::new(db.clone(), objects);
    assert!(stored.read(attempt, 0, usize::MAX).await.unwrap().bytes == log);
    stored.archive(&keys(), JOB).await.unwrap();
    assert!(stored.read(attempt, 0, usize::MAX).await.unwrap().bytes == log);
    // An object that was removed from outside is an error, not an empty log.
    std::fs::remove_file(folder.path().join("objects").join(keys().log(attempt))).unwrap();
    let error = stored.read(attempt, 0, usize::MAX).await.unwrap_err().to_string();
    assert!(error.contains("is missing from the storage"), "{error}");
}

#[tokio::test]
async fn a_place_that_does_not_take_an_object_leaves_the_log_in_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start().await;
    let log = text(300_000);
    let (db, attempt) = job_with_log(&log, &[100_000]).await;
    finish(&db, attempt, log.len()).await;
    let stored = Logs::new(db.clone(), in_bucket(&s3, folder.path()));
    s3.is_away(true);
    assert!(stored.archive(&keys(), JOB).await.is_err());
    assert!(stored.read(attempt, 0, usize::MAX).await.unwrap().bytes == log);
    s3.is_away(false);
    assert!(matches!(stored.archive(&keys(), JOB).await.unwrap(), Moved::Bytes(..)));
    assert!(stored.read(attempt, 0, usize::MAX).await.unwrap().bytes == log);
    s3.is_away(true);
    let error = stored.read(attempt, 0, usize::MAX).await.unwrap_err();
    assert!(error.downcast_ref::<Away>().is_some(), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_movers_move_once_and_who_reads_meanwhile_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let objects = in_folder(folder.path());
    let log = text(4_000_000);
    let (db, attempt) = job_with_log(&log, &[65_536]).await;
    finish(&db, attempt, log.len()).await;
    let stored = Logs::new(db.clone(), objects);
    let reader = {
        let (stored, log, db) = (stored.clone(), log.clone(), db.clone());
        async move {
            let mut rounds_after = 0;
            while rounds_after < 2 {
                let is_object = log_objects::find(&db, attempt).await.unwrap().is_some();
                let mut offset = 0;
                while offset < log.len() {
                    let read = stored.read(attempt, offset as i64, 100_000).await.unwrap().bytes;
                    assert!(!read.is_empty() && log[offset..].starts_with(&read), "at {offset}");
                    offset += read.len();
                }
                rounds_after += usize::from(is_object);
            }
        }
    };
    let keys = keys();
    let (first, second, ()) = tokio::join!(stored.archive(&keys, JOB), stored.archive(&keys, JOB), reader);
    let moved = [first.unwrap(), second.unwrap()];
    assert_eq!(moved.iter().filter(|moved| **moved != Moved::Nothing).count(), 1, "{moved:?}");
}

/// Returns the peak memory of this process since `reset`.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn reset_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak()
}

#[tokio::test]
async fn a_log_of_two_hundred_megabytes_is_moved_and_read_in_little_memory() {
    const PIECES: usize = 100;
    const CHUNK: usize = 64 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let piece = text(2_000_000);
    let (db, attempt) = job_with_log(&piece, &[CHUNK]).await;
    let mut connection = db.acquire().await.unwrap();
    for n in 1..PIECES {
        for (at, chunk) in piece.chunks(CHUNK).enumerate() {
            let offset = i64::try_from(n * piece.len() + at * CHUNK).unwrap();
            assert!(logs::append(&mut connection, attempt, offset, chunk, chunk.len()).await.unwrap());
        }
    }
    drop(connection);
    let length = PIECES * piece.len();
    finish(&db, attempt, length).await;
    let in_rows = "select pg_total_relation_size('log_chunk')";
    let in_rows: i64 = sqlx::query_scalar(in_rows).fetch_one(&db).await.unwrap();
    let stored = Logs::new(db.clone(), in_folder(folder.path()));
    let before = reset_peak();
    let begin = std::time::Instant::now();
    let moved = stored.archive(&keys(), JOB).await.unwrap();
    let (took, grown) = (begin.elapsed(), peak() - before);
    println!("moved {length} bytes, {in_rows} in rows: {moved:?} in {took:?}, {grown} MiB more");
    assert!(grown < 64, "moving took {grown} MiB");

    let before = reset_peak();
    let mut took = Duration::ZERO;
    let (mut offset, mut pieces) = (0, 0);
    while offset < length {
        let begin = std::time::Instant::now();
        let read = stored.read(attempt, offset as i64, 256 * 1024).await.unwrap().bytes;
        took += begin.elapsed();
        assert!(read.iter().eq(piece.iter().cycle().skip(offset % piece.len()).take(read.len())), "at {offset}");
        offset += read.len();
        pieces += 1;
    }
    println!("read it in {pieces} pieces in {took:?}, {} MiB more", peak() - before);
    assert!(peak() - before < 32);
    let begin = std::time::Instant::now();
    let end = stored.read(attempt, (length - 100_000) as i64, usize::MAX).await.unwrap().bytes;
    println!("read the last {} bytes in {:?}", end.len(), begin.elapsed());
}
