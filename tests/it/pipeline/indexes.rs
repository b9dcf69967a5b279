//! No statement of a step reads a large table from its beginning: however long the history is, a claim, a beat, a look
//! at the deliveries and a round of the janitor cost the same. Postgres's own plans show it, on a large database.
//!
//! `TRAINYARD_TEST_BUILDS` sets the number of builds. `make faults` runs the test with a million.

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::statements::{statements, with_intervals};
use crate::support::database;

const USUAL_BUILDS: i64 = 50_000;
/// Tables that grow with the number of builds.
const LARGE: [&str; 6] = ["build", "job", "wish", "delivery", "log_object", "artifact"];
/// Folders and files with the statements of the steps. The others are a person's: pages, and the removal of a repository.
const STEPS: [&str; 8] = [
    "src/store/queue/",
    "src/store/output/",
    "src/store/runner/",
    "src/store/deliveries.rs",
    "src/store/wishes/",
    "src/store/builds.rs",
    "src/store/delays.rs",
    "src/store/alerts.rs",
];
/// Statements that read a whole index on purpose, by a part of their text.
const WHOLE: [&str; 1] = [
    // The size of all objects, every ten minutes.
    "select (select coalesce(sum(size), 0) from log_object",
];

/// Fills a database: 200 repositories, builds of a thousand days with a job, a status, a delivery and a log each, and
/// a queue of 4000 jobs.
async fn fill(connection: &mut PgConnection, builds: i64) {
    sqlx::raw_sql(AssertSqlSafe(format!(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url, last_build)
             select n, 'acme', 'r' || n, false, 'main', 'http://localhost/', {builds} / 200 + 1
             from generate_series(1, 200) n;
         insert into delivery (id, event, body, done_at, outcome)
             select n, 'push', '', now() - n * interval '1000 days' / {builds}, 'built' from generate_series(1, {builds}) n;
         insert into delivery (id, event, body) select 'open' || n, 'push', '' from generate_series(1, 20) n;
         insert into build (repo_id, number, kind, sha, built_sha, state, finished_at, delivery_id)
             select 1 + n % 200, 1 + n / 200, 'push', lpad(n::text, 40, '0'), '', 'passed',
                 now() - ({builds} - n) * interval '1000 days' / {builds}, n from generate_series(1, {builds}) n;
         insert into job (repo_id, build_id, number, kind, config, state, verdict, attempt, archived_attempt, finished_at)
             select repo_id, id, 1, 'script', '{{}}', 'finished', 'passed', 1, 1, finished_at from build;
         insert into wish (repo_id, sha, context, build_id, state, description, target_path, sent_seq, not_before)
             select repo_id, sha, 'trainyard/push', id, 'success', 'passed', '/', 1, finished_at from build;
         insert into log_object (repo_id, job_id, attempt, key, length, size, frame, frames)
             select repo_id, id, 1, 'i/logs/' || id, 1, 1, 1, '{{}}' from job;
         insert into artifact (repo_id, job_id, attempt, path, key, size, sha256)
             select repo_id, id, 1, 'w', 'i/artifacts/' || case when id % 5 = 0 then 'forks' else 'own' end || '/' || id, 1,
                 sha256('') from job where id % 3 = 0;
         insert into build (repo_id, number, kind, sha, built_sha)
             select n, {builds}, 'push', 'q' || n, '' from generate_series(1, 200) n;
         insert into wish (repo_id, sha, context, build_id, state, description, target_path)
             select repo_id, sha, 'trainyard/push', id, 'pending', 'queued', '/' from build where state = 'queued';
         insert into job (repo_id, build_id, number, kind, config, gpu_count)
             select repo_id, build.id, n, 'script', '{{}}', case when n > 18 then 1 else 0 end
             from build, generate_series(1, 20) n where state = 'queued';
         update job set state = 'running', lease_until = now(), runner = 'w', attempt = 1
             where state = 'queued' and number = 1 and repo_id <= 50;
         insert into runner (name, endpoint, slots) values ('w', 'unix:///x', 50);
         insert into gpu (uuid, runner, name, class, memory)
             select 'GPU-' || n, 'w', 'T4', 't4', 16 from generate_series(1, 8) n;
         analyze;"
    )))
    .execute(connection)
    .await
    .unwrap();
}

/// Returns a usual value of this type, as SQL: of an id, a limit or a time. Of a small database, a batch of the usual
/// thousand rows would be so large a part that to read all of a table is right.
fn value(kind: &str, builds: i64) -> String {
    match kind {
        "interval" => "'990 days'".to_owned(),
        "smallint" => "'-32768'".to_owned(),
        "integer" | "bigint" | "double precision" | "numeric" => format!("'{}'", (builds / 1000).clamp(1, 1000)),
        "boolean" => "'true'".to_owned(),
        "bytea" | "text" => "'x'".to_owned(),
        "timestamp with time zone" => "now()".to_owned(),
        "integer[]" | "bigint[]" => "'{1}'".to_owned(),
        "text[]" => "'{x}'".to_owned(),
        _ => "null".to_owned(),
    }
}

/// Collects the large tables that a plan reads from their beginning.
fn whole(plan: &Json, found: &mut Vec<String>) {
    let relation = plan["Relation Name"].as_str().unwrap_or_default();
    if plan["Node Type"] == "Seq Scan" && LARGE.contains(&relation) {
        found.push(relation.to_owned());
    }
    plan["Plans"].as_array().into_iter().flatten().for_each(|part| whole(part, found));
}

#[tokio::test]
async fn no_statement_of_a_step_reads_a_large_table_from_its_beginning() {
    let builds = std::env::var("TRAINYARD_TEST_BUILDS").map_or(USUAL_BUILDS, |builds| builds.parse().unwrap());
    let mut connection = PgConnection::connect(&database::url().await).await.unwrap();
    trainyard::store::MIGRATOR.run(&mut connection).await.unwrap();
    fill(&mut connection, builds).await;
    let (mut seen, mut slow) = (0, Vec::new());
    let is_of_a_step = |file: &str| STEPS.iter().any(|step| file.starts_with(step));
    for (number, statement) in statements().into_iter().filter(|one| is_of_a_step(&one.file)).enumerate() {
        let sql = with_intervals(&statement.sql);
        if WHOLE.iter().any(|part| sql.starts_with(part)) {
            continue;
        }
        let prepare = format!("prepare statement_{number} as {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let kinds: Vec<String> =
            sqlx::query_scalar("select unnest(parameter_types)::text from pg_prepared_statements where name = $1")
                .bind(format!("statement_{number}"))
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let values: Vec<String> = kinds.iter().map(|kind| value(kind, builds)).collect();
        let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        // Only statements with a plan can be explained, and none is executed.
        let explain = format!("explain (format json) execute statement_{number}{values}");
        let plan: Json = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut connection).await.unwrap();
        let mut found = Vec::new();
        whole(&plan[0]["Plan"], &mut found);
        if !found.is_empty() {
            slow.push(format!("{} reads all of {}:\n{}\n{plan:#}", statement.file, found.join(", "), statement.sql));
        }
        seen += 1;
    }
    assert!(seen > 50, "only {seen} statements were found");
    assert!(slow.is_empty(), "{}", slow.join("\n\n"));
}
