//! Rules on files that a config names but the repository does not contain.

use super::{Config, Map, finding};
use crate::domain::Severity;
use crate::read::Format;
use crate::repository::normal;
use crate::tree::Entry;
use crate::{Dialect, Finding};

use Dialect::{AiToolkit, LoraScripts, SdScripts, SdScriptsDataset};

/// Keys that name a file or folder that must exist before the training, relative to the folder in which the trainer
/// starts: the repository's root. Base models are not among them, since they may be Hub ids.
const INPUTS: [(Dialect, &str, &[&str]); 4] = [
    (LoraScripts, "", &["train_data_dir", "metadata_path"]),
    (SdScripts, "", &["train_data_dir", "reg_data_dir", "dataset_config", "in_json"]),
    (SdScriptsDataset, "datasets.subsets", &["image_dir", "metadata_file", "conditioning_data_dir"]),
    (AiToolkit, "config.process.datasets", &["folder_path", "dataset_path"]),
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
    if config.dialect == Dialect::LlamaFactory {
        findings.extend(config.maps_at("").flat_map(|map| undefined_datasets(config, map)));
    }
    findings
}

/// Reports a missing path only if the repository has its parent folder: other data is brought by the job.
fn missing(config: &Config<'_>, map: &Map<'_>, entry: &Entry) -> Option<Finding> {
    let path = normal(entry.node.text()?)?;
    let (folder, name) = path.rsplit_once('/')?;
    if config.repository.has(&path) || !config.repository.has(folder) {
        return None;
    }
    let message = format!("{} names {name}, which is not in {folder}: add it, or correct the path", entry.name());
    Some(finding("missing-file", Severity::Warning, message, entry.node.at, map.path_of(entry.name())))
}

/// Finds data sets of LLaMA-Factory that are not defined in the `dataset_info.json` of `dataset_dir`.
fn undefined_datasets(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let Some(entry) = map.get("dataset") else { return Vec::new() };
    let folder = map.get("dataset_dir").and_then(|dir| dir.node.text()).unwrap_or("data");
    let info = normal(folder).map(|folder| format!("{folder}/dataset_info.json"));
    let text = info.as_deref().and_then(|info| config.repository.text(info));
    let root = text.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| Format::Json.read(text).root);
    let (Some(info), Some(root), Some(names)) = (info, root, entry.node.text()) else { return Vec::new() };
    let is_known = |name: &str| root.entries().iter().any(|known| known.key == name);
    let unknown = names.split(',').map(str::trim).filter(|name| !name.is_empty() && !is_known(name));
    let tell = |name: &str| {
        let message = format!("the data set {name} is not defined in {info}: add it there, or correct the name");
        finding("missing-file", Severity::Error, message, entry.node.at, "dataset".to_owned())
    };
    unknown.map(tell).collect()
}
