//! The programs that load a file of weights, as far as its names and methods make it certain.

use super::{Family, Method, Report};

/// Prefixes of a U-Net's modules in files of sd-scripts.
const UNETS: [&str; 8] = [
    "lora_unet_down_blocks_",
    "lora_unet_mid_block_",
    "lora_unet_up_blocks_",
    "lora_unet_input_blocks_",
    "lora_unet_middle_block_",
    "lora_unet_output_blocks_",
    "lora_te_",
    "lora_te1_",
];
/// The values of vLLM's option for the largest rank, from its default on.
const VLLM_RANKS: [u64; 6] = [16, 32, 64, 128, 256, 512];
/// The modules of language models to which vLLM can add a LoRA in every architecture that has them.
const LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

impl Report {
    /// Returns the programs that are certain to load the file. Others may load it, too.
    pub fn programs(&self) -> Vec<String> {
        let is_named_well = !self.problems().iter().any(|problem| UNLOADABLE.contains(&problem.rule.as_str()));
        let (Some(family), true) = (self.family, is_named_well && !self.modules.is_empty()) else { return Vec::new() };
        let all = |is_so: &dyn Fn(&str) -> bool| self.modules.iter().all(|module| is_so(&module.name));
        let begins = |prefixes: &[&str]| all(&|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        let are = |methods: &[Method]| self.modules.iter().all(|module| methods.contains(&module.method));
        let is_dora = self.modules.iter().any(|module| module.is_dora);
        let is_plain = are(&[Method::Lora]) && !is_dora;
        let programs: Vec<&str> = match family {
            Family::Peft => {
                let is_linear = all(&|name| LINEAR.iter().any(|linear| name.ends_with(linear)));
                let vllm = if is_plain && is_linear && self.others.is_empty() { self.in_vllm() } else { None };
                return std::iter::once("PEFT".to_owned()).chain(vllm).collect();
            }
            Family::Kohya if begins(&[&UNETS[..], &["lora_te2_"]].concat()) && are(&KNOWN) => {
                let diffusers = is_plain.then_some("diffusers");
                diffusers.into_iter().chain(["ComfyUI", "A1111"]).collect()
            }
            Family::Diffusers | Family::DiffusersOld if are(&[Method::Lora]) => {
                let is_unet = begins(&["unet."]);
                let diffusers = begins(&["unet.", "transformer.", "text_encoder."]).then_some("diffusers");
                let comfy = is_plain && (is_unet || begins(&["diffusion_model."]));
                diffusers.into_iter().chain(comfy.then_some("ComfyUI")).collect()
            }
            Family::Dotted if begins(&["diffusion_model."]) && are(&KNOWN) => vec!["ComfyUI"],
            _ => Vec::new(),
        };
        programs.into_iter().map(str::to_owned).collect()
    }

    /// Returns vLLM with the option that it needs for the ranks of the file; `None` if it allows no such rank.
    fn in_vllm(&self) -> Option<String> {
        let rank = self.modules.iter().filter_map(|module| module.rank).max()?;
        let allowed = VLLM_RANKS.into_iter().find(|allowed| rank <= *allowed)?;
        Some(if allowed == VLLM_RANKS[0] { "vLLM".to_owned() } else { format!("vLLM with --max-lora-rank {allowed}") })
    }
}

/// The rules whose problems keep programs from loading a file.
const UNLOADABLE: [&str; 5] =
    ["weights-names", "weights-empty", "weights-unpaired", "weights-rank-mismatch", "weights-unknown"];
/// The methods that the programs for images know.
const KNOWN: [Method; 4] = [Method::Lora, Method::LoHa, Method::LoKr, Method::Full];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::weights::{inspect, tests::file};

    /// Returns the programs for a file with one pair of tensors of a rank.
    fn programs(name: &str, [down, up]: [&str; 2], rank: u64) -> String {
        let names = [format!("{name}.{down}"), format!("{name}.{up}")];
        let numbers = vec![1.0; usize::try_from(rank).expect("small")];
        let shapes = [[rank, 1], [1, rank]];
        let tensors =
            [(names[0].as_str(), &shapes[0][..], &numbers[..]), (names[1].as_str(), &shapes[1][..], &numbers[..])];
        inspect(file(&tensors, &json!({})).as_slice()).expect("weights").programs().join(", ")
    }

    #[test]
    fn programs_are_told_where_they_are_certain() {
        let (peft, kohya) = (["lora_A.weight", "lora_B.weight"], ["lora_down.weight", "lora_up.weight"]);
        for (name, sides, rank, told) in [
            ("base_model.model.model.layers.0.self_attn.q_proj", peft, 16, "PEFT, vLLM"),
            ("base_model.model.model.layers.0.self_attn.q_proj", peft, 24, "PEFT, vLLM with --max-lora-rank 32"),
            ("base_model.model.model.layers.0.self_attn.q_proj", peft, 1024, "PEFT"),
            ("base_model.model.classifier", peft, 4, "PEFT"),
            ("lora_unet_mid_block_attentions_0_proj_in", kohya, 4, "diffusers, ComfyUI, A1111"),
            ("unet.mid_block.attentions.0.to_q", peft, 4, "diffusers, ComfyUI"),
            ("transformer.transformer_blocks.0.attn.to_q", peft, 4, "diffusers"),
            ("diffusion_model.blocks.0.self_attn.q", kohya, 4, "ComfyUI"),
            ("transformer.base_model.model.blocks.0.attn.to_q", peft, 4, ""),
            ("lora_unet_something_else", kohya, 4, ""),
        ] {
            assert_eq!(programs(name, sides, rank), told, "{name}");
        }
    }
}
