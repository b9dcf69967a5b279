//! The tested service: the built program on its own Postgres, with stand-ins around it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::app::{configuration, merged};
use crate::support::engine;
use crate::support::engine::remote::{Cut, RemoteEngine};
use crate::support::github::GitHub;
use crate::support::service::Service;

/// The runners with their slots: limits that must hold whatever happens.
pub const SLOTS: [(&str, i64); 2] = [("local", 2), ("remote", 2)];
/// Size of the disk with the service's data: a small one, so that it is filled quickly.
const DISK: &str = "1g";
/// Number of its inodes: fewer than a stranger's tree has files.
const INODES: u32 = 8_000;
/// The most bytes that a fetch may add.
pub const MAX_FETCH: u64 = 32 << 20;
/// Free space below which the service starts no job.
const LEAST_FREE: &str = "64 MiB";

/// Silence that ends a job: longer than a cut network takes to be noticed, and shorter than Postgres is away.
const SILENCE: &str = "18s";

pub struct Yard {
    pub github: GitHub,
    /// Engine of the second runner, on another machine.
    pub remote: RemoteEngine,
    /// Kind of the current network cut, if there is one.
    pub cut: Option<Cut>,
    folder: tempfile::TempDir,
    service: Option<Service>,
}

impl Yard {
    pub async fn start() -> Self {
        // Open to the unprivileged user that Postgres runs as.
        let folder = tempfile::Builder::new()
            .prefix("trainyard-faults-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let remote = RemoteEngine::start_with_bridge();
        remote.has(&[("GPU-1", 4), ("GPU-2", 4)], &[]);
        let config = configuration(&folder.path().join("data"), None, &github);
        let [(local, slots), (far, far_slots)] = SLOTS;
        let change = format!(
            "storage = {{least_free = '{LEAST_FREE}'}}\ngit = {{max_fetch = {MAX_FETCH}}}\nlimits = {{silence = '{SILENCE}'}}\ngpu = {{sizes = {{gpu-medium = {{}}}}}}\n\
             [[runner]]\nname = '{local}'\nslots = {slots}\nready = 2\n\
             [[runner]]\nname = '{far}'\nslots = {far_slots}\nready = 1\nendpoint = {:?}\ntls = {}\n",
            remote.tcp(),
            remote.tls()
        );
        std::fs::write(folder.path().join("config.toml"), merged(&config, &change)).unwrap();
        let mut yard = Self { github, remote, cut: None, folder, service: None };
        yard.mount_disk();
        yard.write_program();
        yard.set_clock(0);
        yard.start_service();
        yard
    }

    /// Mounts a separate disk for the service's data.
    fn mount_disk(&self) {
        std::fs::create_dir(self.data()).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={DISK},nr_inodes={INODES},mode=755"), "trainyard-faults"])
            .arg(self.data());
        assert!(mount.status().expect("mount runs").success());
    }

    /// Writes a script that runs the program under a clock that this process sets; its Postgres has the same clock.
    /// Only the calls that return the date are affected, as on a machine whose clock is set.
    fn write_program(&self) {
        let here = std::env::current_exe().unwrap();
        let program = here.parent().and_then(Path::parent).unwrap().join("trainyard");
        let library = Command::new("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]).output().unwrap();
        let library = String::from_utf8(library.stdout).unwrap();
        assert!(!library.is_empty(), "libfaketime is missing: scripts/setup faults");
        let script = format!(
            "#!/bin/sh\nexport LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_CACHE_DURATION=1\n\
             export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\nexec {} \"$@\"\n",
            library.trim(),
            self.clock().display(),
            program.display()
        );
        engine::program(&self.program(), &script);
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("trainyard")
    }

    fn clock(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Sets the service's clock this many seconds ahead of this machine's.
    pub fn set_clock(&self, ahead: i64) {
        // Written in full or not at all, because it is read at any time.
        let new = self.folder.path().join("clock.new");
        std::fs::write(&new, format!("{ahead:+}\n")).unwrap();
        std::fs::rename(new, self.clock()).unwrap();
    }

    pub fn start_service(&mut self) {
        remove_stale_clocks();
        self.service = Some(Service::start(&self.program(), &self.folder.path().join("config.toml")));
    }

    /// Fills the rest of the disk, until [`Yard::free_disk`].
    pub fn fill_disk(&self) {
        use std::io::Write as _;
        let mut ballast = std::fs::File::create(self.data().join("ballast")).unwrap();
        let piece = vec![0; 1 << 20];
        while ballast.write_all(&piece).is_ok() {}
    }

    pub fn free_disk(&self) {
        let _ = std::fs::remove_file(self.data().join("ballast"));
    }

    /// Takes all inodes of the disk, until [`Yard::give_inodes_back`].
    pub fn take_inodes(&self) {
        let folder = self.data().join("crowd");
        // The last fault may have left it.
        let _ = std::fs::create_dir(&folder);
        for number in 0.. {
            if std::fs::File::create(folder.join(number.to_string())).is_err() {
                return;
            }
        }
    }

    pub fn give_inodes_back(&self) {
        let _ = std::fs::remove_dir_all(self.data().join("crowd"));
    }

    /// Cuts the network to the other machine.
    pub fn cut(&mut self, how: Cut) {
        self.mend();
        self.remote.cut(how);
        self.cut = Some(how);
    }

    /// Restores the network to the other machine.
    pub fn mend(&mut self) {
        if let Some(how) = self.cut.take() {
            self.remote.heal(how);
        }
    }

    /// Runs `docker` on each of the engines and returns the outputs.
    pub fn on_engines(&self, arguments: &[&str]) -> Vec<String> {
        let engines = [Command::new("docker"), self.remote.command()];
        let outputs = engines.into_iter().map(|mut docker| docker.args(arguments).output().expect("docker runs"));
        outputs.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).collect()
    }

    /// Returns the service's data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the service's address, if it is running.
    pub fn base(&self) -> Option<&str> {
        self.service.as_ref().map(|service| service.base.as_str())
    }

    /// Kills the service with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(service) = self.service.take() {
            service.kill();
        }
    }

    /// Stops the service with SIGINT, and checks its exit status.
    pub fn interrupt(&mut self) {
        if let Some(service) = self.service.take() {
            assert_eq!(service.interrupt(), Some(0), "the service did not stop well");
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(service) = &self.service {
            kill_process(Pid::from_raw(service.child.id().cast_signed()).unwrap(), signal).unwrap();
        }
    }

    /// Kills its Postgres with SIGKILL: the other server processes end when the first one is gone.
    pub fn kill_postgres(&self) {
        if let Some(pid) = self.postgres() {
            // It is gone already when the last fault was one like this.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Sends a signal to all processes of its Postgres.
    pub fn signal_postgres(&self, signal: Signal) {
        let Some(server) = self.postgres() else { return };
        let pid = server.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?));
        for process in children.chain([server]) {
            // One may have ended since.
            let _ = kill_process(process, signal);
        }
    }

    fn postgres(&self) -> Option<Pid> {
        let file = self.folder.path().join("data/postgres/postmaster.pid");
        let pid = std::fs::read_to_string(file).ok().and_then(|text| text.lines().next()?.parse().ok());
        pid.and_then(Pid::from_raw)
    }

    /// Connects to its Postgres, as soon as that answers.
    pub async fn db(&self) -> PgPool {
        let options =
            PgConnectOptions::new_without_pgpass().socket(self.sockets()).username("trainyard").database("trainyard");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(5));
            match pool.connect_with(options.clone()).await {
                Ok(pool) => return pool,
                Err(error) => assert!(Instant::now() < deadline, "Postgres does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn sockets(&self) -> PathBuf {
        self.folder.path().join("data/sockets")
    }

    /// Ends every fault that lasts.
    pub fn heal(&mut self) {
        self.github.clear_faults();
        self.github.accept(crate::load::REPO);
        self.signal_postgres(Signal::CONT);
        self.github.git.fail_next(0);
        self.mend();
        self.free_disk();
        self.give_inodes_back();
        self.set_clock(0);
        if self.service.is_none() {
            self.start_service();
        }
    }

    pub fn last_words(&self) -> String {
        let said = self.service.as_ref().map(Service::said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn stop(mut self) {
        self.interrupt();
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        self.kill();
        // The processes that write there end with the service, which takes a moment.
        for _ in 0..100 {
            let unmounted = Command::new("umount").arg(self.data()).output();
            if unmounted.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Removes the files that libfaketime leaves behind for killed processes. A process with the same id that runs as
/// another user, as Postgres does, could not start otherwise.
fn remove_stale_clocks() {
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|prefix| name.strip_prefix(prefix));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
