//! Trainyard's own Postgres: a private cluster in the data folder, from the binaries that the distribution installed.
//!
//! **Invariant:** it never touches a cluster that it did not make: the folder carries a mark, and one without is refused.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const MARK: &str = "TRAINYARD";
pub(super) const DATABASE: &str = "trainyard";
/// Accounts that may own the cluster when Trainyard runs as root, which Postgres refuses to.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];
/// Crash recovery replays at most a checkpoint's worth of log; this is generous for it.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a server that refused to start again is left alone.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// A socket's path may have 107 bytes, and Postgres appends 17.
pub(super) const LONGEST_SOCKET_FOLDER: usize = 90;

/// A private cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    sockets: PathBuf,
    binaries: PathBuf,
    owner: Option<Owner>,
    connections: u32,
    server: Child,
}

/// The account that the server runs as, when that is not ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Starts the cluster under `data`, made when it is not there. `connections` is what its clients may hold together.
    ///
    /// Must be called from a thread that lives as long as the process, such as the one of `main`: the server is told to
    /// end when the thread that started it does, so that a killed Trainyard leaves no server behind.
    ///
    /// # Errors
    /// When there are no Postgres binaries, the folder is not ours, or the server does not come up; in words that say
    /// what to do.
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

    /// How to connect to Trainyard's database in it.
    pub fn options(&self) -> PgConnectOptions {
        // The socket's folder is open to its owner and root alone, so no password is needed behind it.
        PgConnectOptions::new_without_pgpass().socket(&self.sockets).username(DATABASE).database(DATABASE)
    }

    /// Keeps the server running until `shutdown`, then stops it cleanly. Clients should be gone by then.
    ///
    /// # Errors
    /// When the server ended and could not be started again.
    pub async fn keep(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                ended = self.server.wait() => warn!("Postgres ended ({}); it is started again", ended?),
                () = shutdown.cancelled() => return self.stop().await,
            }
            self.start_again().await?;
        }
    }

    /// Starts the server after it ended by itself. What it left behind, such as backends that have not noticed yet and
    /// hold its shared memory, may refuse the first tries.
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

    async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.server.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // "Fast": open transactions are rolled back, a checkpoint is written.
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

/// The folder of the newest server binaries: on the PATH, or where Debian, Ubuntu, Fedora and the sources put them.
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

/// Postgres as another user must be able to walk to its folder.
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

/// Whether the cluster is made already; it has to be ours then.
pub(super) fn is_made(folder: &Path, owner: Option<Owner>) -> anyhow::Result<bool> {
    if let Ok(metadata) = std::fs::metadata(folder) {
        let wanted = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |owner| owner.uid);
        ensure!(
            metadata.uid() == wanted,
            "{} belongs to the user with id {}, but Postgres would run as the one with id {wanted}: start Trainyard as \
             the user who made it, or give it away with chown -R",
            folder.display(),
            metadata.uid()
        );
    }
    if folder.join(MARK).exists() {
        return Ok(true);
    }
    if folder.exists() {
        bail!(
            "{} is there but was not made by Trainyard: it is left alone; move it away or set database.url",
            folder.display()
        );
    }
    Ok(false)
}

async fn make(folder: &Path, binaries: &Path, owner: Option<Owner>) -> anyhow::Result<()> {
    if is_made(folder, owner)? {
        return Ok(());
    }
    // Made beside its place and then renamed: a kill in between leaves nothing that looks finished.
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
    let mut initdb = Command::new(binaries.join("initdb"));
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

/// Waits until the server of an earlier process, which was killed, has shut itself down.
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

pub(super) fn running_postmaster(folder: &Path) -> Option<u32> {
    let pid = std::fs::read_to_string(folder.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
    // The number may belong to another process by now; a postmaster works in its data folder.
    let place = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (place == folder).then_some(pid)
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
    // setpriv (util-linux) asks the kernel to end the server with us, which needs no unsafe code here.
    let mut server = Command::new("setpriv");
    server.arg("--pdeathsig=INT");
    if let Some(owner) = owner {
        server.args([format!("--reuid={}", owner.uid), format!("--regid={}", owner.gid)]).arg("--clear-groups");
    }
    server.arg("--").arg(binaries.join("postgres")).arg("-D").arg(folder);
    for setting in [
        "listen_addresses=",
        &format!("unix_socket_directories={}", sockets.display()),
        // More than Trainyard's own, for an operator's tools.
        &format!("max_connections={}", connections + 40),
        "shared_buffers=64MB",
        "jit=off",
        // One line a checkpoint would be all that an idle server says.
        "log_checkpoints=off",
    ] {
        server.arg("-c").arg(setting);
    }
    server
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in a terminal goes to the whole group; the server is to be stopped after its clients.
        .process_group(0)
        .spawn()
        .context("cannot start Postgres through setpriv (package util-linux)")
}
