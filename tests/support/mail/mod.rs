//! Mail servers: a real one, and a stand-in that refuses on demand.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub const USER: &str = "ci@example.org";
pub const PASSWORD: &str = "password of the mail server";

/// aiosmtpd with STARTTLS and a password, in a process that ends with the test.
pub struct MailServer {
    pub port: u16,
    /// File of its authority.
    pub ca: String,
    process: Child,
    got: Arc<Mutex<Vec<Value>>>,
    _reading: JoinHandle<()>,
}

impl MailServer {
    pub fn start(folder: &Path) -> Self {
        certificates(folder, "DNS:localhost");
        let at = |name: &str| folder.join(name).display().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mail/smtp.py");
        let mut process = Command::new("/usr/bin/python3")
            .args([script, &at("server.pem"), &at("server.key"), USER, PASSWORD])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3-aiosmtpd is installed (`make setup-test`)");
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let first = stdout.by_ref().lines().next().expect("python3-aiosmtpd is installed (`make setup-test`)").unwrap();
        let got: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&got);
        let reading = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { port: first.parse().unwrap(), ca: at("ca.pem"), process, got, _reading: reading }
    }

    /// Returns the section of the configuration with this server.
    pub fn section(&self) -> String {
        format!(
            "[notifications.email]\nhost = 'localhost'\nport = {}\nca = '{}'\nusername = '{USER}'\n\
             password = '{PASSWORD}'\nfrom = 'Trainyard <{USER}>'\ndomains = ['example.org']\n",
            self.port, self.ca
        )
    }

    pub fn got(&self) -> Vec<Value> {
        self.got.lock().unwrap().clone()
    }

    /// Waits for this number of mails.
    pub async fn wait_for(&self, count: usize) -> Vec<Value> {
        let begin = Instant::now();
        while self.got().len() < count {
            assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", self.got());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.got()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes an authority `ca.pem`, and a certificate `server.pem` with its key `server.key` for these names.
pub fn certificates(folder: &Path, names: &str) {
    let at = |name: &str| folder.join(name).display().to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(folder.join("openssl.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    let (config, ca, ca_key) = (at("openssl.cnf"), at("ca.pem"), at("ca.key"));
    let common = ["req", "-x509", "-config", &config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let authority = ["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", &ca_key, "-out", &ca];
    run(&[&common[..], &authority, &["-addext", "basicConstraints=critical,CA:TRUE"]].concat());
    let (key, certificate) = (at("server.key"), at("server.pem"));
    let leaf = ["-nodes", "-days", "2", "-subj", "/CN=leaf", "-keyout", &key, "-out", &certificate];
    let names = format!("subjectAltName={names}");
    let signed = ["-CA", &ca, "-CAkey", &ca_key, "-addext", &names];
    run(&[&common[..], &leaf, &signed, &["-addext", "basicConstraints=critical,CA:FALSE"]].concat());
}

/// A stand-in that gives a fixed answer to one command of each connection, and takes everything else.
pub struct FaultyServer {
    pub port: u16,
    answers: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
    taken: Arc<Mutex<usize>>,
    _serving: JoinSet<()>,
}

impl FaultyServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Arc<Mutex<Vec<(&'static str, &'static str)>>> = Arc::default();
        let (known, taken) = (Arc::clone(&answers), Arc::new(Mutex::new(0)));
        let counted = Arc::clone(&taken);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let fault = {
                    let mut answers = known.lock().unwrap();
                    if answers.is_empty() { ("", "") } else { answers.remove(0) }
                };
                if speak(stream, fault).await.unwrap_or(false) {
                    *counted.lock().unwrap() += 1;
                }
            }
        });
        Self { port, answers, taken, _serving: serving }
    }

    /// Lets the next connections give these answers to these commands. An empty answer closes the connection.
    pub fn will_answer(&self, answers: &[(&'static str, &'static str)]) {
        *self.answers.lock().unwrap() = answers.to_vec();
    }

    /// Returns the number of mails that were taken.
    pub fn taken(&self) -> usize {
        *self.taken.lock().unwrap()
    }
}

/// Speaks SMTP. Returns true if a mail was taken.
async fn speak(mut stream: TcpStream, (command, answer): (&str, &str)) -> std::io::Result<bool> {
    let (read, mut write) = stream.split();
    let mut lines = tokio::io::BufReader::new(read).lines();
    write.write_all(if command == "GREETING" { answer } else { "220 here\r\n" }.as_bytes()).await?;
    let (mut is_data, mut is_taken) = (false, false);
    while let Some(line) = lines.next_line().await? {
        let is_end = is_data && line == ".";
        if is_data && !is_end {
            continue;
        }
        let word = if is_end { "." } else { line.split([' ', ':']).next().unwrap_or_default() };
        let usual = match word {
            "EHLO" => "250 here\r\n",
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 OK\r\n",
        };
        let said = if word == command { answer } else { usual };
        if said.is_empty() {
            return Ok(false);
        }
        is_data = word == "DATA" && said.starts_with('3');
        is_taken |= is_end && said.starts_with('2');
        write.write_all(said.as_bytes()).await?;
        if word == "QUIT" {
            break;
        }
    }
    Ok(is_taken)
}
