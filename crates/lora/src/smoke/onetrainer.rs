//! Smoke jobs for OneTrainer. On 2026-12-01 derived configs for its five families of mocks trained with it at 23df383
//! on PyTorch 2.12: an epoch, and sound weights.

use serde_json::json;

use super::draft::Part;
use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family};
use crate::mock::{self, File, Model};
use crate::tree::Value;

/// The models that the derived config can use.
const KNOWN: [Model; 5] = [Model::StableDiffusion, Model::Sdxl, Model::StableDiffusion3, Model::Flux, Model::QwenImage];

/// The keys of the parts of a model.
const PARTS: [&str; 8] =
    ["unet", "prior", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4", "vae"];

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    let name = root.text("model_type").unwrap_or("STABLE_DIFFUSION_15");
    let model = family::image(name).filter(|model| KNOWN.contains(model));
    let model = model.ok_or_else(|| family::unknown(name, &KNOWN))?;
    let model = work.model(model);
    let images = work.add("data", mock::captioned(work.ask.resolution));
    let concepts = json!([{
        "name": "smoke", "path": images, "enabled": true, "balancing": 1.0, "balancing_strategy": "REPEATS",
        "text": {"prompt_source": "sample"},
    }]);
    work.files.push(File::json("concepts.json", &concepts));
    // OneTrainer counts epochs instead of steps, so the training may be up to an epoch longer than requested.
    let epochs = work.ask.steps.div_ceil(mock::IMAGES.len() as u32);
    work.steps = epochs * mock::IMAGES.len() as u32;
    let (concepts, output, side) = (work.path("concepts.json"), work.output(), work.ask.resolution);
    work.files.push(File::json("samples.json", &json!([])));
    let samples = work.path("samples.json");
    let (workspace, cache, debug) = (work.path("workspace"), work.path("cache"), work.path("debug"));
    let mut root = work.draft.root();
    root.set("base_model_name", model);
    root.set("output_model_destination", format!("{output}/model.safetensors"));
    root.set("workspace_dir", workspace);
    root.set("cache_dir", cache);
    root.set("debug_dir", debug);
    root.set("concept_file_name", concepts);
    // The file is read although no sample is asked for.
    root.set("sample_definition_file_name", samples);
    root.remove(&["concepts", "samples", "secrets", "lora_model_name", "cloud"]);
    root.set("epochs", epochs);
    root.set("batch_size", 1);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("learning_rate_warmup_steps", 1.0);
    root.set("resolution", side.to_string());
    root.set("train_device", "cpu");
    root.set("temp_device", "cpu");
    root.set("dataloader_threads", 1);
    root.remove(&["continue_last_backup", "multi_gpu", "device_indexes", "compile", "layer_offload_fraction", "ema"]);
    root.remove(&["validation", "samples_to_tensorboard", "tensorboard_always_on", "tensorboard_expose"]);
    root.set("tensorboard", false);
    for unit in ["backup_after_unit", "sample_after_unit", "save_every_unit"] {
        root.set(unit, "NEVER");
    }
    root.rank("lora_rank", "lora_alpha", RANK);
    precision(&mut root);
    // Checkpointing of gradients is on by default: a bool before version 5 of the config, a word before version 11, and
    // then a bool of each part.
    let version = root.number("__version").unwrap_or(0.0);
    let parts_decide = version >= 11.0;
    if parts_decide {
        for part in PARTS.into_iter().filter(|part| !root.gives(part)).collect::<Vec<_>>() {
            root.set(part, [("gradient_checkpointing", Value::from(false))]);
        }
    } else {
        root.set("gradient_checkpointing", if version < 5.0 { Value::from(false) } else { Value::from("OFF") });
    }
    work.draft.each("optimizer", |optimizer| plain_optimizer(optimizer, "optimizer", "ADAMW"));
    for part in PARTS {
        work.draft.each(part, |part| {
            part.replace("weight_dtype", "FLOAT_32");
            if parts_decide {
                part.set("gradient_checkpointing", false);
            }
            part.remove(&["model_name"]);
        });
    }
    Ok(format!("python {} --config-path {{config}}", work.script("scripts/train.py")?))
}

fn precision(root: &mut Part<'_>) {
    root.set("train_dtype", "FLOAT_32");
    // The layers of a T5 that stay in FLOAT_32 get this type, which is BFLOAT_16 by default.
    root.set("fallback_train_dtype", "FLOAT_32");
    root.set("weight_dtype", "FLOAT_32");
    root.replace("lora_weight_dtype", "FLOAT_32");
    root.remove(&["quantization", "enable_autocast_cache"]);
}
