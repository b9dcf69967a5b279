//! Addresses of webhooks, which everybody may write who can push: they must lead to nothing inside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trainyard::notifier::{Message, SendError, Sender};

const MESSAGE: Message<'_> = Message { repo: "acme/styles", body: "payload=%7B%7D", signature: "AAAA" };

/// Names with the addresses that they have at each question; the last ones stay.
#[derive(Debug, Default)]
struct Names {
    rows: Vec<(&'static str, Vec<Vec<&'static str>>)>,
    asked: AtomicUsize,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let row = self.rows.iter().find(|(known, _)| *known == name.as_str());
        let found: Vec<SocketAddr> = row
            .map(|(_, answers)| &answers[asked.min(answers.len() - 1)])
            .into_iter()
            .flatten()
            .map(|address| SocketAddr::new(address.parse().unwrap(), 0))
            .collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

/// A service inside. Returns its port, and the number of connections that it got.
async fn inside(address: &str) -> (u16, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, reached, serving)
}

/// A server that answers each connection with these bytes, and then with `more` without end.
async fn answering(address: &str, head: String, more: &'static [u8]) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(head.as_bytes()).await;
            while !more.is_empty() && connection.write_all(more).await.is_ok() {}
        }
    });
    (port, serving)
}

fn is_forbidden(result: &Result<u16, SendError>) -> bool {
    matches!(result, Err(SendError::Never(why)) if why.contains("not on the internet"))
}

#[tokio::test]
async fn no_spelling_and_no_name_leads_inside() {
    let (port, reached, _inside) = inside("127.0.0.1:0").await;
    let names = Names {
        rows: vec![
            ("localhost", vec![vec!["127.0.0.1", "::1"]]),
            ("inner.example", vec![vec!["127.0.0.1"]]),
            ("mapped.example", vec![vec!["::ffff:127.0.0.1"]]),
            ("mixed.example", vec![vec!["1.1.1.1", "127.0.0.1"]]),
            ("metadata.example", vec![vec!["169.254.169.254"]]),
            ("local6.example", vec![vec!["fe80::1"]]),
        ],
        asked: AtomicUsize::new(0),
    };
    let sender = Sender::new(&[], Arc::new(names)).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "１２７.0.0.1",
        "user:word@127.0.0.1",
        "localhost",
        "LOCALHOST",
        "inner.example",
        "inner.example.",
        "mapped.example",
        "mixed.example",
        "metadata.example",
        "local6.example",
    ] {
        let result = sender.send(&format!("http://{host}:{port}/"), MESSAGE).await;
        // A name with a dot at its end is another one for the stand-in: it has no address.
        let is_unknown = host.ends_with('.') && matches!(result, Err(SendError::Later(_)));
        assert!(is_forbidden(&result) || is_unknown, "{host}: {result:?}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_web_servers_are_told() {
    let sender = Sender::new(&["127.0.0.1".parse().unwrap()], Arc::new(Names::default())).unwrap();
    for url in [
        "",
        "nothing",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:25/",
        "https://127.0.0.1:465/",
        "http://127.0.0.1:0/",
        "http://",
        "unix:///var/run/docker.sock",
        &format!("http://127.0.0.1:8080/{}", "x".repeat(3000)),
    ] {
        let result = sender.send(url, MESSAGE).await;
        assert!(matches!(result, Err(SendError::Never(_))), "{url}: {result:?}");
    }
}

#[tokio::test]
async fn a_name_cannot_change_between_the_check_and_the_use() {
    let (port, reached, _inside) = inside("127.0.0.1:0").await;
    // 127.0.0.2 stands for the internet; nothing listens there.
    let names = Arc::new(Names {
        rows: vec![("rebind.example", vec![vec!["127.0.0.2"], vec!["127.0.0.1"]])],
        asked: AtomicUsize::new(0),
    });
    let sender = Sender::new(&["127.0.0.2".parse().unwrap()], Arc::clone(&names) as Arc<dyn Resolve>).unwrap();
    let url = format!("http://rebind.example:{port}/");
    let first = sender.send(&url, MESSAGE).await;
    assert_eq!(first, Err(SendError::Later("it cannot be reached".to_owned())));
    assert_eq!(names.asked.load(Ordering::SeqCst), 1, "the check and the use are one question");
    assert!(is_forbidden(&sender.send(&url, MESSAGE).await));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let (port, reached, _inside) = inside("127.0.0.1:0").await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let head = format!("HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n");
        let (outer, _serving) = answering("127.0.0.2:0", head, b"").await;
        let sender = Sender::new(&["127.0.0.0/8".parse().unwrap()], Arc::new(Names::default())).unwrap();
        let result = sender.send(&format!("http://127.0.0.2:{outer}/"), MESSAGE).await;
        assert!(matches!(&result, Err(SendError::Never(why)) if why.contains("not followed")), "{result:?}");
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn huge_and_slow_answers_have_bounds() {
    let sender = Sender::new(&["127.0.0.1".parse().unwrap()], Arc::new(Names::default())).unwrap();
    let to = |port: u16| format!("http://127.0.0.1:{port}/TOKEN");
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_owned();
    let (huge, _serving) = answering("127.0.0.1:0", body, &[b'x'; 65536]).await;
    let began = Instant::now();
    assert_eq!(sender.send(&to(huge), MESSAGE).await, Ok(200));
    assert!(began.elapsed() < Duration::from_secs(5), "the body is not read");
    let (head, _serving) = answering("127.0.0.1:0", "HTTP/1.1 200 OK\r\nx: ".to_owned(), &[b'x'; 65536]).await;
    let endless = sender.send(&to(head), MESSAGE).await;
    assert!(matches!(&endless, Err(SendError::Later(why)) if !why.contains("TOKEN")), "{endless:?}");
    let (silent, _reached, _inside) = inside("127.0.0.1:0").await;
    let began = Instant::now();
    let result = sender.send(&to(silent), MESSAGE).await;
    assert!(matches!(result, Err(SendError::Later(_))) && began.elapsed() < Duration::from_secs(12), "{result:?}");
}
