//! Numbers as Python reads them from texts.

/// Returns true if Python's `int()` reads the text.
pub(super) fn is_int(text: &str) -> bool {
    let digits = text.trim().strip_prefix(['-', '+']).unwrap_or(text.trim());
    let is_digits = digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    is_digits && !digits.is_empty()
}

/// Reads a number as Python's `float()` does.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let is_word = text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_alphabetic());
    let is_known_word =
        ["inf", "infinity", "nan"].contains(&text.trim_start_matches(['-', '+']).to_lowercase().as_str());
    if is_word && !is_known_word { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_python_makes_of_them() {
        assert!(["8", "-8", "+8", " 8 ", "1_000", "007"].into_iter().all(is_int));
        assert!(["", "-", "1e3", "8.0", "_1", "1__0", "0x8", "eight"].into_iter().all(|text| !is_int(text)));
        assert!(["1e-4", ".5", "5.", "-1", "inf", "nan", "1_0.5"].into_iter().all(|text| number(text).is_some()));
        assert!(["", "1e", "1e-4f", "fast", "1,5"].into_iter().all(|text| number(text).is_none()));
    }
}
