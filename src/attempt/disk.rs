//! The size of what a job has written.
//!
//! Few file systems can limit a container's disk. On others the engine can only count, file by file, so what a job has
//! written is looked at now and then: between two looks it may write more than it should.

use std::time::{Duration, Instant};

use super::Shared;
use crate::executor::Engine;

/// The shortest and the longest time between two looks.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// One part in this many of the time may be spent on measuring: a job with a million files is measured less often.
const PARTS: u32 = 20;

/// Keeps the attempt's progress up to date with what its container has written; never returns.
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
        // An engine that does not answer is found out by the half that follows the container.
        if let Ok(Some(written)) = engine.written(&container).await {
            shared.lock().written = written;
        }
        pause = (begin.elapsed() * PARTS).clamp(SHORTEST, LONGEST);
    }
}
