//! The tokenizer of T5 and UMT5, which joins words to pieces instead of splitting them into bytes.

use serde_json::{Value, json};

use super::File;

/// Maximum number of tokens of a caption.
const LONGEST: usize = 512;
/// The special tokens, in the order of their ids.
const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];
/// The mark of a space before a word.
const SPACE: &str = "▁";

/// Returns the files of a tokenizer's folder.
pub(crate) fn t5() -> Vec<File> {
    let config = json!({
        "eos_token": SPECIAL[1],
        "extra_ids": 0,
        "additional_special_tokens": [],
        "model_max_length": LONGEST,
        "pad_token": SPECIAL[0],
        "tokenizer_class": "T5TokenizerFast",
        "unk_token": SPECIAL[2],
    });
    let special = json!({"eos_token": SPECIAL[1], "pad_token": SPECIAL[0], "unk_token": SPECIAL[2]});
    vec![
        File::json("special_tokens_map.json", &special),
        File::json("tokenizer.json", &tokenizer()),
        File::json("tokenizer_config.json", &config),
    ]
}

/// Returns the pieces with their scores. Those of printable characters are preferred to those of bytes, which stand for
/// all other characters.
fn pieces() -> Vec<Value> {
    let special = SPECIAL.iter().map(|token| json!([token, 0.0]));
    let bytes = (0..=u8::MAX).map(|byte| json!([format!("<0x{byte:02X}>"), -9.0]));
    let characters = ('!'..='~').map(|character| json!([character.to_string(), -3.0]));
    special.chain([json!([SPACE, -2.0])]).chain(characters).chain(bytes).collect()
}

/// Returns the content of the `tokenizers` library's file.
fn tokenizer() -> Value {
    let added = |(id, content): (usize, &&str)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    let space = json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true});
    let end = json!({"SpecialToken": {"id": SPECIAL[1], "type_id": 0}});
    let text = |which: &str| json!({"Sequence": {"id": which, "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": space,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [text("A"), end],
            "pair": [text("A"), end, text("B"), end],
            "special_tokens": {SPECIAL[1]: {"id": SPECIAL[1], "ids": [1], "tokens": [SPECIAL[1]]}},
        },
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces(), "byte_fallback": true},
    })
}
