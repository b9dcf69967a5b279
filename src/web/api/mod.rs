//! The JSON API: all that pages show. Changes are in `changes`, and the files and logs of jobs beside the pages that
//! show them.

pub(super) mod budgets;
pub(super) mod builds;
mod described;
pub(super) mod document;
pub(super) mod events;
pub(super) mod frame;
pub(super) mod jobs;
pub(super) mod me;
pub(super) mod operators;
pub(super) mod publications;
pub(super) mod queue;
pub(super) mod repos;
pub(super) mod runners;
pub(super) mod series;
pub(super) mod tokens;

use std::sync::{Arc, OnceLock};

use document::{Document, Documented};

/// State that the API keeps between requests.
#[derive(Debug, Clone, Default)]
pub struct Api {
    document: Arc<OnceLock<Arc<Document>>>,
    feed: events::Feed,
    keyed: frame::keyed::InProgress,
}

impl Api {
    /// Describes the API with these routes, once.
    pub(super) fn describe(&self, routes: &[Documented], public_url: &str) {
        self.document.get_or_init(|| Arc::new(Document::of(routes, public_url)));
    }

    fn document(&self) -> Option<Arc<Document>> {
        self.document.get().map(Arc::clone)
    }
}
