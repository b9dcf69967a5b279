//! The stop of a running container: the steps by which it ends, and the log's text about it, which is Travis's.

use std::time::{Duration, Instant};

use crate::domain::Stop;
use crate::executor::Limits;

/// Returns the text for the log of a job that was stopped, after the container's own bytes.
pub(super) fn text(stop: Stop, reason: &str, limits: &Limits) -> String {
    let said = match stop {
        Stop::Canceled => format!("Done: Job Cancelled\n\n{reason}"),
        Stop::WallTime => "The job exceeded the maximum time limit for jobs, and has been terminated.".to_owned(),
        Stop::Silence => format!(
            "No output has been received in the last {}, this potentially indicates a stalled build or something wrong \
             with the build itself.\n\nThe build has been terminated",
            go_duration(limits.silence)
        ),
        Stop::LogSize => "The job exceeded the maximum log length, and has been terminated.".to_owned(),
        Stop::Disk => format!("The job wrote more than {} to its disk, and has been terminated.", limits.disk),
        Stop::GpuIdle => {
            let limit = humantime::format_duration(limits.gpu_idle);
            format!("The job's GPUs have done nothing for {limit}, and others wait for them. It has been terminated.")
        }
        Stop::Preempted => format!("The job was stopped: {reason}.\n\nIt begins again when there are GPUs for it."),
    };
    format!("\n\n{said}\n")
}

/// Returns the reason for a page and a status.
pub(super) fn reason(stop: Stop, limits: &Limits) -> String {
    let limit = |duration| humantime::format_duration(duration).to_string();
    match stop {
        Stop::Canceled => "canceled".to_owned(),
        Stop::Preempted => "it is preempted by another job".to_owned(),
        Stop::WallTime => format!("it ran longer than {}", limit(limits.time)),
        Stop::Silence => format!("no output for {}", limit(limits.silence)),
        Stop::GpuIdle => format!("its GPUs did nothing for {} (limits.gpu_idle)", limit(limits.gpu_idle)),
        Stop::LogSize => format!("its log grew beyond {}", limits.log),
        Stop::Disk => format!("it wrote more than {} to its disk (limits.disk)", limits.disk),
    }
}

/// Formats a duration as `10m0s`: Go prints durations like this, and so does Travis's log.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// The steps by which a container is ended: the signals, and the grace after each.
#[derive(Debug)]
pub(super) struct Escalation {
    next: usize,
    due: Instant,
    grace: Duration,
}

impl Escalation {
    const SIGNALS: [&'static str; 3] = ["SIGINT", "SIGTERM", "SIGKILL"];

    /// Starts now: with SIGINT, or with SIGKILL for a job that fills the disk, which would go on during any grace.
    pub(super) fn new(stop: Stop, now: Instant, grace: Duration) -> Self {
        let next = if matches!(stop, Stop::LogSize | Stop::Disk) { Self::SIGNALS.len() - 1 } else { 0 };
        Self { next, due: now, grace }
    }

    /// Returns the signal that is due at `now`, if any.
    pub(super) fn signal(&mut self, now: Instant) -> Option<&'static str> {
        if now < self.due {
            return None;
        }
        self.due = now + self.grace;
        // SIGKILL is sent repeatedly: an engine that has just come back may have missed it.
        let signal = Self::SIGNALS[self.next];
        self.next = (self.next + 1).min(Self::SIGNALS.len() - 1);
        Some(signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_come_in_order_each_after_its_grace() {
        let start = Instant::now();
        let grace = Duration::from_secs(4);
        let mut stop = Escalation::new(Stop::Silence, start, grace);
        assert_eq!(stop.signal(start), Some("SIGINT"));
        assert_eq!(stop.signal(start + grace / 2), None);
        assert_eq!(stop.signal(start + grace), Some("SIGTERM"));
        assert_eq!(stop.signal(start + grace * 2), Some("SIGKILL"));
        assert_eq!(stop.signal(start + grace * 3), Some("SIGKILL"));
        assert_eq!(Escalation::new(Stop::LogSize, start, grace).signal(start), Some("SIGKILL"));
    }

    #[test]
    fn the_silence_text_is_travis_text() {
        let said = text(Stop::Silence, "", &Limits::default());
        assert!(said.contains("No output has been received in the last 10m0s, this potentially indicates"));
    }
}
