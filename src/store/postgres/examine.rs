//! Examination of Postgres for problems, which changes nothing.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Row as _};

use super::cluster;
use crate::child;
use crate::domain::RepoName;
use crate::store::MIGRATOR;

/// Time limit for an answer; a slower server counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Facts about a server and the database in it.
#[derive(Debug, Clone)]
pub struct Database {
    /// Version of the server, such as `15.14`.
    pub version: String,
    /// Major version as a number, such as 15.
    pub major: u32,
    /// Number of connections that the server allows.
    pub max_connections: u32,
    /// Difference of the server's clock to ours; positive when it is ahead.
    pub ahead: TimeDelta,
    pub schema: Schema,
}

/// State of a database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Number of migrations that are missing. The next start applies them.
    Behind(usize),
    /// The schema is the one of this version.
    Current,
    /// A newer Trainyard has migrated it, up to this version.
    Newer(i64),
    /// The migration of this version has another text here, or was interrupted.
    Foreign(i64),
}

/// Lists at most a hundred repositories that had a build within a month.
///
/// # Errors
/// Fails when the server does not answer, or has no repositories yet.
pub async fn repositories(options: &PgConnectOptions) -> anyhow::Result<Vec<RepoName>> {
    let connect = PgConnection::connect_with(options);
    let mut connection = tokio::time::timeout(ANSWER_TIMEOUT, connect).await.context("no answer in time")??;
    let names: Vec<String> = sqlx::query_scalar(
        "select owner || '/' || name from repo
         where exists (select from build where repo_id = repo.id and created_at > now() - interval '1 month')
         order by id desc limit 100",
    )
    .fetch_all(&mut connection)
    .await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Reads facts about a server and its database.
///
/// # Errors
/// Fails when the server does not answer.
pub async fn database(options: &PgConnectOptions) -> anyhow::Result<Database> {
    let connect = PgConnection::connect_with(options);
    let mut connection = tokio::time::timeout(ANSWER_TIMEOUT, connect).await.context("no answer in time")??;
    let asked = async {
        let before = Utc::now();
        let row = sqlx::query(
            "select clock_timestamp() as now, current_setting('server_version') as version,
                 current_setting('server_version_num')::int / 10000 as major,
                 current_setting('max_connections')::int as connections",
        )
        .fetch_one(&mut connection)
        .await?;
        let middle = before + (Utc::now() - before) / 2;
        let schema = schema(&mut connection).await?;
        let count = |name: &str| row.try_get::<i32, _>(name).map(i32::unsigned_abs);
        let now: DateTime<Utc> = row.try_get("now")?;
        let (major, max_connections) = (count("major")?, count("connections")?);
        Ok(Database { version: row.try_get("version")?, major, max_connections, ahead: now - middle, schema })
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.context("no answer in time")?;
    connection.close().await?;
    answer
}

/// Determines the state of a database's schema.
pub async fn schema(connection: &mut PgConnection) -> anyhow::Result<Schema> {
    let is_new: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is null").fetch_one(&mut *connection).await?;
    if is_new {
        return Ok(Schema::Behind(MIGRATOR.iter().count()));
    }
    let made: Vec<(i64, bool, Vec<u8>)> =
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version")
            .fetch_all(&mut *connection)
            .await?;
    for (version, success, checksum) in &made {
        match MIGRATOR.iter().find(|migration| migration.version == *version) {
            None => return Ok(Schema::Newer(*version)),
            Some(ours) if !success || *ours.checksum != **checksum => return Ok(Schema::Foreign(*version)),
            Some(_) => {}
        }
    }
    Ok(match MIGRATOR.iter().count() - made.len() {
        0 => Schema::Current,
        missing => Schema::Behind(missing),
    })
}

/// State of a private cluster, or of the one that the next start would make.
#[derive(Debug, Clone)]
pub struct Private {
    /// Version of the server's programs, as they report it.
    pub version: String,
    /// True when the cluster exists already.
    pub is_made: bool,
    /// Options to connect to the cluster, if it is running.
    pub running: Option<PgConnectOptions>,
}

/// Checks whether a private cluster under `data` is running, or can be started.
///
/// # Errors
/// Fails with the reason that keeps it from starting, and with what to do.
pub async fn private(data: &Path) -> anyhow::Result<Private> {
    let binaries = cluster::find_binaries()?;
    let data = std::path::absolute(data)?;
    let running = cluster::running(&data)?;
    let is_made = running.is_some() || can_start(&data)?;
    let said = child::command("setpriv", &[]).arg("--version").output().await;
    said.context("cannot start setpriv: install the package util-linux")?;
    let said = child::command(binaries.join("postgres"), &[]).arg("--version").output().await;
    let said = said.with_context(|| format!("cannot start {}", binaries.join("postgres").display()))?.stdout;
    let said = String::from_utf8_lossy(&said);
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(Private { version: version.unwrap_or("of an unknown version").to_owned(), is_made, running })
}

/// Checks that this user may start the cluster. Returns true if it exists already.
fn can_start(data: &Path) -> anyhow::Result<bool> {
    let owner = cluster::unprivileged_owner()?;
    if owner.is_some()
        && let Some(there) = data.ancestors().find(|folder| folder.exists())
    {
        cluster::check_reachable(there)?;
    }
    cluster::is_made(&data.join("postgres"), owner)
}
