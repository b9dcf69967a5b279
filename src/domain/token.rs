//! Formats of the tokens of known services, so that no token is shown or published.

use std::ops::Range;

/// Prefix of each known token, the minimum number of characters after it, and the service that issues the token.
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

/// Finds the places in a text that have the form of a known token, with the name of the service that issues such
/// tokens. The places are in the order of the services, not of the text.
pub fn tokens(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut found = Vec::new();
    for (prefix, length, whose) in FORMATS {
        for (at, _) in text.match_indices(prefix) {
            // This check comes first. Otherwise a long row of prefixes would be read once for each of them.
            if text[..at].ends_with(is_part) {
                continue;
            }
            let rest = &text[at + prefix.len()..];
            let token = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
            if token.len() >= length && token.contains(|c: char| c.is_ascii_digit()) {
                found.push((at..at + prefix.len() + token.len(), whose));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_alone_and_are_long_enough() {
        let token = format!("hf_{}", "a1".repeat(15));
        assert_eq!(tokens(&format!("x={token};")), [(2..35, "Hugging Face")]);
        for text in [&token[..32], &format!("x{token}"), &token.replace('1', "b")] {
            assert_eq!(tokens(text), [], "{text}");
        }
    }

    #[test]
    fn a_long_row_of_beginnings_is_read_once() {
        // If the text were read once for each prefix, this would take hours.
        assert_eq!(tokens(&"hf_".repeat(1 << 20)), []);
    }
}
