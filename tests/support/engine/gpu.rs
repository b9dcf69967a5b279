//! A stand-in for a machine with GPUs: a separate Docker engine that accepts NVIDIA's device requests (because a
//! program named `nvidia-container-runtime-hook` was on its PATH when it started), and an `nvidia-smi` that prints what
//! a test sets.

use std::ops::Deref;

use super::{self as engine, Engine};

pub struct GpuEngine(Engine);

impl Deref for GpuEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

impl GpuEngine {
    /// Starts the engine, with the image of shell jobs. It ends with the test.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        engine::program(&folder.path().join("bin/nvidia-container-runtime-hook"), "#!/bin/sh\nexit 0\n");
        engine::nvidia_smi(folder.path());
        Self(Engine::start(folder, &["unshare", "--net"], &engine::BRIDGELESS.map(str::to_owned)))
    }

    /// Sets what `nvidia-smi` reports from now on: GPUs by their UUIDs with used MiB, and processes as `UUID, PID`.
    pub fn has(&self, gpus: &[(&str, u32)], processes: &[&str]) {
        engine::has(self.folder.path(), gpus, processes);
    }

    /// Makes `nvidia-smi` report that a GPU, the only one, computes nothing.
    pub fn does_nothing(&self, uuid: &str) {
        std::fs::write(self.at("use"), format!("{uuid}, 0, 4\n")).unwrap();
    }

    /// Makes `nvidia-smi` exit with this status from now on, or work again.
    pub fn fails(&self, status: Option<u8>) {
        match status {
            Some(status) => std::fs::write(self.at("exit"), status.to_string()).unwrap(),
            None => std::fs::remove_file(self.at("exit")).unwrap(),
        }
    }

    /// Returns the configuration of a service that has this engine as its runner.
    pub fn configuration(&self) -> String {
        format!(
            "gpu = {{nvidia_smi = {:?}, sizes = {{gpu-medium = {{}}, gpu-xlarge = {{count = 2}}}}}}\n\
             limits = {{network = 'none'}}\nrunner = [{{name = 'gpu-host', endpoint = 'unix://{}', slots = 3}}]\n",
            self.at("nvidia-smi"),
            self.at("docker.sock").display()
        )
    }
}
