//! Readers for what experiment trackers leave in a folder: TensorBoard, Weights & Biases, and MLflow.

pub mod mlflow;
mod protobuf;
mod scalars;
pub mod tensorboard;
pub mod wandb;
