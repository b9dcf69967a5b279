//! Smoke jobs for ai-toolkit. On 2026-12-01 derived configs for all its families of mocks, and with LoKr for FLUX,
//! trained with it at 27a03a9: three steps, and sound weights.

use super::draft::{Draft, Part};
use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family, shortened};
use crate::mock::{self, Model};

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let family = check(&mut work.draft)?;
    let model = work.model(family);
    let data = work.add("data", mock::captioned(work.ask.resolution));
    let output = work.output();
    let (steps, side) = (work.ask.steps, work.ask.resolution);
    let draft = &mut work.draft;
    draft.each("config.process", |process| {
        process.set("training_folder", output.clone());
        process.set("device", "cpu");
        process.remove(&["sample", "logging", "log_dir", "performance_log_every"]);
    });
    draft.each("config.process.model", |part| {
        part.set("name_or_path", model.clone());
        part.remove(&["vae_path", "unet_path", "lora_path", "refiner_name_or_path", "te_name_or_path"]);
        part.remove(&["quantize", "quantize_te", "qtype", "qtype_te", "low_vram", "layer_offloading"]);
        part.remove_beginning(&["compile", "split_model"]);
        part.replace("dtype", "fp32");
    });
    draft.each("config.process.network", |part| {
        part.rank("linear", "linear_alpha", RANK);
        part.rank("rank", "alpha", RANK);
        part.rank("conv", "conv_alpha", RANK);
        part.remove(&["pretrained_lora_path", "layer_offloading"]);
    });
    draft.each("config.process.save", |part| {
        part.set("save_every", steps);
        part.remove(&["push_to_hub", "hf_repo_id", "hf_private"]);
    });
    draft.each("config.process.datasets", |part| {
        let folder = if part.gives("dataset_path") { "dataset_path" } else { "folder_path" };
        part.set(folder, data.clone());
        part.set("resolution", side);
        part.replace("batch_size", 1);
        part.replace("num_repeats", 1);
        part.set("num_workers", 0);
        part.remove(&["prefetch_factor", "mask_path", "control_path", "inpaint_path", "clip_image_path"]);
        part.remove_beginning(&["cache_", "unconditional_path"]);
    });
    draft.each("config.process.train", |part| train(part, steps));
    Ok(format!("python {} {{config}}", work.script("run.py")?))
}

/// The models that the derived config can use.
const KNOWN: [Model; 6] =
    [Model::StableDiffusion, Model::Sdxl, Model::StableDiffusion3, Model::Flux, Model::QwenImage, Model::Wan];
/// Keys that name the kind of a model, apart from `arch`.
const KINDS: [(&str, &str); 10] = [
    ("is_flux", "flux"),
    ("is_xl", "sdxl"),
    ("is_ssd", "SSD"),
    ("is_vega", "Vega"),
    ("is_v2", "Stable Diffusion 2"),
    ("is_v3", "sd3"),
    ("is_pixart", "PixArt"),
    ("is_pixart_sigma", "PixArt Sigma"),
    ("is_auraflow", "AuraFlow"),
    ("is_lumina2", "Lumina 2"),
];

/// Checks that the config is a single training of a model for which there is a mock, and returns that model.
fn check(draft: &mut Draft) -> Result<Model, Unfit> {
    let job = shortened(draft.root().text("job").unwrap_or_default());
    if !["extension", "train"].contains(&job.as_str()) {
        return Err(Unfit::NotRun(format!("a config with job: {job} trains nothing")));
    }
    let (mut trainers, mut models) = (Vec::new(), Vec::new());
    draft.each("config.process", |process| trainers.extend(process.text("type").map(str::to_owned)));
    draft.each("config.process.model", |model| {
        let kind = KINDS.iter().find(|(key, _)| model.is_true(key)).map(|(_, kind)| *kind);
        models.push(model.text("arch").or(kind).unwrap_or("sd1").to_owned());
    });
    let model = match models.first() {
        Some(name) => family::image(name).ok_or_else(|| family::unknown(name, &KNOWN))?,
        None => Model::StableDiffusion,
    };
    let is_known = |kind: &String| ["sd_trainer", "diffusion_trainer"].contains(&kind.as_str());
    if models.len() != 1 || trainers.len() != 1 || !trainers.iter().all(is_known) {
        return Err(Unfit::Cannot("only a single process of the type sd_trainer can be tried".to_owned()));
    }
    Ok(model)
}

fn train(part: &mut Part<'_>, steps: u32) {
    part.set("steps", steps);
    part.set("batch_size", 1);
    part.replace("gradient_accumulation_steps", 1);
    part.replace("gradient_accumulation", 1);
    part.set("dtype", "fp32");
    plain_optimizer(part, "optimizer", "adamw");
    part.replace("gradient_checkpointing", false);
    part.set("disable_sampling", true);
    part.remove(&["ema_config", "xformers", "attention_backend", "start_step", "validation_config"]);
}
