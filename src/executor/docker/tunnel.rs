//! An engine's socket on another machine, through the system's `ssh`.
//!
//! One connection carries all requests. A session for each request, as `docker -H ssh://` opens them, would cost a
//! handshake each time, and an ssh server accepts only a few that begin together.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tower_service::Service;

use super::{PROMPT, SshHost};
use crate::child;

/// The time that ssh may take to log in. The ConnectTimeout below is shorter.
const LOG_IN: Duration = Duration::from_secs(9);
// Otherwise the request to the engine would be given up first, and the login with it, before its error is known.
const _: () = assert!(LOG_IN.as_millis() < PROMPT.as_millis());
/// The interval at which the login is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The longest part of ssh's error output that is read, in bytes.
const MOST_SAID: usize = 2000;
/// The options of ssh: the host's key is checked and never learned, no question is asked, no right is passed on, and a
/// host that is silent for some seconds counts as gone.
const OPTIONS: [&str; 10] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "ControlPersist=no",
    "ConnectTimeout=8",
    "ServerAliveInterval=3",
    "ServerAliveCountMax=3",
];

/// Variables of this process that ssh gets: for its user's configuration, and the agent that holds the user's keys.
const SSH_ENVIRONMENT: [&str; 4] = ["HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK"];

/// The connection to one machine. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Tunnel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: SshHost,
    running: Mutex<Option<Running>>,
}

/// An `ssh` that is logged in, as long as its process lives.
#[derive(Debug)]
struct Running {
    ssh: Child,
    folder: tempfile::TempDir,
}

impl Running {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Tunnel {
    /// Makes the connection to `host`. ssh starts when it is first needed, and again when it has ended.
    pub(super) fn new(host: SshHost) -> Self {
        Self(Arc::new(Shared { host, running: Mutex::default() }))
    }

    /// Returns the folder of an ssh that is logged in. It contains the engine's socket and ssh's own.
    async fn open(&self) -> anyhow::Result<PathBuf> {
        // The lock is held during the login, so that all callers wait for the same one.
        let mut running = self.0.running.lock().await;
        if let Some(there) = &mut *running
            && there.ssh.try_wait()?.is_none()
        {
            return Ok(there.folder.path().to_owned());
        }
        *running = None;
        let new = self.log_in().await?;
        Ok(running.insert(new).folder.path().to_owned())
    }

    async fn log_in(&self) -> anyhow::Result<Running> {
        let folder = tempfile::Builder::new().prefix("trainyard-ssh-").tempdir().context("making a folder for ssh")?;
        let (socket, said) = (folder.path().join("docker.sock"), folder.path().join("said"));
        // ssh appends to the file, so that the file can be emptied while ssh still writes.
        let log = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&said)?;
        // setpriv (util-linux) asks the kernel to end ssh together with this process, which needs no unsafe code here.
        let mut command = child::command("setpriv", &SSH_ENVIRONMENT);
        command.args(["--pdeathsig=KILL", "--", "ssh", "-M", "-N", "-o", "ExitOnForwardFailure=yes", "-L"]);
        command.arg(format!("{}:{}", socket.display(), self.0.host.socket));
        self.name_host(&mut command, folder.path());
        let ssh = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn();
        let mut running = Running { ssh: ssh.context("cannot start setpriv: install the package util-linux")?, folder };
        let begin = Instant::now();
        // ssh listens on the socket once it is logged in.
        while !socket.exists() {
            if running.ssh.try_wait()?.is_some() {
                bail!("{}", explained(&self.0.host, &what_was_said(&said)));
            }
            if begin.elapsed() > LOG_IN {
                bail!("ssh has not logged in at {} within {} s", self.0.host.host, LOG_IN.as_secs());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(running)
    }

    /// Returns the options of every ssh to this machine.
    fn name_host(&self, command: &mut Command, folder: &Path) {
        let SshHost { user, host, port, .. } = &self.0.host;
        command.args(["-T", "-S"]).arg(folder.join("control"));
        command.args(OPTIONS.iter().flat_map(|option| ["-o", option]));
        command.args(port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        command.args(user.iter().flat_map(|user| ["-l", user]));
        command.args(["--", host]);
    }

    /// Returns a command that runs `program` on the machine.
    pub(super) async fn command(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let folder = self.open().await?;
        let mut command = child::command("ssh", &SSH_ENVIRONMENT);
        self.name_host(&mut command, &folder);
        // A shell on the machine reads the command.
        let words = [program].into_iter().chain(arguments.iter().copied());
        let quoted: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        command.arg(quoted.join(" "));
        Ok(command)
    }

    /// Returns the latest error output of ssh, which explains why the engine's socket cannot be opened there.
    pub(super) async fn said(&self) -> Option<String> {
        let running = self.0.running.lock().await;
        let said = what_was_said(&running.as_ref()?.at("said"));
        (!said.is_empty()).then(|| explained(&self.0.host, &said))
    }
}

/// Returns the last messages of ssh, and empties the file so that it does not grow.
fn what_was_said(path: &Path) -> String {
    let said = std::fs::read(path).unwrap_or_default();
    let _ = std::fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0));
    let last = &said[said.len().saturating_sub(MOST_SAID)..];
    String::from_utf8_lossy(last).lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Returns the error of ssh, and advice.
fn explained(host: &SshHost, said: &str) -> String {
    let name = &host.host;
    let advice = if said.contains("Host key verification failed") {
        format!(
            "its key is not among the known hosts of the user that runs Trainyard: get it with ssh-keyscan, compare it with \
             that on {name} itself, and add it to ~/.ssh/known_hosts"
        )
    } else if said.contains("Permission denied") {
        format!(
            "add the public key of the user that runs Trainyard to ~/.ssh/authorized_keys there, without a passphrase on \
                 the private one; try with ssh {name}"
        )
    } else if said.contains("administratively prohibited") {
        "its ssh server has to allow it: AllowStreamLocalForwarding yes".to_owned()
    } else if said.contains("open failed") {
        format!("may its user open {} there, and does dockerd run?", host.socket)
    } else if said.contains("not found") || said.contains("No such file") {
        "is openssh-client installed?".to_owned()
    } else {
        "is the machine up, and does its ssh server listen?".to_owned()
    };
    format!("ssh to {name}: {said}: {advice}")
}

/// The connection to the engine, for hyper.
impl Service<Uri> for Tunnel {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let tunnel = self.clone();
        Box::pin(async move {
            let folder = tunnel.open().await.map_err(|error| std::io::Error::other(format!("{error:#}")))?;
            Ok(TokioIo::new(UnixStream::connect(folder.join("docker.sock")).await?))
        })
    }
}
