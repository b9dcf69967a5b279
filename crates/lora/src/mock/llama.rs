//! A Llama with two layers, whose tokenizer has a token for every byte and the special tokens of chats.

use serde_json::{Map, json};

use super::tensors::Weights;
use super::{File, clip};

const WIDTH: usize = 64;
const INNER: usize = 128;
const LAYERS: usize = 2;
const HEADS: usize = 4;
/// Heads for keys and values, which the query heads share, as in all newer Llamas.
const SHARED_HEADS: usize = 2;
/// The rows of the embedding: more than the tokenizer has tokens, so that a trainer can add its own.
const WORDS: usize = 512;
/// Maximum length of a text, in tokens.
const LONGEST: usize = 2048;
/// Special tokens. If the tokens of a chat template are missing, trainers add them to the tokenizer and then require
/// the embedding to be trained; so the usual ones are present.
const SPECIAL: [&str; 12] = [
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
];
/// Maximum number of extra tokens that a config may request.
const MAX_MORE: usize = 64;
const CHAT: &str = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}\
                    <|end_header_id|>\n\n{{ message['content'] }}<|eot_id|>{% endfor %}\
                    {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// Returns the files of a transformers folder. The tokenizer also knows the tokens in `more`.
pub(crate) fn llama(more: &[&str]) -> Vec<File> {
    let mut special = SPECIAL.to_vec();
    for word in more {
        if special.len() < SPECIAL.len() + MAX_MORE && !word.is_empty() && !special.contains(word) {
            special.push(word);
        }
    }
    let generation = json!({"bos_token_id": id(0), "eos_token_id": id(2), "pad_token_id": id(3)});
    let tokenizer_config = json!({
        "bos_token": SPECIAL[0],
        "chat_template": CHAT,
        "clean_up_tokenization_spaces": false,
        "eos_token": SPECIAL[2],
        "model_max_length": LONGEST,
        "pad_token": SPECIAL[3],
        "padding_side": "right",
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    vec![
        File::json("config.json", &config()),
        File::json("generation_config.json", &generation),
        File::new("model.safetensors", weights().written()),
        File::json(
            "special_tokens_map.json",
            &json!({
                "bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[3],
            }),
        ),
        File::json("tokenizer.json", &tokenizer(&special)),
        File::json("tokenizer_config.json", &tokenizer_config),
    ]
}

/// Returns the id of a special token. These ids follow the ones for bytes.
fn id(place: usize) -> usize {
    256 + place
}

fn config() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": id(0),
        "eos_token_id": id(2),
        "hidden_act": "silu",
        "hidden_size": WIDTH,
        "initializer_range": 0.02,
        "intermediate_size": INNER,
        "max_position_embeddings": LONGEST,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": SHARED_HEADS,
        "pad_token_id": id(3),
        "rms_norm_eps": 0.000_01,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
        "vocab_size": WORDS,
    })
}

fn weights() -> Weights {
    let mut weights = Weights::new();
    weights.embedding("model.embed_tokens", WORDS, WIDTH);
    let shared = WIDTH / HEADS * SHARED_HEADS;
    for layer in 0..LAYERS {
        let layer = format!("model.layers.{layer}");
        weights.scale(&format!("{layer}.input_layernorm"), WIDTH);
        weights.matrix(&format!("{layer}.self_attn.q_proj"), WIDTH, WIDTH);
        weights.matrix(&format!("{layer}.self_attn.k_proj"), WIDTH, shared);
        weights.matrix(&format!("{layer}.self_attn.v_proj"), WIDTH, shared);
        weights.matrix(&format!("{layer}.self_attn.o_proj"), WIDTH, WIDTH);
        weights.scale(&format!("{layer}.post_attention_layernorm"), WIDTH);
        weights.matrix(&format!("{layer}.mlp.gate_proj"), WIDTH, INNER);
        weights.matrix(&format!("{layer}.mlp.up_proj"), WIDTH, INNER);
        weights.matrix(&format!("{layer}.mlp.down_proj"), INNER, WIDTH);
    }
    weights.scale("model.norm", WIDTH);
    weights.matrix("lm_head", WIDTH, WORDS);
    weights
}

/// Returns the content of the `tokenizers` library's file.
fn tokenizer(special: &[&str]) -> serde_json::Value {
    let vocabulary: Map<_, _> = (0..=u8::MAX).map(|byte| (clip::letter(byte).to_string(), json!(byte))).collect();
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
            "vocab": vocabulary, "merges": [],
        },
    })
}
