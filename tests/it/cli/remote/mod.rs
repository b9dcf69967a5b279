//! The commands that talk to a server, against a real one and against hostile ones.

mod builds;
mod hostile;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

/// A person with a home, who stands in a folder.
struct Person {
    home: tempfile::TempDir,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// The output of a command, and its exit status.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Person {
    fn new(folder: &Path) -> Self {
        Self { home: tempfile::tempdir().unwrap(), folder: folder.to_owned(), environment: Vec::new() }
    }

    /// A person who is logged in by the environment.
    fn with_token(folder: &Path, server: &str, token: &str) -> Self {
        let environment = vec![("TRAINYARD_URL", server.to_owned()), ("TRAINYARD_TOKEN", token.to_owned())];
        Self { environment, ..Self::new(folder) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(&self.folder).env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("HOME", self.home.path()).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn says(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().await.unwrap())
    }

    async fn says_given(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        Said::from(child.wait_with_output().await.unwrap())
    }

    fn store(&self) -> PathBuf {
        self.home.path().join(".config/trainyard/servers.toml")
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Panics unless the command ended with this status and said these words.
    #[track_caller]
    fn expect(&self, code: i32, words: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        assert!(self.code == code && words.iter().all(|words| all.contains(words)), "{code} {words:?}: {self:#?}");
    }
}

/// Waits until something is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
