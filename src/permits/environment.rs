//! `[[publish.environment]]` of the configuration: the people without whom nothing is published.

use anyhow::ensure;
use serde::Deserialize;

use crate::store::people::persons::{Person, is_name};

/// Beginning of the name of a local user.
const LOCAL: &str = "user:";

/// An environment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentConfig {
    pub name: String,
    /// Patterns of the repositories that may publish in it.
    pub repos: Vec<String>,
    /// Logins or numbers of people of GitHub, and `user:NAME` for local users.
    pub approvers: Vec<String>,
    /// True if nothing of these repositories is published without an approval, whatever their files say.
    #[serde(default)]
    pub required: bool,
}

impl EnvironmentConfig {
    /// Returns true if a person may approve and reject. A name that a provider of logins has given counts for nothing:
    /// people choose it there.
    pub fn is_approver(&self, person: &Person) -> bool {
        let is_it = |approver: &String| match (approver.strip_prefix(LOCAL), person.github_id, &person.issuer) {
            (None, Some(id), _) => approver.eq_ignore_ascii_case(&person.name) || *approver == id.to_string(),
            (Some(name), None, None) => name == person.name,
            _ => false,
        };
        self.approvers.iter().any(is_it)
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.approvers.is_empty(), "it needs approvers, such as [\"anna\"]");
        for approver in &self.approvers {
            let is_login = (1..=39).contains(&approver.len())
                && approver.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
            let is_local = approver.strip_prefix(LOCAL).is_some_and(is_name);
            ensure!(is_login || is_local, "{approver:?} is not a login at GitHub, and not user:NAME for a local user");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PersonId;

    #[test]
    fn only_the_named_person_approves() {
        let environment = EnvironmentConfig {
            name: "production".to_owned(),
            repos: vec!["acme/*".to_owned()],
            approvers: vec!["Anna".to_owned(), "4711".to_owned(), "user:ben".to_owned()],
            required: false,
        };
        let person = |name: &str, github_id: Option<i64>, issuer: Option<&str>| Person {
            id: PersonId(1),
            name: name.to_owned(),
            github_id,
            issuer: issuer.map(str::to_owned),
            is_operator: true,
        };
        let may = |name: &str, github_id, issuer| environment.is_approver(&person(name, github_id, issuer));
        assert!(may("anna", Some(7), None) && may("renamed", Some(4711), None) && may("ben", None, None));
        // Others may have these names elsewhere.
        assert!(!may("anna", None, None) && !may("anna", None, Some("https://id.example")));
        assert!(!may("ben", Some(8), None) && !may("ben", None, Some("https://id.example")));
        assert!(!may("4711", None, None) && !may("carla", Some(9), None) && !may("user:ben", Some(9), None));
    }
}
