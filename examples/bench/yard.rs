//! The measured service: the release binary on its own Postgres, durable as in production.

use std::path::{Path, PathBuf};

use crate::support::app::{configuration, merged};
use crate::support::github::GitHub;
use crate::support::service::Service;

pub struct Yard {
    pub folder: tempfile::TempDir,
    pub github: GitHub,
    pub service: Service,
    /// Number of containers that its runner keeps ready.
    pub ready: usize,
}

impl Yard {
    pub async fn start(ready: usize) -> Self {
        Self::start_in(
            &std::env::temp_dir(),
            &format!("limits = {{log = '1 GB'}}\n[[runner]]\nready = {ready}\n"),
            ready,
        )
        .await
    }

    /// Starts the service in a folder of `place`, with this change to its configuration.
    pub async fn start_in(place: &Path, change: &str, ready: usize) -> Self {
        // Open to the unprivileged user that Postgres runs as.
        let folder = tempfile::Builder::new()
            .prefix("trainyard-bench-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(place)
            .unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let config = folder.path().join("config.toml");
        let usual = configuration(&folder.path().join("data"), None, &github);
        std::fs::write(&config, merged(&usual, change)).unwrap();
        let service = Service::start(&program(), &config);
        Self { folder, github, service, ready }
    }

    /// Returns the folder of the private Postgres's socket.
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("data/sockets")
    }

    /// Kills the service with SIGKILL. It must be started again before any other call.
    pub fn kill(&mut self) {
        self.service.child.kill().unwrap();
        self.service.child.wait().unwrap();
    }

    /// Starts the service again on the data that it left.
    pub fn restart(&mut self) {
        self.service = Service::start(&program(), &self.folder.path().join("config.toml"));
    }

    pub fn stop(self) {
        assert_eq!(self.service.interrupt(), Some(0), "the service did not stop well");
    }
}

/// Returns the measured program, which was built next to this one.
pub fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.parent().and_then(Path::parent).unwrap().join("trainyard")
}
