//! Misspelled words.

/// Returns the known word that a misspelled one surely stands for: no other known word is as near as one letter, or two
/// letters for long words. Case and the kind of dash do not count.
pub fn only_near<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const SHORTEST: usize = 4;
    const LONG: usize = 8;
    let plain = |word: &str| word.replace('-', "_").to_lowercase();
    let written = plain(word);
    let length = written.chars().count();
    let far = if length < LONG { 1 } else { 2 };
    let is_near = |other: &&str| {
        let other_length = other.chars().count();
        other_length.abs_diff(length) <= far && strsim::osa_distance(&written, &plain(other)) <= far
    };
    let near: Vec<&str> = known.into_iter().filter(is_near).collect();
    let same: Vec<&str> = near.iter().copied().filter(|other| plain(other) == written).collect();
    match (&same[..], &near[..]) {
        ([only], _) => Some(only),
        ([], [only]) if length >= SHORTEST => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stands_for_another_only_if_there_is_no_second_one() {
        for (word, known, wanted) in [
            ("lora_rnak", vec!["lora_rank", "lora_alpha"], Some("lora_rank")),
            ("BF16", vec!["bf16", "fp16"], Some("bf16")),
            ("mixed-precision", vec!["mixed_precision"], Some("mixed_precision")),
            ("text_encoder_lr9", vec!["text_encoder_lr", "text_encoder_lr1"], None),
            ("bf61", vec!["bf16", "fp16"], Some("bf16")),
            ("f16", vec!["bf16"], None),
            ("adamw", vec!["adam", "adamw8"], None),
            ("epohcs", vec!["epochs"], Some("epochs")),
            ("eposch", vec!["epochs"], None),
        ] {
            assert_eq!(only_near(word, known), wanted, "{word}");
        }
    }
}
