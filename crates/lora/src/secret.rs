//! Detection of tokens and keys by their form. A key of 40 hex digits looks like a commit, so such keys are found by
//! the name of their config key.

use std::ops::Range;

use crate::domain::tokens;

/// Config keys whose values are secrets.
const SECRET_KEYS: [&str; 12] = [
    "huggingface_token",
    "hf_token",
    "hf_hub_token",
    "hub_token",
    "ms_hub_token",
    "om_hub_token",
    "wandb_api_key",
    "swanlab_api_key",
    "comet_api_key",
    "api_key",
    "access_token",
    "password",
];

/// Least length of a token of a known form.
const LEAST: usize = 15;

/// Returns true if the value of this key is a secret: by its form, or by the key's name if the value is as long as a
/// secret.
pub(super) fn is_secret(key: &str, value: &str) -> bool {
    // No token is shorter, and most values of a config are.
    if value.len() < LEAST {
        return false;
    }
    let is_like_one = || value.len() >= 16 && value.bytes().all(|byte| byte.is_ascii_graphic());
    let is_placeholder = || {
        let lower = value.to_lowercase();
        ["your", "<", "${", "{{", "xxx", "..."].iter().any(|mark| lower.contains(mark))
    };
    !tokens(value).is_empty() || SECRET_KEYS.contains(&key) && is_like_one() && !is_placeholder()
}

/// Returns true if a key's value is a secret regardless of its form.
pub(super) fn is_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// Replaces the secrets in a line of a file with `[secret]`.
pub fn hidden(line: &str) -> String {
    let key = line.split([':', '=']).next().unwrap_or_default().trim_matches([' ', '"', '\'', '-', '\t']);
    if SECRET_KEYS.contains(&key) {
        let end = line.find([':', '=']).map_or(line.len(), |at| at + 1);
        return format!("{} [secret]", &line[..end]);
    }
    covered(line, tokens(line).into_iter().map(|(range, _)| range).collect())
}

/// Replaces these ranges of a text, which may overlap, with `[secret]`.
pub(super) fn covered(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for range in ranges {
        if range.start >= from {
            shown.push_str(&text[from..range.start]);
            shown.push_str("[secret]");
        }
        from = from.max(range.end);
    }
    shown.push_str(&text[from..]);
    shown
}
