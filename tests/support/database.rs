//! A fresh database for each test, on the server that `scripts/with-postgres` started.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, PgPool};

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

/// Returns a number that is random enough to distinguish two databases of one process.
fn rand_like() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}

/// Rescues every job whose lease has run out, as a janitor does that has watched it long enough.
pub async fn rescue(db: &PgPool) -> Vec<trainyard::domain::JobId> {
    let mut rescued = Vec::new();
    for lease in trainyard::store::queue::leases(db, std::time::Duration::from_secs(3600)).await.unwrap() {
        if lease.has_run_out && trainyard::store::queue::rescue(db, &lease).await.unwrap() {
            rescued.push(lease.attempt.job);
        }
    }
    rescued
}
