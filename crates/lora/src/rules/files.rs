//! Rules on files that a config names but the repository does not contain.

use super::{Config, Map, finding};
use crate::domain::{Rule, Severity};
use crate::repository::normal;
use crate::tree::Entry;
use crate::{Dialect, Finding};

use Dialect::{
    AiToolkit, LoraScripts, Musubi, MusubiDataset, SdScripts, SdScriptsDataset, SimpleTuner, SimpleTunerDataset,
};

/// Keys that name a file or folder that must exist before the training, relative to the folder in which the trainer
/// starts: the repository's root. Base models are not among them, since they may be Hub ids.
const INPUTS: [(Dialect, &str, &[&str]); 8] = [
    (LoraScripts, "", &["train_data_dir", "metadata_path"]),
    (SdScripts, "", &["train_data_dir", "reg_data_dir", "dataset_config", "in_json"]),
    (SdScriptsDataset, "datasets.subsets", &["image_dir", "metadata_file", "conditioning_data_dir"]),
    (Musubi, "", &["dataset_config", "sample_prompts"]),
    (
        MusubiDataset,
        "datasets",
        &["image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file", "control_directory"],
    ),
    (AiToolkit, "config.process.datasets", &["folder_path", "dataset_path"]),
    (
        SimpleTuner,
        "",
        &[
            "data_backend_config",
            "lycoris_config",
            "webhook_config",
            "publishing_config",
            "quantization_config",
            "diffusion_blocks_config",
            "distillation_config",
            "deepspeed_config",
            "validation_adapter_config",
            "user_prompt_library",
            "disk_low_script",
        ],
    ),
    (SimpleTunerDataset, "", &["instance_data_dir"]),
];

/// Finds files and folders that a config names but that do not exist.
pub(super) fn missing_file(config: &Config<'_>) -> Vec<Finding> {
    let of_dialect = INPUTS.iter().filter(|(dialect, ..)| *dialect == config.dialect);
    let mut findings: Vec<Finding> = Vec::new();
    for (_, path, keys) in of_dialect {
        for map in config.maps_at(path) {
            findings.extend(keys.iter().filter_map(|key| missing(config, map, map.get(key)?)));
        }
    }
    findings
}

/// Reports a missing path only if the repository has its parent folder: other data is brought by the job.
fn missing(config: &Config<'_>, map: &Map<'_>, entry: &Entry) -> Option<Finding> {
    let path = normal(entry.node.text()?)?;
    let (folder, name) = path.rsplit_once('/')?;
    // SimpleTuner's package has the files of this folder.
    let is_example = config.dialect == SimpleTuner && path.starts_with("config/examples/");
    if is_example || config.repository.has(&path) || !config.repository.has(folder) {
        return None;
    }
    let message = format!(
        "{} finds no {name} in {folder}, which {} names: add it, or correct the path",
        config.dialect.trainer(),
        entry.name()
    );
    Some(finding(Rule::MissingFile, Severity::Warning, message, entry.node.at, map.path_of(entry.name())))
}
