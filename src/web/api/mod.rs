//! The JSON API: all that pages show. Changes are in `changes`, and the files and logs of jobs beside the pages that
//! show them.

pub(super) mod builds;
mod described;
pub(super) mod events;
pub(super) mod frame;
pub(super) mod jobs;
pub(super) mod me;
pub(super) mod operators;
pub(super) mod queue;
pub(super) mod repos;
pub(super) mod runners;
pub(super) mod series;
pub(super) mod tokens;

/// State that the API keeps between requests.
#[derive(Debug, Clone, Default)]
pub struct Api {
    feed: events::Feed,
    keyed: frame::keyed::InProgress,
}
