//! Texts of strangers, cut to a length.

/// Cuts a text to at most `most` bytes. A text that was cut ends with `…`.
pub fn bounded(mut text: String, most: usize) -> String {
    const CUT: &str = "…";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = |text: &str, most| bounded(text.to_owned(), most);
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc…");
        assert_eq!(cut("ééééé", 8), "éé…");
    }
}
