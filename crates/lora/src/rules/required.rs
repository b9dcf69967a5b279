//! Rules on required keys: without them a trainer does not start, or does not do what was meant.

use super::values::switches::is_left_out;
use super::{Config, Map, OF_NETWORKS, finding};
use crate::domain::{Rule, Severity};
use crate::{Dialect, Finding};

/// A requirement on one kind of map.
struct Need {
    dialect: Dialect,
    within: &'static str,
    /// Alternative keys; at least one must be given.
    one_of: &'static [&'static str],
    /// Words for what the trainer does, as in `stops without output_dir`.
    fate: &'static str,
    /// The advice for the message.
    advice: &'static str,
    severity: Severity,
    /// Keys of which each lifts the requirement.
    unless: &'static [&'static str],
    /// Keys of which one must be there for the requirement; empty when it always holds.
    with: &'static [&'static str],
}

const fn need(dialect: Dialect, within: &'static str, one_of: &'static [&'static str], advice: &'static str) -> Need {
    let fate = if matches!(dialect, LoraScripts) { "needs" } else { "stops without" };
    Need { dialect, within, one_of, fate, advice, severity: Severity::Error, unless: &[], with: &[] }
}

/// A need of musubi-tuner's scripts. Only a warning, because the command line may give the rest.
const fn musubi(one_of: &'static [&'static str], advice: &'static str) -> Need {
    Need { severity: Severity::Warning, ..need(Dialect::Musubi, "", one_of, advice) }
}

use Dialect::{AiToolkit, Axolotl, LlamaFactory, LoraScripts, SdScripts, SdScriptsDataset, SimpleTuner, Trl, Unsloth};

const NEEDS: [Need; 37] = [
    need(LoraScripts, "", &["base_model"], "name the base model file or Hub id to train on"),
    need(LoraScripts, "", &["train_data_dir"], "name the folder with the training data"),
    need(LoraScripts, "", &["output_dir"], "name the folder for the trained weights"),
    Need {
        // Only a warning: some trainers have a default, and published examples rely on it.
        severity: Severity::Warning,
        ..need(LoraScripts, "", &["epochs", "max_train_steps"], "say how long to train, with epochs or max_train_steps")
    },
    need(SdScripts, "", &["pretrained_model_name_or_path"], "name the base model's file, folder or Hub id"),
    Need {
        fate: "stops at its first save without",
        ..need(SdScripts, "", &["output_dir"], "name the folder for the trained weights")
    },
    Need {
        fate: "finds no data and ends without",
        unless: &["datasets", "dataset_class"],
        ..need(SdScripts, "", &["train_data_dir", "dataset_config", "in_json"], "name the training data")
    },
    Need {
        // The images of a metadata file have sizes of their own.
        unless: &["datasets", "dataset_class", "in_json"],
        ..need(SdScripts, "", &["resolution", "dataset_config"], "write resolution = \"512,512\", for example")
    },
    Need {
        // The scripts for ControlNet-LLLite, recognized by this key, have their own network.
        unless: &["cond_emb_dim"],
        with: OF_NETWORKS,
        ..need(SdScripts, "", &["network_module"], "write network_module = \"networks.lora\", for example")
    },
    need(SdScriptsDataset, "datasets", &["subsets"], "add [[datasets.subsets]] with an image_dir"),
    need(SdScriptsDataset, "datasets.subsets", &["image_dir", "metadata_file"], "name the folder with the images"),
    musubi(&["dit"], "name the file of the base model"),
    musubi(&["dataset_config"], "name the file with the data sets"),
    musubi(&["output_dir"], "name the folder for the trained weights"),
    musubi(&["output_name"], "name the file of the trained weights"),
    musubi(&["sdpa", "flash_attn", "flash3", "sage_attn", "xformers"], "write sdpa = true, for example"),
    need(Axolotl, "", &["base_model"], "name the base model's folder or Hub id"),
    need(Axolotl, "", &["learning_rate"], "write learning_rate: 0.0002, for example"),
    Need {
        unless: &["nemo_gym_enabled"],
        ..need(Axolotl, "", &["datasets", "pretraining_dataset"], "name the training data")
    },
    need(LlamaFactory, "", &["model_name_or_path"], "name the base model's folder or Hub id"),
    Need {
        severity: Severity::Warning,
        ..need(Trl, "", &["dataset_name", "datasets"], "name the training data; trl stops unless the command line does")
    },
    need(Trl, "datasets", &["path"], "name the folder or Hub id of the data set"),
    Need {
        severity: Severity::Warning,
        ..need(Unsloth, "", &["model"], "name the base model; unsloth stops unless the command line does")
    },
    Need {
        severity: Severity::Warning,
        ..need(Unsloth, "data", &["dataset", "local_dataset"], "name the training data; unsloth stops without it")
    },
    need(AiToolkit, "", &["job"], "write job: extension"),
    need(AiToolkit, "config", &["process"], "add it, with what to train"),
    need(AiToolkit, "config", &["name"], "name the training; its output gets this name"),
    need(AiToolkit, "config.process", &["type"], "write type: sd_trainer, for example"),
    Need {
        with: &["train", "datasets", "network"],
        ..need(AiToolkit, "config.process", &["model"], "add it, with name_or_path")
    },
    Need {
        unless: &["slider"],
        with: &["train", "datasets", "network"],
        ..need(AiToolkit, "config.process", &["training_folder"], "name the folder for the trained weights")
    },
    need(AiToolkit, "config.process.model", &["name_or_path"], "name the base model's folder or Hub id"),
    need(AiToolkit, "config.process.datasets", &["folder_path", "dataset_path"], "name the folder with the images"),
    need(SimpleTuner, "", &["model_family"], "name the kind of base model, such as flux"),
    need(SimpleTuner, "", &["model_type"], "write lora or full"),
    need(SimpleTuner, "", &["optimizer"], "write optimizer: adamw_bf16, for example"),
    need(SimpleTuner, "", &["output_dir"], "name the folder for the trained weights"),
    need(SimpleTuner, "", &["data_backend_config"], "name the file with the data sets"),
];

/// Finds required keys that are missing or have no value.
pub(super) fn missing_required(config: &Config<'_>) -> Vec<Finding> {
    let needs = NEEDS.iter().filter(|need| need.dialect == config.dialect);
    needs.flat_map(|need| config.maps_at(need.within).filter_map(|map| missing(config, need, map))).collect()
}

fn missing(config: &Config<'_>, need: &Need, map: &Map<'_>) -> Option<Finding> {
    // A misspelled key is reported once, by the spelling rule.
    let is_elsewhere = |key: &&str| config.elsewhere.keys.contains(&map.path_of(key));
    let is_passed = |key: &str| map.get(key).is_some_and(|entry| !is_left_out(config, map, entry));
    let is_there = |key: &&str| {
        map.gives(key) && is_passed(key) || is_elsewhere(key) || super::spelling::is_misspelled(config, map, key)
    };
    let is_written = |key: &&str| map.get(key).is_some() || is_elsewhere(key);
    let is_asked = need.with.is_empty() || need.with.iter().any(is_written);
    let is_open = config.elsewhere.is_open && map.path.is_empty();
    if !is_asked || is_open || need.one_of.iter().any(is_there) || need.unless.iter().any(is_written) {
        return None;
    }
    let key = need.one_of[0];
    let written = need.one_of.iter().find_map(|key| map.get(key));
    let at = written.map_or(map.at, |entry| entry.at);
    let message = format!("{} {} {key}: {}", config.dialect.trainer(), need.fate, need.advice);
    Some(finding(Rule::MissingRequired, need.severity, message, at, map.path_of(key)))
}
