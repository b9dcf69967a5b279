//! The result of a training: the conditions, and the weights that it saved.

use serde::Deserialize as _;
use sqlx::PgPool;

use crate::attempt::Examined;
use crate::domain::JobId;
use crate::lora::verdict::{Condition, Saved, Weights};
use crate::store::output::reports;
use crate::web::error::Error;

/// Report of a training that has ended.
pub(super) struct Training {
    pub(super) conditions: Vec<Condition>,
    /// Files that hold weights.
    pub(super) weights: Vec<File>,
}

/// A file of weights as a row of a table.
pub(super) struct File {
    pub(super) path: String,
    pub(super) what: String,
    pub(super) size: String,
    pub(super) sha256: String,
    /// Blocks of the model, each with its share of the greatest norm in percent.
    pub(super) blocks: Vec<Bar>,
    /// Name of the numbers in the bars.
    pub(super) norms: &'static str,
}

/// Size of the change to one block of the model.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) modules: usize,
    pub(super) norm: String,
    pub(super) percent: u8,
}

/// Maximum number of blocks that are drawn for a file.
const MOST_BARS: usize = 40;

/// Reads the report. Returns `None` for a job that trains nothing, or that was stopped.
pub(super) async fn of(db: &PgPool, job: JobId) -> Result<Option<Training>, Error> {
    let Some(body) = reports::training(db, job).await? else { return Ok(None) };
    let Examined { conditions, saved, .. } = Examined::deserialize(body).map_err(anyhow::Error::from)?;
    Ok(Some(Training { conditions, weights: saved.iter().filter_map(file).collect() }))
}

fn file(saved: &Saved) -> Option<File> {
    let Weights::Read(summary) = &saved.weights else { return None };
    let greatest = summary.blocks.iter().filter_map(|block| block.norm).fold(0.0, f64::max);
    let bar = |block: &crate::lora::weights::Block| Bar {
        name: block.name.clone(),
        modules: block.modules,
        norm: block.norm.map_or_else(|| "not finite".to_owned(), |norm| format!("{norm:.3e}")),
        percent: block.norm.filter(|_| greatest > 0.0).map_or(0, |norm| (norm / greatest * 100.0) as u8),
    };
    Some(File {
        path: saved.path.clone(),
        what: format!("{}, {}", summary.in_words(), summary.dtypes.join(" and ")),
        size: bytesize::ByteSize::b(summary.bytes).to_string(),
        sha256: summary.sha256.clone(),
        blocks: summary.blocks.iter().take(MOST_BARS).map(bar).collect(),
        norms: if summary.norms_are_exact { "norm" } else { "norm, at most" },
    })
}
