//! `trainyard work`.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::serve::until_told_to_stop;
use crate::config::Config;
use crate::{app, telemetry};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    telemetry::start(&config.telemetry)?;
    let shutdown = CancellationToken::new();
    until_told_to_stop(app::work(config, shutdown.clone()), &shutdown).await
}
