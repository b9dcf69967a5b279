//! A smoke job: the order for it, and the conditions that it has to meet.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::executor::Limits;
use crate::lora::series::Series;
use crate::lora::smoke::Ask;
use crate::lora::verdict::{Condition, Ended, Saved, conditions};

/// The plan's order for a smoke job, under `smoke` of its config.
#[derive(Debug, Clone, Deserialize)]
pub struct SmokeJob {
    /// Path of the training config in the repository.
    pub config: String,
    steps: u32,
    resolution: u32,
    command: Option<String>,
    /// The steps that the trainer will take. A trainer that counts epochs may take more than were asked for.
    pub(super) expected_steps: u32,
    /// Wall time of the job in seconds; the server's own limit may be lower.
    timeout: u64,
}

impl SmokeJob {
    pub(super) fn read(order: &Json) -> anyhow::Result<Self> {
        Self::deserialize(order).context("the config of a smoke job")
    }

    /// Returns the request, to derive the training again as the plan did.
    pub fn ask(&self) -> Ask {
        Ask { steps: self.steps, resolution: self.resolution, command: self.command.clone() }
    }

    pub(super) fn limits(&self, limits: &Limits) -> Limits {
        Limits { time: limits.time.min(Duration::from_secs(self.timeout)), ..limits.clone() }
    }

    pub(super) fn conditions(&self, exit_status: i64, series: &Series, saved: &[Saved]) -> Vec<Condition> {
        conditions(&Ended { exit_status, steps: Some(self.expected_steps.into()), series, saved })
    }
}
