//! What is wrong, said to the author.

use serde::{Deserialize, Serialize};

/// How much a problem matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[sqlx(type_name = "severity", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing needs to change.
    Info,
    /// Likely a mistake; the build goes on.
    Warning,
    /// The build cannot do what was asked.
    Error,
}

/// Something wrong that was found before or beside running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The rule's stable name, in kebab-case, such as `missing-required`.
    pub rule: String,
    /// One sentence that says what is wrong and what to do.
    pub message: String,
    /// The file's path in the repository; none when the problem is that of the whole build.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// The dotted path of the key concerned, such as `jobs.include.0.script`.
    pub key: Option<String>,
}

impl Problem {
    /// The place as `file:line:column`, as far as it is known.
    pub fn place(&self) -> String {
        let mut place = self.file.clone().unwrap_or_default();
        for number in [self.line, self.column].into_iter().map_while(|n| n) {
            place.push_str(&format!(":{number}"));
        }
        place
    }
}
