//! The decision who may log in, by the claims about a person.

use serde_json::{Map, Value as Json};

use super::OidcConfig;
use crate::domain::{bounded, pg_text};

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 100;

/// The role of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Member,
    Operator,
}

/// Verified claims about a person.
#[derive(Debug, Default)]
pub(super) struct Claims(pub(super) Map<String, Json>);

impl Claims {
    /// Returns the role of the person; `None` for somebody who may not log in.
    pub(super) fn role(&self, config: &OidcConfig) -> Option<Role> {
        let groups = self.groups(&config.groups_claim);
        let email = self.verified_email();
        let is_in = |list: &[String]| list.iter().any(|group| groups.contains(&group.as_str()));
        let is_same = |known: &String| email.is_some_and(|email| known.eq_ignore_ascii_case(email));
        if is_in(&config.operator_groups) || config.operator_emails.iter().any(is_same) {
            return Some(Role::Operator);
        }
        let domain = email.and_then(|email| Some(email.rsplit_once('@')?.1));
        let is_of = |known: &String| domain.is_some_and(|domain| known.eq_ignore_ascii_case(domain));
        (is_in(&config.groups) || config.domains.iter().any(is_of)).then_some(Role::Member)
    }

    /// Returns a name for people to read, which may be that of others, too.
    pub(super) fn name(&self, config: &OidcConfig, subject: &str) -> String {
        let text =
            |claim: &str| self.0.get(claim).and_then(Json::as_str).map(str::trim).filter(|text| !text.is_empty());
        let name = text(&config.name_claim).or_else(|| text("name")).or_else(|| text("email")).unwrap_or(subject);
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        bounded(pg_text(&name), MAX_NAME)
    }

    /// Returns true if the claims that the decision needs are here.
    pub(super) fn are_complete(&self, config: &OidcConfig) -> bool {
        let needs_groups = !config.groups.is_empty() || !config.operator_groups.is_empty();
        let needs_email = !config.domains.is_empty() || !config.operator_emails.is_empty();
        let has = |claim: &str| self.0.contains_key(claim);
        has(&config.name_claim)
            && (!needs_groups || has(&config.groups_claim))
            && (!needs_email || (has("email") && has("email_verified")))
    }

    fn groups(&self, claim: &str) -> Vec<&str> {
        match self.0.get(claim) {
            Some(Json::Array(groups)) => groups.iter().filter_map(Json::as_str).collect(),
            Some(Json::String(group)) => vec![group],
            _ => Vec::new(),
        }
    }

    /// Returns the email. One that the provider has not verified is the claim of its owner alone.
    fn verified_email(&self) -> Option<&str> {
        let email = self.0.get("email")?.as_str()?;
        let is_verified = self.0.get("email_verified") == Some(&Json::Bool(true));
        (is_verified && email.split('@').count() == 2).then_some(email)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(text: &str) -> OidcConfig {
        let base = "issuer = 'https://id.example.org'\nclient_id = 'trainyard'\n";
        toml::from_str(&format!("{base}{text}")).expect("it can be read")
    }

    fn role(config: &OidcConfig, claims: Json) -> Option<Role> {
        Claims(claims.as_object().cloned().unwrap_or_default()).role(config)
    }

    #[test]
    fn a_group_or_the_domain_of_a_verified_email_lets_in() {
        let both = config("groups = ['ci']\ndomains = ['Example.org']\noperator_groups = ['ops']");
        let verified = |email: &str| json!({"email": email, "email_verified": true});
        assert_eq!(role(&both, json!({"groups": ["dev", "ci"]})), Some(Role::Member));
        assert_eq!(role(&both, json!({"groups": "ci"})), Some(Role::Member));
        assert_eq!(role(&both, verified("anna@example.ORG")), Some(Role::Member));
        assert_eq!(role(&both, json!({"groups": ["ops"]})), Some(Role::Operator));
        for other in [
            json!({}),
            json!({"groups": ["CI", "ci2"]}),
            json!({"groups": {"ci": true}}),
            json!({"email": "anna@example.org"}),
            json!({"email": "anna@example.org", "email_verified": false}),
            json!({"email": "anna@example.org", "email_verified": "true"}),
            verified("anna@evil-example.org"),
            verified("anna@sub.example.org"),
            verified("anna@example.org@evil.org"),
            verified("anna@evil.org@example.org"),
            verified("example.org"),
        ] {
            assert_eq!(role(&both, other.clone()), None, "{other}");
        }
        let operator = config("operator_emails = ['olga@example.org']");
        assert_eq!(role(&operator, verified("Olga@example.org")), Some(Role::Operator));
        assert_eq!(role(&operator, verified("anna@example.org")), None);
    }

    #[test]
    fn a_name_is_one_line() {
        let claims = |value: Json| Claims(value.as_object().cloned().unwrap_or_default());
        let config = config("groups = ['ci']");
        assert_eq!(claims(json!({"preferred_username": " anna\n\u{0} "})).name(&config, "1"), "anna");
        assert_eq!(claims(json!({"name": "Anna"})).name(&config, "1"), "Anna");
        assert_eq!(claims(json!({"preferred_username": "x".repeat(500)})).name(&config, "1").len(), MAX_NAME);
        assert_eq!(claims(json!({})).name(&config, "1"), "1");
    }
}
