//! `/metrics`: numbers about the service for Prometheus.
//!
//! All of them come from the rows, so those of jobs on other machines are among them, and no step has to count. What has
//! ended is counted once, from the start of this process on; the rest is as it is now.

mod ended;
mod present;

use std::sync::Arc;
use std::time::Duration;

use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::Mutex;

use self::ended::Ended;
use self::present::Present;
use super::State;
use super::error::{Error, InJson};

/// Time limit for an answer. Prometheus waits ten seconds by default.
const LIMIT: Duration = Duration::from_secs(8);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values of labels.
type Labels = Vec<(&'static str, String)>;

/// Numbers about the service.
#[derive(Debug, Clone)]
pub struct Metrics {
    db: PgPool,
    // Two who ask at once must not count the same rows.
    ended: Arc<Mutex<Ended>>,
}

impl Metrics {
    /// Returns numbers that are read over these connections.
    pub fn new(db: PgPool) -> Self {
        Self { db, ended: Arc::default() }
    }

    async fn text(&self) -> anyhow::Result<String> {
        let mut registry = Registry::with_prefix("trainyard");
        {
            let mut ended = self.ended.lock().await;
            ended.count(&self.db).await?;
            ended.register(&mut registry);
        }
        Present::read(&self.db).await?.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// `GET /metrics`
pub(super) async fn page(extract::State(state): extract::State<State>) -> Result<Response, InJson> {
    let text = tokio::time::timeout(LIMIT, state.metrics.text()).await.map_err(|_| Error::Busy)?;
    let text = text.map_err(Error::from)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
