//! A model of all around the pace: GitHub, the clocks, and a process that may crash. The pace itself is the real one.

use std::time::{Duration, Instant};

use trainyard::outbox::pacing::{Answer, Consequence, LONGEST_PAUSE, Pacing, Request, Window};
use trainyard::store::wishes::{Requests, Urgency};

use super::chance::{Mood, Random};
use super::rows::{HOUR, Op, Row, Rows, SECOND, Time, duration, id, micros};

pub const POSTERS: usize = 4;
/// Small windows, so that schedules reach their ends.
pub const WINDOWS: [Window; 2] =
    [Window { most: 6, within: Duration::from_secs(20) }, Window { most: 30, within: Duration::from_secs(3600) }];

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Flight {
    pub row: usize,
    pub seq: i64,
    request: Request,
}

/// A repository that refuses all of its statuses.
#[derive(Debug, Clone, Copy)]
pub struct Refusing {
    /// Real time since which it does.
    pub since: Time,
    /// Number of requests since then.
    pub requests: usize,
    /// Number of restarts since then.
    pub restarts: usize,
    /// True when the process has seen a refusal.
    is_known: bool,
}

impl Refusing {
    fn new(since: Time) -> Self {
        Self { since, requests: 0, restarts: 0, is_known: false }
    }
}

pub struct World {
    pub random: Random,
    start: Instant,
    /// Time that has really passed.
    pub real: Time,
    /// Clock of Postgres.
    pub clock: Time,
    pub rows: Rows,
    pub moods: Vec<Mood>,
    /// Answer to every request, while GitHub has an outage or the token is refused.
    pub outage: Option<Answer>,
    /// Real time until which GitHub answers with a rate limit.
    pub limited_until: Time,
    /// True when GitHub as a whole works throughout the schedule.
    pub calm: bool,
    pacing: Pacing,
    pub flights: Vec<Flight>,
    /// Rows of the table `status_request`: requests, and pauses with their ends, by the clock of Postgres.
    stored: Vec<Time>,
    quiet: Vec<(Time, Time)>,
    /// Real times of all requests, with their urgency.
    pub requests: Vec<(Time, Urgency)>,
    /// Real times at which the clock jumped ahead.
    pub jumps: Vec<Time>,
    /// Real times of the restarts.
    pub restarts: Vec<Time>,
    /// Real time before which no request may begin, since GitHub said so.
    promised: Time,
    /// True for each repository whose refusal makes all of its wishes wait, until it accepts one.
    pub closed: Vec<bool>,
    /// The repositories that refuse all.
    pub refusing: Vec<Option<Refusing>>,
    pub ops: Vec<Op>,
    pub records: bool,
}

impl World {
    pub fn new(seed: u64, records: bool) -> Self {
        let mut random = Random(seed);
        let start = Instant::now();
        let repos = 2 + random.of(3);
        let calm = random.is_one_in(2);
        let moods: Vec<Mood> =
            (0..repos).map(|repo| if repo == 0 { Mood::Accepts } else { Mood::any(&mut random, calm) }).collect();
        Self {
            start,
            real: 0,
            clock: 0,
            rows: Rows::default(),
            refusing: moods.iter().map(|mood| (*mood == Mood::RefusesAll).then(|| Refusing::new(0))).collect(),
            closed: vec![false; moods.len()],
            moods,
            outage: None,
            limited_until: 0,
            calm,
            pacing: Pacing::new(WINDOWS.to_vec(), &Requests::default(), start),
            flights: Vec::new(),
            stored: Vec::new(),
            quiet: Vec::new(),
            requests: Vec::new(),
            jumps: Vec::new(),
            restarts: Vec::new(),
            promised: 0,
            ops: Vec::new(),
            records,
            random,
        }
    }

    fn now(&self) -> Instant {
        self.start + duration(self.real)
    }

    fn op(&mut self, op: Op) {
        if self.records {
            self.ops.push(op);
        }
    }

    /// Lets time pass, for both clocks. A request has a time limit, so none is on its way for long.
    pub fn pass(&mut self, time: Time) {
        while time > 20 * SECOND && !self.flights.is_empty() {
            self.answer();
        }
        self.real += time;
        self.clock += time;
        self.op(Op::Pass(time));
    }

    /// Takes one random step.
    pub fn step(&mut self) {
        // No two steps are at the same time.
        self.real += 1;
        self.clock += 1;
        match self.random.below(100) {
            0..25 => self.want(),
            25..50 => self.begin(),
            50..72 => self.answer(),
            72..86 => {
                let most = [2 * SECOND, 30 * SECOND, 300 * SECOND, 2 * HOUR, 30 * HOUR][self.random.of(5)] / SECOND;
                let time = Time::try_from(self.random.below(most.unsigned_abs())).unwrap_or(0) * SECOND;
                self.pass(time);
            }
            86..89 => self.crash(),
            89..92 => self.jump(),
            92..94 => self.shorten(),
            94..97 => self.change_mood(),
            _ if self.calm => self.begin(),
            97 => self.outage = self.outage.is_none().then_some(Answer::Broken),
            98 => self.outage = self.outage.is_none().then_some(Answer::TokenRefused),
            _ => self.limited_until = self.real + 600 * SECOND,
        }
    }

    /// Wishes a new version of a status.
    fn want(&mut self) {
        let rows = self.rows.0.len();
        let is_new = rows < 8 && (rows == 0 || self.random.is_one_in(3));
        let row = if is_new { rows } else { self.random.of(rows) };
        if is_new {
            let repo = self.random.of(self.moods.len());
            self.rows.0.push(Row { repo, not_before: self.clock, ..Row::default() });
        }
        let ends = self.random.is_one_in(2);
        self.rows.want(row, ends);
        self.op(Op::Want { row, ends });
    }

    /// Begins a request, as a step of the outbox does.
    pub fn begin(&mut self) {
        if self.flights.len() >= POSTERS {
            return;
        }
        let now = self.now();
        let Some(choice) = self.pacing.choice(now) else {
            assert!(!self.calm || self.pacing.exhausted(now).is_some(), "it waits for a GitHub that works");
            return;
        };
        assert!(!self.calm || !choice.without.contains(&id(0)), "a repository waits that was never refused");
        let is_free = |row: usize| self.flights.iter().all(|flight| flight.row != row);
        let taken = self.rows.take(self.clock, &choice, is_free);
        let rows = &self.rows.0;
        let honest = |row: &Row| self.moods[row.repo] == Mood::Accepts && !choice.without.contains(&id(row.repo));
        let fresh = |row: &Row| row.is_owed() && row.tried < row.wanted && Some(row.urgency()) <= choice.least;
        let waits = (0..rows.len()).any(|row| is_free(row) && fresh(&rows[row]) && honest(&rows[row]));
        let is_turn = choice.retries_first && taken.is_some_and(|row| rows[row].urgency() == Urgency::Retry);
        assert!(!waits || is_turn || taken.is_some_and(|row| fresh(&rows[row])), "a wish waits behind one that failed");
        let begins = taken.is_some_and(|row| self.pacing.begin(id(rows[row].repo), rows[row].urgency(), now));
        let tries = |row: &Row| if row.tried == row.wanted { row.tries } else { 0 };
        let facts = taken.map(|row| (row, rows[row].wanted, tries(&rows[row]), rows[row].urgency()));
        self.op(Op::Take { choice, taken: facts, is_sent_on: begins });
        let Some((row, seq, tries, urgency)) = facts.filter(|_| begins) else { return };
        assert!(self.real >= self.promised, "it asks although GitHub said when");
        assert!(self.real >= self.rows.0[row].quiet_until, "a wish that GitHub refuses is tried again too early");
        self.stored.push(self.clock);
        self.requests.push((self.real, urgency));
        let repo = self.rows.0[row].repo;
        if let Some(refusing) = &mut self.refusing[repo] {
            refusing.requests += 1;
            let is_second = self.flights.iter().any(|flight| self.rows.0[flight.row].repo == repo);
            assert!(!refusing.is_known || !is_second, "a repository that refuses gets two requests at once");
        }
        let request = Request { repo: id(repo), tries: tries.unsigned_abs(), begun: now };
        self.flights.push(Flight { row, seq, request });
    }

    /// Returns GitHub's answer to a request that arrives now.
    fn arrive(&mut self, flight: &Flight) -> Answer {
        if let Some(answer) = self.outage {
            return answer;
        }
        if self.real < self.limited_until {
            return Answer::RateLimited(duration(self.limited_until - self.real));
        }
        let row = &mut self.rows.0[flight.row];
        match self.moods[row.repo] {
            Mood::Accepts => {
                assert!(flight.seq >= row.shown, "version {} follows {} at GitHub", flight.seq, row.shown);
                row.shown = flight.seq;
                // Now and then the answer is lost.
                if !self.calm && self.random.is_one_in(20) { Answer::Broken } else { Answer::Accepted }
            }
            Mood::RefusesAll => Answer::RepositoryRefused,
            Mood::RefusesSome if flight.row.is_multiple_of(2) => {
                row.shown = flight.seq;
                Answer::Accepted
            }
            Mood::RefusesEach | Mood::RefusesSome => Answer::WishRefused,
            Mood::Breaks => Answer::Broken,
            Mood::Full => Answer::Full,
        }
    }

    /// Lets a request arrive, and records the answer.
    pub fn answer(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let at = self.random.of(self.flights.len());
        let flight = self.flights.swap_remove(at);
        let answer = self.arrive(&flight);
        let now = self.now();
        let consequence = self.pacing.record(flight.request, answer, now);
        let Flight { row, seq, .. } = flight;
        let repo = self.rows.0[row].repo;
        if let Some(refusing) = self.refusing[repo].as_mut().filter(|_| answer == Answer::RepositoryRefused) {
            refusing.is_known = true;
        }
        match consequence {
            Consequence::Sent { due_again } => {
                self.rows.sent(self.clock, row, seq);
                self.op(Op::Sent { row, seq });
                if due_again {
                    self.closed[repo] = false;
                    self.rows.due_again(self.clock, repo);
                    self.op(Op::DueAgain { repo });
                }
            }
            Consequence::Quiet(pause) => {
                if matches!(answer, Answer::RateLimited(_)) {
                    self.promised = self.promised.max(self.limited_until.min(self.real + HOUR));
                    self.quiet.push((self.clock, self.clock + micros(pause)));
                }
            }
            Consequence::Failed(how) => {
                assert!(how.pause <= LONGEST_PAUSE);
                let given_up = self.rows.fail(self.clock, row, seq, &how);
                let refusals = |row: &usize| self.rows.0[*row].refusals;
                let few = given_up.iter().map(refusals).min().filter(|least| *least < 8);
                assert!(answer == Answer::Full || few.is_none(), "given up after {few:?} refusals");
                self.quieten(row, seq, answer, how.pause);
                self.op(Op::Failed { row, seq, how, given_up: given_up.len() });
            }
        }
        self.op(Op::Free { row });
    }

    /// Kills the process, and starts another one. Requests on their way arrive, or do not.
    fn crash(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            if self.random.is_one_in(2) {
                self.arrive(&flight);
            }
        }
        let recent = |at: &&Time| **at > self.clock - HOUR;
        let ages = self.stored.iter().filter(recent).map(|at| duration(self.clock - at));
        let mut ages: Vec<Duration> = ages.collect();
        ages.sort_by(|a, b| b.cmp(a));
        let quiet =
            self.quiet.iter().filter(|(at, _)| *at > self.clock - HOUR).map(|(_, until)| duration(until - self.clock));
        let requests = Requests { ages, quiet: quiet.max().unwrap_or_default() };
        self.pacing = Pacing::new(WINDOWS.to_vec(), &requests, self.now());
        self.rows.all_due(self.clock);
        self.closed.fill(false);
        self.forget_quiet();
        self.restarts.push(self.real);
        if !self.jumps.is_empty() {
            // The new process knows the pause by a clock that was wrong.
            self.promised = 0;
        }
        for refusing in self.refusing.iter_mut().flatten() {
            (refusing.restarts, refusing.is_known) = (refusing.restarts + 1, false);
        }
        self.op(Op::Crash);
        self.op(Op::AllDue);
    }

    /// Sets the clock of Postgres.
    fn jump(&mut self) {
        let seconds = Time::try_from(self.random.below(5 * 24 * 3600)).unwrap_or(0);
        let time = if self.random.is_one_in(2) { seconds * SECOND } else { -seconds * SECOND };
        if time > 0 {
            self.jumps.push(self.real);
        }
        self.clock += time;
        self.forget_quiet();
        self.op(Op::Pass(time));
    }

    /// Shortens waits, as the janitor does.
    pub fn shorten(&mut self) {
        self.rows.shorten(self.clock);
        self.op(Op::Shorten);
    }

    fn change_mood(&mut self) {
        // One repository is honest throughout.
        let repo = 1 + self.random.of(self.moods.len() - 1);
        self.set_mood(repo, None);
    }

    pub fn set_mood(&mut self, repo: usize, new: Option<Mood>) {
        self.check_refusing(repo);
        let new = new.unwrap_or_else(|| Mood::any(&mut self.random, self.calm));
        self.moods[repo] = new;
        self.refusing[repo] = (new == Mood::RefusesAll).then(|| Refusing::new(self.real));
    }
}
