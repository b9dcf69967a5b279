//! A proxy in front of Docker's socket that records all traffic, to see every container that is requested.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const DOCKER: &str = "/var/run/docker.sock";

pub struct Recorder {
    pub socket: PathBuf,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Listens in this folder, and forwards everything.
    pub fn start(folder: &Path) -> Self {
        let socket = folder.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let sent = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&sent);
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, Arc::clone(&kept)));
            }
        });
        Self { socket, sent }
    }

    /// Lists the names and descriptions of the containers that were requested.
    pub fn made(&self) -> Vec<(String, Value)> {
        let sent = self.sent.lock().unwrap();
        sent.iter().flat_map(|connection| made_in(connection)).collect()
    }
}

async fn pass_on(client: UnixStream, kept: Arc<Mutex<Vec<Vec<u8>>>>) {
    let place = {
        let mut kept = kept.lock().unwrap();
        kept.push(Vec::new());
        kept.len() - 1
    };
    let (mut from_docker, mut to_docker) = UnixStream::connect(DOCKER).await.unwrap().into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let there = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from_client.read(&mut buffer).await
            && count > 0
            && to_docker.write_all(&buffer[..count]).await.is_ok()
        {
            kept.lock().unwrap()[place].extend_from_slice(&buffer[..count]);
        }
        let _ = to_docker.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_docker, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}

fn made_in(sent: &[u8]) -> Vec<(String, Value)> {
    let text = String::from_utf8_lossy(sent);
    let mut found = Vec::new();
    for request in text.split("/containers/create?").skip(1) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let name = head.split(['&', ' ']).find_map(|part| part.strip_prefix("name=")).unwrap();
        // The body ends with its first JSON value; after that comes the next request.
        let body = serde_json::Deserializer::from_str(body).into_iter().next().unwrap().unwrap();
        found.push((name.to_owned(), body));
    }
    found
}
