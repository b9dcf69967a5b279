//! LLaMA-Factory's `dataset_info.json`: the entries of the data sets that a config names.

use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::read::Format;
use crate::repository::normal;
use crate::rules::data::columns::{self, Fault};
use crate::rules::{Config, Map, finding};
use crate::tree::{Entry, Node};

const KEYS: [&str; 14] = [
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
    "file_name",
    "formatting",
    "ranking",
    "subset",
    "split",
    "folder",
    "num_samples",
    "columns",
    "tags",
];
const COLUMNS: [&str; 13] = [
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos", "audios", "chosen",
    "rejected", "kto_tag",
];
const TAGS: [&str; 7] =
    ["role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"];
const FORMATS: [&str; 3] = ["alpaca", "sharegpt", "openai"];

/// Finds data sets that are not defined in the `dataset_info.json` of `dataset_dir`, and what is wrong with the others.
pub(super) fn check(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let folder = map.text("dataset_dir").unwrap_or("data");
    let info = normal(folder).map(|folder| format!("{folder}/dataset_info.json"));
    let text = info.as_deref().and_then(|info| config.repository.text(info));
    let root = text.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| Format::Json.read(text).root);
    let (Some(info), Some(root)) = (info, root) else { return Vec::new() };
    let set = Sets { config, map, info, root };
    ["dataset", "eval_dataset"].iter().filter_map(|key| map.get(key)).flat_map(|entry| set.named(entry)).collect()
}

struct Sets<'c, 'a> {
    config: &'c Config<'a>,
    map: &'c Map<'a>,
    /// The path of the file, and its content.
    info: String,
    root: Node,
}

impl Sets<'_, '_> {
    fn named(&self, entry: &Entry) -> Vec<Finding> {
        let listed = entry.node.items().iter().filter_map(Node::text);
        let names = entry.node.text().into_iter().chain(listed).flat_map(|text| text.split(','));
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        names.flat_map(|name| self.one(entry, name)).collect()
    }

    fn one(&self, entry: &Entry, name: &str) -> Vec<Finding> {
        let info = &self.info;
        let tell = |rule, severity, message| finding(rule, severity, message, entry.node.at, entry.name().to_owned());
        let Some(set) = get(&self.root, name) else {
            let message = format!(
                "LLaMA-Factory stops, because {info} has no data set {name}: add it there, or correct the name"
            );
            return vec![tell(Rule::MissingFile, Severity::Error, message)];
        };
        let mut findings = Vec::new();
        let mut say = |severity, what: String| {
            findings.push(tell(
                Rule::DataColumns,
                severity,
                format!("LLaMA-Factory reads {info}, where the data set {name} {what}"),
            ));
        };
        for (place, keys, known) in [
            ("", &set.node, &KEYS[..]),
            ("columns.", part(set, "columns"), &COLUMNS),
            ("tags.", part(set, "tags"), &TAGS),
        ] {
            for key in keys.entries().iter().filter(|entry| !known.contains(&entry.key.as_str())) {
                let (severity, advice) = match resembled(&key.key, known) {
                    Some(near) => (Severity::Error, format!(": did you mean {near}?")),
                    None => (Severity::Warning, String::new()),
                };
                say(severity, format!("has the key {place}{}, which is read by nothing{advice}", key.key));
            }
        }
        for (severity, what) in self.faults(set) {
            say(severity, what);
        }
        findings
    }

    /// Returns what is wrong with the values of an entry.
    fn faults(&self, set: &Entry) -> Vec<(Severity, String)> {
        let mut faults = Vec::new();
        let formatting = get(&set.node, "formatting").and_then(|entry| entry.node.text()).unwrap_or("alpaca");
        let is_chat = formatting != "alpaca";
        if !FORMATS.contains(&formatting) {
            faults.push((Severity::Error, format!("has the formatting {formatting}: write {}", FORMATS.join(", "))));
        }
        let columns = get(&set.node, "columns").map(|entry| &entry.node);
        let has = |key: &str| columns.is_some_and(|columns| get(columns, key).is_some());
        if columns.is_some() && is_chat && !has("messages") {
            let what = "has columns without messages, which sharegpt needs: name the column with the messages";
            faults.push((Severity::Error, what.to_owned()));
        }
        if columns.is_some() && !is_chat && !has("prompt") {
            let what = "has columns without prompt, so that its prompts are empty: name the column with the prompts";
            faults.push((Severity::Warning, what.to_owned()));
        }
        if !is_chat && has("messages") {
            let what = "has a column for messages, which alpaca does not read: write formatting: sharegpt";
            faults.push((Severity::Error, what.to_owned()));
        }
        if get(&set.node, "tags").is_some() && !is_chat {
            faults.push((Severity::Warning, "has tags, which only sharegpt reads".to_owned()));
        }
        let ranking = get(&set.node, "ranking").is_some_and(|entry| entry.node.is_true());
        match self.map.text("stage").unwrap_or("sft") {
            "rm" | "dpo" if !ranking => {
                faults.push((Severity::Error, "is no ranking data set, as this stage needs: set ranking".to_owned()));
            }
            "sft" | "pt" | "kto" | "ppo" if ranking => {
                faults.push((Severity::Error, "is a ranking data set, which this stage does not take".to_owned()));
            }
            _ => {}
        }
        if let Some((name, path)) = self.file(set) {
            if self.config.repository.has(&path) {
                faults.extend(self.columns(set, &path));
            } else {
                let folder = self.info.strip_suffix("/dataset_info.json").unwrap_or_default();
                faults.push((Severity::Warning, format!("names the file {name}, which is not in {folder}")));
            }
        }
        faults
    }

    /// Reports columns that LLaMA-Factory would look up in a Parquet file in vain.
    fn columns(&self, set: &Entry, path: &str) -> Option<(Severity, String)> {
        let footer = match columns::footer(self.config.repository, path)? {
            Ok(footer) => footer,
            Err(Fault { severity, what, .. }) => {
                return Some((severity, format!("names the file {path}, which {what}")));
            }
        };
        let given = get(&set.node, "columns").map(|entry| &entry.node);
        let named = |key: &str, usual: Option<&'static str>| match given {
            Some(given) => get(given, key).and_then(|entry| entry.node.text()).map(str::to_owned),
            None => usual.map(str::to_owned),
        };
        let formatting = get(&set.node, "formatting").and_then(|entry| entry.node.text()).unwrap_or("alpaca");
        let is_chat = formatting != "alpaca";
        let ranking = get(&set.node, "ranking").is_some_and(|entry| entry.node.is_true());
        let mut wanted: Vec<Option<String>> =
            ["images", "videos", "audios", "kto_tag"].iter().map(|key| named(key, None)).collect();
        if formatting != "openai" {
            wanted.extend(["system", "tools"].map(|key| named(key, None)));
        }
        if is_chat {
            wanted.push(named("messages", Some("conversations")));
        } else {
            wanted.extend([
                named("prompt", Some("instruction")),
                named("query", Some("input")),
                named("history", None),
            ]);
        }
        if ranking {
            wanted.extend([named("chosen", None), named("rejected", None)]);
        } else if !is_chat {
            wanted.push(named("response", Some("output")));
        }
        let lacking = columns::lacking(&footer, wanted.iter().flatten().map(String::as_str))?;
        let advice = if given.is_some() { "correct the names under columns" } else { "name them under columns" };
        Some((Severity::Error, format!("names {path}, which lacks {lacking}: LLaMA-Factory stops, so {advice}")))
    }

    /// Returns the file of a data set, as it is named and as its path from the root. Hubs and scripts come first.
    fn file<'s>(&self, set: &'s Entry) -> Option<(&'s str, String)> {
        let elsewhere = ["hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"];
        let name = get(&set.node, "file_name").filter(|_| elsewhere.iter().all(|key| get(&set.node, key).is_none()))?;
        let name = name.node.text()?;
        let folder = self.info.strip_suffix("/dataset_info.json")?;
        Some((name, normal(&format!("{folder}/{name}"))?))
    }
}

fn part<'a>(set: &'a Entry, key: &str) -> &'a Node {
    const NOTHING: &Node =
        &Node { value: crate::tree::Value::Null, at: crate::yaml::Mark { file: 0, line: 0, column: 0 } };
    get(&set.node, key).map_or(NOTHING, |entry| &entry.node)
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|entry| entry.key == key)
}

/// Returns the known key that an unknown one stands for: a part of it, or at most two letters away.
fn resembled(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let is_part = |word: &&str| key.len() >= 4 && (word.starts_with(key) || key.starts_with(word));
    let near = known.iter().map(|word| (strsim::osa_distance(key, word), *word)).min();
    let near = near.filter(|(distance, _)| *distance <= 2).map(|(_, word)| word);
    near.or_else(|| known.iter().copied().find(is_part))
}
