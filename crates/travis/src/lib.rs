//! From the files of a commit to its jobs: the `.travis.yml` language, the plan, and what jobs ask of GPUs. Pure: bytes
//! and values in, values out; no clock, no database, no network.
//!
//! A module names only modules before it in this list; `travis` does not know `lora`.

pub mod travis;
pub mod plan;
pub mod gpu;

use trainyard_base::{domain, yaml};
use trainyard_lora as lora;
