//! Smoke jobs for kohya's sd-scripts with Stable Diffusion 1 and 2; there are no mock models for other architectures.
//!
//! Written from the source at 48d368f and from runs of it on another tiny model (resolution 64, 24 MB). The configs
//! derived here were not run: the scripts were not available as a package where this was written. Only the start was
//! tested, with scripts of ours in the same folders: `accelerate launch`, the constants that `narrow.py` changes, the
//! tokenizer.

use super::draft::Part;
use super::lora_scripts::{RANK, plain_optimizer};
use super::sd_dataset::{self, IMAGES};
use super::{Unfit, Work, shell_word};
use crate::mock::{self, File};
use crate::tree::Value;

/// The tokenizers that the scripts load from the Hub, as folders of `tokenizer_cache_dir`.
const TOKENIZERS: [&str; 2] = ["openai_clip-vit-large-patch14", "stabilityai_stable-diffusion-2"];
pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    if let Some(other) = architecture(&root) {
        return Err(Unfit::Cannot(format!(
            "Trainyard has no mock base model for {other}: only Stable Diffusion 1 and 2"
        )));
    }
    let data_config = root.text("dataset_config").map(str::to_owned);
    let wants_table = root.gives("in_json");
    let images = mock::captioned(work.ask.resolution).into_iter().map(|file| file.below(IMAGES));
    let data = work.add("data", images.collect());
    let model = work.add("model", mock::stable_diffusion());
    for tokenizer in TOKENIZERS {
        work.add(&format!("tokenizers/{tokenizer}"), mock::tokenizer());
    }
    let sets = data_config.map(|path| sd_dataset::derive(work, &path)).transpose()?;
    let table = wants_table.then(|| sd_dataset::table(work));
    let (tokenizers, output) = (work.path("tokenizers"), work.output());
    let side = work.ask.resolution;
    let steps = work.ask.steps;
    let mut root = work.draft.root();
    root.set("pretrained_model_name_or_path", model);
    root.set("tokenizer_cache_dir", tokenizers);
    root.remove(&["vae"]);
    match sets {
        Some(path) => root.set("dataset_config", path),
        None => root.set("train_data_dir", data.clone()),
    }
    root.remove(&["reg_data_dir"]);
    root.replace("conditioning_data_dir", format!("{data}/{IMAGES}"));
    if let Some(table) = table {
        root.set("in_json", table);
    }
    root.set("resolution", format!("{side},{side}"));
    root.replace("enable_bucket", false);
    root.set("output_dir", output);
    root.set("max_train_steps", steps);
    cheap(&mut root);
    quiet(&mut root);
    start(work)
}

/// Changes the settings that cost time or memory.
fn cheap(root: &mut Part<'_>) {
    root.remove(&["max_train_epochs", "gradient_checkpointing", "cpu_offload_checkpointing", "blocks_to_swap"]);
    root.set("train_batch_size", 1);
    root.at_most("vae_batch_size", 1.0);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("lr_warmup_steps", 1.0);
    root.set("max_data_loader_n_workers", 0);
    root.remove(&["persistent_data_loader_workers", "validation_split", "max_validation_steps"]);
    root.remove_beginning(&["validate_every_n"]);
    root.set("mixed_precision", "no");
    root.remove(&["full_fp16", "full_bf16", "fp8_base", "fp8_base_unet", "fp16_master_weights_and_gradients"]);
    root.remove(&["xformers", "use_flash_attn", "use_sage_attn", "torch_compile", "dynamo_backend"]);
    root.remove(&["use_8bit_adam", "use_lion_optimizer", "fused_backward_pass"]);
    let is_sgd = root.text("optimizer_type").is_some_and(|name| name.to_lowercase().starts_with("sgd"));
    plain_optimizer(root, "optimizer_type", if is_sgd { "SGDNesterov" } else { "AdamW" });
    root.remove(&["deepspeed", "zero_stage", "zero3_init_flag", "zero3_save_16bit_model"]);
    root.remove_beginning(&["offload_", "ddp_"]);
    root.rank("network_dim", "network_alpha", RANK);
    if let Some(Value::List(items)) = root.get("network_args").map(|node| node.value.clone()) {
        root.set("network_args", items.iter().map(|item| narrowed(&item.value)).collect::<Vec<_>>());
    }
}

/// Reduces `conv_dim=32` to `conv_dim=4`. Alphas stay as they are.
fn narrowed(value: &Value) -> Value {
    let Value::Text { text, .. } = value else { return value.clone() };
    match text.split_once('=') {
        Some((key @ "conv_dim", rank)) if rank.trim().parse().is_ok_and(|rank: f64| rank > RANK) => {
            format!("{key}={RANK}").into()
        }
        _ => value.clone(),
    }
}

/// Removes the settings that access the network, resume an earlier training, or save more than the result.
fn quiet(root: &mut Part<'_>) {
    root.remove(&["log_with", "logging_dir", "log_prefix", "log_config", "wandb_api_key", "wandb_run_name"]);
    root.remove(&[
        "sample_prompts",
        "sample_sampler",
        "sample_at_first",
        "debug_dataset",
        "output_config",
        "config_file",
    ]);
    root.remove(&["resume", "network_weights", "dim_from_weights", "base_weights", "base_weights_multiplier"]);
    root.remove(&["initial_step", "initial_epoch", "skip_until_initial_step", "console_log_file", "async_upload"]);
    root.remove(&["save_state", "save_state_on_train_end", "save_state_to_huggingface", "resume_from_huggingface"]);
    root.remove(&["save_n_epoch_ratio"]);
    root.remove_beginning(&["huggingface_", "log_tracker_", "sample_every_n", "save_every_n", "save_last_n"]);
}

/// Returns the kind of the model if there is no mock of it. Only the config is available to determine the kind.
fn architecture(root: &Part<'_>) -> Option<&'static str> {
    let module = root.text("network_module").unwrap_or_default();
    let model = root.text("pretrained_model_name_or_path").unwrap_or_default().to_lowercase();
    let kinds: [(&str, &[&str], &[&str]); 6] = [
        ("Anima", &["anima"], &["qwen3", "llm_adapter_path"]),
        ("Lumina", &["lumina"], &["gemma2"]),
        ("HunyuanImage", &["hunyuan"], &["byt5"]),
        ("Stable Diffusion 3", &["sd3", "stable-diffusion-3"], &["clip_g"]),
        ("FLUX", &["flux", "chroma"], &["ae", "clip_l", "t5xxl"]),
        // Only the scripts for SDXL and newer ones know these keys.
        ("Stable Diffusion XL", &["sdxl", "xl_base", "xl-base"], &["cache_text_encoder_outputs", "cond_emb_dim"]),
    ];
    let is = |(_, names, keys): &&(&str, &[&str], &[&str])| {
        names.iter().any(|name| module.contains(name) || model.contains(name)) || keys.iter().any(|key| root.gives(key))
    };
    kinds.iter().find(is).map(|(kind, ..)| *kind)
}

/// Returns the command, which starts the script through a program of ours that makes its U-Net as narrow as the mock
/// model's.
fn start(work: &mut Work<'_>) -> Result<String, Unfit> {
    let script = work.script("train_network.py")?;
    let (width, time, groups) = (mock::WIDTH, 4 * mock::WIDTH, mock::GROUPS);
    let shim = format!(
        "\
\"\"\"Starts a script of sd-scripts with a U-Net as narrow as the mock model's: its widths are constants there.\"\"\"
import os
import runpy
import sys

script = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(script))
from library import original_unet

original_unet.BLOCK_OUT_CHANNELS = ({width}, {width}, {width}, {width})
original_unet.TIMESTEP_INPUT_DIM = {width}
original_unet.TIME_EMBED_DIM = {time}
original_unet.NORM_GROUPS = original_unet.TRANSFORMER_NORM_NUM_GROUPS = {groups}
runpy.run_path(script, run_name=\"__main__\")
"
    );
    work.files.push(File::new("narrow.py", shim));
    let launch = "accelerate launch --cpu --num_processes 1 --num_machines 1 --num_cpu_threads_per_process 1 \
                  --mixed_precision no --dynamo_backend no";
    let shim = shell_word(&work.path("narrow.py"));
    Ok(format!("{launch} {shim} {script} --config_file {{config}}"))
}
