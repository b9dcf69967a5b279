//! Memory of the checks for pushes, pull requests and deliveries that never came.

pub mod heads;
pub mod pulls;
pub mod redeliveries;

/// Name under which found pushes and pull requests are requested, as pages show it.
pub const FOUND: &str = "a check of the heads: no webhook came";
/// Number of builds that one check of a repository requests of its branches and tags, and of its pull requests.
const MAX_FOUND: usize = 10;
