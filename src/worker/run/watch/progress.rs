//! The progress of a running training, as its log says: its step, its loss, and the time that is left.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tracing::debug;

use crate::attempt::Training;
use crate::lora::series::LogReader;
use crate::store::output::logs;
use crate::store::queue::{self, Place};
use crate::worker::run::Run;

/// The interval between two looks at the log, each of which writes a row at most.
const INTERVAL: Duration = Duration::from_secs(3);
/// The number of bytes of log that are read at a time.
const PIECE: usize = 256 * 1024;

/// Records the progress of a training until the future is dropped; nothing waits for it. It reads the stored log, so an
/// adopted attempt is read from its start, and a flood of output does not hold up the task that stores it.
pub(in crate::worker::run) async fn follow(run: &Run) {
    let training = run.training.as_ref().ok().and_then(Option::as_ref);
    if let Some(training) = training {
        let mut follower = Follower::new(training);
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = follower.look(run).await {
                debug!(job = %run.job.id, "cannot record the progress of job {}: {error:#}", run.job.id);
            }
        }
    }
    std::future::pending().await
}

struct Follower {
    reader: LogReader,
    /// Number of bytes of the log that were read.
    offset: i64,
    /// Total number of steps as the order for the training has it.
    steps: Option<u64>,
    pace: Pace,
    /// Version of the series that is recorded.
    recorded: u64,
}

impl Follower {
    fn new(training: &Training) -> Self {
        Self { reader: LogReader::new(), offset: 0, steps: training.steps(), pace: Pace::default(), recorded: 0 }
    }

    async fn look(&mut self, run: &Run) -> anyhow::Result<()> {
        loop {
            let bytes = logs::read(&run.handles.db, run.attempt, self.offset, PIECE).await?.bytes;
            if bytes.is_empty() {
                break;
            }
            self.offset += i64::try_from(bytes.len())?;
            let mut reader = std::mem::take(&mut self.reader);
            // Beside the tasks: they renew leases, and a piece takes some milliseconds.
            let read = tokio::task::spawn_blocking(move || {
                reader.feed(&bytes);
                reader
            });
            self.reader = read.await.context("reading a log")?;
        }
        let version = self.reader.version();
        if version != self.recorded
            && let Some(place) = self.place(Instant::now())
            && queue::record_progress(&run.handles.db, run.attempt, &place).await?
        {
            self.recorded = version;
            // The first status should have the time that is left: the next one comes a minute later.
            if place.per_step.is_some() && queue::tell_progress(&run.handles.db, run.job.id).await? {
                run.handles.bells.outbox.ring();
            }
        }
        Ok(())
    }

    /// Returns the place of the training at `now`; `None` until its log tells of a step.
    fn place(&mut self, now: Instant) -> Option<Place> {
        let series = self.reader.series();
        let step = series.steps_seen.max(series.last().map_or(0, |last| last.step));
        if step == 0 {
            return None;
        }
        let steps = series.steps_wanted.or(self.steps).filter(|steps| *steps >= step);
        let loss = series.last();
        Some(Place { step, steps, loss, per_step: self.pace.at(step, now) })
    }
}

/// The pace of an attempt: the mean since the first step that was seen. What comes before, such as loading a model, is
/// not counted.
#[derive(Default)]
struct Pace {
    first: Option<(u64, Instant)>,
    /// The last step, and the pace when it was seen first.
    last: Option<(u64, Option<Duration>)>,
}

impl Pace {
    /// Returns the time that a step takes; `None` until two different steps were seen.
    fn at(&mut self, step: u64, now: Instant) -> Option<Duration> {
        if let Some((last, per_step)) = self.last
            && last == step
        {
            return per_step;
        }
        // A second training in the same log begins anew.
        let (first, since) = self.first.filter(|(first, _)| *first <= step).unwrap_or((step, now));
        self.first = Some((first, since));
        let count = u32::try_from(step - first).unwrap_or(u32::MAX);
        let per_step = now.duration_since(since).checked_div(count);
        self.last = Some((step, per_step));
        per_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(steps: Option<u64>) -> Follower {
        Follower { reader: LogReader::new(), offset: 0, steps, pace: Pace::default(), recorded: 0 }
    }

    #[test]
    fn the_pace_is_that_of_the_attempt() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut follower = follower(None);
        assert_eq!(follower.place(begin), None);
        // It goes on from a checkpoint.
        follower.reader.feed(b"step 61/100 loss=0.5\n");
        let place = follower.place(at(100)).expect("a place");
        assert_eq!((place.step, place.steps, place.per_step), (61, Some(100), None));
        follower.reader.feed(b"step 71/100 loss=0.25\n");
        let place = follower.place(at(120)).expect("a place");
        assert_eq!((place.step, place.per_step), (71, Some(Duration::from_secs(2))));
        assert_eq!(place.loss.map(|loss| (loss.step, loss.value)), Some((71, 0.25)));
        assert_eq!(follower.place(at(200)), Some(place), "a training that stands still has the pace of its last step");
        follower.reader.feed(b"step 1/100 loss=0.5\n");
        assert_eq!(follower.place(at(201)).and_then(|place| place.per_step), None, "another training");
    }

    #[test]
    fn the_total_comes_from_the_log_or_from_the_order() {
        let now = Instant::now();
        let mut follower = follower(Some(400));
        follower.reader.feed(b"step 5 loss=0.5\n");
        assert_eq!(follower.place(now).and_then(|place| place.steps), Some(400));
        follower.reader.feed(b"step 6/200 loss=0.5\n");
        assert_eq!(follower.place(now).and_then(|place| place.steps), Some(200));
        follower.reader.feed(b"step 500 loss=0.5\n");
        assert_eq!(follower.place(now).and_then(|place| place.steps), None, "the order was wrong");
    }
}
