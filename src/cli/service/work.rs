//! `trainyard work`.

use tokio_util::sync::CancellationToken;

use super::serve::{Arguments, until_told_to_stop};
use crate::app;

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = arguments.configure()?;
    let shutdown = CancellationToken::new();
    until_told_to_stop(app::work(config, shutdown.clone()), &shutdown).await
}
