//! Rules on data sets in the repository: images without captions and captions without images, tables that lack columns,
//! files that are not images, images too small or too long for the resolution, folders in which the trainer finds no
//! image. Data that the job itself downloads is unknown here, so nothing is reported about it.

mod columns;
mod dataset_info;
mod fate;
mod fetched;
mod folder;
mod image_size;
mod look;
mod musubi;
mod parquet;
mod resolution;
mod rows;
mod table;

use std::cell::OnceCell;

use super::{Config, Map};
use crate::repository::normal;
use crate::tree::{Entry, Node};
use crate::{Dialect, Finding};

pub use fetched::{Contents, Unusable, check_fetched};
use folder::Folder;
pub use look::is_image;
use look::{AI_TOOLKIT, IMAGE_FOLDER, Look, SD_SCRIPTS, SD_SCRIPTS_SETS, SIMPLETUNER};
use resolution::Sizes;

/// The maximum number of names in a message.
const NAMED: usize = 3;

/// Finds all problems of the data sets that a config names.
pub(super) fn data(config: &Config<'_>) -> Vec<Finding> {
    let root = || config.maps_at("");
    match config.dialect {
        Dialect::LoraScripts => root().flat_map(|map| table::with_folder(config, map)).collect(),
        Dialect::SdScripts | Dialect::KohyaGui => {
            // A command line may name other data than the config, or another kind of captions.
            let is_elsewhere = |key: &str| config.elsewhere.is_open || config.elsewhere.keys.contains(key);
            let may_differ = ["dataset_config", "in_json", "caption_extension"].into_iter().any(is_elsewhere);
            let maps = root().filter(|map| !may_differ && !map.gives("dataset_config") && !map.gives("in_json"));
            maps.flat_map(|map| of_arguments(config, map)).collect()
        }
        Dialect::SdScriptsDataset => subsets(config),
        Dialect::MusubiDataset => musubi::data_sets(config),
        Dialect::AiToolkit => {
            let sets = config.maps_at("config.process.datasets");
            sets.flat_map(|map| {
                let extension = map.text("caption_ext").unwrap_or("txt");
                let sizes = resolution::of_ai_toolkit(map);
                let named = Named { map, key: "folder_path", extension, all: false, sizes };
                named.check(config, &AI_TOOLKIT)
            })
            .collect()
        }
        Dialect::SimpleTunerDataset => {
            let local = root().filter(|map| map.text("type").is_none_or(|kind| kind == "local"));
            local.flat_map(|map| of_data_loader(config, map)).collect()
        }
        Dialect::Axolotl => columns::of_axolotl(config),
        Dialect::LlamaFactory => root().flat_map(|map| dataset_info::check(config, map)).collect(),
        _ => Vec::new(),
    }
}

/// A folder of images that a key names, with what its captions are called.
struct Named<'c, 'a> {
    map: &'c Map<'a>,
    key: &'static str,
    extension: &'c str,
    /// True when a folder without any caption is a mistake, too.
    all: bool,
    /// The sizes of images that suit the config, if it tells them.
    sizes: Option<Sizes>,
}

impl Named<'_, '_> {
    fn check(&self, config: &Config<'_>, look: &'static Look) -> Vec<Finding> {
        let Some(entry) = self.map.get(self.key) else { return Vec::new() };
        let Some(folder) = Folder::named(config, entry, self.map.path_of(self.key), look) else { return Vec::new() };
        if folder.images.is_empty() {
            return folder.without_images().into_iter().collect();
        }
        let mut findings = folder.broken_images();
        findings.extend(folder.captions(self.extension, self.all));
        findings.extend(self.sizes.iter().flat_map(|sizes| sizes.check(&folder)));
        findings
    }
}

/// Checks the data that arguments of sd-scripts name. If there are no captions at all, the sub-folder's name serves as
/// the caption. Missing only some is a mistake.
fn of_arguments(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let is_gui = config.dialect == Dialect::KohyaGui;
    // The web UI writes `.txt` if its user changes nothing, and leaves an empty text out.
    let usual = if is_gui && map.get("caption_extension").is_none() { ".txt" } else { ".caption" };
    let extension = map.text("caption_extension").unwrap_or(usual);
    let resolution = if is_gui { "max_resolution" } else { "resolution" };
    // The web UI does not enlarge images if its user changes nothing.
    let is_known = !is_gui || map.get("bucket_no_upscale").is_some();
    let sizes = resolution::of_sd_scripts(|key| map.get(key), resolution).filter(|_| is_known);
    let named = Named { map, key: "train_data_dir", extension, all: false, sizes };
    named.check(config, &SD_SCRIPTS)
}

/// Checks the folders of a data-set file of sd-scripts. A value of a subset may stand in its data set, in `[general]`, or
/// in the arguments that name the file.
fn subsets(config: &Config<'_>) -> Vec<Finding> {
    let get = |node: &Node, key: &str| find(node, key).and_then(|entry| entry.node.text()).map(str::to_owned);
    let root = |key: &str| find(config.root, key).map(|entry| &entry.node);
    let never_enlarged = config.arguments_enable("bucket_no_upscale");
    let general = root("general");
    let arguments = OnceCell::new();
    let of_arguments = || arguments.get_or_init(|| config.arguments("caption_extension")).clone();
    let mut findings = Vec::new();
    for set in root("datasets").map_or(&[][..], Node::items) {
        let inherited = |subset: &Map<'_>, key: &str| {
            let own = subset.text(key).map(str::to_owned);
            own.or_else(|| get(set, key)).or_else(|| get(general?, key))
        };
        let places: Vec<_> = set.entries().iter().filter(|entry| entry.key == "subsets").collect();
        let nodes = places.iter().flat_map(|entry| entry.node.items());
        for node in nodes {
            let maps = config.maps_at("datasets.subsets").filter(|map| map.at == node.at);
            for map in maps.filter(|map| !map.gives("metadata_file")) {
                let extension = inherited(map, "caption_extension").or_else(of_arguments);
                let extension = extension.as_deref().unwrap_or(".caption");
                let all = inherited(map, "class_tokens").is_none();
                let sizes =
                    resolution::of_sd_scripts(|key| find(set, key).or_else(|| find(general?, key)), "resolution");
                let sizes = sizes.filter(|_| !never_enlarged);
                let named = Named { map, key: "image_dir", extension, all, sizes };
                findings.extend(named.check(config, &SD_SCRIPTS_SETS));
            }
        }
    }
    findings
}

/// Checks a data set of SimpleTuner's data loader, which reads hidden files and most hidden folders, too.
fn of_data_loader(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = columns::of_simpletuner(config, map).into_iter().collect();
    let Some(entry) = map.get("instance_data_dir") else { return findings };
    let key = map.path_of("instance_data_dir");
    let Some(folder) = Folder::named(config, entry, key, &SIMPLETUNER) else { return findings };
    findings.extend(folder.hidden_images());
    if map.text("caption_strategy") == Some("textfile") {
        findings.extend(folder.captions("txt", true));
    }
    findings.extend(folder.broken_images());
    findings.extend(resolution::of_simpletuner(map).iter().flat_map(|sizes| sizes.check(&folder)));
    findings
}

fn find<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|entry| entry.key == key)
}

/// Returns the folder that an entry names, as its path from the root.
fn path_of(entry: &Entry) -> Option<String> {
    normal(entry.node.text()?)
}

/// Formats names as `a, b, c and 4 more`.
fn listed(names: &[&str]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| name.chars().take(80).collect()).collect();
    let more = names.len().saturating_sub(NAMED);
    named.join(", ") + if more > 0 { format!(" and {more} more") } else { String::new() }.as_str()
}

#[cfg(test)]
mod tests;
