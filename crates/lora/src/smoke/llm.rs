//! Rules that the trainers of language models share.

use super::draft::Part;
use crate::tree::{Node, Value};

/// The modules of the mock Llama that LoRA is put on.
const MODULES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
/// The modules used when a config names only modules of another model.
const USUAL: [&str; 2] = ["q_proj", "v_proj"];
/// The modules that can be trained in full, next to the LoRA.
const WHOLE: [&str; 2] = ["embed_tokens", "lm_head"];
/// Maximum length of a text, in tokens of the mock tokenizer. All rows of the dummy data fit, with a chat template
/// around them.
pub(super) const LONGEST: f64 = 1024.0;

/// Keeps the modules that a config trains, as far as the mock model has them.
pub(super) fn modules(part: &mut Part<'_>, targets: &str, whole: &str) {
    let is_all = |text: &str| ["", "all", "all-linear"].contains(&text);
    let has = |name: &str| MODULES.contains(&last(name));
    match part.get(targets).map(|node| node.value.clone()) {
        Some(Value::List(items)) if !items.iter().any(|item| item.text().is_some_and(has)) && !items.is_empty() => {
            part.set(targets, USUAL.map(Value::from).to_vec());
        }
        // A string is a pattern over the names of another model, which may match nothing here.
        Some(Value::Text { text, .. }) if !is_all(&text) => part.set(targets, USUAL.map(Value::from).to_vec()),
        _ => {}
    }
    if let Some(Value::List(items)) = part.get(whole).map(|node| node.value.clone()) {
        let is_there = |item: &&Node| item.text().is_some_and(|name| WHOLE.contains(&last(name)));
        let kept: Vec<Value> = items.iter().filter(is_there).map(|item| item.value.clone()).collect();
        if kept.len() < items.len() {
            part.set(whole, kept);
        }
    }
}

/// Like [`modules`], for lists that are comma-separated strings.
pub(super) fn listed_modules(part: &mut Part<'_>, targets: &str, whole: &str) {
    let has = |names: &[&str], text: &str| text.split(',').any(|name| names.contains(&last(name)));
    if part.text(targets).is_some_and(|text| text != "all" && !has(&MODULES, text)) {
        part.set(targets, USUAL.join(","));
    }
    if part.text(whole).is_some_and(|text| !text.split(',').all(|name| WHOLE.contains(&last(name)))) {
        part.remove(&[whole]);
    }
}

/// Returns the last part of a module's name.
fn last(name: &str) -> &str {
    name.trim().rsplit('.').next().unwrap_or_default()
}

/// Sets what the trainer of transformers reads: the steps, a loss for each, and the folder for the weights.
pub(super) fn trainer(part: &mut Part<'_>, steps: u32, output: String) {
    part.set("output_dir", output);
    part.remove(&["num_train_epochs"]);
    part.set("max_steps", steps);
    part.set("logging_steps", 1);
    part.remove(&["save_strategy", "logging_strategy"]);
    part.set("save_steps", steps);
    part.set("report_to", "none");
}

/// Removes the keys for trackers and uploads that several trainers share.
pub(super) fn quiet(part: &mut Part<'_>) {
    part.remove(&["push_to_hub", "push_dataset_to_hub", "resume_from_checkpoint", "trust_remote_code"]);
    part.remove_beginning(&["hub_", "push_to_hub_", "wandb", "use_wandb", "swanlab", "use_swanlab"]);
}
