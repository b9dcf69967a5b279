//! Conditions that hold after any schedule.

use std::collections::BTreeSet;
use std::time::Duration;

use trainyard::outbox::pacing::{Answer, LONGEST_PAUSE};
use trainyard::store::wishes::Urgency;

use super::chance::Mood;
use super::rows::{HOUR, Row, SECOND, micros};
use super::world::{POSTERS, Refusing, WINDOWS, World};

impl World {
    /// Checks that a repository that refuses got few requests.
    pub fn check_refusing(&self, repo: usize) {
        if let Some(Refusing { since, requests, restarts, .. }) = self.refusing[repo].filter(|_| self.calm) {
            // Those on their way at the first refusal, those until the pause has grown to an hour, and one each hour.
            let hours = usize::try_from((self.real - since) / HOUR).unwrap_or(0);
            let most = (1 + restarts) * (POSTERS + 7) + hours;
            assert!(requests <= most, "{requests} requests in {hours} hours for a repository that refuses");
        }
    }

    /// Ends all faults, and checks that GitHub then shows every wish that was not given up, in time.
    pub fn settle(&mut self) {
        (self.outage, self.limited_until) = (None, 0);
        for repo in 0..self.moods.len() {
            self.set_mood(repo, Some(Mood::Accepts));
        }
        self.shorten();
        let from = self.real;
        while self.rows.0.iter().any(Row::is_owed) || !self.flights.is_empty() {
            self.real += 1;
            self.clock += 1;
            let before = self.requests.len();
            self.begin();
            if self.requests.len() == before {
                if self.flights.is_empty() {
                    let due = self.rows.0.iter().filter(|row| row.is_owed()).map(|row| row.not_before - self.clock);
                    let next = due.min().unwrap_or(0);
                    self.pass(next.max(60 * SECOND));
                } else {
                    self.answer();
                }
            }
            let longest = micros(LONGEST_PAUSE) + 2 * HOUR;
            assert!(self.real - from <= longest, "wishes are still owed: {:#?}", self.rows.0);
        }
        for row in &self.rows.0 {
            assert!(row.given_up == row.wanted || row.shown == row.wanted, "GitHub shows another state: {row:?}");
        }
    }

    /// Checks that no window had more requests than it may. A restart reads times of a clock that may have jumped ahead
    /// since, so each jump may cost one more window. It forgets the kinds of the requests, so each restart may cost one
    /// more share.
    pub fn check_windows(&self) {
        for window in WINDOWS {
            let within = micros(window.within);
            for (at, (begin, _)) in self.requests.iter().enumerate() {
                let in_it = || self.requests[at..].iter().take_while(|(time, _)| time - begin < within);
                let jumps = self.jumps.iter().filter(|jump| (*begin - HOUR..begin + within).contains(jump)).count();
                let restarts = self.restarts.iter().filter(|at| (*begin..begin + within).contains(at)).count();
                let most = window.most as usize;
                let count = |least: Urgency| in_it().filter(|(_, urgency)| *urgency >= least).count();
                let [all, news, retries] = [Urgency::Result, Urgency::Progress, Urgency::Retry].map(count);
                assert!(all <= (1 + jumps) * most, "{all} requests within {:?}", window.within);
                let shares = 1 + jumps + restarts;
                assert!(retries <= shares * most / 3, "{retries} repeated requests within {:?}", window.within);
                assert!(news <= shares * most * 2 / 3, "{news} requests but results within {:?}", window.within);
            }
        }
    }

    /// Notes until when a refused wish has to wait. A repository that accepts again ends that, if the repository itself
    /// was refused.
    pub fn quieten(&mut self, row: usize, seq: i64, answer: Answer, pause: Duration) {
        let repo = self.rows.0[row].repo;
        if answer == Answer::RepositoryRefused {
            self.closed[repo] = true;
            self.rows.0.iter_mut().filter(|row| row.repo == repo).for_each(|row| row.quiet_until = 0);
        } else if answer == Answer::WishRefused && !self.closed[repo] && self.rows.0[row].wanted == seq {
            self.rows.0[row].quiet_until = self.real + micros(pause);
        }
    }

    /// Forgets until when refused wishes have to wait, since all of them are due, or the clock is another one.
    pub fn forget_quiet(&mut self) {
        self.rows.0.iter_mut().for_each(|row| row.quiet_until = 0);
    }

    /// Lists the moods, for a failure's words.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.moods.iter().map(|mood| format!("{mood:?}")).collect()
    }
}
