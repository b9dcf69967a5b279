//! Bounds of a plan's problems and texts: no commit may fill the database, or a page.

use super::Plan;
use super::problems::of_build;
use crate::domain::{Problem, Rule, Severity, bounded};

/// Maximum number of problems of a build, with the problem that counts those that were left out.
pub const MAX_PROBLEMS: usize = 500;
/// Maximum length of a message, in bytes.
const MAX_MESSAGE: usize = 2_000;
/// Maximum length of the name of a job or a stage, of a problem's key, and of the reason for no build, in bytes.
const MAX_NAME: usize = 400;
/// Maximum length of a path, in bytes, as on Linux.
const MAX_PATH: usize = 4_096;

/// Cuts the name of a job or a stage.
pub(super) fn name(text: &str) -> String {
    bounded(text.to_owned(), MAX_NAME)
}

/// The number of problems that were left out so far.
#[derive(Debug, Default)]
pub(super) struct LeftOut(usize);

impl LeftOut {
    /// Cuts the texts of the problems, and drops the problems beyond the bound: the least severe ones first, the last
    /// of them first. So an error, which decides the build, is dropped only when other errors stay.
    pub(super) fn trim(&mut self, problems: &mut Vec<Problem>) {
        for problem in &mut *problems {
            cut(Some(&mut problem.message), MAX_MESSAGE);
            cut(problem.key.as_mut(), MAX_NAME);
            cut(problem.file.as_mut(), MAX_PATH);
        }
        let mut excess = problems.len().saturating_sub(MAX_PROBLEMS - 1);
        self.0 += excess;
        for severity in [Severity::Info, Severity::Warning, Severity::Error] {
            if excess == 0 {
                return;
            }
            let found = problems.iter().filter(|problem| problem.severity == severity).count();
            let mut kept = found.saturating_sub(excess);
            excess -= found - kept;
            problems.retain(|problem| {
                let is_dropped = problem.severity == severity && kept == 0;
                kept -= usize::from(problem.severity == severity && !is_dropped);
                !is_dropped
            });
        }
    }

    /// Bounds a plan that is complete, and reports the number of problems that were left out.
    pub(super) fn finish(mut self, mut plan: Plan) -> Plan {
        self.trim(&mut plan.problems);
        cut(plan.skip.as_mut(), MAX_NAME);
        if self.0 > 0 {
            let message = format!("and {} more problems, which are not shown: fix these first", self.0);
            plan.problems.push(of_build(Severity::Warning, Rule::TooManyProblems, message));
        }
        plan
    }
}

fn cut(text: Option<&mut String>, most: usize) {
    if let Some(text) = text {
        *text = bounded(std::mem::take(text), most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_severe_problems_are_dropped_first() {
        let of = |severity, count: usize| {
            (0..count).map(move |n| of_build(severity, Rule::Smoke, format!("{n} {}", "x".repeat(MAX_MESSAGE))))
        };
        let mut left_out = LeftOut::default();
        let mut plan = Plan::default();
        plan.problems.extend(of(Severity::Info, 300).chain(of(Severity::Warning, 300)));
        left_out.trim(&mut plan.problems);
        plan.problems.extend(of(Severity::Error, 250));
        let plan = left_out.finish(plan);
        let count = |severity| plan.problems.iter().filter(|problem| problem.severity == severity).count();
        // One more warning has the number of the others.
        assert_eq!([Severity::Info, Severity::Warning, Severity::Error].map(count), [0, 250, 250]);
        let last = plan.problems.last().map(|problem| problem.message.as_str());
        assert_eq!(last, Some("and 351 more problems, which are not shown: fix these first"));
        assert!(plan.problems.iter().all(|problem| problem.message.len() <= MAX_MESSAGE));
        let order: Vec<&str> = plan.problems.iter().map(|problem| &problem.message[..2]).take(3).collect();
        assert_eq!(order, ["0 ", "1 ", "2 "]);
    }
}
