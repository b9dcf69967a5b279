//! The windows that bound the requests within a time, and the requests that count towards them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{HOUR, MINUTE};
use crate::store::wishes::Urgency;

/// A largest number of requests within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub most: u32,
    pub within: Duration,
}

impl Window {
    /// Returns the windows for these numbers of requests a minute and an hour; 0 means any number.
    ///
    /// A minute is split into three parts, so that the wait after a burst is a third as long. One or two requests cannot
    /// be split.
    pub fn of(per_minute: u32, per_hour: u32) -> Vec<Self> {
        let parts = if per_minute < 3 { 1 } else { 3 };
        let minute = Self { most: per_minute / parts, within: MINUTE / parts };
        let hour = Self { most: per_hour, within: HOUR };
        let bounded = [(per_minute, minute), (per_hour, hour)].into_iter().filter(|(most, _)| *most > 0);
        bounded.map(|(_, window)| window).collect()
    }

    /// Returns the number of requests that wishes of this urgency, and all less urgent ones, may reach together.
    fn share(self, urgency: Urgency) -> usize {
        let share = match urgency {
            Urgency::Result => self.most,
            Urgency::Progress => (self.most * 2 / 3).max(1),
            Urgency::Retry => (self.most / 3).max(1),
        };
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

/// The requests of the last hour, within their windows.
#[derive(Debug)]
pub(super) struct Recent {
    windows: Vec<Window>,
    /// Times and urgencies of the requests, the oldest first.
    requests: VecDeque<(Instant, Urgency)>,
}

impl Recent {
    /// Returns the requests of an earlier process, whose urgency is not known. As results, they take nothing from the
    /// shares of the other kinds.
    pub(super) fn new(windows: Vec<Window>, earlier: impl Iterator<Item = Instant>) -> Self {
        Self { windows, requests: earlier.map(|at| (at, Urgency::Result)).collect() }
    }

    /// Returns true if requests are counted at all.
    fn counts(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Counts a request.
    pub(super) fn add(&mut self, urgency: Urgency, now: Instant) {
        if self.counts() {
            while self.requests.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= HOUR) {
                self.requests.pop_front();
            }
            self.requests.push_back((now, urgency));
        }
    }

    pub(super) fn has_room(&self, urgency: Urgency, now: Instant) -> bool {
        !self.windows.iter().any(|window| self.is_full(*window, urgency, now))
    }

    /// Returns the longest window that has room for no request at all.
    pub(super) fn exhausted(&self, now: Instant) -> Option<Window> {
        let full = self.windows.iter().filter(|window| self.is_full(**window, Urgency::Result, now));
        full.max_by_key(|window| window.within).copied()
    }

    /// Returns true if one more request of this urgency would exceed its share, or that of a more urgent kind.
    ///
    /// A share counts its own kind and the less urgent ones. So those that are more urgent cannot use it up, and the
    /// difference to the next share is theirs alone.
    fn is_full(&self, window: Window, urgency: Urgency, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < window.within;
        let recent = || self.requests.iter().rev().take_while(|(at, _)| is_recent(*at));
        let is_used_up = |kind: Urgency| recent().filter(|(_, of)| *of >= kind).count() >= window.share(kind);
        let kinds = [Urgency::Result, Urgency::Progress, Urgency::Retry];
        kinds.into_iter().filter(|kind| *kind <= urgency).any(is_used_up)
    }
}
