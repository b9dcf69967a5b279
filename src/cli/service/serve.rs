//! `trainyard serve`.

use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::App;
use crate::config::Config;
use crate::planner::{OWN_PROGRAM, Planner};
use crate::telemetry;

/// Arguments of `serve` and of `work`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

impl Arguments {
    /// Loads the configuration, and starts logging as it says.
    pub(in crate::cli) fn configure(&self) -> anyhow::Result<Config> {
        let config = Config::load(self.config.as_deref(), std::env::vars())?;
        telemetry::start(&config.telemetry)?;
        Ok(config)
    }
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = arguments.configure()?;
    let shutdown = CancellationToken::new();
    let app = App::bind(config, Planner::new(OWN_PROGRAM)).await?;
    until_told_to_stop(app.serve(shutdown.clone()), &shutdown).await
}

/// Runs the service to its end, and shuts it down at SIGINT and SIGTERM.
pub(in crate::cli) async fn until_told_to_stop(
    service: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::pin!(service);
    tokio::select! {
        ended = &mut service => ended?,
        _ = async { tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} } } => {
            info!("stopping");
            shutdown.cancel();
            service.await?;
        }
    }
    tokio::task::spawn_blocking(telemetry::traces::stop).await?;
    Ok(crate::cli::FINE)
}
