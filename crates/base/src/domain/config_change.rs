//! The difference between a team's training config and the one that a smoke job runs.

use serde::Serialize;

/// A key whose value differs from the team's config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigChange {
    /// The dotted path of the key.
    pub key: String,
    /// The value in the team's config, without secrets; `None` if the key was added.
    pub from: Option<String>,
    /// The value in the derived config; `None` if the key was removed.
    pub to: Option<String>,
}

impl ConfigChange {
    /// Marks the change as one in a file that `key` names.
    #[must_use]
    pub fn within(self, key: &str) -> Self {
        Self { key: format!("{key}: {}", self.key), ..self }
    }
}
