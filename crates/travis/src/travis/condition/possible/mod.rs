//! Whether conditions can hold at all: they are evaluated for all events that can trigger a build.
//!
//! The kind of an event, its branch and its tag depend on each other. Any other fact may have each text that it is
//! compared with, another text, or none. An evaluation may also end without a result; then the condition may hold.

mod facts;
#[cfg(test)]
mod tests;
mod truth;

use super::Condition;
use truth::truth;

pub use facts::{Event, Facts, KINDS, Value, is_branch};
pub use truth::{all, any};

/// Bound on the work of a search.
#[derive(Debug)]
pub struct Budget(usize);

/// Maximum number of evaluations for one question, and for all questions about a file, each weighted by the
/// condition's terms.
const MAX_STEPS: usize = 10_000;
const MAX_STEPS_OF_FILE: usize = 200_000;

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_STEPS_OF_FILE)
    }
}

/// Returns true unless no event makes all conditions and `also` true. `facts` has the texts that `also` compares with.
pub fn may_hold(
    conditions: &[&Condition],
    mut facts: Facts,
    also: impl Fn(&Event) -> Option<bool>,
    budget: &mut Budget,
) -> bool {
    conditions.iter().for_each(|condition| facts.take(condition));
    let besides = facts.work + 1;
    let worlds = facts.worlds();
    let work = || conditions.iter().map(|condition| condition.work()).sum::<usize>() + besides;
    let first = work();
    // Once expressions are compiled, they take little.
    let are_sound = first < MAX_STEPS && conditions.iter().all(|condition| condition.check().is_ok());
    let steps = worlds.count().saturating_mul(work()).saturating_add(first);
    if !are_sound || steps > MAX_STEPS.min(budget.0) {
        return true;
    }
    budget.0 -= steps;
    worlds.all().any(|world| {
        let may = |condition: &&Condition| truth(condition, &world) != Some(false);
        also(world.event) != Some(false) && conditions.iter().all(may)
    })
}

/// Returns true if no event makes a condition true.
pub fn never_holds(condition: &Condition, budget: &mut Budget) -> bool {
    !may_hold(&[condition], Facts::default(), |_| None, budget)
}

/// Returns true if every event makes a condition true.
pub fn always_holds(condition: &Condition, budget: &mut Budget) -> bool {
    never_holds(&Condition::Not(Box::new(condition.clone())), budget)
}
