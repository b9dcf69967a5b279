//! Smoke jobs for SimpleTuner. Written by reading the source at bc8e6ab. On 2026-12-01 derived configs for six families
//! trained with release 3.1.6 on PyTorch 2.11: three steps, and sound weights.

use serde_json::{Value as Json, json};

use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family, shell_word};
use crate::mock::{self, File, Model};

/// The models that the derived config can use.
const KNOWN: [Model; 6] =
    [Model::StableDiffusion, Model::Sdxl, Model::StableDiffusion3, Model::Flux, Model::QwenImage, Model::Wan];

/// The change of torch without which SimpleTuner does not train on a CPU.
const UNPINNED: &str = include_str!("unpinned.py");

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    let name = root.text("model_family").unwrap_or_default();
    let family = family::image(name).ok_or_else(|| family::unknown(name, &KNOWN))?;
    let side = work.ask.resolution;
    let model = work.model(family);
    let backends = backends(work);
    work.files.push(File::json("backends.json", &backends));
    let (steps, output, backends) = (work.ask.steps, work.output(), work.path("backends.json"));
    let mut root = work.draft.root();
    // Some families take their VAE from another model, unless one is named.
    root.set("pretrained_vae_model_name_or_path", model.clone());
    root.set("pretrained_model_name_or_path", model);
    root.remove(&["model_flavour", "pretrained_transformer_model_name_or_path"]);
    root.set("data_backend_config", backends);
    root.set("output_dir", output);
    root.set("max_train_steps", steps);
    root.set("num_train_epochs", 0);
    root.set("checkpoint_step_interval", steps);
    root.remove(&["checkpointing_steps", "checkpoint_epoch_interval", "resume_from_checkpoint", "init_lora"]);
    root.set("train_batch_size", 1);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("lr_warmup_steps", 1.0);
    root.at_most("vae_batch_size", 1.0);
    root.set("resolution", side);
    root.set("resolution_type", "pixel");
    root.replace("minimum_image_size", 0);
    root.set("mixed_precision", "no");
    root.replace("base_model_precision", "no_change");
    root.remove_beginning(&["text_encoder_1_precision", "text_encoder_2_precision", "quantize_", "deepspeed", "fsdp_"]);
    root.replace("gradient_checkpointing", false);
    root.replace("use_ema", false);
    root.rank("lora_rank", "lora_alpha", RANK);
    plain_optimizer(&mut root, "optimizer", "optimi-adamw");
    if root.text("optimizer").is_some_and(|name| name.ends_with("bf16")) {
        root.set("optimizer", "optimi-adamw");
    }
    root.set("report_to", "none");
    root.remove(&["push_to_hub", "push_checkpoints_to_hub", "publishing_config", "webhook_config"]);
    root.remove_beginning(&["hub_", "validation_", "num_validation_", "eval_", "evaluation_", "num_eval_"]);
    root.set("validation_disable", true);
    root.set("disable_benchmark", true);
    work.files.push(File::new("python/sitecustomize.py", UNPINNED));
    let python = shell_word(&work.path("python"));
    Ok(format!("PYTHONPATH={python}${{PYTHONPATH:+:$PYTHONPATH}} CONFIG_PATH={{config}} simpletuner train"))
}

/// The data backends: dummy images with captions, and caches in the job's own folder.
fn backends(work: &mut Work<'_>) -> Json {
    let side = work.ask.resolution;
    let images = work.add("data", mock::captioned(side));
    json!([
        {
            "id": "smoke",
            "type": "local",
            "instance_data_dir": images,
            "caption_strategy": "textfile",
            "resolution": side,
            "resolution_type": "pixel",
            "minimum_image_size": side,
            "crop": true,
            "crop_aspect": "square",
            "crop_style": "center",
            "cache_dir_vae": work.path("cache/vae"),
            "metadata_backend": "discovery",
        },
        {
            "id": "text-embeds",
            "type": "local",
            "dataset_type": "text_embeds",
            "default": true,
            "cache_dir": work.path("cache/text"),
        },
    ])
}
