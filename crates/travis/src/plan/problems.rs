//! Conversion of findings into problems of a plan.

use super::{CONFIG, Plan};
use crate::domain::{Problem, Rule, Severity};
use crate::lora;
use crate::travis::document::Fault;
use crate::travis::import::Source;
use crate::travis::normal::{Code, Level, Message};
use crate::travis::traps::Trap;
use crate::yaml::Mark;

/// Returns a plan without jobs, with this problem.
pub(super) fn fatal(rule: Rule, message: &str, at: Option<Mark>) -> Plan {
    let problem = problem(Severity::Error, rule, message.to_owned(), at, None);
    Plan { problems: vec![problem], ..Plan::default() }
}

/// Creates a problem of a whole file.
pub(super) fn of_file(severity: Severity, rule: Rule, file: &str, message: String) -> Problem {
    Problem { file: Some(file.to_owned()), ..problem(severity, rule, message, None, None) }
}

/// Creates a problem of the build as a whole.
pub(super) fn of_build(severity: Severity, rule: Rule, message: String) -> Problem {
    Problem { file: None, ..problem(severity, rule, message, None, None) }
}

/// Creates a problem in the `.travis.yml`.
pub(super) fn problem(
    severity: Severity,
    rule: Rule,
    message: String,
    at: Option<Mark>,
    key: Option<String>,
) -> Problem {
    let at = at.filter(|at| at.line > 0);
    Problem {
        severity,
        rule: rule.name().to_owned(),
        message,
        file: Some(CONFIG.to_owned()),
        line: at.map(|at| at.line),
        column: at.map(|at| at.column),
        key,
        fix: None,
    }
}

/// The files that a config was merged from, which marks refer to by number. Creates problems in any of these files.
pub(super) struct Told<'a> {
    pub(super) sources: &'a [Source],
    /// The text of the first of them, which fixes are for.
    pub(super) text: &'a str,
}

impl Told<'_> {
    pub(super) fn problem(
        &self,
        severity: Severity,
        rule: Rule,
        message: String,
        at: Mark,
        key: Option<String>,
    ) -> Problem {
        let file = self.sources.get(usize::from(at.file)).map(Source::to_string);
        Problem { file, ..problem(severity, rule, message, Some(at), key) }
    }

    /// Converts a message of the normal form. These messages do not stop a build, so even Travis's errors are warnings
    /// here. The exceptions are messages about an import that is left out.
    pub(super) fn message(&self, message: &Message) -> Problem {
        let severity = match (message.code, message.level) {
            (Code::InvalidRef | Code::TooManyImports, _) => Severity::Error,
            (_, Level::Info) => Severity::Info,
            (_, Level::Warn | Level::Error | Level::Alert) => Severity::Warning,
        };
        let key = Some(message.key.clone()).filter(|key| !key.is_empty());
        let problem = self.problem(severity, message.code.rule(), message.text(), message.at, key);
        let mend = message.mend().filter(|_| message.at.file == 0);
        Problem { fix: mend.and_then(|mend| mend.fix(self.text, message.at)), ..problem }
    }

    /// Reports a wanted import that was not looked up. The caller of the plan has to look up every import that is
    /// wanted.
    pub(super) fn not_looked_for(source: &Source) -> Problem {
        problem(Severity::Error, Rule::FailedImport, format!("{source} was not fetched"), None, None)
    }

    pub(super) fn fault(&self, fault: &Fault) -> Problem {
        self.problem(fault.severity, fault.rule, fault.message.clone(), fault.at, None)
    }

    pub(super) fn finding(&self, finding: lora::Finding) -> Problem {
        let at = finding.at.unwrap_or_default();
        let fix = finding.fix(self.text).filter(|_| at.file == 0);
        Problem { fix, ..self.problem(finding.severity, finding.rule, finding.message, at, finding.key) }
    }

    pub(super) fn trap(&self, trap: Trap) -> Problem {
        self.problem(trap.severity, trap.rule, trap.message, trap.at, Some(trap.key))
    }
}
