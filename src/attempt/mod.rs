//! An attempt at a job, as far as it needs no database: image, container, limits and verdict.
//!
//! Workers make attempts for the server, and `trainyard run` makes them on a laptop. Both use this module, so a job
//! ends the same way and for the same reasons.

mod container;
mod disk;
mod follow;
mod images;
mod judge;
mod outputs;
mod progress;
mod python;
mod reason;
mod smoke;
mod stop;
mod tail;
mod train;
mod training;

pub use container::{Archive, HOME, NewContainer, Preparation, checkout_folder, checkout_image_spec, never_began};
pub use disk::watch_disk;
pub use follow::{Ended, FollowError, Output, Started};
pub use images::{ImagesConfig, JobImage, version_in};
pub use judge::{Judged, Unjudged, judge_unstarted};
pub use progress::{Due, Judgement, Progress, Shared, TICK};
pub use smoke::SmokeJob;
pub use tail::Tail;
pub use train::TrainJob;
pub use training::{Additions, Examined, Training, TrainingEnd};
