//! A model of all around the pace: the rows, GitHub, the clocks, and a process that may crash. The pace itself is the
//! real one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use trainyard::domain::RepoId;
use trainyard::outbox::pacing::{Answer, Consequence, LONGEST_PAUSE, Pacing, Request, Window};
use trainyard::store::wishes::{Choice, Requests, Retry, Urgency};

/// Microseconds.
pub type Time = i64;
pub const SECOND: Time = 1_000_000;
pub const HOUR: Time = 3600 * SECOND;
const POSTERS: usize = 4;
/// Small windows, so that schedules reach their ends.
pub const WINDOWS: [Window; 2] =
    [Window { most: 6, within: Duration::from_secs(20) }, Window { most: 30, within: Duration::from_secs(3600) }];

pub fn duration(time: Time) -> Duration {
    Duration::from_micros(time.max(0).unsigned_abs())
}

fn micros(duration: Duration) -> Time {
    Time::try_from(duration.as_micros()).unwrap_or(Time::MAX)
}

/// Random numbers that a seed repeats: splitmix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn of(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or(0)
    }

    fn is_one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
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
    refusals: i32,
}

impl Row {
    pub fn is_owed(&self) -> bool {
        self.sent < self.wanted && self.given_up < self.wanted
    }

    fn urgency(&self) -> Urgency {
        match (self.tried == self.wanted, self.ends.last()) {
            (true, _) => Urgency::Retry,
            (false, Some(true)) => Urgency::Result,
            (false, _) => Urgency::Progress,
        }
    }
}

/// The behaviour of GitHub towards a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Accepts,
    RefusesAll,
    RefusesEach,
    Breaks,
    Full,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Flight {
    pub row: usize,
    pub seq: i64,
    request: Request,
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

pub struct World {
    pub random: Random,
    start: Instant,
    /// Time that has really passed.
    pub real: Time,
    /// Clock of Postgres.
    clock: Time,
    pub rows: Vec<Row>,
    pub moods: Vec<Mood>,
    /// True while GitHub answers nothing at all.
    down: bool,
    /// Real time until which GitHub answers with a rate limit.
    limited_until: Time,
    /// True when GitHub as a whole works throughout the schedule.
    calm: bool,
    pacing: Pacing,
    flights: Vec<Flight>,
    /// Rows of the table `status_request`: requests, and pauses with their ends, by the clock of Postgres.
    stored: Vec<Time>,
    quiet: Vec<(Time, Time)>,
    /// Real times of all requests, with their urgency.
    pub requests: Vec<(Time, Urgency)>,
    /// Real times at which the clock jumped ahead.
    pub jumps: Vec<Time>,
    /// Real time before which no request may begin, since GitHub said so.
    promised: Time,
    /// For each repository: time since which it refuses all, with the number of requests and of restarts since.
    refusing: Vec<Option<(Time, usize, usize)>>,
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
            (0..repos).map(|repo| if repo == 0 { Mood::Accepts } else { mood(&mut random, calm) }).collect();
        Self {
            start,
            real: 0,
            clock: 0,
            rows: Vec::new(),
            refusing: moods.iter().map(|mood| (*mood == Mood::RefusesAll).then_some((0, 0, 0))).collect(),
            moods,
            down: false,
            limited_until: 0,
            calm,
            pacing: Pacing::new(WINDOWS.to_vec(), &Requests::default(), start),
            flights: Vec::new(),
            stored: Vec::new(),
            quiet: Vec::new(),
            requests: Vec::new(),
            jumps: Vec::new(),
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
    fn pass(&mut self, time: Time) {
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
            97..99 => self.down = !self.down,
            _ => self.limited_until = self.real + 600 * SECOND,
        }
    }

    /// Wishes a new version of a status.
    fn want(&mut self) {
        let is_new = self.rows.len() < 8 && (self.rows.is_empty() || self.random.is_one_in(3));
        let row = if is_new {
            let repo = self.random.of(self.moods.len());
            self.rows.push(Row { repo, not_before: self.clock, ..Row::default() });
            self.rows.len() - 1
        } else {
            self.random.of(self.rows.len())
        };
        let ends = self.random.is_one_in(2);
        let it = &mut self.rows[row];
        it.wanted += 1;
        it.ends.push(ends);
        it.refusals = 0;
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
        let taken = self.take(&choice);
        let honest = |row: &Row| self.moods[row.repo] == Mood::Accepts && !choice.without.contains(&id(row.repo));
        let fresh = |row: &Row| row.is_owed() && row.tried < row.wanted && row.urgency() <= choice.least;
        let waits = self.free().any(|row| fresh(&self.rows[row]) && honest(&self.rows[row]));
        assert!(!waits || taken.is_some_and(|row| fresh(&self.rows[row])), "a wish waits behind one that failed");
        let begins = taken.is_some_and(|row| {
            let it = &self.rows[row];
            self.pacing.begin(id(it.repo), it.urgency(), now)
        });
        let facts = taken.map(|row| {
            let it = &self.rows[row];
            (row, it.wanted, if it.tried == it.wanted { it.tries } else { 0 }, it.urgency())
        });
        self.op(Op::Take { choice, taken: facts, is_sent_on: begins });
        let Some((row, seq, tries, urgency)) = facts.filter(|_| begins) else { return };
        assert!(self.real >= self.promised, "it asks although GitHub said when");
        self.stored.push(self.clock);
        self.requests.push((self.real, urgency));
        let repo = self.rows[row].repo;
        if let Some((_, requests, _)) = &mut self.refusing[repo] {
            *requests += 1;
        }
        let request = Request { repo: id(repo), tries: tries.unsigned_abs(), begun: now };
        self.flights.push(Flight { row, seq, request });
    }

    fn free(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).filter(|row| self.flights.iter().all(|flight| flight.row != *row))
    }

    /// Takes the wish that the store has to take.
    fn take(&self, choice: &Choice) -> Option<usize> {
        let due = |row: &Row| row.is_owed() && (row.tried < row.wanted || row.not_before <= self.clock);
        let chosen = |row: &Row| row.urgency() <= choice.least && !choice.without.contains(&id(row.repo));
        let free = self.free().filter(|row| due(&self.rows[*row]) && chosen(&self.rows[*row]));
        free.min_by_key(|row| (self.rows[*row].urgency(), self.rows[*row].not_before, *row))
    }

    /// Returns GitHub's answer to a request that arrives now.
    fn arrive(&mut self, flight: &Flight) -> Answer {
        if self.down {
            return Answer::Broken;
        }
        if self.real < self.limited_until {
            return Answer::RateLimited(duration(self.limited_until - self.real));
        }
        let row = &mut self.rows[flight.row];
        match self.moods[row.repo] {
            Mood::Accepts => {
                assert!(flight.seq >= row.shown, "version {} follows {} at GitHub", flight.seq, row.shown);
                row.shown = flight.seq;
                // Now and then the answer is lost.
                if !self.calm && self.random.is_one_in(20) { Answer::Broken } else { Answer::Accepted }
            }
            Mood::RefusesAll => Answer::RepositoryRefused,
            Mood::RefusesEach => Answer::WishRefused,
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
        let repo = self.rows[row].repo;
        match consequence {
            Consequence::Sent { due_again } => {
                let (clock, it) = (self.clock, &mut self.rows[row]);
                if it.sent < seq {
                    (it.sent, it.tries, it.failing_since, it.not_before) = (seq, 0, None, clock);
                }
                self.op(Op::Sent { row, seq });
                if due_again {
                    for it in self.rows.iter_mut().filter(|it| it.repo == repo && it.is_owed()) {
                        it.not_before = it.not_before.min(clock);
                    }
                    self.op(Op::DueAgain { repo });
                }
            }
            Consequence::Quiet(pause) => {
                if matches!(answer, Answer::RateLimited(_)) {
                    self.promised = self.promised.max(self.limited_until.min(self.real + HOUR));
                    self.quiet.push((self.clock, self.clock + micros(pause)));
                }
            }
            Consequence::Failed(how) => self.fail(row, seq, answer, how),
        }
        self.op(Op::Free { row });
    }

    fn fail(&mut self, row: usize, seq: i64, answer: Answer, how: Retry) {
        assert!(how.pause <= LONGEST_PAUSE);
        let (clock, repo) = (self.clock, self.rows[row].repo);
        let pause = micros(how.pause);
        let mut given_up = 0;
        for (number, it) in self.rows.iter_mut().enumerate() {
            let is_it = number == row && it.wanted == seq;
            if !(is_it || how.of_repository && it.repo == repo) || !it.is_owed() {
                continue;
            }
            if it.tried != it.wanted {
                (it.tried, it.tries, it.failing_since) = (it.wanted, 0, Some(clock));
            }
            it.tries += 1;
            it.refusals += 1;
            it.not_before = if number == row { clock + pause } else { it.not_before.max(clock + pause) };
            let since = it.failing_since.unwrap_or(clock);
            if how.limit.is_some_and(|limit| it.tries >= limit.tries && since <= clock - micros(limit.time)) {
                it.given_up = it.wanted;
                given_up += 1;
                assert!(answer == Answer::Full || it.refusals >= 8, "given up after {} refusals", it.refusals);
            }
        }
        self.op(Op::Failed { row, seq, how, given_up });
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
        for it in self.rows.iter_mut().filter(|it| it.is_owed()) {
            it.not_before = it.not_before.min(self.clock);
        }
        if !self.jumps.is_empty() {
            // The new process knows the pause by a clock that was wrong.
            self.promised = 0;
        }
        for (_, _, restarts) in self.refusing.iter_mut().flatten() {
            *restarts += 1;
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
        self.op(Op::Pass(time));
    }

    /// Shortens waits, as the janitor does.
    fn shorten(&mut self) {
        let longest = self.clock + micros(LONGEST_PAUSE);
        for it in self.rows.iter_mut().filter(|it| it.is_owed()) {
            if it.not_before > longest || it.failing_since.is_some_and(|since| since > self.clock) {
                it.not_before = it.not_before.min(longest);
                it.failing_since = it.failing_since.map(|since| since.min(self.clock));
            }
        }
        self.op(Op::Shorten);
    }

    fn change_mood(&mut self) {
        // One repository is honest throughout.
        let repo = 1 + self.random.of(self.moods.len() - 1);
        self.set_mood(repo, None);
    }

    fn set_mood(&mut self, repo: usize, new: Option<Mood>) {
        self.check_refusing(repo);
        let new = new.unwrap_or_else(|| mood(&mut self.random, self.calm));
        self.moods[repo] = new;
        self.refusing[repo] = (new == Mood::RefusesAll).then_some((self.real, 0, 0));
    }

    /// Checks that a repository that refuses got few requests.
    fn check_refusing(&self, repo: usize) {
        if let Some((since, requests, restarts)) = self.refusing[repo].filter(|_| self.calm) {
            // Those on their way at the first refusal, those until the pause has grown to an hour, and one each hour.
            let hours = usize::try_from((self.real - since) / HOUR).unwrap_or(0);
            let most = (1 + restarts) * (POSTERS + 7) + hours;
            assert!(requests <= most, "{requests} requests in {hours} hours for a repository that refuses");
        }
    }

    /// Ends all faults, and checks that GitHub then shows every wish that was not given up, in time.
    pub fn settle(&mut self) {
        (self.down, self.limited_until) = (false, 0);
        for repo in 0..self.moods.len() {
            self.set_mood(repo, Some(Mood::Accepts));
        }
        self.shorten();
        let from = self.real;
        while self.rows.iter().any(Row::is_owed) || !self.flights.is_empty() {
            self.real += 1;
            self.clock += 1;
            let before = self.requests.len();
            self.begin();
            if self.requests.len() == before {
                if self.flights.is_empty() {
                    let due = self.rows.iter().filter(|row| row.is_owed()).map(|row| row.not_before - self.clock);
                    let next = due.min().unwrap_or(0);
                    self.pass(next.max(60 * SECOND));
                } else {
                    self.answer();
                }
            }
            let longest = micros(LONGEST_PAUSE) + 2 * HOUR;
            assert!(self.real - from <= longest, "wishes are still owed: {:#?}", self.rows);
        }
        for row in &self.rows {
            assert!(row.given_up == row.wanted || row.shown == row.wanted, "GitHub shows another state: {row:?}");
        }
    }

    /// Checks that no window had more requests than it may. A restart reads times of a clock that may have jumped ahead
    /// since, so each jump may cost one more window.
    pub fn check_windows(&self) {
        for window in WINDOWS {
            let within = micros(window.within);
            for (at, (begin, _)) in self.requests.iter().enumerate() {
                let in_it = || self.requests[at..].iter().take_while(|(time, _)| time - begin < within);
                let jumps = self.jumps.iter().filter(|jump| (*begin - HOUR..begin + within).contains(jump)).count();
                let (count, most) = (in_it().count(), (1 + jumps) * window.most as usize);
                assert!(count <= most, "{count} requests within {:?}", window.within);
                let retries = in_it().filter(|(_, urgency)| *urgency == Urgency::Retry).count();
                assert!(retries <= most / 3, "{retries} repeated requests within {:?}", window.within);
            }
        }
    }

    /// Lists the moods, for a failure's words.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.moods.iter().map(|mood| format!("{mood:?}")).collect()
    }
}

pub fn id(repo: usize) -> RepoId {
    RepoId(i64::try_from(repo).unwrap_or(0) + 1)
}

fn mood(random: &mut Random, calm: bool) -> Mood {
    let moods = [Mood::Accepts, Mood::RefusesAll, Mood::RefusesAll, Mood::RefusesEach, Mood::Full, Mood::Breaks];
    moods[random.of(if calm { 5 } else { 6 })]
}
