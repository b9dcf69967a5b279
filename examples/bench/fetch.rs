//! The fetch of a large model by the service, with its check, against `curl` of the same file to the same disk. Each side
//! is a process of its own.
//!
//! The server of the file shares the cores with both sides, as no real one does. So it sends from the page cache with
//! `sendfile`, as nginx does, without a copy through its own memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use sha2::{Digest as _, Sha256};
use trainyard::inputs::{Inputs, InputsConfig, Wanted};
use trainyard::lora::input::{InputKind, Source};
use trainyard::outgoing::SystemNames;
use trainyard::storage::Room;

use crate::support::files::{FileServer, Trouble};
use crate::{Sides, median, report};

const SIZE: usize = 2_000_000_000;
const RUNS: usize = 5;
/// The argument with which this program is the measured side.
const CHILD: &str = "fetch-child";

/// Fetches as the service does, if this process was started for that. Prints the seconds, and the most memory in kB.
pub async fn as_a_child() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [child, url, hash, folder] = arguments.as_slice() else { return false };
    if child != CHILD {
        return false;
    }
    let config: InputsConfig = toml::from_str("allow = ['127.0.0.1']").unwrap();
    let room = Room::new(folder.into(), ByteSize::b(0));
    let inputs = Inputs::new(Path::new(folder).join("inputs"), config, room, Arc::new(SystemNames)).unwrap();
    let (repo, from): (_, Source) = ("acme/styles".parse().unwrap(), url.parse().unwrap());
    let wanted = Wanted { repo: &repo, kind: InputKind::Model, from: &from, revision: Some(hash) };
    let begun = Instant::now();
    inputs.fetch(wanted).await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{} {}", begun.elapsed().as_secs_f64(), peak.split_whitespace().next().unwrap());
    true
}

fn child(url: &str, hash: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CHILD, url, hash]).arg(folder).stdout(Stdio::piped());
    command
}

/// Runs the measured side. Returns the seconds, and the most memory in MB.
fn fetched(url: &str, hash: &str, folder: &Path) -> (f64, f64) {
    let output = child(url, hash, folder).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (seconds, peak) = printed.trim().split_once(' ').unwrap_or_else(|| panic!("it failed: {printed}"));
    (seconds.parse().unwrap(), peak.parse::<f64>().unwrap() * 1024.0 / 1e6)
}

pub async fn of_a_large_model() {
    let bytes: Vec<u8> =
        (0..SIZE / 8).flat_map(|number| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let hash = hex::encode(Sha256::digest(&bytes));
    let served = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(served.path(), &bytes).unwrap();
    let url = format!("http://{}/base.bin", serve(served.path().to_owned()));
    let (mut ours, mut limit, mut peaks, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (url, hash) = (url.clone(), hash.clone());
        let run = tokio::task::spawn_blocking(move || {
            let folder = tempfile::tempdir().unwrap();
            let begun = Instant::now();
            let file = folder.path().join("curl");
            let curl = Command::new("curl").args(["--silent", "--fail", "--output"]).arg(&file).arg(&url).status();
            assert!(curl.expect("curl runs").success());
            let curl = begun.elapsed().as_secs_f64();
            std::fs::remove_file(file).unwrap();
            let (ours, peak) = fetched(&url, &hash, folder.path());
            (ours, curl, peak, fetched(&url, &hash, folder.path()).0)
        });
        let (fetch, curl, peak, second) = run.await.unwrap();
        ours.push(SIZE as f64 / 1e9 / fetch);
        limit.push(SIZE as f64 / 1e9 / curl);
        peaks.push(peak);
        again.push(second);
    }
    let Sides { ours, limit, ratio, spread } = Sides::of(ours, limit);
    let what = format!("fetch of a model of 2 GB with its check, GB/s ({spread})");
    report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), "at least 0.8 of curl");
    let (peak, spread) = median(&mut peaks);
    report(&format!("the most memory of that process, MB ({spread})"), &format!("{peak:.0}"), "64", None, "less");
    let (second, spread) = median(&mut again);
    report(&format!("the same for a second job, s ({spread})"), &format!("{second:.4}"), "1", None, "less");
    killed(&FileServer::start(bytes).await, &hash).await;
}

/// Serves a file, whole and in parts.
fn serve(path: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, path) = (stream.unwrap(), path.clone());
            // A client that has all it wants closes the connection.
            std::thread::spawn(move || answer(stream, &path));
        }
    });
    address
}

/// Answers the requests of a connection until it is closed.
fn answer(mut stream: TcpStream, path: &Path) -> io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let file = File::open(path)?;
    while let Some(Range { mut start, end }) = read_request(&mut requests)? {
        let length = end - start;
        let first = match length == SIZE as u64 {
            true => "200 OK".to_owned(),
            false => format!("206 Partial Content\r\ncontent-range: bytes {start}-{}/{SIZE}", end - 1),
        };
        write!(stream, "HTTP/1.1 {first}\r\netag: \"1\"\r\ncontent-length: {length}\r\n\r\n")?;
        while start < end {
            let rest = usize::try_from(end - start).unwrap();
            rustix::fs::sendfile(&stream, &file, Some(&mut start), rest)?;
        }
    }
    Ok(())
}

/// Reads a request for the file. Returns the part that it asks for; `None` at the end of the connection.
fn read_request(requests: &mut impl BufRead) -> io::Result<Option<Range<u64>>> {
    let mut range = 0..SIZE as u64;
    for line in requests.lines() {
        let line = line?.to_lowercase();
        if let Some(wanted) = line.strip_prefix("range: bytes=") {
            let (from, to) = wanted.split_once('-').unwrap();
            range = from.parse().unwrap()..range.end.min(to.parse::<u64>().unwrap() + 1);
        } else if line.is_empty() {
            return Ok(Some(range));
        }
    }
    Ok(None)
}

/// Kills the process in the middle, and counts what the next one fetches.
async fn killed(server: &FileServer, hash: &str) {
    let folder = tempfile::tempdir().unwrap();
    // Four connections, each of which hangs in the middle of its second part.
    let part = 32 << 20;
    let whole = vec![Trouble::Cut(part); 4];
    server.will_fail(&whole);
    server.will_fail(&vec![Trouble::Hang(part / 2); 4]);
    server.take_sent();
    let mut process = child(&server.url(), hash, folder.path()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    process.kill().unwrap();
    process.wait().unwrap();
    let there = server.take_sent();
    let (url, hash) = (server.url(), hash.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        fetched(&url, &hash, folder.path());
    });
    done.await.unwrap();
    let sent = server.take_sent();
    let (rest, wanted) = (sent as f64 / 1e6, (SIZE - there.min(SIZE)) as f64 / 1e6);
    let ratio = rest / wanted;
    report(
        "fetched after kill -9 in the middle, MB",
        &format!("{rest:.0}"),
        &format!("{wanted:.0}"),
        Some(ratio),
        "1.0",
    );
}
