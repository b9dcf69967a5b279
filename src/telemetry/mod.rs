//! Messages and traces of the service.

pub mod traces;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use url::Url;

/// `[telemetry]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Filter of the messages, as `level` or `target=level,…`.
    pub filter: String,
    /// Format of the messages.
    pub format: Format,
    /// Address of a collector of OpenTelemetry that gets the traces of deliveries: OTLP over HTTP, in protobuf.
    pub traces: Option<Url>,
}

/// Format of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text for people.
    Text,
    /// JSON objects for programs, one per line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { filter: "info,sqlx=warn,octocrab=off".to_owned(), format: Format::Text, traces: None }
    }
}

/// Starts writing messages to standard error, and traces to the collector. Only the first call in a process has an
/// effect.
///
/// # Errors
/// Fails when the filter cannot be parsed.
pub fn start(config: &TelemetryConfig) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| anyhow::anyhow!("telemetry.filter {:?} is not valid: {error}", config.filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start, as in tests, keeps the settings of the first.
    let _ = match config.format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().try_init(),
    };
    match &config.traces {
        Some(collector) => traces::start(collector),
        None => Ok(()),
    }
}
