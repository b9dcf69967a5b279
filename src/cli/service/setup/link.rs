//! `trainyard setup link`: a link with which the first operator is made.

use std::path::PathBuf;

use anyhow::ensure;

use crate::app;
use crate::cli::service::database::connect;
use crate::cli::{FINE, print};
use crate::config::Config;
use crate::web;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let db = connect(&config).await?;
    ensure!(
        !app::can_log_in(&config, &db).await?,
        "people can log in already: log in as an operator, and open /setup. `trainyard user add NAME --admin` makes an \
         operator"
    );
    let path = web::make_link(&db).await?;
    let port = config.server.listen.port();
    print(&format!(
        "Open this page in a browser on this machine, or through a tunnel (ssh -L {port}:127.0.0.1:{port} SERVER):\n\n  \
         http://127.0.0.1:{port}{path}\n\nThe link is good once, for a day. No other link is good any more.\n"
    ))?;
    Ok(FINE)
}
