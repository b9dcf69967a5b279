//! Smoke jobs for `train.py --config x.yaml`. Its schema is ours (`keys/images/lora-scripts.keys`). Derived configs were run
//! with a stand-in for that trainer on diffusers 0.31: three steps, and weights in which every module has learned
//! something.

use super::draft::Part;
use super::{Unfit, Work, family};
use crate::mock;

/// The largest rank. The result of the training does not matter, only that the training works.
pub(super) const RANK: f64 = 4.0;

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let is_text = match work.draft.root().text("task_type") {
        None | Some("text-to-image") => false,
        Some("text-generation") => true,
        Some(task) => {
            let task = super::shortened(task);
            return Err(Unfit::Cannot(format!("Trainyard has no mock model for task_type {task}")));
        }
    };
    let (model, data, metadata) = if is_text {
        let family = family::language(&[work.draft.root().text("base_model")]);
        let model = work.model(family);
        let data = work.add("data", mock::Kind::Text.files());
        (model, data.clone(), format!("{data}/alpaca.jsonl"))
    } else {
        let model = match work.draft.root().text("base_model").and_then(checkpoint) {
            Some(name) => format!("{}/{name}", work.add("model", vec![mock::placeholder(&name)])),
            None => {
                let family = family::image_named(work.draft.root().text("base_model").unwrap_or_default());
                work.model(family)
            }
        };
        let data = work.add("data", mock::indexed(work.ask.resolution));
        (model, data.clone(), format!("{data}/metadata.csv"))
    };
    let output = work.output();
    let (steps, resolution) = (work.ask.steps, work.ask.resolution);
    let mut root = work.draft.root();
    root.set("base_model", model);
    root.set("train_data_dir", data);
    root.replace("metadata_path", metadata);
    root.set("output_dir", output);
    root.remove(&["epochs"]);
    root.set("max_train_steps", steps);
    root.set("save_steps", steps);
    if is_text {
        root.at_most("max_length", 256.0);
    } else {
        root.set("resolution", resolution);
    }
    root.set("batch_size", 1);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("warmup_steps", 1.0);
    root.set("mixed_precision", "no");
    root.set("num_workers", 0);
    root.rank("lora_rank", "lora_alpha", RANK);
    root.at_most("conv_lora_rank", RANK);
    plain_optimizer(&mut root, "optimizer", "AdamW");
    root.remove(&["logging_dir", "resume_from_checkpoint", "report_to", "log_with", "push_to_hub"]);
    root.remove_beginning(&["hub_", "wandb"]);
    Ok(format!("python {} --config {{config}}", work.script("train.py")?))
}

/// Returns the name of a checkpoint that is a single file. A trainer that is given such a path looks for a file, not
/// for a folder.
fn checkpoint(path: &str) -> Option<String> {
    let name = path.rsplit(['/', '\\']).next()?;
    let (_, extension) = name.rsplit_once('.')?;
    ["safetensors", "ckpt", "pt", "pth", "bin"].contains(&extension).then(|| name.to_owned())
}

/// Replaces an optimizer that requires a GPU with `plain`.
pub(super) fn plain_optimizer(part: &mut Part<'_>, key: &str, plain: &str) {
    let needs_gpu =
        |name: &str| ["8bit", "4bit", "fp8", "paged", "bnb", "fused"].iter().any(|mark| name.contains(mark));
    if part.text(key).is_some_and(|name| needs_gpu(&name.to_lowercase())) {
        part.set(key, plain);
    }
}
