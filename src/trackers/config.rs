//! `[trackers]` of the configuration: the forms in which trainings are kept for experiment trackers.

use anyhow::ensure;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// `[trackers]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackersConfig {
    /// True if each training has an event file of TensorBoard among its artifacts.
    pub tensorboard: bool,
    /// True if each training has an offline run of Weights & Biases among its artifacts.
    pub wandb: bool,
    /// Server of MLflow that gets each training.
    pub mlflow: Option<MlflowConfig>,
}

impl Default for TrackersConfig {
    fn default() -> Self {
        Self { tensorboard: true, wandb: false, mlflow: None }
    }
}

/// A server of MLflow.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlflowConfig {
    /// Address of the server.
    pub url: Url,
    /// Token for it; `None` for a server that asks for none.
    pub token: Option<SecretString>,
    /// Name of the experiment; by default that of the repository.
    pub experiment: Option<String>,
}

impl TrackersConfig {
    /// Rejects a server that cannot be reached.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(MlflowConfig { url, experiment, .. }) = &self.mlflow else { return Ok(()) };
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "trackers.mlflow.url must be an http or https address, not {url}"
        );
        ensure!(experiment.as_deref() != Some(""), "trackers.mlflow.experiment must not be empty: leave it out");
        Ok(())
    }
}
