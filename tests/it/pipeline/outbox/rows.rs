//! A model of the table `wish`: what each operation of the store does to its rows.

use std::time::Duration;

use trainyard::domain::RepoId;
use trainyard::outbox::pacing::LONGEST_PAUSE;
use trainyard::store::wishes::{Choice, Retry, Urgency};

/// Microseconds.
pub type Time = i64;
pub const SECOND: Time = 1_000_000;
pub const HOUR: Time = 3600 * SECOND;
pub fn duration(time: Time) -> Duration {
    Duration::from_micros(time.max(0).unsigned_abs())
}

pub fn micros(duration: Duration) -> Time {
    Time::try_from(duration.as_micros()).unwrap_or(Time::MAX)
}

/// A row of the table `wish`.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub repo: usize,
    /// True for each version that is the end of a build.
    pub ends: Vec<bool>,
    pub wanted: i64,
    pub sent: i64,
    pub tried: i64,
    pub given_up: i64,
    pub tries: i32,
    pub not_before: Time,
    pub failing_since: Option<Time>,
    /// Version that GitHub shows; 0 for none.
    pub shown: i64,
    /// Number of refusals of the present version.
    pub refusals: i32,
    /// Real time before which GitHub is not asked again, since it has refused this wish alone.
    pub quiet_until: Time,
}

impl Row {
    pub fn is_owed(&self) -> bool {
        self.sent < self.wanted && self.given_up < self.wanted
    }

    pub fn urgency(&self) -> Urgency {
        match (self.tried == self.wanted, self.ends.last()) {
            (true, _) => Urgency::Retry,
            (false, Some(true)) => Urgency::Result,
            (false, _) => Urgency::Progress,
        }
    }
}

/// All rows. Each operation happens at a time by the clock of Postgres.
#[derive(Debug, Default)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    fn owed(&mut self) -> impl Iterator<Item = (usize, &mut Row)> {
        self.0.iter_mut().enumerate().filter(|(_, row)| row.is_owed())
    }

    pub fn want(&mut self, row: usize, ends: bool) {
        let it = &mut self.0[row];
        it.wanted += 1;
        it.ends.push(ends);
        (it.refusals, it.quiet_until) = (0, 0);
    }

    /// Chooses among the rows that no poster holds.
    pub fn take(&self, now: Time, choice: &Choice, is_free: impl Fn(usize) -> bool) -> Option<usize> {
        let may = |row: &Row| Some(row.urgency()) <= choice.least && !choice.without.contains(&id(row.repo));
        let is_due = |row: &Row| row.is_owed() && (row.tried < row.wanted || row.not_before <= now);
        let due = (0..self.0.len()).filter(|row| is_free(*row) && may(&self.0[*row]) && is_due(&self.0[*row]));
        let is_late = |row: &Row| !(choice.retries_first && row.urgency() == Urgency::Retry);
        due.min_by_key(|row| (is_late(&self.0[*row]), self.0[*row].urgency(), self.0[*row].not_before, *row))
    }

    pub fn sent(&mut self, now: Time, row: usize, seq: i64) {
        let it = &mut self.0[row];
        if it.sent < seq {
            (it.sent, it.tries, it.failing_since, it.not_before) = (seq, 0, None, now);
        }
    }

    /// Returns the rows that are given up.
    pub fn fail(&mut self, now: Time, row: usize, seq: i64, how: &Retry) -> Vec<usize> {
        let (repo, pause) = (self.0[row].repo, micros(how.pause));
        let mut given_up = Vec::new();
        for (number, it) in self.owed() {
            let is_it = number == row && it.wanted == seq || how.of_repository && it.repo == repo;
            if !is_it {
                continue;
            }
            if it.tried != it.wanted {
                (it.tried, it.tries, it.failing_since) = (it.wanted, 0, Some(now));
            }
            if how.limit.is_none() {
                it.failing_since = Some(now);
            }
            it.tries += 1;
            it.refusals += 1;
            it.not_before = if number == row { now + pause } else { it.not_before.max(now + pause) };
            let since = it.failing_since.unwrap_or(now);
            if how.limit.is_some_and(|limit| it.tries >= limit.tries && since <= now - micros(limit.time)) {
                it.given_up = it.wanted;
                given_up.push(number);
            }
        }
        given_up
    }

    pub fn due_again(&mut self, now: Time, repo: usize) {
        self.owed().filter(|(_, row)| row.repo == repo).for_each(|(_, row)| row.not_before = row.not_before.min(now));
    }

    pub fn all_due(&mut self, now: Time) {
        self.owed().for_each(|(_, row)| row.not_before = row.not_before.min(now));
    }

    pub fn shorten(&mut self, now: Time) {
        for (_, row) in self.owed() {
            row.not_before = row.not_before.min(now + micros(LONGEST_PAUSE));
            row.failing_since = row.failing_since.map(|since| since.min(now));
        }
    }
}

/// A change of the rows, with the result that the model expects of Postgres.
#[derive(Debug, Clone)]
pub enum Op {
    Want {
        row: usize,
        ends: bool,
    },
    Take {
        choice: Choice,
        taken: Option<(usize, i64, i32, Urgency)>,
        is_sent_on: bool,
    },
    Sent {
        row: usize,
        seq: i64,
    },
    Failed {
        row: usize,
        seq: i64,
        how: Retry,
        given_up: usize,
    },
    DueAgain {
        repo: usize,
    },
    AllDue,
    Shorten,
    /// The wishes that were held are free.
    Crash,
    Free {
        row: usize,
    },
    /// The clock of Postgres moves.
    Pass(Time),
}

pub fn id(repo: usize) -> RepoId {
    RepoId(i64::try_from(repo).unwrap_or(0) + 1)
}
