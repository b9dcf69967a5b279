//! The way of trainings to the experiment tracker.

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endless;
use super::loops::recorder_loop;
use crate::config::Config;
use crate::recorder::Recorder;
use crate::trackers::Mlflow;

/// Brings trainings to MLflow until `shutdown`, if the configuration names a server.
pub(super) fn record(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    config: &Config,
    db: &PgPool,
    instance: &str,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(mlflow) = &config.trackers.mlflow else { return Ok(()) };
    let recorder = Recorder {
        db: db.clone(),
        mlflow: Mlflow::new(mlflow)?,
        experiment: mlflow.experiment.clone(),
        instance: instance.to_owned(),
        public_url: config.server.public_url.clone(),
    };
    tasks.spawn(endless(recorder_loop(recorder, shutdown.clone())));
    Ok(())
}
