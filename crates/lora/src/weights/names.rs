//! Parser for tensor names: the family, the module that is changed, and the tensor's role in the change.

use serde::Serialize;

/// The naming schemes of trainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// sd-scripts and its front ends, also LyCORIS: `lora_unet_…lora_down.weight`, with an alpha for each module.
    Kohya,
    /// OneTrainer, tools around ComfyUI and others: the endings of sd-scripts behind dotted names, such as
    /// `diffusion_model.…lora_down.weight`.
    Dotted,
    /// The scripts of diffusers before they used PEFT: `unet.…lora.down.weight`, without alpha.
    DiffusersOld,
    /// diffusers, ai-toolkit and others: `transformer.…lora_A.weight`.
    Diffusers,
    /// PEFT for language models: `base_model.model.…lora_A.weight`, with the alpha in `adapter_config.json`.
    Peft,
}

impl Family {
    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kohya => "kohya (sd-scripts)",
            Self::Dotted => "dotted names (ComfyUI, OneTrainer)",
            Self::DiffusersOld => "diffusers, old style",
            Self::Diffusers => "diffusers (PEFT)",
            Self::Peft => "PEFT",
        }
    }
}

/// The methods by which the tensors of a module change its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A product, up × down.
    Lora,
    /// Two products, multiplied element by element.
    LoHa,
    /// The Kronecker product of two factors, each whole or a product.
    LoKr,
    /// Two products: one multiplies the weights, the other is added.
    GLora,
    /// A factor for each row or column.
    Ia3,
    /// A rotation in blocks.
    Oft,
    /// The change itself.
    Full,
}

impl Method {
    /// Returns the number of factors, each of which is one tensor or a product of two.
    pub(super) fn factors(self) -> usize {
        match self {
            Self::LoHa | Self::LoKr | Self::GLora => 2,
            Self::Lora | Self::Ia3 | Self::Oft | Self::Full => 1,
        }
    }

    /// Returns the name for display.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::LoHa => "LoHa",
            Self::LoKr => "LoKr",
            Self::GLora => "GLoRA",
            Self::Ia3 => "IA3",
            Self::Oft => "OFT",
            Self::Full => "full difference",
        }
    }
}

/// A tensor's role in its module. The number is the index of the factor, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// The left side of a product, which starts as zeros in LoRA.
    Up(usize),
    /// The right side of a product.
    Down(usize),
    /// The tensor between up and down of a convolution.
    Core(usize),
    /// A factor that is not a product.
    Whole(usize),
    /// A factor of IA3 if the module also has `.on_input`, otherwise a weight of the model itself.
    Weight,
    /// The scale times the rank.
    Alpha,
    /// The norms of the weights' rows or columns, which DoRA trains apart.
    Magnitude,
    /// A tensor that belongs to the module but is not a factor: biases, marks.
    Beside,
}

use Method::{Full, GLora, Ia3, LoHa, LoKr, Lora, Oft};
use Role::{Alpha, Beside, Core, Down, Magnitude, Up, Weight, Whole};

/// The endings of names with their method and role. Where one ending includes another, the longer comes first.
const ENDINGS: [(&str, Option<Method>, Role); 47] = [
    (".lora_down.weight", Some(Lora), Down(0)),
    (".lora_up.weight", Some(Lora), Up(0)),
    (".lora_mid.weight", Some(Lora), Core(0)),
    (".lora_A.weight", Some(Lora), Down(0)),
    (".lora_B.weight", Some(Lora), Up(0)),
    (".lora_linear_layer.down.weight", Some(Lora), Down(0)),
    (".lora_linear_layer.up.weight", Some(Lora), Up(0)),
    (".lora_B.bias", Some(Lora), Beside),
    (".lora_embedding_A", Some(Lora), Down(0)),
    (".lora_embedding_B", Some(Lora), Up(0)),
    (".lora_magnitude_vector.weight", Some(Lora), Magnitude),
    (".lora_magnitude_vector", Some(Lora), Magnitude),
    (".lora.down.weight", Some(Lora), Down(0)),
    (".lora.up.weight", Some(Lora), Up(0)),
    ("_lora.down.weight", Some(Lora), Down(0)),
    ("_lora.up.weight", Some(Lora), Up(0)),
    (".hada_w1_a", Some(LoHa), Up(0)),
    (".hada_w1_b", Some(LoHa), Down(0)),
    (".hada_w2_a", Some(LoHa), Up(1)),
    (".hada_w2_b", Some(LoHa), Down(1)),
    (".hada_t1", Some(LoHa), Core(0)),
    (".hada_t2", Some(LoHa), Core(1)),
    (".lokr_w1", Some(LoKr), Whole(0)),
    (".lokr_w1_a", Some(LoKr), Up(0)),
    (".lokr_w1_b", Some(LoKr), Down(0)),
    (".lokr_w2", Some(LoKr), Whole(1)),
    (".lokr_w2_a", Some(LoKr), Up(1)),
    (".lokr_w2_b", Some(LoKr), Down(1)),
    (".lokr_t1", Some(LoKr), Core(0)),
    (".lokr_t2", Some(LoKr), Core(1)),
    (".a1.weight", Some(GLora), Up(0)),
    (".a2.weight", Some(GLora), Down(0)),
    (".b1.weight", Some(GLora), Up(1)),
    (".b2.weight", Some(GLora), Down(1)),
    (".on_input", Some(Ia3), Beside),
    (".oft_blocks", Some(Oft), Whole(0)),
    (".oft_diag", Some(Oft), Whole(0)),
    (".rescale", None, Beside),
    (".diff", Some(Full), Whole(0)),
    (".diff_b", None, Beside),
    (".w_norm", Some(Full), Whole(0)),
    (".b_norm", None, Beside),
    (".set_weight", Some(Full), Whole(0)),
    (".dora_scale", None, Magnitude),
    (".scale", None, Beside),
    (".alpha", None, Alpha),
    (".weight", None, Weight),
];

/// The parsed name of a tensor. The method is `None` where several methods have such a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) module: &'a str,
    pub(super) method: Option<Method>,
    pub(super) role: Role,
}

impl<'a> Name<'a> {
    /// Parses a name. Returns `None` for a name that no family has.
    pub(super) fn read(name: &'a str) -> Option<Self> {
        let ending = |(ending, method, role): &(&str, Option<Method>, Role)| {
            let module = name.strip_suffix(ending)?;
            Some(Self { module, method: *method, role: *role })
        };
        let whole = ENDINGS.iter().find_map(ending);
        let is_known = whole.is_some_and(|name| name.method.is_some());
        let with_adapter = || adapted(name).map(|(read, _)| read);
        if is_known { whole } else { with_adapter().or(whole) }.filter(|name| !name.module.is_empty())
    }
}

/// Parses a name that has the name of an adapter in its ending, as in PEFT's memory: `….lora_A.default.weight`.
fn adapted(name: &str) -> Option<(Name<'_>, &str)> {
    ENDINGS.iter().filter(|(_, method, _)| matches!(method, Some(Lora | LoHa | LoKr))).find_map(
        |(ending, method, role)| {
            let begin = ending.strip_suffix(".weight").unwrap_or(ending);
            let (module, rest) = name.rsplit_once(begin)?;
            let rest = rest.strip_prefix('.')?;
            let adapter = rest.strip_suffix(".weight").unwrap_or(rest);
            let is_name = !adapter.is_empty() && adapter != "weight" && adapter != "bias" && !adapter.contains('.');
            is_name.then_some((Name { module, method: *method, role: *role }, adapter))
        },
    )
}

/// Returns the name of an adapter that was left in a tensor's name.
pub(super) fn adapter(name: &str) -> Option<&str> {
    let is_known = ENDINGS.iter().any(|(ending, method, _)| method.is_some() && name.ends_with(ending));
    if is_known { None } else { adapted(name).map(|(_, adapter)| adapter) }
}

/// Returns the family of a name that [`Name::read`] accepts.
pub(super) fn family(name: &str, module: &str) -> Family {
    if name.contains("lora.down.") || name.contains("lora.up.") {
        Family::DiffusersOld
    } else if module.starts_with("base_model.model.") || name.contains(".lora_embedding_") {
        Family::Peft
    } else if name.contains(".lora_A.") || name.contains(".lora_B.") || name.contains(".lora_magnitude") {
        let is_image = module.starts_with("model.") || !module.contains('.');
        if is_image { Family::Peft } else { Family::Diffusers }
    } else if module.starts_with("lora_") || module.starts_with("lycoris_") {
        Family::Kohya
    } else {
        Family::Dotted
    }
}

/// The prefixes of module names, with the part of the model that they stand for.
const PARTS: [(&str, &str); 21] = [
    ("lora_te1_", "text encoder 1"),
    ("lora_te2_", "text encoder 2"),
    ("lora_te3_", "text encoder 3"),
    ("lora_te_", "text encoder"),
    ("lora_unet_double_blocks", "transformer"),
    ("lora_unet_single_blocks", "transformer"),
    ("lora_unet_joint_blocks", "transformer"),
    // Wan, Lumina and models of diffusers, as musubi-tuner and sd-scripts name them.
    ("lora_unet_blocks_", "transformer"),
    ("lora_unet_layers_", "transformer"),
    ("lora_unet_transformer_blocks_", "transformer"),
    ("lora_unet_single_transformer_blocks_", "transformer"),
    ("lora_unet_double_stream_blocks_", "transformer"),
    ("lora_unet_", "U-Net"),
    ("lora_transformer_", "transformer"),
    ("lycoris_", "model"),
    ("text_encoder_2.", "text encoder 2"),
    ("text_encoder_3.", "text encoder 3"),
    ("text_encoder.", "text encoder"),
    ("unet.", "U-Net"),
    ("transformer.", "transformer"),
    ("diffusion_model.", "diffusion model"),
];

/// Returns the part of the model that a module belongs to.
pub(super) fn part(module: &str) -> &'static str {
    PARTS.iter().find(|(prefix, _)| module.starts_with(prefix)).map_or("model", |(_, part)| part)
}

/// Returns the block that a module belongs to: its name without the prefix for the part, up to its first number.
pub(super) fn block(module: &str) -> &str {
    let prefixes = ["lora_te1_", "lora_te2_", "lora_te3_", "lora_te_", "lora_unet_", "lora_transformer_", "lycoris_"];
    let dotted = ["base_model.model.", "text_encoder_2.", "text_encoder_3.", "text_encoder.", "unet.", "transformer."];
    let prefix =
        prefixes.iter().chain(&dotted).chain(&["diffusion_model."]).find(|prefix| module.starts_with(**prefix));
    let rest = &module[prefix.map_or(0, |prefix| prefix.len())..];
    let is_between = |c: char| c == '.' || c == '_';
    // Only a number between separators counts: the one in `attn1` does not name a block.
    let numbers = rest.match_indices(is_between).map(|(at, _)| at + 1);
    for at in numbers {
        let digits = rest[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - at);
        let end = at + digits;
        if digits > 0 && rest[end..].chars().next().is_none_or(is_between) {
            return &rest[..end];
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_every_family_are_read() {
        for (module, ending, method, role, whose) in [
            ("lora_te1_text_model_encoder_layers_0_mlp_fc1", ".lora_down.weight", Lora, Down(0), Family::Kohya),
            ("lora_unet_input_blocks_4_1_proj_in", ".lora_mid.weight", Lora, Core(0), Family::Kohya),
            ("lycoris_unet_down", ".hada_w2_b", LoHa, Down(1), Family::Kohya),
            ("lycoris_unet_down", ".lokr_w1", LoKr, Whole(0), Family::Kohya),
            ("unet.down_blocks.0.attn1.to_k", ".lora.up.weight", Lora, Up(0), Family::DiffusersOld),
            ("down_blocks.0.attn1.processor.to_k", "_lora.down.weight", Lora, Down(0), Family::DiffusersOld),
            ("transformer.blocks.3.attn.to_q", ".lora_A.weight", Lora, Down(0), Family::Diffusers),
            ("diffusion_model.blocks.3.to_q", ".lora_B.default.weight", Lora, Up(0), Family::Diffusers),
            ("diffusion_model.blocks.3.to_q", ".lora_down.weight", Lora, Down(0), Family::Dotted),
            ("transformer.blocks.3.to_q", ".lora_A.my_style.weight", Lora, Down(0), Family::Diffusers),
            ("base_model.model.layers.0.q_proj", ".hada_w1_a.default", LoHa, Up(0), Family::Peft),
            ("base_model.model.model.embed_tokens", ".lora_embedding_A", Lora, Down(0), Family::Peft),
            ("base_model.model.lm_head", ".lora_B.weight", Lora, Up(0), Family::Peft),
        ] {
            let name = format!("{module}{ending}");
            let read = Name::read(&name).expect(ending);
            assert_eq!((read.module, read.method, read.role), (module, Some(method), role), "{name}");
            assert_eq!(family(&name, module), whose, "{name}");
        }
        assert_eq!(Name::read("a.alpha"), Some(Name { module: "a", method: None, role: Alpha }));
        assert_eq!(Name::read(".alpha"), None);
        assert_eq!(Name::read("step"), None);
    }

    #[test]
    fn modules_belong_to_parts_and_blocks() {
        for (module, of, block_of) in [
            ("lora_te_text_model_encoder_layers_11_mlp_fc1", "text encoder", "text_model_encoder_layers_11"),
            ("lora_unet_down_blocks_0_attentions_1_proj_in", "U-Net", "down_blocks_0"),
            ("lora_unet_double_blocks_7_img_attn_qkv", "transformer", "double_blocks_7"),
            ("base_model.model.model.layers.3.self_attn.q_proj", "model", "model.layers.3"),
            ("transformer.time_text_embed.linear1", "transformer", "time_text_embed.linear1"),
            ("unet.mid_block.attentions.0.attn1.to_k", "U-Net", "mid_block.attentions.0"),
            ("", "model", ""),
        ] {
            assert_eq!((part(module), block(module)), (of, block_of), "{module}");
        }
    }
}
