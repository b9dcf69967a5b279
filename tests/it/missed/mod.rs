//! Pushes, pull requests and deliveries that never came, and what finds them.

mod delivery_logs;
mod heads;
mod life;
mod many;
mod pulls;

use std::time::{Duration, Instant};

use sqlx::PgPool;

/// Waits until a query of one boolean returns true.
async fn wait_until(db: &PgPool, what: &str, query: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sqlx::query_scalar::<_, bool>(query).fetch_one(db).await.unwrap() {
        assert!(Instant::now() < deadline, "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
