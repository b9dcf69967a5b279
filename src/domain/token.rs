//! What tokens of known services look like, so that nobody shows or publishes one.

use std::ops::Range;

/// How known tokens begin, how many letters and digits follow at least, and whose they are.
const FORMATS: [(&str, usize, &str); 14] = [
    ("hf_", 30, "Hugging Face"),
    ("ghp_", 30, "GitHub"),
    ("gho_", 30, "GitHub"),
    ("ghu_", 30, "GitHub"),
    ("ghs_", 30, "GitHub"),
    ("ghr_", 30, "GitHub"),
    ("github_pat_", 20, "GitHub"),
    ("glpat-", 20, "GitLab"),
    ("AKIA", 16, "AWS"),
    ("xoxb-", 10, "Slack"),
    ("xoxp-", 10, "Slack"),
    ("npm_", 36, "npm"),
    ("pypi-AgE", 20, "PyPI"),
    ("AIza", 35, "Google"),
];

/// The places in a text that have the form of a known token, with the name of the service that gives such tokens; by
/// service, not by place.
pub fn tokens(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut found = Vec::new();
    for (prefix, length, whose) in FORMATS {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let token = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
            if !text[..at].ends_with(is_part) && token.len() >= length && token.contains(|c: char| c.is_ascii_digit()) {
                found.push((at..at + prefix.len() + token.len(), whose));
            }
        }
    }
    found
}
