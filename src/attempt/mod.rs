//! An attempt at a job, without any database: its image, its container, its limits, its verdict.
//!
//! Workers make attempts for the server, and `trainyard run` makes them locally. Both use this module, so that a job
//! ends in the same way and for the same reasons.

mod container;
mod disk;
mod images;
mod outputs;
mod progress;
mod reason;
mod smoke;
mod stop;
mod tail;

pub use container::{HOME, NewContainer, Preparation, checkout_folder, checkout_image_spec, never_began};
pub use disk::watch_disk;
pub use images::Images;
pub use progress::{Due, Judgement, Progress, Shared, TICK};
pub use smoke::{Examined, SmokeJob, output_folder};
pub use tail::Tail;
