//! The lint rules: one file for each group of rules, and the table of all rules.

mod backends;
mod conditions;
pub(super) mod data;
pub(super) mod estimate;
mod files;
mod methods;
mod modules;
mod releases;
mod required;
mod spelling;
mod strings;
mod subsets;
mod tables;
mod values;

use std::collections::{BTreeSet, HashMap};

use super::read::Format;
use super::repository::normal;
use super::tree::{Entry, Node, Value};
use super::{Dialect, Finding, Repository};
use crate::domain::{Rule, Severity};
use crate::yaml::Mark;

pub(super) use methods::TRL_METHODS;

type Check = fn(&Config<'_>) -> Vec<Finding>;

const RULES: [Check; 16] = [
    required::missing_required,
    conditions::met_conditions,
    spelling::unknown_key,
    tables::merged_tables,
    releases::keys_of_other_releases,
    methods::mixed_methods,
    values::wrong_values,
    modules::module_names,
    subsets::subset_kinds,
    subsets::bucket_limits,
    subsets::forms,
    backends::data_sets,
    files::missing_file,
    data::data,
    strings::private_path,
    strings::secret,
];

/// Keys of a config that the trainer gets from elsewhere: from a command line, or from the job.
#[derive(Debug, Clone, Default)]
pub(super) struct Elsewhere {
    pub(super) keys: BTreeSet<String>,
    /// True when there may be more of them.
    pub(super) is_open: bool,
}

/// Returns all findings in a config, and the estimate of its steps and GPU memory.
pub(super) fn check(
    path: &str,
    dialect: Dialect,
    root: &Node,
    repository: &Repository<'_>,
    elsewhere: Elsewhere,
) -> (Vec<Finding>, Option<String>) {
    let config = Config { elsewhere, ..Config::with_links(path, dialect, root, repository) };
    (RULES.iter().flat_map(|rule| rule(&config)).collect(), estimate::estimate(&config))
}

/// The config that a rule checks.
struct Config<'a> {
    dialect: Dialect,
    root: &'a Node,
    repository: &'a Repository<'a>,
    /// The config's own path.
    path: &'a str,
    /// The files that the config names and the repository has, by the key that names them.
    linked: Vec<(&'static str, Node)>,
    elsewhere: Elsewhere,
    /// The maps of the file, outer maps first.
    maps: Vec<Map<'a>>,
}

/// Keys of sd-scripts' arguments that show that a network is trained, and not the model or an embedding.
const OF_NETWORKS: &[&str] = &[
    "network_dim",
    "network_alpha",
    "network_args",
    "network_weights",
    "network_dropout",
    "network_train_unet_only",
    "network_train_text_encoder_only",
    "network-module",
    "networkModule",
    "unet_lr",
    "dim_from_weights",
    "scale_weight_norms",
];

/// Maximum number of files beside a data set in which its arguments are looked for.
const MOST_ARGUMENTS: usize = 20;
/// Keys that name a file whose keys belong to those of the config.
const LINKS: [&str; 4] = ["dataset_config", "lycoris_config", "data_backend_config", "concept_file_name"];

/// Reads the file that an entry names. Its name is relative to the folder in which the trainer starts: the root, or that
/// of the config.
fn linked(repository: &Repository<'_>, config: &str, entry: &Entry) -> Option<Node> {
    let name = entry.node.text()?;
    let beside = config.rsplit_once('/').map(|(folder, _)| format!("{folder}/{name}"));
    let mut paths = [Some(name.to_owned()), beside].into_iter().flatten().filter_map(|path| normal(&path));
    paths.find_map(|path| {
        let text = std::str::from_utf8(repository.text(&path)?).ok()?;
        Format::of(&path)?.read(text).root
    })
}

struct Map<'a> {
    /// The dotted path of keys that leads to the map; lists on the way add nothing.
    path: String,
    /// The position where its author would look for the map: the key that contains it, or its place in a list.
    at: Mark,
    entries: Vec<&'a Entry>,
    /// The entries by their names; of two with the same name, the first.
    by_name: HashMap<&'a str, &'a Entry>,
}

impl<'a> Config<'a> {
    fn with_links(path: &'a str, dialect: Dialect, root: &'a Node, repository: &'a Repository<'a>) -> Self {
        let mut config = Self::new(path, dialect, root, repository);
        let entries = LINKS.iter().filter_map(|key| Some((*key, config.maps_at("").find_map(|map| map.get(key))?)));
        config.linked = entries.filter_map(|(key, entry)| Some((key, linked(repository, path, entry)?))).collect();
        config
    }

    fn new(path: &'a str, dialect: Dialect, root: &'a Node, repository: &'a Repository<'a>) -> Self {
        let mut config = Self {
            dialect,
            root,
            repository,
            path,
            linked: Vec::new(),
            elsewhere: Elsewhere::default(),
            maps: Vec::new(),
        };
        match dialect {
            // The tables only help people: the trainer merges the keys of all tables into one map.
            Dialect::SdScripts | Dialect::Musubi => {
                let flat = |entry: &'a Entry| match &entry.node.value {
                    Value::Map(entries) => entries.iter().collect(),
                    _ => vec![entry],
                };
                let entries = root.entries().iter().flat_map(flat).collect();
                config.maps.push(Map::new(String::new(), root.at, entries));
            }
            Dialect::AkegarasuPreset => {
                let data = root.entries().iter().find(|entry| entry.key == "data");
                config.collect(String::new(), root.at, data.map_or(root, |data| &data.node));
            }
            _ => config.collect(dialect.root_path(root).to_owned(), root.at, root),
        }
        config
    }

    fn collect(&mut self, path: String, at: Mark, node: &'a Node) {
        for item in node.items() {
            self.collect(path.clone(), item.at, item);
        }
        if let Value::Map(entries) = &node.value {
            self.maps.push(Map::new(path.clone(), at, entries.iter().collect()));
            for entry in entries {
                let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                self.collect(below, entry.at, &entry.node);
            }
        }
    }

    /// Returns a text of the arguments beside this file that name it as their `dataset_config`.
    fn arguments(&self, key: &str) -> Option<String> {
        self.argument(key)?.text().map(str::to_owned)
    }

    /// Returns true if these arguments turn a switch on.
    fn arguments_enable(&self, key: &str) -> bool {
        self.argument(key).is_some_and(|node| node.is_true())
    }

    fn argument(&self, key: &str) -> Option<Node> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", self.path));
        let is_beside = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
        let beside = self.repository.texts().filter(|(path, _)| path.ends_with(".toml") && is_beside(path));
        beside.take(MOST_ARGUMENTS).find_map(|(_, text)| {
            let text = std::str::from_utf8(text).ok().filter(|text| text.contains("dataset_config"))?;
            let root = Format::Toml.read(text).root?;
            let tables = root.entries().iter().flat_map(|entry| std::iter::once(entry).chain(entry.node.entries()));
            let get = |key: &str| tables.clone().find(|entry| entry.key == key).map(|entry| &entry.node);
            let is_named = get("dataset_config")?.text()?.replace('\\', "/").rsplit('/').next() == Some(name);
            get(key).filter(|_| is_named).cloned()
        })
    }

    fn maps_at(&self, path: &str) -> impl Iterator<Item = &Map<'a>> {
        self.maps.iter().filter(move |map| map.path == path)
    }
}

impl<'a> Map<'a> {
    fn new(path: String, at: Mark, entries: Vec<&'a Entry>) -> Self {
        let by_name = entries.iter().rev().map(|entry| (entry.name(), *entry)).collect();
        Self { path, at, entries, by_name }
    }

    fn get(&self, key: &str) -> Option<&'a Entry> {
        self.by_name.get(key).copied()
    }

    /// Returns true if arguments of sd-scripts are for a script that trains a network.
    fn trains_network(&self) -> bool {
        self.get("network_module").is_some() || OF_NETWORKS.iter().any(|key| self.get(key).is_some())
    }

    fn gives(&self, key: &str) -> bool {
        self.get(key).is_some_and(|entry| entry.node.is_given())
    }

    /// Returns the non-empty string that a key holds.
    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(|entry| entry.node.text()).filter(|text| !text.is_empty())
    }

    /// Returns the number that a key holds, also if it is written as a string.
    fn number(&self, key: &str) -> Option<f64> {
        match &self.get(key)?.node.value {
            Value::Number { value, .. } => Some(*value),
            Value::Text { text, .. } => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|entry| entry.node.is_true())
    }

    /// Returns the dotted path of a key in this map.
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn finding(rule: Rule, severity: Severity, message: String, at: Mark, key: String) -> Finding {
    Finding { key: Some(key), ..Finding::new(rule, severity, message, Some(at)) }
}
