//! The size of what a job has written.
//!
//! Few file systems can limit a container's disk. On others the engine can only count the bytes, file by file, so the
//! number is checked now and then. Between two checks a job may write more than it should.

use std::time::{Duration, Instant};

use super::Shared;
use crate::executor::Engine;

/// The shortest and the longest time between two checks.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// At most one part in this many of the time is spent on measuring: a job with a million files is measured less often.
const PARTS: u32 = 20;

/// Updates the attempt's progress with the number of bytes that its container has written; never returns.
pub async fn watch_disk(engine: &Engine, shared: &Shared) {
    let mut pause = SHORTEST;
    loop {
        tokio::time::sleep(pause).await;
        let running = {
            let progress = shared.lock();
            progress.container.clone().filter(|_| progress.started.is_some())
        };
        let Some(container) = running else { continue };
        let begin = Instant::now();
        // The task that follows the container notices an engine that does not answer.
        if let Ok(Some(written)) = engine.written(&container).await {
            shared.lock().written = written;
        }
        pause = (begin.elapsed() * PARTS).clamp(SHORTEST, LONGEST);
    }
}
