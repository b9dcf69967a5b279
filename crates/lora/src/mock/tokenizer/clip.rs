//! A CLIP tokenizer with its own vocabulary: every byte is a token, so it can tokenize any caption.

use serde_json::{Map, json};

use super::{File, letter};

/// Maximum number of tokens of a caption.
const LONGEST: usize = 77;
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

fn vocabulary() -> Vec<String> {
    let letters = (0..=u8::MAX).map(|byte| letter(byte).to_string());
    let ends = (0..=u8::MAX).map(|byte| format!("{}</w>", letter(byte)));
    let merged = MERGES.iter().map(|(first, second)| format!("{first}{second}"));
    letters.chain(ends).chain(merged).chain([START.to_owned(), END.to_owned()]).collect()
}

/// Returns the files of a tokenizer's folder.
pub(crate) fn clip() -> Vec<File> {
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
