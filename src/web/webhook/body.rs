//! The body of a delivery, read within bounds of size, time and memory. Anyone may send one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::error::Error;

/// Maximum size of all bodies that are being read or stored, in bytes.
const IN_FLIGHT: usize = 128 << 20;
/// Divisor of the room for the part that large bodies do not get. Otherwise a few large ones that arrive slowly would
/// keep all others out.
const RESERVED: usize = 4;
/// Maximum announced size of a small body, in bytes. Nearly all of GitHub's are smaller.
const SMALL: u64 = 1 << 20;
/// Time limit for a body. GitHub gives up after ten seconds.
const TIME: Duration = Duration::from_secs(15);

/// Room for bodies in memory. Its unit is a byte.
#[derive(Debug, Clone)]
pub struct Room {
    /// Room for all bodies.
    common: Arc<Semaphore>,
    /// Room for small ones.
    reserved: Arc<Semaphore>,
    time: Duration,
}

/// Parts of the room that a body has taken.
#[derive(Default)]
struct Taken {
    common: Option<OwnedSemaphorePermit>,
    reserved: Option<OwnedSemaphorePermit>,
}

/// A whole body, and its part of the room.
pub(in crate::web) struct Received {
    pub(in crate::web) bytes: Bytes,
    _room: Taken,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(IN_FLIGHT, TIME)
    }
}

impl Room {
    /// Returns room for this number of bytes, each body of which may take this time.
    pub fn of(bytes: usize, time: Duration) -> Self {
        let reserved = bytes / RESERVED;
        let semaphore = |bytes| Arc::new(Semaphore::new(bytes));
        Self { common: semaphore(bytes - reserved), reserved: semaphore(reserved), time }
    }

    /// Reads a body of at most `most` bytes to its end. Room is taken for bytes that have arrived, and not for those that
    /// are announced, so that an announcement costs its sender as much as it costs us.
    pub(in crate::web) async fn receive(&self, body: Body, most: usize) -> Result<Received, Error> {
        if body.size_hint().lower() > most as u64 {
            return Err(Error::TooLarge(most));
        }
        tokio::time::timeout(self.time, self.read(body, most)).await.map_err(|_| Error::TooSlow)?
    }

    async fn read(&self, mut body: Body, most: usize) -> Result<Received, Error> {
        let is_small = body.size_hint().upper().is_some_and(|size| size <= SMALL);
        let mut room = Taken::default();
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Error::BadRequest("The body did not arrive whole.".to_owned()))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + more.len() + data.len() > most {
                return Err(Error::TooLarge(most));
            }
            let length = u32::try_from(data.len()).map_err(|_| Error::TooLarge(most))?;
            let is_reserved = is_small && take(&self.reserved, length, &mut room.reserved);
            if !is_reserved && !take(&self.common, length, &mut room.common) {
                return Err(Error::Busy);
            }
            // Most bodies are one frame, which is not copied.
            if first.is_empty() {
                first = data;
            } else {
                more.extend_from_slice(&data);
            }
        }
        let bytes = if more.is_empty() { first } else { [first.as_ref(), &more].concat().into() };
        Ok(Received { bytes, _room: room })
    }
}

/// Takes this number of bytes of a room, in addition to those in `taken`. Returns false if there are not so many.
fn take(room: &Arc<Semaphore>, bytes: u32, taken: &mut Option<OwnedSemaphorePermit>) -> bool {
    let Ok(more) = Arc::clone(room).try_acquire_many_owned(bytes) else { return false };
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    true
}
