//! A separate Docker engine for a test, in a separate network, in which it may have a `docker0` or none.

pub mod gpu;
pub mod remote;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::app::IMAGE;

pub struct Engine {
    dockerd: Child,
    /// Arguments with which dockerd is started.
    arguments: Vec<String>,
    pub folder: tempfile::TempDir,
}

/// Writes an executable script.
pub fn program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Engine {
    /// Starts an engine through the command `network`, with the programs of `folder/bin` before others on the PATH. It
    /// has the image of shell jobs, and ends with the test.
    pub fn start(folder: tempfile::TempDir, network: &[&str], options: &[String]) -> Self {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let own = [
            format!("--data-root={}", at("data")),
            format!("--exec-root={}", at("exec")),
            format!("--pidfile={}", at("pid")),
            format!("--host=unix://{}", at("docker.sock")),
        ];
        let command = network.iter().map(|&word| word.to_owned()).chain(["dockerd".to_owned()]);
        let arguments: Vec<String> = command.chain(own).chain(options.to_vec()).collect();
        let engine = Self { dockerd: launch(&arguments, folder.path()), arguments, folder };
        engine.wait();
        let mut save = Command::new("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn().unwrap();
        let load = engine.command().arg("load").stdin(save.stdout.take().unwrap()).stdout(Stdio::null()).status();
        assert!(load.unwrap().success() && save.wait().unwrap().success(), "the image {IMAGE} is there (`make image`)");
        engine
    }

    /// Kills the engine and starts it again. At its start, it stops the containers.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Kills the engine with SIGKILL; its containers keep running.
    pub fn kill(&mut self) {
        self.dockerd.kill().unwrap();
        self.dockerd.wait().unwrap();
        // Where no init collects dead processes, the process ids in these files still seem to be alive.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.at(file));
        }
    }

    /// Starts the engine after a kill.
    pub fn start_again(&mut self) {
        self.dockerd = launch(&self.arguments, self.folder.path());
        self.wait();
    }

    /// Stops the engine properly, with its containers, and starts it again.
    pub fn restart(&mut self) {
        end(&mut self.dockerd);
        self.dockerd = launch(&self.arguments, self.folder.path());
        self.wait();
    }

    fn wait(&self) {
        let begin = Instant::now();
        while !self.command().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            let said = std::fs::read_to_string(self.at("log")).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            assert!(begin.elapsed() < Duration::from_secs(60), "the second dockerd does not answer: {last}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a `docker` command for this engine.
    pub fn command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.at("docker.sock").display()));
        docker
    }

    /// Runs `docker` with these arguments and returns its output.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Options of an engine without a network for its containers.
pub const BRIDGELESS: [&str; 3] = ["--bridge=none", "--iptables=false", "--ip6tables=false"];

fn launch(arguments: &[String], folder: &Path) -> Child {
    let path = std::env::var("PATH").unwrap_or_default();
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(&arguments[0])
        .args(&arguments[1..])
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("dockerd is installed, and the tests run as root")
}

/// Ends a process as its operator would, and waits for it.
pub fn end(child: &mut Child) {
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let begin = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begin.elapsed() > Duration::from_secs(20) {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let containers = self.command().args(["ps", "--all", "--quiet"]).output().map(|listed| listed.stdout);
        for container in String::from_utf8_lossy(&containers.unwrap_or_default()).lines() {
            let _ = self.command().args(["rm", "--force", container]).output();
        }
        end(&mut self.dockerd);
    }
}

/// Files from which a stand-in for `nvidia-smi` reads its output.
pub const SMI_FILES: [&str; 4] = ["gpus", "apps", "list", "use"];

/// Writes a stand-in for `nvidia-smi`, which prints the files next to it.
pub fn nvidia_smi(folder: &Path) {
    let script = "#!/bin/sh\ncd \"${0%/*}\"\n[ -e exit ] && exit \"$(cat exit)\"\ncase $1 in\n\
                  --query-gpu=uuid,utilization*) cat use ;;\n--query-gpu=driver_version) echo 570.124.06 ;;\n--query-gpu=*) cat gpus ;;\n--query-compute-apps=*) cat apps ;;\n-L) cat list ;;\nesac\n";
    program(&folder.join("nvidia-smi"), script);
    for file in SMI_FILES {
        std::fs::write(folder.join(file), "").unwrap();
    }
}

/// Makes the stand-in in `folder` report these GPUs, by their UUIDs with used MiB, and these processes as `UUID, PID`.
pub fn has(folder: &Path, gpus: &[(&str, u32)], processes: &[&str]) {
    let told: String = gpus.iter().map(|(uuid, used)| format!("{uuid}, 15360, {used}, [N/A], Tesla T4\n")).collect();
    std::fs::write(folder.join("gpus"), told).unwrap();
    let busy: String = gpus.iter().map(|(uuid, used)| format!("{uuid}, 50, {used}\n")).collect();
    std::fs::write(folder.join("use"), busy).unwrap();
    std::fs::write(folder.join("apps"), processes.iter().map(|line| format!("{line}, 100\n")).collect::<String>())
        .unwrap();
}
