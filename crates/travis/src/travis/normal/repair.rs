//! Repair of misspelled words: "did you mean".

/// Returns the known word nearest to `word` (travis-yml helper/match.rb): words of three letters or more, at a
/// Levenshtein distance below half the word's length and below 4.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if !(3..=60).contains(&length) {
        return None;
    }
    let bound = (length / 2).min(4);
    known
        .into_iter()
        .filter(|other| other.chars().count().abs_diff(length) < bound)
        .map(|other| (strsim::osa_distance(word, other), other))
        .filter(|(distance, _)| *distance < bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Returns the word with underscores and in lower case: `before-script` and `BeforeScript` are `before_script`.
pub fn underscored(word: &str) -> String {
    let mut result = String::with_capacity(word.len() + 4);
    let mut before = '_';
    for c in word.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            result.push('_');
        }
        result.extend(if c == '-' { '_' } else { c }.to_lowercase());
        before = c;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words() {
        assert_eq!(nearest("barnches", ["branches", "cache"]), Some("branches"));
        assert_eq!(nearest("file", ["git", "env"]), None);
        assert_eq!(nearest("os", ["os"]), None);
    }

    #[test]
    fn underscores() {
        assert_eq!(underscored("before-Script"), "before_script");
        assert_eq!(underscored("Language"), "language");
        assert_eq!(underscored("beforeScript"), "before_script");
    }
}
