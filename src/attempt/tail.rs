//! The end of a log.

/// The number of bytes that are kept: enough to find the command that failed.
const LENGTH: usize = 16 * 1024;

/// The last bytes of a log.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Adds the next bytes of the log.
    pub fn remember(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(LENGTH);
        self.0.drain(..excess);
    }

    /// Returns the last lines, for the reason of a failure.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}
