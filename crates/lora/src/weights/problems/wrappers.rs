//! The rule for names that programs do not find: those of wrappers around a model, and of adapters in memory.

use super::{listed, problem};
use crate::domain::{Problem, Severity};
use crate::weights::{Report, names};

/// Components of names that only wrappers of a training add, with the wrapper.
const WRAPPERS: [(&str, &str); 4] = [
    ("_orig_mod", "torch.compile"),
    ("_fsdp_wrapped_module", "FSDP"),
    ("_checkpoint_wrapped_module", "activation checkpointing"),
    ("_forward_module", "Lightning Fabric"),
];
/// Components that are a wrapper's only in front of the model.
const IN_FRONT: [(&str, &str); 5] = [
    ("module", "DistributedDataParallel or DeepSpeed"),
    ("model_state", "a checkpoint of a training"),
    ("model_state_dict", "a checkpoint of a training"),
    ("state_dict", "a checkpoint of a training"),
    ("model_ema", "a checkpoint of a training"),
];
/// Prefixes with which programs name the parts of a pipeline.
const PARTS: [&str; 7] =
    ["unet", "transformer", "transformer_2", "diffusion_model", "text_encoder", "text_encoder_2", "text_encoder_3"];
/// Prefixes of names in which underscores stand for dots.
const FLAT: [&str; 6] = ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_transformer_", "lycoris_"];

/// Returns a problem for each text that does not belong into the names.
pub(super) fn wrapped(report: &Report) -> Vec<Problem> {
    let mut found: Vec<((String, &str), Vec<&str>)> = Vec::new();
    for tensor in &report.tensors {
        let Some(text) = wrapper(&tensor.name) else { continue };
        match found.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(&tensor.name),
            None => found.push((text, vec![&tensor.name])),
        }
    }
    let tell = |((text, whose), names): &((String, &str), Vec<&str>)| {
        let message = format!(
            "{} of {} names contain `{text}`, which {whose} put there: {}; programs do not find these modules, so save the \
             weights without it, or take it out of the names",
            names.len(),
            report.tensors.len(),
            listed(names)
        );
        problem(Severity::Warning, "weights-names", message, names.first().copied())
    };
    found.iter().take(MOST).map(tell).collect()
}

/// Maximum number of such problems of a file.
const MOST: usize = 5;

/// Returns the text in a name that a wrapper or an adapter has put there, and which one.
fn wrapper(name: &str) -> Option<(String, &'static str)> {
    let parts: Vec<&str> = name.split('.').collect();
    let is_part = |place: usize| parts.get(place).is_some_and(|part| PARTS.contains(part));
    let is_peft = |place: usize| parts.get(place..).is_some_and(|rest| rest.starts_with(&["base_model", "model"]));
    let found = |text: &str, whose| Some((text.to_owned(), whose));
    for (wrapper, whose) in WRAPPERS {
        if name.contains(wrapper) {
            return found(wrapper, whose);
        }
    }
    // PEFT's own files begin with it; elsewhere it is a wrapper.
    if (1..parts.len()).any(is_peft) || flat(name).is_some_and(|rest| rest.starts_with("base_model_model_")) {
        let text = if name.contains("base_model.model") { "base_model.model." } else { "base_model_model_" };
        return found(text, "PEFT's wrapper around the model");
    }
    let start = if is_peft(0) { 2 } else { usize::from(is_part(0)) };
    for (wrapper, whose) in IN_FRONT {
        let is_flat = wrapper == "module" && flat(name).is_some_and(|rest| rest.starts_with("module_"));
        if parts.len() > 2 && (parts[0] == wrapper || parts.get(start) == Some(&wrapper)) || is_flat {
            return found(wrapper, whose);
        }
    }
    if is_part(0) && parts.first() == parts.get(1) {
        return found(&format!("{0}.{0}.", parts[0]), "a second program");
    }
    if flat(name).is_some_and(|rest| FLAT.iter().any(|prefix| rest.starts_with(prefix))) {
        return found("lora_", "a second conversion");
    }
    let adapter = names::adapter(name)?;
    found(adapter, "PEFT, as the name of the adapter in memory,")
}

fn flat(name: &str) -> Option<&str> {
    FLAT.iter().find_map(|prefix| name.strip_prefix(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrappers_leave_in_names_is_found() {
        for (name, text) in [
            ("transformer.base_model.model.blocks.0.to_q.lora_A.weight", "base_model.model."),
            ("unet.base_model.model.mid_block.to_q.lora.down.weight", "base_model.model."),
            ("base_model.model.base_model.model.layers.0.q_proj.lora_A.weight", "base_model.model."),
            ("lora_unet_base_model_model_mid_block_to_q.lora_down.weight", "base_model_model_"),
            ("module.layers.0.q_proj.lora_A.weight", "module"),
            ("base_model.model.module.layers.0.q_proj.lora_A.weight", "module"),
            ("transformer.module.blocks.0.to_q.lora_A.weight", "module"),
            ("lora_unet__orig_mod_mid_block_to_q.lora_down.weight", "_orig_mod"),
            ("base_model.model.model._orig_mod.layers.0.q_proj.lora_A.weight", "_orig_mod"),
            ("model_state.layers.0.q_proj.lora_A.weight", "model_state"),
            ("transformer.transformer.blocks.0.to_q.lora_A.weight", "transformer.transformer."),
            ("lora_unet_lora_unet_mid_block_to_q.lora_down.weight", "lora_"),
            ("base_model.model.layers.0.q_proj.lora_A.default.weight", "default"),
            ("unet.mid_block.to_q.lora_B.style_1.weight", "style_1"),
            ("base_model.model.layers.0.q_proj.lora_magnitude_vector.default.weight", "default"),
            ("base_model.model.layers.0.q_proj.lora_embedding_A.default", "default"),
            ("base_model.model.layers.0.q_proj.hada_w1_a.default", "default"),
        ] {
            assert_eq!(wrapper(name).map(|(text, _)| text).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn names_that_programs_find_are_left_alone() {
        for name in [
            "base_model.model.model.layers.0.q_proj.lora_A.weight",
            "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
            "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
            "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
            "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
            "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
            "base_model.model.score.lora_magnitude_vector.weight",
            "unet.mid_block.attentions.0.attn1.processor.to_q_lora.down.weight",
            "base_model.model.model.vision_tower.module_list.0.lora_A.weight",
            "model.layers.0.mlp.weight",
            "a.hada_w1_a",
            "a.diff",
        ] {
            assert_eq!(wrapper(name), None, "{name}");
        }
    }
}
