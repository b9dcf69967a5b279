//! Smoke jobs for kohya's sd-scripts: `train_network.py` and its variants for SDXL, Stable Diffusion 3 and FLUX.
//!
//! On 2026-12-01 derived configs for all of them, and with LoKr and LoHa for Stable Diffusion 1, trained with it at
//! 48d368f on PyTorch 2.11: three steps, and sound weights.

use super::draft::{Draft, Part};
use super::lora_scripts::{RANK, plain_optimizer};
use super::sd_dataset::{self, IMAGES};
use super::{Unfit, Work, family, shell_word};
use crate::Dialect;
use crate::mock::{self, File, Model};
use crate::read::Format;
use crate::tree::{Node, Value};

/// The tokenizers of CLIP that the scripts load from the Hub, as folders of `tokenizer_cache_dir`.
const CLIP: [&str; 3] =
    ["openai_clip-vit-large-patch14", "stabilityai_stable-diffusion-2", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k"];
/// The tokenizer of T5, likewise.
const T5: &str = "google_t5-v1_1-xxl";
/// The models that the derived config can use.
const KNOWN: [Model; 4] = [Model::StableDiffusion, Model::Sdxl, Model::StableDiffusion3, Model::Flux];
/// The program that makes the models of a script as narrow as the mock's.
const NARROW: &str = include_str!("narrow.py");

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    let (script, family) = script(&root);
    let family = family.map_err(|name| family::unknown(name, &KNOWN))?;
    let data_config = root.text("dataset_config").map(str::to_owned);
    let wants_table = root.gives("in_json");
    let images = mock::captioned(work.ask.resolution).into_iter().map(|file| file.below(IMAGES));
    let data = work.add("data", images.collect());
    let model = work.model(family);
    for tokenizer in CLIP {
        work.add(&format!("tokenizers/{tokenizer}"), mock::clip());
    }
    work.add(&format!("tokenizers/{T5}"), mock::t5());
    let sets = data_config.map(|path| sd_dataset::derive(work, &path)).transpose()?;
    let table = wants_table.then(|| sd_dataset::table(work));
    let (tokenizers, output) = (work.path("tokenizers"), work.output());
    let side = work.ask.resolution;
    let steps = work.ask.steps;
    let mut root = work.draft.root();
    parts(&mut root, family, &model);
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
    sd_dataset::buckets(&mut root, side);
    root.set("output_dir", output);
    root.set("max_train_steps", steps);
    cheap(&mut root);
    quiet(&mut root);
    start(work, script)
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

/// Sets the paths of the model. The newer scripts take its parts as single files.
fn parts(root: &mut Part<'_>, family: Model, model: &str) {
    let file = |part: &str| format!("{model}/{part}/model.safetensors");
    let transformer = format!("{model}/transformer/diffusion_pytorch_model.safetensors");
    match family {
        Model::Flux => {
            root.set("pretrained_model_name_or_path", transformer.clone());
            root.set("clip_l", file("text_encoder"));
            root.set("t5xxl", file("text_encoder_2"));
            root.set("ae", transformer);
        }
        Model::StableDiffusion3 => {
            root.set("pretrained_model_name_or_path", transformer);
            root.set("clip_l", file("text_encoder"));
            root.set("clip_g", file("text_encoder_2"));
            root.set("t5xxl", file("text_encoder_3"));
        }
        _ => root.set("pretrained_model_name_or_path", model.to_owned()),
    }
}

/// A script, by its name; its mock model or the name of the family without one; the words in names of models and
/// networks that show it; and the keys that do.
type Script = (&'static str, Result<Model, &'static str>, &'static [&'static str], &'static [&'static str]);

/// Returns the name of the script that takes a config.
pub(crate) fn script_name(format: Format, root: Node) -> &'static str {
    script(&Draft::new(format, Dialect::SdScripts, root).root()).0
}

/// Returns the script of the config, with its mock model. Only the config is available to determine the script.
fn script(root: &Part<'_>) -> (&'static str, Result<Model, &'static str>) {
    let module = root.text("network_module").unwrap_or_default();
    let model = root.text("pretrained_model_name_or_path").unwrap_or_default().to_lowercase();
    let kinds: [Script; 7] = [
        ("flux_train_network.py", Err("Chroma"), &["chroma"], &[]),
        ("anima_train_network.py", Err("Anima"), &["anima"], &["qwen3", "llm_adapter_path"]),
        ("lumina_train_network.py", Err("Lumina"), &["lumina"], &["gemma2"]),
        ("hunyuan_image_train_network.py", Err("HunyuanImage"), &["hunyuan"], &["byt5"]),
        ("sd3_train_network.py", Ok(Model::StableDiffusion3), &["sd3", "stable-diffusion-3"], &["clip_g"]),
        ("flux_train_network.py", Ok(Model::Flux), &["flux"], &["ae", "clip_l", "t5xxl"]),
        // Only the scripts for SDXL and newer ones know these keys.
        (
            "sdxl_train_network.py",
            Ok(Model::Sdxl),
            &["sdxl", "xl_base", "xl-base"],
            &["cache_text_encoder_outputs", "cond_emb_dim"],
        ),
    ];
    let is = |(_, _, names, keys): &&Script| {
        names.iter().any(|name| module.contains(name) || model.contains(name)) || keys.iter().any(|key| root.gives(key))
    };
    let found = kinds.iter().find(is).map(|(name, model, ..)| (*name, *model));
    found.unwrap_or(("train_network.py", Ok(Model::StableDiffusion)))
}

/// Returns the command, which starts the script through [`NARROW`].
fn start(work: &mut Work<'_>, script: &str) -> Result<String, Unfit> {
    let script = work.script(script)?;
    work.files.push(File::new("narrow.py", NARROW));
    let launch = "accelerate launch --cpu --num_processes 1 --num_machines 1 --num_cpu_threads_per_process 1 \
                  --mixed_precision no --dynamo_backend no";
    let shim = shell_word(&work.path("narrow.py"));
    Ok(format!("{launch} {shim} {script} --config_file {{config}}"))
}
