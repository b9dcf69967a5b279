//! Long schedules of one kind each: a load that never ends, and an outage of days.

use super::chance::Mood;
use super::rows::{HOUR, Row, SECOND, Time};
use super::with_seeds;
use super::world::{WINDOWS, World};
use trainyard::outbox::pacing::Answer;

impl World {
    /// Returns a world in which GitHub accepts everything, with this number of statuses in turns of the repositories.
    fn friendly(seed: u64, statuses: usize) -> Self {
        let mut world = Self::new(seed, false);
        world.moods.fill(Mood::Accepts);
        world.refusing.fill(None);
        world.calm = true;
        let repos = world.moods.len();
        world.rows.0 = (0..statuses).map(|row| Row { repo: row % repos, ..Row::default() }).collect();
        world
    }

    /// Sends what may be sent now.
    fn send(&mut self) {
        let mut before = usize::MAX;
        while self.requests.len() != before {
            before = self.requests.len();
            self.begin();
            self.answer();
            self.real += 1;
            self.clock += 1;
        }
    }

    /// Wishes other statuses than the first one, at random times, `per_hour` on average.
    fn load(&mut self, per_hour: u64, news_in_ten: u64) {
        let row = 1 + self.random.of(self.rows.0.len() - 1);
        let ends = self.random.below(10) >= news_in_ten;
        self.rows.want(row, ends);
        self.send();
        let apart = self.random.below(2 * HOUR.unsigned_abs() / per_hour);
        self.pass(Time::try_from(apart).unwrap_or(0));
    }
}

#[test]
fn a_wish_that_failed_once_is_sent_within_hours_under_any_load() {
    with_seeds(300, |seed| {
        let mut world = World::friendly(seed, 40);
        // Up to three times what the windows let through.
        let per_hour = 1 + world.random.below(3 * u64::from(WINDOWS[1].most));
        let news_in_ten = world.random.below(11);
        let begin = world.real;
        while world.real - begin < 3 * HOUR {
            world.load(per_hour, news_in_ten);
        }
        world.rows.want(0, true);
        (world.calm, world.outage) = (false, Some(Answer::Broken));
        while world.rows.0[0].tries == 0 {
            world.send();
            world.pass(60 * SECOND);
        }
        // After this time, no pause of a broken GitHub is left.
        world.pass(120 * SECOND);
        (world.calm, world.outage) = (true, None);
        let failed = world.real;
        while world.rows.0[0].is_owed() {
            world.load(per_hour, news_in_ten);
            let hours = (world.real - failed) / HOUR;
            assert!(hours < 4, "{per_hour} wishes an hour, {news_in_ten} in ten of them news, keep a failed one back");
        }
        world.check_windows();
    });
}

#[test]
fn an_outage_of_days_gives_nothing_up() {
    with_seeds(300, |seed| {
        let mut world = World::friendly(seed, 8);
        for row in 0..8 {
            world.rows.want(row, true);
        }
        while world.rows.0.iter().any(Row::is_owed) {
            world.send();
            world.pass(20 * SECOND);
        }
        for row in 0..8 {
            world.rows.want(row, true);
        }
        (world.calm, world.outage) = (false, Some(Answer::Broken));
        let begin = world.real;
        while world.real - begin < 5 * 24 * HOUR {
            world.send();
            let time = world.random.below(1800);
            world.pass(Time::try_from(time).unwrap_or(0) * SECOND);
        }
        assert!(world.rows.0.iter().all(|row| row.refusals >= 8), "too few tries show nothing: {:#?}", world.rows.0);
        // At the end of the outage, single answers are still lost.
        world.settle();
        assert!(world.rows.0.iter().all(|row| row.given_up == 0), "{:#?}", world.rows.0);
    });
}
