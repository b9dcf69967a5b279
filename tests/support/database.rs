//! A fresh database for each test, on the server that `scripts/with-postgres` started, a way to it that can be cut, and
//! a search in it for the service's own credentials.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use trainyard::config::Config;
use trainyard::domain::{AttemptId, JobId, Verdict};
use trainyard::storage::{Logs, Objects};
use trainyard::store::output::reports::Reports;
use trainyard::store::queue::{self, Claimed, Finish};

use super::github::app::{ASSERTION_PREFIX, Key, TOKEN_PREFIX, WEBHOOK_SECRET};
use super::github::people::{CLIENT_SECRET, USER_TOKEN_PREFIX};
use super::github::{SECRET, TOKEN};
use super::hub::TOKEN as HUB_TOKEN;
use super::oidc::ACCESS_TOKEN;

/// Environment variable in which `scripts/with-postgres` names its server.
const SERVER: &str = "TRAINYARD_TEST_DATABASE_URL";

/// Creates a database that no other test sees. It is left behind, since the whole server is discarded after the run.
pub async fn url() -> String {
    let server = std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: run the tests through `make test` or `scripts/with-postgres cargo test`")
    });
    let name = format!("test_{}_{:08x}", std::process::id(), rand_like());
    let options: PgConnectOptions = server.parse().unwrap();
    let mut connection = PgConnection::connect_with(&options).await.expect("the test server answers");
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    url.to_string()
}

/// Creates a migrated database.
pub async fn pool() -> PgPool {
    let pool = PgPool::connect(&url().await).await.unwrap();
    trainyard::store::MIGRATOR.run(&pool).await.unwrap();
    pool
}

/// Inserts the repository acme/styles and its build with this number. Both get the id 1.
pub async fn insert_build(db: &PgPool, number: i32) {
    sqlx::raw_sql(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url)
             values (1, 'acme', 'styles', false, 'main', 'http://localhost/')",
    )
    .execute(db)
    .await
    .unwrap();
    sqlx::query(
        "insert into build (repo_id, number, kind, sha, built_sha)
             values (1, $1, 'push', repeat('0', 40), repeat('0', 40))",
    )
    .bind(number)
    .execute(db)
    .await
    .unwrap();
}

/// Ends a job that has passed without output. Panics when the attempt no longer has the job.
pub async fn finish(db: &PgPool, job: &Claimed) {
    let end = Finish {
        verdict: Verdict::Passed,
        exit_status: Some(0),
        reason: None,
        tail: b"",
        offset: 0,
        reports: Reports::default(),
    };
    assert!(queue::finish(db, job.attempt_id(), &end).await.unwrap());
}

/// Returns a number that is random enough to distinguish two databases of one process.
fn rand_like() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}

/// Rescues every job whose lease has run out, as a janitor does that has watched it long enough.
pub async fn rescue(db: &PgPool) -> Vec<JobId> {
    let mut rescued = Vec::new();
    for lease in queue::leases(db, std::time::Duration::from_secs(3600)).await.unwrap() {
        if lease.has_run_out && queue::rescue(db, &lease).await.unwrap() {
            rescued.push(lease.attempt.job);
        }
    }
    rescued
}

/// Returns each credential in the service's rows and logs, with its place. The bodies of deliveries do not count, which
/// are as GitHub sent them, nor do logs in a storage that the test has switched off.
pub async fn leaks(db: &PgPool, config: &Config) -> Vec<String> {
    let data = &config.server.data_dir;
    let seal = std::fs::read(data.join("seal.key")).unwrap();
    let url = db.connect_options().to_url_lossy().to_string();
    let credentials = [
        ("GitHub's token", TOKEN.to_owned()),
        ("GitHub's token", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}"))),
        ("the webhook's secret", SECRET.to_owned()),
        ("the App's webhook secret", WEBHOOK_SECRET.to_owned()),
        ("an assertion of the App", ASSERTION_PREFIX.to_owned()),
        ("a token of the App", TOKEN_PREFIX.to_owned()),
        // As many bytes as base64 encodes whole.
        ("a token of the App", BASE64_STANDARD.encode(&format!("x-access-token:{TOKEN_PREFIX}")[..42])),
        ("the secret of logins", CLIENT_SECRET.to_owned()),
        ("a token of a person", USER_TOKEN_PREFIX.to_owned()),
        ("the token for the Hub", HUB_TOKEN.to_owned()),
        ("the database's address", url),
        ("the key of the seal", hex::encode(&seal)),
        ("the key of the seal", BASE64_STANDARD.encode(&seal)),
    ];
    let key = Key::used().map(|key| ("a key of the App", key.line().to_owned()));
    let provider = config.auth.oidc.as_ref().and_then(|provider| provider.client_secret.as_ref());
    let mail = config.notifications.email.as_ref().and_then(|email| email.password.as_ref());
    let hooks = config.notifications.webhook.iter().filter_map(|hook| hook.secret.as_ref());
    let of_config = provider.into_iter().chain(mail).chain(hooks);
    let of_config = of_config.map(|secret| ("a secret of the configuration", secret.expose_secret().to_owned()));
    let token = ("a token of a provider", ACCESS_TOKEN.to_owned());
    let credentials: Vec<_> = credentials.into_iter().chain(key).chain(of_config).chain([token]).collect();
    let texts: Vec<&str> = credentials.iter().map(|(_, text)| text.as_str()).collect();
    let mut found = Vec::new();
    let tables = "select tablename::text from pg_tables where schemaname = 'public' order by tablename";
    for table in sqlx::query_scalar::<_, String>(tables).fetch_all(db).await.unwrap() {
        let query = format!(
            "select distinct n::int from {table} as t, unnest($1::text[]) with ordinality as c (text, n)
             where strpos(t::text, c.text) > 0 order by n"
        );
        let numbers: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(query)).bind(&texts).fetch_all(db).await.unwrap();
        found.extend(numbers.iter().map(|n| format!("{} is in the table {table}", credentials[*n as usize - 1].0)));
    }
    let logs = Logs::new(db.clone(), Objects::open(&config.storage, data).unwrap());
    let attempts = "select job_id, attempt from log_chunk union select job_id, attempt from log_object order by 1, 2";
    for (job, number) in sqlx::query_as::<_, (JobId, i32)>(attempts).fetch_all(db).await.unwrap() {
        let Ok(log) = logs.read(AttemptId { job, number }, 0, usize::MAX).await else { continue };
        let log = String::from_utf8_lossy(&log.bytes);
        let leaked = credentials.iter().filter(|(_, text)| log.contains(text.as_str()));
        found.extend(leaked.map(|(name, _)| format!("{name} is in the log of job {job}")));
    }
    found
}

/// State of a [`Way`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Connections break, and new ones are refused: the server is down.
    Closed,
    /// Packets vanish, and nobody notices.
    Silent,
}

/// A way to a database over TCP that can be cut.
pub struct Way {
    /// URL of the database over this way.
    pub url: String,
    passage: watch::Sender<Passage>,
}

impl Way {
    /// Opens a way to the database of this URL.
    pub async fn to(url: &str) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let socket = options.get_socket().expect("the test server has a socket").join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passage, seen) = watch::channel(Passage::Open);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (socket, seen) = (socket.clone(), seen.clone());
                carried.spawn(async move { carry(client, UnixStream::connect(socket).await.unwrap(), seen).await });
            }
        });
        let name = options.get_database().unwrap();
        Self { url: format!("postgres://{}@{address}/{name}", options.get_username()), passage }
    }

    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

/// Carries bytes between both sides until one of them ends, or the way is closed.
async fn carry(mut client: TcpStream, mut server: UnixStream, seen: watch::Receiver<Passage>) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = carry_one_way(from_client, to_server, seen.clone()) => {}
        () = carry_one_way(from_server, to_client, seen) => {}
    }
}

async fn carry_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut seen: watch::Receiver<Passage>,
) {
    let mut closed = seen.clone();
    let carry = async {
        let mut bytes = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            if seen.wait_for(|passage| *passage == Passage::Open).await.is_err() {
                return;
            }
            if to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = carry => {}
        _ = closed.wait_for(|passage| *passage == Passage::Closed) => {}
    }
}
