//! The built program as a process, for tests that need one: kills, signals, exit codes, memory.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Service {
    pub child: Child,
    pub base: String,
    pub log: PathBuf,
}

impl Service {
    /// Starts `program serve` and waits until it listens.
    pub fn start(program: &Path, config: &Path) -> Self {
        Self::start_with(program, config, None)
    }

    /// Starts the service with the programs of a folder before others on the PATH.
    pub fn start_with(program: &Path, config: &Path, programs: Option<&Path>) -> Self {
        let mut service = Self::of(&mut command(program, "serve", config, programs), config);
        service.wait_until_listening();
        service
    }

    /// Starts `program work` and waits until it is about to work.
    pub fn work(program: &Path, config: &Path, programs: Option<&Path>) -> Self {
        let mut service = Self::of(&mut command(program, "work", config, programs), config);
        service.wait_for("working for the runners ");
        service
    }

    /// Starts a command of the program. What it prints goes next to its configuration.
    pub fn of(command: &mut Command, config: &Path) -> Self {
        let log = config.with_extension(format!("{}.log", rand_suffix()));
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Self { child: child.expect("the program starts"), base: String::new(), log }
    }

    pub fn wait_until_listening(&mut self) {
        let said = self.wait_for("listening at ");
        said.split([',', ' ', '\n']).next().unwrap().clone_into(&mut self.base);
    }

    /// Waits until the program prints these words. Returns the text after them.
    pub fn wait_for(&mut self, words: &str) -> String {
        let begin = Instant::now();
        loop {
            let said = self.said();
            if let Some(at) = said.find(words)
                && said[at..].contains('\n')
            {
                return said[at + words.len()..].to_owned();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the program ended with {status}: {said}");
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "the program does not say {words:?}: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGKILL, so that the service cannot clean up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGINT. Returns the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn command(program: &Path, subcommand: &str, config: &Path, programs: Option<&Path>) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = programs.map_or_else(|| path.clone(), |first| format!("{}:{path}", first.display()));
    let mut command = Command::new(program);
    command.args([subcommand, "--config"]).arg(config).env("PATH", path);
    command
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the service said ---\n{}", self.said());
        }
        // A process that was waited for already is fine. Its end may come between a verdict and the removal of the
        // container, which a stop lets it finish.
        if let Ok(None) = self.child.try_wait() {
            let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            let begin = Instant::now();
            while let (Ok(None), true) = (self.child.try_wait(), begin.elapsed() < Duration::from_secs(10)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rand_suffix() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}
