//! A CLIP tokenizer with its own vocabulary: every byte is a token, so it can tokenize any caption.

use serde_json::{Map, json};

use super::File;

/// Maximum number of tokens of a caption.
pub(super) const LONGEST: usize = 77;
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// Pairs that merge into one token, more frequent pairs first. A trained tokenizer has many of them.
const MERGES: [(&str, &str); 12] = [
    ("i", "n"),
    ("t", "h"),
    ("a", "n"),
    ("r", "e"),
    ("e", "r</w>"),
    ("th", "e</w>"),
    ("o", "f</w>"),
    ("in", "g</w>"),
    ("an", "d</w>"),
    ("o", "n</w>"),
    ("e", "s</w>"),
    ("l", "y</w>"),
];

/// Returns the character that stands for a byte, as in all tokenizers that follow GPT-2: printable characters stand for
/// themselves, the other bytes are mapped to the characters from 256 on.
pub(super) fn letter(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_printable(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn vocabulary() -> Vec<String> {
    let letters = (0..=u8::MAX).map(|byte| letter(byte).to_string());
    let ends = (0..=u8::MAX).map(|byte| format!("{}</w>", letter(byte)));
    let merged = MERGES.iter().map(|(first, second)| format!("{first}{second}"));
    letters.chain(ends).chain(merged).chain([START.to_owned(), END.to_owned()]).collect()
}

/// Returns the number of tokens.
pub(super) fn words() -> usize {
    2 * 256 + MERGES.len() + 2
}

/// Returns the token before a caption.
pub(super) fn start() -> usize {
    words() - 2
}

/// Returns the token that ends a caption and pads it.
pub(super) fn end() -> usize {
    words() - 1
}

/// Returns the files of a tokenizer's folder.
pub(crate) fn tokenizer() -> Vec<File> {
    let vocabulary: Map<_, _> = vocabulary().into_iter().enumerate().map(|(id, word)| (word, json!(id))).collect();
    let merges: String = MERGES.iter().map(|(first, second)| format!("{first} {second}\n")).collect();
    let special = json!({"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END});
    let config = json!({
        "add_prefix_space": false,
        "bos_token": START,
        "do_lower_case": true,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": LONGEST,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    });
    vec![
        File::json("vocab.json", &vocabulary.into()),
        File::new("merges.txt", format!("#version: 0.2\n{merges}")),
        File::json("special_tokens_map.json", &special),
        File::json("tokenizer_config.json", &config),
    ]
}
