//! The body of a delivery, read within bounds of size, time and memory. Anyone may send one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::error::Error;

/// Maximum size of a payload that GitHub sends, in bytes.
const MAX_BODY: usize = 25 * 1024 * 1024;
/// Maximum size of all bodies that are being read or stored, in bytes.
const IN_FLIGHT: usize = 128 << 20;
/// Time limit for a body. GitHub gives up after ten seconds.
const TIME: Duration = Duration::from_secs(15);

/// Room for bodies in memory. Its unit is a byte.
#[derive(Debug, Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    time: Duration,
}

/// A whole body, and its part of the room.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(IN_FLIGHT, TIME)
    }
}

impl Room {
    /// Returns room for this number of bytes, each body of which may take this time.
    pub fn of(bytes: usize, time: Duration) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), time }
    }

    /// Reads a body to its end. Room is taken for bytes that have arrived, and not for those that are announced, so that
    /// an announcement costs its sender as much as it costs us.
    pub(super) async fn receive(&self, body: Body) -> Result<Received, Error> {
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(Error::TooLarge);
        }
        tokio::time::timeout(self.time, self.read(body)).await.map_err(|_| Error::TooSlow)?
    }

    async fn read(&self, mut body: Body) -> Result<Received, Error> {
        let mut room: Option<OwnedSemaphorePermit> = None;
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Error::BadRequest("The body did not arrive whole.".to_owned()))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + more.len() + data.len() > MAX_BODY {
                return Err(Error::TooLarge);
            }
            let length = u32::try_from(data.len()).map_err(|_| Error::TooLarge)?;
            let taken = Arc::clone(&self.bytes).try_acquire_many_owned(length).map_err(|_| Error::Busy)?;
            match &mut room {
                Some(room) => room.merge(taken),
                None => room = Some(taken),
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
