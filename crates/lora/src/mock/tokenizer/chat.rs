//! The tokenizer of language models, with the special tokens of chats.

use serde_json::{Map, Value, json};

use super::{File, letter};

/// The class that takes any tokenizer.
pub(crate) const FAST: &str = "PreTrainedTokenizerFast";
/// Maximum length of a text, in tokens.
const LONGEST: usize = 2048;
/// Special tokens. If the tokens of a chat template are missing, trainers add them to the tokenizer and then require
/// the embedding to be trained; so the usual ones are present.
const SPECIAL: [&str; 22] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<pad>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
];
/// Maximum number of extra tokens that a config may request.
const MAX_MORE: usize = 64;
const CHAT: &str = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}\
                    <|end_header_id|>\n\n{{ message['content'] }}<|eot_id|>{% endfor %}\
                    {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// Returns the files of a tokenizer's folder. The tokenizer also knows the tokens in `more`.
pub(crate) fn chat(class: &str, more: &[&str]) -> Vec<File> {
    let mut special = SPECIAL.to_vec();
    for word in more {
        if special.len() < SPECIAL.len() + MAX_MORE && !word.is_empty() && !special.contains(word) {
            special.push(word);
        }
    }
    let config = json!({
        "add_prefix_space": false,
        "bos_token": SPECIAL[0],
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": false,
        "eos_token": SPECIAL[2],
        "model_max_length": LONGEST,
        "pad_token": SPECIAL[3],
        "padding_side": "right",
        "tokenizer_class": class,
        "unk_token": SPECIAL[11],
    });
    let roles = json!({"bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[3]});
    let mut files = vec![
        File::json("special_tokens_map.json", &roles),
        File::json("tokenizer.json", &tokenizer(&special)),
        File::json("tokenizer_config.json", &config),
    ];
    if class != FAST {
        // Older releases of transformers read the classes of single families from these.
        files.push(File::json("vocab.json", &vocabulary().into()));
        files.push(File::new("merges.txt", "#version: 0.2\n"));
    }
    files
}

fn vocabulary() -> Map<String, Value> {
    (0..=u8::MAX).map(|byte| (letter(byte).to_string(), json!(byte))).collect()
}

/// Returns the id of a special token. These ids follow the ones for bytes.
fn id(place: usize) -> usize {
    256 + place
}

/// Returns the content of the `tokenizers` library's file.
fn tokenizer(special: &[&str]) -> Value {
    let added = |(place, word): (usize, &&str)| {
        json!({
            "id": id(place), "content": word, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let start = json!({"SpecialToken": {"id": SPECIAL[0], "type_id": 0}});
    let text = |which: &str, type_id: usize| json!({"Sequence": {"id": which, "type_id": type_id}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text("A", 0)],
            "pair": [start, text("A", 0), start, text("B", 1)],
            "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [id(0)], "tokens": [SPECIAL[0]]}},
        },
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary(), "merges": [],
        },
    })
}
