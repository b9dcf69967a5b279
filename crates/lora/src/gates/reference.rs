//! The numbers with which the gates of a training compare: those of an earlier training, or of a file of the commit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::last_mean;
use crate::series::Point;
use crate::verdict::{Saved, Weights};

/// The numbers of another training.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// The numbers, and the place from which they are, in words.
    Numbers {
        place: String,
        /// The mean of the last losses.
        loss: Option<f64>,
        norms: Norms,
    },
    /// Nothing to compare with, for a reason that is not the training's.
    Nothing(String),
    /// A file that cannot be used, with the reason.
    Unusable(String),
}

/// The median norms of the modules' changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Norms {
    /// The same for all files.
    Given(Option<f64>),
    /// One for each file, by its path.
    OfFiles(BTreeMap<String, f64>),
}

/// The form of a file with numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    loss: Option<f64>,
    norm: Option<f64>,
}

impl Reference {
    /// Reads a file of the commit, such as `{"loss": 0.12, "norm": 0.5}`. `text` is `None` if there is no such file.
    pub fn of_file(path: &str, text: Option<&[u8]>) -> Self {
        let Some(text) = text else { return Self::Unusable(format!("the commit has no {path}")) };
        match serde_json::from_slice::<Band>(text) {
            Ok(Band { loss, norm }) => Self::Numbers { place: path.to_owned(), loss, norms: Norms::Given(norm) },
            Err(error) => {
                let form = "{\"loss\": NUMBER, \"norm\": NUMBER}";
                Self::Unusable(format!("{path} is not in the form {form}: {error}"))
            }
        }
    }

    /// Takes the numbers of an earlier training. `window` is the number of steps before its end whose losses count.
    pub fn of_training(place: String, points: &[Point], window: u64, saved: &[Saved]) -> Self {
        let norm = |saved: &Saved| match &saved.weights {
            Weights::Read(summary) => Some((saved.path.clone(), summary.median_norm?)),
            Weights::Unreadable(_) => None,
        };
        let norms = Norms::OfFiles(saved.iter().filter_map(norm).collect());
        Self::Numbers { place, loss: last_mean(points, window), norms }
    }
}

impl Norms {
    /// Returns the norm with which that of a file is compared.
    pub(super) fn of(&self, path: &str) -> Option<f64> {
        match self {
            Self::Given(norm) => *norm,
            Self::OfFiles(norms) => norms.get(path).copied(),
        }
    }
}
