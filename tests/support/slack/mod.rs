//! A stand-in for Slack's hook of Travis CI, in a process that ends with the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use super::mail::certificates;

pub const TOKEN: &str = "tok0123456789";

pub struct SlackHook {
    pub port: u16,
    process: Child,
    got: Arc<Mutex<Vec<Value>>>,
    _reading: JoinHandle<()>,
}

impl SlackHook {
    /// Starts the stand-in. The authority of its certificate is `ca.pem` in the folder.
    pub fn start(folder: &Path) -> Self {
        certificates(folder, "DNS:acme.slack.com");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/slack/hook.py");
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .args([folder.join("server.pem"), folder.join("server.key")])
            .arg(TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let port = stdout.by_ref().lines().next().unwrap().unwrap();
        let got: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&got);
        let reading = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { port: port.parse().unwrap(), process, got, _reading: reading }
    }

    /// Lists the accepted messages. A message is there before its answer.
    pub fn got(&self) -> Vec<Value> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for SlackHook {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
