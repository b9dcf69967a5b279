//! Problems that are reported to the author.

mod fix;
mod near;
mod rule;

use serde::{Deserialize, Serialize};

pub use fix::Fix;
pub use near::only_near;
pub use rule::Rule;

/// Severity of a problem, the least severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(type_name = "severity", rename_all = "snake_case"))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; no change is required.
    Info,
    /// Likely a mistake; the build goes on.
    Warning,
    /// The build cannot do what was requested.
    Error,
}

/// A problem that Trainyard found, apart from the verdict of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    pub severity: Severity,
    /// Stable name of the rule, in kebab-case, such as `missing-required`.
    pub rule: String,
    /// Sentence that states what is wrong and what to do.
    pub message: String,
    /// Path of the file in the repository; `None` when the problem concerns the whole build.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// Dotted path of the key concerned, such as `jobs.include.0.script`.
    pub key: Option<String>,
    /// The edit that surely mends it. It is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub fix: Option<Fix>,
}

impl Problem {
    /// Formats the place as `file:line:column`, as far as it is known.
    pub fn place(&self) -> String {
        let mut place = self.file.clone().unwrap_or_default();
        for number in [self.line, self.column].into_iter().map_while(|n| n) {
            place.push_str(&format!(":{number}"));
        }
        place
    }
}
