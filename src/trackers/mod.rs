//! Experiment trackers of the operator: the settings, and the client for MLflow.

mod config;
mod mlflow;

pub use self::config::{MlflowConfig, TrackersConfig};
pub use self::mlflow::{Metric, Mlflow, Run, TrackerError};
