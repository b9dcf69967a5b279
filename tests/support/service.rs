//! The built program as a process, for what only a process can show: kills, signals, exit codes, memory.

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
        let log = config.with_extension(format!("{}.log", rand_suffix()));
        let file = std::fs::File::create(&log).unwrap();
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the program starts");
        let begin = Instant::now();
        let base = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(at) = said.find("listening at ")
                && let Some(url) = said[at + 13..].split([',', ' ', '\n']).next()
                && said[at..].contains('\n')
            {
                break url.to_owned();
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the program ended with {status}: {said}");
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "the program does not listen: {said}");
            std::thread::sleep(Duration::from_millis(5));
        };
        Self { child, base, log }
    }

    /// kill -9: nothing of it gets a chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C; gives the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the service said ---\n{}", self.said());
        }
        // Ends with its test, also when that panicked; a child that was waited for already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rand_suffix() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}
