//! The reasons why data cannot be fetched. Each is a verdict that people act on.

use std::io;
use std::time::Duration;

use bytesize::ByteSize;

use crate::hub::HubError;
use crate::storage::BucketError;

/// Reason why an input is not there.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("wrong or expired token: {0}; the operator has to renew it in [inputs]")]
    Token(String),
    #[error("gated repository: {0}; its owner has to give the owner of the server's token access")]
    Gated(String),
    #[error("missing repository: {0}; correct the name, or ask the operator for a token in [inputs]")]
    Missing(String),
    #[error("revision gone: {0}; name a revision that exists")]
    Revision(String),
    #[error("missing object of Git LFS: {0}; somebody who has it has to run `git lfs push --all`")]
    Object(String),
    #[error("checksum differs: {path} has {found}, not {wanted}")]
    Checksum { path: String, found: String, wanted: String },
    #[error("disk full: {0}")]
    DiskFull(String),
    #[error("empty data set: {0}")]
    Empty(String),
    #[error("unusable files: {0}")]
    Unusable(String),
    #[error("timeout: it is not complete after {} (inputs.timeout); {last}", humantime::format_duration(*.after))]
    Timeout { after: Duration, last: String },
    #[error("too large: {0}, and {1} are allowed (inputs.max_size)")]
    TooLarge(String, ByteSize),
    #[error("not allowed: {0}")]
    NotAllowed(String),
    #[error("refused: {0}")]
    Refused(String),
    /// A server does not answer, or answers that it cannot. The time is that for which it asks to wait.
    #[error("unreachable: {0}")]
    Away(String, Option<Duration>),
    /// The file has changed while it was read.
    #[error("the file changes while it is read")]
    Changed,
    /// The service or its machine has a fault.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}

impl InputError {
    pub(super) fn too_large(size: u64, most: ByteSize) -> Self {
        Self::TooLarge(format!("it has {}", ByteSize::b(size)), most)
    }

    /// Returns true if another try may succeed without a change by anybody.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Away(..))
    }
}

impl From<HubError> for InputError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Token(words) => Self::Token(words),
            HubError::Gated(words) => Self::Gated(words),
            HubError::Missing(words) => Self::Missing(words),
            HubError::Revision(words) => Self::Revision(words),
            HubError::Limited(wait) => Self::Away(error.to_string(), Some(wait)),
            HubError::Away(words) => Self::Away(format!("the Hub does not answer: {words}"), None),
            HubError::Refused(words) | HubError::TooLarge(words) => Self::Refused(words),
            HubError::Conflict => Self::Refused("the Hub answers that there is a conflict".to_owned()),
            HubError::File(error) => Self::System(error),
        }
    }
}

impl From<BucketError> for InputError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Denied => Self::Token(error.to_string()),
            BucketError::Missing => Self::Refused(error.to_string()),
            BucketError::Away => Self::Away(error.to_string(), None),
            BucketError::Wrong(error) => Self::System(error),
        }
    }
}

impl From<io::Error> for InputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull("the disk of the data folder has no room".to_owned())
            }
            _ => Self::System(anyhow::Error::from(error).context("keeping data in the data folder")),
        }
    }
}
