//! A machine with GPUs, as far as that goes without one: a Docker engine of its own that takes NVIDIA's device requests
//! (since a program named `nvidia-container-runtime-hook` was on its PATH when it started) and an `nvidia-smi` that says
//! what a test wants.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::app::IMAGE;

pub struct GpuEngine {
    dockerd: Child,
    folder: tempfile::TempDir,
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl GpuEngine {
    /// Starts the engine, with the image of shell jobs. Ends with the test.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        program(&at("bin/nvidia-container-runtime-hook"), "#!/bin/sh\nexit 0\n");
        let script = "#!/bin/sh\ncd \"${0%/*}\"\n[ -e exit ] && exit \"$(cat exit)\"\ncase $1 in\n\
                      --query-gpu=*) cat gpus ;;\n--query-compute-apps=*) cat apps ;;\n-L) cat list ;;\nesac\n";
        program(&at("nvidia-smi"), script);
        for file in ["gpus", "apps", "list"] {
            std::fs::write(at(file), "").unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        // In a network of its own: an engine without a bridge removes `docker0`, which is the other engine's.
        let dockerd = Command::new("unshare")
            .args(["--net", "dockerd"])
            .env("PATH", format!("{}:{path}", at("bin").display()))
            .arg(format!("--data-root={}", at("data").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("pid").display()))
            .arg(format!("--host=unix://{}", at("docker.sock").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .expect("dockerd is installed, and the tests run as root");
        let engine = Self { dockerd, folder };
        let begin = Instant::now();
        while !engine.command().arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            let said = || std::fs::read_to_string(engine.at("log")).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(60), "the second dockerd does not answer: {}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut save = Command::new("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn().unwrap();
        let load = engine.command().arg("load").stdin(save.stdout.take().unwrap()).stdout(Stdio::null()).status();
        assert!(load.unwrap().success() && save.wait().unwrap().success(), "the image {IMAGE} is there (`make image`)");
        engine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.at("docker.sock").display()));
        docker
    }

    /// What `docker` prints with these arguments.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What `nvidia-smi` says from now on: GPUs by their UUIDs with used MiB, and processes as `UUID, PID`.
    pub fn has(&self, gpus: &[(&str, u32)], processes: &[&str]) {
        let gpus: String =
            gpus.iter().map(|(uuid, used)| format!("{uuid}, 15360, {used}, [N/A], Tesla T4\n")).collect();
        std::fs::write(self.at("gpus"), gpus).unwrap();
        std::fs::write(self.at("apps"), processes.iter().map(|line| format!("{line}, 100\n")).collect::<String>())
            .unwrap();
    }

    /// `nvidia-smi` ends with this status from now on, or works again.
    pub fn fails(&self, status: Option<u8>) {
        match status {
            Some(status) => std::fs::write(self.at("exit"), status.to_string()).unwrap(),
            None => std::fs::remove_file(self.at("exit")).unwrap(),
        }
    }

    /// The configuration of a service whose runner this is.
    pub fn configuration(&self) -> String {
        format!(
            "gpu = {{nvidia_smi = {:?}, sizes = {{gpu-medium = {{}}, gpu-xlarge = {{count = 2}}}}}}\n\
             limits = {{network = 'none'}}\nrunner = [{{name = 'gpu-host', endpoint = 'unix://{}', slots = 3}}]\n",
            self.at("nvidia-smi"),
            self.at("docker.sock").display()
        )
    }
}

impl Drop for GpuEngine {
    fn drop(&mut self) {
        let containers = self.command().args(["ps", "--all", "--quiet"]).output().map(|listed| listed.stdout);
        for container in String::from_utf8_lossy(&containers.unwrap_or_default()).lines() {
            let _ = self.command().args(["rm", "--force", container]).output();
        }
        let pid = rustix::process::Pid::from_raw(self.dockerd.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begin = Instant::now();
        while matches!(self.dockerd.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(20) {
                let _ = self.dockerd.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
