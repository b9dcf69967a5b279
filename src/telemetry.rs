//! What the service says of itself.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// `[telemetry]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which messages to write, as `level` or `target=level,…`.
    pub filter: String,
    /// How to write them.
    pub format: Format,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self { filter: "info,sqlx=warn,octocrab=off".to_owned(), format: Format::Text }
    }
}

/// Starts writing messages to standard error. Only the first call in a process has an effect.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(config: &Config) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| anyhow::anyhow!("telemetry.filter {:?} cannot be read: {error}", config.filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start, as in tests, keeps the first one's settings.
    let _ = match config.format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().try_init(),
    };
    Ok(())
}
