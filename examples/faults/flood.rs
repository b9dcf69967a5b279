//! Strangers who flood the service with requests.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::trouble::random::Random;

/// Number of connections of a flood.
const CONNECTIONS: u64 = 100;
/// The longest flood, in milliseconds.
const LONGEST: u64 = 4000;

/// Sends webhooks whose bodies do not end.
pub async fn slow_webhooks(base: &str, random: &mut Random) {
    let address = base.trim_start_matches("http://").to_owned();
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: 26000000\r\nx-github-event: push\r\nx-github-delivery: flood\r\n\
         x-hub-signature-256: sha256={}\r\n\r\n",
        "0".repeat(64)
    );
    flood(random, move || slow_webhook(address.clone(), head.clone())).await;
}

async fn slow_webhook(address: String, head: String) {
    let Ok(mut stream) = TcpStream::connect(&address).await else { return };
    let mut part = head.into_bytes();
    // The service may refuse it at any time.
    while stream.write_all(&part).await.is_ok() {
        part = vec![b' '; 4096];
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks for pages, one after the other, on many connections.
pub async fn pages(base: &str, random: &mut Random) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let base = base.to_owned();
    flood(random, move || ask(client.clone(), base.clone())).await;
}

async fn ask(client: reqwest::Client, base: String) {
    let pages = ["/", "/runners", "/acme/styles", "/acme/styles/builds/1", "/acme/styles/builds/1/jobs/1"];
    for page in pages.into_iter().cycle() {
        // Most of them are refused.
        if let Ok(answer) = client.get(format!("{base}{page}")).send().await {
            let _ = answer.bytes().await;
        }
    }
}

/// Runs clients for a while.
async fn flood<C: Future<Output = ()> + Send + 'static>(random: &mut Random, client: impl Fn() -> C) {
    let mut clients = JoinSet::new();
    for _ in 0..1 + random.below(CONNECTIONS) {
        clients.spawn(client());
    }
    tokio::time::sleep(Duration::from_millis(random.below(LONGEST))).await;
    clients.shutdown().await;
}
