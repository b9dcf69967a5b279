//! The meanings of the engine's errors.

use std::io;

use bollard::errors::Error as DockerError;

pub(super) fn is_status<T>(answer: &Result<T, DockerError>, code: u16) -> bool {
    matches!(answer, Err(DockerError::DockerResponseServerError { status_code, .. }) if *status_code == code)
}

/// Returns true if the engine did not find what was asked for, although it knows the container.
pub(super) fn is_missing_there(error: &DockerError) -> bool {
    match error {
        DockerError::DockerResponseServerError { status_code: 404, message } => !message.contains("No such container"),
        _ => false,
    }
}

/// Returns true if an error within a stream is the engine's "no such path".
pub(super) fn is_missing(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DockerError>());
    inner.is_some_and(is_missing_there)
}

/// Returns true if a container was not made because its image is missing. A missing container whose network it should
/// join does not count.
pub(super) fn is_no_image(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_missing_there)
}
