//! The chances of a schedule: random numbers, and GitHub's moods.

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

    pub fn is_one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

/// The behaviour of GitHub towards a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Accepts,
    RefusesAll,
    RefusesEach,
    /// It refuses the statuses of every second row, each for a reason of its own.
    RefusesSome,
    Breaks,
    Full,
}

impl Mood {
    /// Returns any mood, but one that GitHub has in its own outages for `calm`.
    pub fn any(random: &mut Random, calm: bool) -> Self {
        let refusing = [Self::RefusesAll, Self::RefusesAll, Self::RefusesEach, Self::RefusesSome, Self::Full];
        let others = [Self::Accepts, Self::Breaks];
        let mood = random.of(if calm { 6 } else { 7 });
        refusing.into_iter().chain(others).nth(mood).unwrap_or(Self::Accepts)
    }
}
