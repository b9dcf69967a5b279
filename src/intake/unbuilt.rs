//! Plans of commits from which nothing can be built, for a reason that is not in their files; and the notice of a build
//! that no webhook asked for.

use crate::domain::{Problem, Severity, TriggerKind};
use crate::plan::Plan;
use crate::planner::PlanError;

fn of_build(severity: Severity, rule: &str, message: String) -> Problem {
    Problem { severity, rule: rule.to_owned(), message, file: None, line: None, column: None, key: None, fix: None }
}

fn errored(rule: &str, message: String) -> Plan {
    Plan { problems: vec![of_build(Severity::Error, rule, message)], ..Plan::default() }
}

/// Returns the notice of a build that a check has found.
pub(super) fn found(kind: TriggerKind) -> Problem {
    let (rule, what) = match kind {
        TriggerKind::PullRequest => ("found-pull-request", "pull request was found at a check of the open ones"),
        _ => ("found-push", "push was found at a check of the heads"),
    };
    of_build(Severity::Info, rule, format!("this {what}: no webhook came"))
}

/// Returns the plan of a commit that cannot be planned.
pub(super) fn not_planned(reason: String) -> Plan {
    errored("not-planned", reason)
}

/// Returns the plan of a commit that could not be prepared in several tries.
pub(super) fn not_prepared(error: &anyhow::Error) -> Plan {
    if error.is::<PlanError>() {
        return not_planned(format!("{error:#}"));
    }
    errored("not-fetched", format!("could not fetch the commit or one of its imports: {error:#}"))
}

/// Returns the plan of a delivery that was given up.
pub(super) fn given_up(reason: &str) -> Plan {
    errored("given-up", reason.to_owned())
}
