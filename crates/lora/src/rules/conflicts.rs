//! Keys that exclude each other.

use super::{Config, Map, finding};
use crate::domain::Severity;
use crate::{Dialect, Finding};

/// Two keys of one map that must not both be set (present, and neither false nor 0), with the advice for the message.
type Conflict = (Dialect, &'static str, [&'static str; 2], &'static str);

use Dialect::{AiToolkit, Axolotl, LlamaFactory, LoraScripts, SdScripts};

const CONFLICTS: [Conflict; 15] = [
    (LoraScripts, "", ["epochs", "max_train_steps"], "keep one of them"),
    (SdScripts, "", ["cache_latents", "random_crop"], "cached images cannot be cropped again: drop one of them"),
    (SdScripts, "", ["cache_latents", "color_aug"], "cached images cannot be coloured again: drop one of them"),
    (SdScripts, "", ["network_train_unet_only", "network_train_text_encoder_only"], "nothing is left to train"),
    (SdScripts, "", ["scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"], "keep one of them"),
    (SdScripts, "", ["cache_text_encoder_outputs", "shuffle_caption"], "cached captions cannot be shuffled"),
    (SdScripts, "", ["full_fp16", "full_bf16"], "keep one of them"),
    (Axolotl, "", ["warmup_steps", "warmup_ratio"], "keep one of them"),
    (Axolotl, "", ["save_steps", "saves_per_epoch"], "keep one of them"),
    (Axolotl, "", ["eval_steps", "evals_per_epoch"], "keep one of them"),
    (
        Axolotl,
        "",
        ["batch_size", "gradient_accumulation_steps"],
        "axolotl computes one from the other: keep one of them",
    ),
    (Axolotl, "", ["load_in_8bit", "load_in_4bit"], "keep one of them"),
    (LlamaFactory, "", ["fp16", "bf16"], "at most one of them can be true"),
    (LlamaFactory, "", ["quantization_bit", "export_quantization_bit"], "keep one of them"),
    (
        AiToolkit,
        "config.process.train",
        ["gradient_accumulation", "gradient_accumulation_steps"],
        "they mean the same: keep one of them",
    ),
];

/// Finds pairs of keys that exclude each other. The problem is reported at the later key.
pub(super) fn conflicting_keys(config: &Config<'_>) -> Vec<Finding> {
    let of_dialect = CONFLICTS.iter().filter(|conflict| conflict.0 == config.dialect);
    of_dialect.flat_map(|conflict| config.maps_at(conflict.1).filter_map(|map| clash(conflict, map))).collect()
}

fn clash((_, _, [one, other], advice): &Conflict, map: &Map<'_>) -> Option<Finding> {
    let set = |key: &str| map.get(key).filter(|entry| entry.node.is_true());
    let (first, second) = (set(one)?, set(other)?);
    let later = if first.at > second.at { first } else { second };
    let message = format!("{one} and {other} are both given: {advice}");
    Some(finding("conflicting-keys", Severity::Error, message, later.at, map.path_of(later.name())))
}
