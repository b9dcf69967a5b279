//! Bodies of deliveries as people may see them: without secrets, and without the addresses of persons.

use std::sync::LazyLock;

use regex::{Regex, Replacer};
use serde_json::Value;

const HIDDEN: &str = "[secure]";
/// Parts of the names of fields whose values are secrets.
const SECRET_NAMES: [&str; 10] = [
    "secret",
    "token",
    "password",
    "passwd",
    "authorization",
    "credential",
    "private_key",
    "api_key",
    "apikey",
    "signature",
];

/// Returns a body without what only its sender and its receiver may know.
pub(super) fn hidden(body: Value) -> Value {
    match body {
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let value = if is_secret(&name) && !matches!(value, Value::Null | Value::Bool(_)) {
                    HIDDEN.into()
                } else {
                    hidden(value)
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        Value::String(text) => without_secrets(&text).into(),
        other => other,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "email" || name == "pem" || SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Forms of secrets in texts, and what stays of them.
static FORMS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let forms = [
        (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)", HIDDEN),
        (r"\b(?:gh[pousr]_|github_pat_|hf_|glpat-|sk-|npm_|pypi-|xox[abprs]-)[A-Za-z0-9_-]{8,}", HIDDEN),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}", HIDDEN),
        (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+", HIDDEN),
        (r"\b([a-z][a-z0-9+.-]*://)[^/\s@]+@", "${1}[secure]@"),
        (
            r#"(?i)\b([a-z0-9_]*(?:token|secret|passwd|password|api_?key)[a-z0-9_]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;}]+)"#,
            "${1}[secure]",
        ),
    ];
    let regex = |(form, stays)| (Regex::new(form).unwrap_or_else(|_| unreachable!("a constant that parses")), stays);
    forms.into_iter().map(regex).collect()
});
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let form = r"[A-Za-z0-9._%+'\[\]-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+";
    Regex::new(form).unwrap_or_else(|_| unreachable!("a constant that parses"))
});

/// Hides addresses of mail, but not `git@HOST`, which is that of a repository, nor what is hidden already.
struct Address;

impl Replacer for Address {
    fn replace_append(&mut self, found: &regex::Captures<'_>, text: &mut String) {
        let is_none = ["git@", "[secure]@"].iter().any(|head| found[0].starts_with(head));
        text.push_str(if is_none { &found[0] } else { "[address]" });
    }
}

fn without_secrets(text: &str) -> String {
    let mut text = text.to_owned();
    for (form, stays) in FORMS.iter() {
        text = form.replace_all(&text, *stays).into_owned();
    }
    ADDRESS.replace_all(&text, Address).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_addresses_are_hidden_wherever_they_are() {
        let body = json!({
            "hook": {"config": {"secret": "s3cret", "url": "https://ci.example/webhooks/github", "insecure_ssl": "0"}},
            "access_token": 12345, "two_factor_authorization": null, "secret_scanning": false,
            "pusher": {"name": "ada", "email": "ada@example.org"},
            "commits": [{"message": "Log in with ghp_0123456789abcdef\n\nCo-authored-by: Bob <bob.b+x@mail.example.org>"}],
            "repository": {"ssh_url": "git@github.com:acme/styles.git", "clone_url": "https://github.com/acme/styles.git",
                "mirror_url": "https://ada:hunter2@git.example/x.git", "id": 7},
            "configs": [{"text": "env: HF_TOKEN=hf_abcdefghijk OTHER=1\npassword: 'two words'"}],
            "key": "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b",
            "cut": "-----BEGIN PRIVATE KEY-----\nMIIE",
        });
        let shown = hidden(body);
        assert_eq!(
            shown,
            json!({
                "hook": {"config": {"secret": "[secure]", "url": "https://ci.example/webhooks/github", "insecure_ssl": "0"}},
                "access_token": "[secure]", "two_factor_authorization": null, "secret_scanning": false,
                "pusher": {"name": "ada", "email": "[secure]"},
                "commits": [{"message": "Log in with [secure]\n\nCo-authored-by: Bob <[address]>"}],
                "repository": {"ssh_url": "git@github.com:acme/styles.git",
                    "clone_url": "https://github.com/acme/styles.git",
                    "mirror_url": "https://[secure]@git.example/x.git", "id": 7},
                "configs": [{"text": "env: HF_TOKEN=[secure] OTHER=1\npassword: [secure]"}],
                "key": "a [secure] b", "cut": "[secure]",
            })
        );
    }
}
