//! Trainyard's own Postgres: a private cluster in the data folder, run with the binaries that the distribution
//! installed.
//!
//! **Invariant:** this module never touches a cluster that it did not create. The folder carries a mark, and a folder
//! without the mark is rejected.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::child;

const MARK: &str = "TRAINYARD";
pub(super) const DATABASE: &str = "trainyard";
/// Accounts that may own the cluster when Trainyard runs as root, which Postgres itself refuses to do.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
/// Time limit for a start. Crash recovery replays at most one checkpoint's worth of log, for which this is generous.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Pause before the next start of a server that failed to start.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Maximum length of the socket folder's path: a socket's path may have 107 bytes, and Postgres appends 17.
const LONGEST_SOCKET_FOLDER: usize = 90;

/// A running private cluster.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    sockets: PathBuf,
    binaries: PathBuf,
    owner: Option<Owner>,
    connections: u32,
    server: Child,
}

/// Account that the server runs as, when it differs from ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Starts the cluster under `data`, and creates it first if necessary. `connections` is the number of connections
    /// that all its clients may hold together.
    ///
    /// Must be called from a thread that lives as long as the process, such as that of `main`: the server is stopped
    /// when the thread that started it ends, so that a killed Trainyard leaves no server behind.
    ///
    /// # Errors
    /// Fails when there are no Postgres binaries, when the folder is not ours, or when the server does not start. The
    /// message says what to do.
    pub async fn start(data: &Path, connections: u32) -> anyhow::Result<Self> {
        let binaries = find_binaries()?;
        let owner = unprivileged_owner()?;
        let data = std::path::absolute(data)?;
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
        if owner.is_some() {
            check_reachable(&data)?;
        }
        let folder = data.join("postgres");
        make(&folder, &binaries, owner).await?;
        await_end_of_earlier(&folder).await?;
        let sockets = socket_folder(&data)?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&sockets, Some(owner.uid), Some(owner.gid))?;
        }
        std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o700))?;
        let server = launch(&folder, &sockets, &binaries, owner, connections)?;
        let mut cluster = Self { folder, sockets, binaries, owner, connections, server };
        cluster.await_ready().await?;
        Ok(cluster)
    }

    /// Returns the options to connect to Trainyard's database in the cluster.
    pub fn options(&self) -> PgConnectOptions {
        options(&self.sockets)
    }

    /// Keeps the server running until `shutdown`, then stops it cleanly. Clients should be disconnected by then.
    ///
    /// # Errors
    /// Fails when the server ended and could not be started again.
    pub async fn keep(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                ended = self.server.wait() => warn!("Postgres ended ({}); starting it again", ended?),
                () = shutdown.cancelled() => return self.stop().await,
            }
            self.start_again().await?;
        }
    }

    /// Starts the server after it ended by itself. The first tries may fail because of remains of the old server, such
    /// as backends that have not noticed its end and still hold its shared memory.
    async fn start_again(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.server = launch(&self.folder, &self.sockets, &self.binaries, self.owner, self.connections)?;
            match self.await_ready().await {
                Ok(()) => return Ok(()),
                Err(error) if begin.elapsed() > START_LIMIT => return Err(error),
                Err(error) => warn!("Postgres does not start yet: {error:#}"),
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    /// Stops the server cleanly.
    ///
    /// # Errors
    /// Fails when the server does not stop in time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.server.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // "Fast" shutdown: open transactions are rolled back, and a checkpoint is written.
            rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        }
        tokio::time::timeout(STOP_LIMIT, self.server.wait()).await.context("Postgres did not stop in time")??;
        Ok(())
    }

    async fn await_ready(&mut self) -> anyhow::Result<()> {
        let maintenance = self.options().database("postgres");
        let begin = Instant::now();
        let mut connection = loop {
            match PgConnection::connect_with(&maintenance).await {
                Ok(connection) => break connection,
                Err(error) if begin.elapsed() > START_LIMIT => {
                    return Err(error).context("Postgres did not get ready in time");
                }
                Err(_) => {}
            }
            if let Some(status) = self.server.try_wait()? {
                bail!("Postgres ended at its start ({status}): {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let exists: Option<i32> = sqlx::query_scalar("select 1 from pg_database where datname = $1")
            .bind(DATABASE)
            .fetch_optional(&mut connection)
            .await?;
        if exists.is_none() {
            sqlx::query(AssertSqlSafe(format!("create database {DATABASE}"))).execute(&mut connection).await?;
        }
        connection.close().await?;
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(log_file(&self.folder)).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}

/// Finds the folder of the newest server binaries: on the PATH, or where Debian, Ubuntu, Fedora and the sources install
/// them.
pub(super) fn find_binaries() -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    folders.push("/usr/local/pgsql/bin".into());
    let mut versions: Vec<(u32, PathBuf)> = ["/usr/lib/postgresql", "/usr/pgsql"]
        .into_iter()
        .filter_map(|parent| std::fs::read_dir(parent).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .context("no PostgreSQL server is installed: install the package `postgresql`, or set database.url")
}

pub(super) fn unprivileged_owner() -> anyhow::Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    UNPRIVILEGED
        .into_iter()
        .find_map(uzers::get_user_by_name)
        .map(|user| Some(Owner { uid: user.uid(), gid: user.primary_group_id() }))
        .context("Postgres does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")
}

/// Checks that Postgres can enter its folder when it runs as another user.
pub(super) fn check_reachable(data: &Path) -> anyhow::Result<()> {
    for folder in data.ancestors() {
        let mode = std::fs::metadata(folder)?.mode();
        ensure!(
            mode & 0o001 != 0,
            "Postgres runs as an unprivileged user, which may not enter {}: choose another server.data_dir, or allow it \
             with chmod o+x {}",
            folder.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Returns true if the cluster already exists; then it must be ours.
pub(super) fn is_made(folder: &Path, owner: Option<Owner>) -> anyhow::Result<bool> {
    if let Ok(metadata) = std::fs::metadata(folder) {
        let wanted = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |owner| owner.uid);
        ensure!(
            metadata.uid() == wanted,
            "{} belongs to the user with id {}, but Postgres would run as the one with id {wanted}: run this as the user \
             of the service, or stop the service and give the folder away with chown -R",
            folder.display(),
            metadata.uid()
        );
    }
    if folder.join(MARK).exists() {
        return Ok(true);
    }
    if folder.exists() {
        bail!(
            "{} exists but was not made by Trainyard and is left alone: move it away or set database.url",
            folder.display()
        );
    }
    Ok(false)
}

async fn make(folder: &Path, binaries: &Path, owner: Option<Owner>) -> anyhow::Result<()> {
    if is_made(folder, owner)? {
        return Ok(());
    }
    // The cluster is made in a neighbouring folder that is then renamed: a kill in between leaves nothing that looks
    // finished.
    let unfinished = folder.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o700))?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(&unfinished, Some(owner.uid), Some(owner.gid))?;
    }
    info!("making a private Postgres cluster in {}", folder.display());
    let mut initdb = child::command(binaries.join("initdb"), &[]);
    initdb
        .args(["--username", DATABASE, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"])
        .arg(&unfinished)
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(owner) = owner {
        initdb.uid(owner.uid).gid(owner.gid);
    }
    let output = initdb.output().await.context("cannot start initdb")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    std::fs::write(unfinished.join(MARK), "This PostgreSQL cluster belongs to Trainyard.\n")?;
    std::fs::rename(&unfinished, folder)?;
    Ok(())
}

/// Waits until the server of an earlier process that was killed has shut itself down.
async fn await_end_of_earlier(folder: &Path) -> anyhow::Result<()> {
    let begin = Instant::now();
    while let Some(pid) = running_postmaster(folder) {
        ensure!(
            begin.elapsed() < STOP_LIMIT,
            "a Postgres server of an earlier start still runs in {} as process {pid}: stop it",
            folder.display()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn running_postmaster(folder: &Path) -> Option<u32> {
    let pid = std::fs::read_to_string(folder.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
    // The number may belong to another process by now. A postmaster's working directory is its data folder.
    let place = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (place == folder).then_some(pid)
}

/// Returns the options to connect to a private cluster under `data` that another process runs.
///
/// # Errors
/// Fails when the folder is not ours.
pub fn running(data: &Path) -> anyhow::Result<Option<PgConnectOptions>> {
    let folder = std::path::absolute(data)?.join("postgres");
    // The owner matters only to those who would start the server: root may connect to that of each user.
    if !folder.join(MARK).exists() || running_postmaster(&folder).is_none() {
        is_made(&folder, unprivileged_owner()?)?;
        return Ok(None);
    }
    // The fifth line is the folder of the socket.
    let facts = std::fs::read_to_string(folder.join("postmaster.pid"))?;
    let sockets = facts.lines().nth(4).filter(|folder| !folder.is_empty()).context("Postgres is still starting")?;
    Ok(Some(options(Path::new(sockets))))
}

fn options(sockets: &Path) -> PgConnectOptions {
    // Only its owner and root may enter the socket's folder, so no password is needed.
    PgConnectOptions::new_without_pgpass().socket(sockets).username(DATABASE).database(DATABASE)
}

fn socket_folder(data: &Path) -> anyhow::Result<PathBuf> {
    let beside = data.join("sockets");
    if beside.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
        std::fs::create_dir_all(&beside)?;
        return Ok(beside);
    }
    let elsewhere = tempfile::Builder::new().prefix("trainyard-").tempdir().context("no folder for a socket")?;
    Ok(elsewhere.keep())
}

fn launch(
    folder: &Path,
    sockets: &Path,
    binaries: &Path,
    owner: Option<Owner>,
    connections: u32,
) -> anyhow::Result<Child> {
    let log = std::fs::File::create(log_file(folder))?;
    // setpriv (util-linux) asks the kernel to stop the server when we end, so that no unsafe code is needed here.
    let mut server = child::command("setpriv", &[]);
    server.arg("--pdeathsig=INT");
    if let Some(owner) = owner {
        server.args([format!("--reuid={}", owner.uid), format!("--regid={}", owner.gid)]).arg("--clear-groups");
    }
    server.arg("--").arg(binaries.join("postgres")).arg("-D").arg(folder);
    for setting in [
        "listen_addresses=",
        &format!("unix_socket_directories={}", sockets.display()),
        // More than Trainyard's own connections, for an operator's tools.
        &format!("max_connections={}", connections + 40),
        "shared_buffers=64MB",
        "jit=off",
        // An idle server would otherwise log nothing but one line per checkpoint.
        "log_checkpoints=off",
    ] {
        server.arg("-c").arg(setting);
    }
    server
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in a terminal goes to the whole group, but the server must be stopped after its clients.
        .process_group(0)
        .spawn()
        .context("cannot start Postgres through setpriv (package util-linux)")
}
