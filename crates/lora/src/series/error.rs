//! The error for a file that has no series.

use std::io;

/// The reason why a file has no series.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The file is not of the format that its name suggests. The text has the details.
    #[error("{0}")]
    Unreadable(String),
}
