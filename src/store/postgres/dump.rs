//! Dumps of the private cluster's database, and their restoration, by Postgres's own programs.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

use super::cluster;
use crate::child;
use crate::store::output::retention;

/// The rows of a database at one moment, and a hold on the objects that they name.
///
/// The archiver removes no object while this value lives.
pub struct Snapshot {
    options: PgConnectOptions,
    connection: PgConnection,
    /// Name of the snapshot, for other connections.
    name: String,
}

/// Facts about the rows of a snapshot.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Id of the installation.
    pub instance: String,
    /// Version of the newest migration.
    pub migration: i64,
    /// Keys of all logs and artifacts that rows name.
    pub objects: Vec<String>,
}

impl Snapshot {
    /// Takes a snapshot of the database.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn take(options: PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect_with(&options).await.context("connecting to Postgres")?;
        retention::hold_objects(&mut connection).await?;
        sqlx::query("begin isolation level repeatable read read only").execute(&mut connection).await?;
        let name = sqlx::query_scalar("select pg_export_snapshot()").fetch_one(&mut connection).await?;
        Ok(Self { options, connection, name })
    }

    /// Reads facts about the rows.
    ///
    /// # Errors
    /// Fails when Postgres does not answer, or when its schema is not that of a Trainyard.
    pub async fn contents(&mut self) -> anyhow::Result<Contents> {
        let connection = &mut self.connection;
        let (instance, migration) = sqlx::query_as(
            "select (select id::text from instance), (select max(version) from _sqlx_migrations where success)",
        )
        .fetch_one(&mut *connection)
        .await?;
        let objects = sqlx::query_scalar(
            "select key from log_object where key is not null
             union all select key from artifact where key is not null order by 1",
        )
        .fetch_all(connection)
        .await?;
        Ok(Contents { instance, migration, objects })
    }

    /// Writes the rows to a file, in the compressed form of `pg_dump`.
    ///
    /// # Errors
    /// Fails with the message of `pg_dump`.
    pub async fn dump(&self, to: File) -> anyhow::Result<()> {
        let mut command = program("pg_dump", &self.options)?;
        command.args(["--format=custom", "--no-owner", "--no-privileges"]).arg(format!("--snapshot={}", self.name));
        command.stdout(to);
        succeed(command, "pg_dump").await
    }
}

/// Writes the rows of a dump into an empty database, all or none of them.
///
/// # Errors
/// Fails with the message of `pg_restore`.
pub async fn restore(options: &PgConnectOptions, from: &Path) -> anyhow::Result<()> {
    let mut command = program("pg_restore", options)?;
    command.args(["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]);
    command.arg(format!("--dbname={}", cluster::DATABASE)).arg(from).stdout(Stdio::null());
    succeed(command, "pg_restore").await
}

/// Returns a command for a program of Postgres, which connects with these options.
fn program(name: &str, options: &PgConnectOptions) -> anyhow::Result<Command> {
    // The server's program may be a link, and then the others are next to the file itself.
    let server = std::fs::canonicalize(cluster::find_binaries()?.join("postgres"))?;
    let path = server.with_file_name(name);
    ensure!(path.exists(), "{} is missing: install the package `postgresql-client`", path.display());
    let socket = options.get_socket().context("a private Postgres has a socket")?;
    let mut command = child::command(path, &[]);
    command
        .env("PGHOST", socket)
        .env("PGUSER", cluster::DATABASE)
        .env("PGDATABASE", cluster::DATABASE)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

async fn succeed(mut command: Command, name: &str) -> anyhow::Result<()> {
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
