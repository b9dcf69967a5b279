//! The data sets of musubi-tuner. Each holds images or videos, from a folder with captions or from a file with one JSON
//! object per line.

use super::folder::Folder;
use super::look::{Look, MUSUBI, MUSUBI_VIDEOS};
use super::{Named, listed};
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::repository::normal;
use crate::rules::{Config, Map, finding};
use crate::tree::Entry;

/// The keys that name the data of a set, with the way in which a folder is looked through.
const SOURCES: [(&str, Option<&Look>); 4] = [
    ("image_directory", Some(&MUSUBI)),
    ("video_directory", Some(&MUSUBI_VIDEOS)),
    ("image_jsonl_file", None),
    ("video_jsonl_file", None),
];

/// Checks the data sets one by one, and their caches against each other.
pub(super) fn data_sets(config: &Config<'_>) -> Vec<Finding> {
    let sets: Vec<&Map<'_>> = config.maps_at("datasets").collect();
    let mut findings: Vec<Finding> = sets.iter().flat_map(|set| of_set(config, set)).collect();
    findings.extend(shared_caches(&sets));
    findings
}

fn of_set(config: &Config<'_>, set: &Map<'_>) -> Vec<Finding> {
    let Some((key, look)) = SOURCES.iter().find(|(key, _)| set.gives(key)) else {
        let keys = SOURCES.map(|(key, _)| key);
        // A misspelled key is reported by the spelling rule.
        if keys.iter().any(|key| crate::rules::spelling::is_misspelled(config, set, key)) {
            return Vec::new();
        }
        let message = format!("a data set names no data, at which musubi-tuner stops: add one of {}", keys.join(", "));
        return vec![finding(Rule::MissingRequired, Severity::Error, message, set.at, set.path_of(keys[0]))];
    };
    match (*look, set.get(key)) {
        (Some(look), Some(entry)) => of_folder(config, set, key, look, entry),
        (None, Some(entry)) => lines(config, set, entry).into_iter().collect(),
        (_, None) => Vec::new(),
    }
}

/// Checks a folder. It needs the extension of the captions, which is inherited from `[general]`.
fn of_folder(
    config: &Config<'_>,
    set: &Map<'_>,
    key: &'static str,
    look: &'static Look,
    entry: &Entry,
) -> Vec<Finding> {
    let general = config.maps_at("general").next();
    let extension = set.text("caption_extension").or_else(|| general?.text("caption_extension"));
    let Some(extension) = extension else {
        let message = format!("caption_extension is missing: musubi-tuner stops at the captions of {key} without it");
        return vec![finding(
            Rule::MissingRequired,
            Severity::Error,
            message,
            set.at,
            set.path_of("caption_extension"),
        )];
    };
    let mut findings = Vec::new();
    // With several targets, only the first of them has a caption.
    if !set.is_true("multiple_target") {
        findings = Named { map: set, key, extension, all: true, sizes: None }.check(config, look);
    }
    let folder = Folder::named(config, entry, set.path_of(key), look);
    findings.extend(folder.and_then(|folder| without_control(config, set, &folder)));
    findings
}

/// Finds images or videos without one of the same name in the `control_directory`.
fn without_control(config: &Config<'_>, set: &Map<'_>, folder: &Folder<'_>) -> Option<Finding> {
    let entry = set.get("control_directory")?;
    let path = normal(entry.node.text()?)?;
    let controls = config.repository.files_in(&path);
    let names: Vec<&str> = controls.iter().map(|file| &file[path.len() + 1..]).collect();
    let stem = |image: &&str| {
        let name = image.rsplit('/').next().unwrap_or(image);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
    };
    let has_control = |image: &&str| {
        let stem = stem(image);
        names.iter().any(|name| name.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with(['.', '_', '/'])))
    };
    let bare: Vec<&str> = folder.images.iter().copied().filter(|image| !has_control(image)).collect();
    let bare: Vec<&str> = bare.iter().map(|image| image.rsplit('/').next().unwrap_or(image)).collect();
    if names.is_empty() || bare.is_empty() {
        return None;
    }
    let message =
        format!("{path} has no file for {}: musubi-tuner stops, so add one with the same name", listed(&bare));
    Some(finding(Rule::DataCaptions, Severity::Error, message, entry.node.at, set.path_of("control_directory")))
}

/// Checks the lines of a table. Its paths are relative to the folder in which the trainer starts.
fn lines(config: &Config<'_>, set: &Map<'_>, entry: &Entry) -> Option<Finding> {
    let path = normal(entry.node.text()?)?;
    let text = String::from_utf8_lossy(config.repository.text(&path)?);
    let noun = if entry.name().starts_with("image") { "image_path" } else { "video_path" };
    let tell = |severity, message| {
        Some(finding(Rule::DataColumns, severity, message, entry.node.at, set.path_of(entry.name())))
    };
    let mut missing = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let row: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(line).ok();
        let Some(row) = row else {
            let message =
                format!("line {} of {path} is not a JSON object, at which musubi-tuner stops: correct it", index + 1);
            return tell(Severity::Error, message);
        };
        let file = row.get(noun).or_else(|| row.get("image_path_0"));
        let absent = if file.is_none() { Some(noun) } else { (!row.contains_key("caption")).then_some("caption") };
        if let Some(absent) = absent {
            let message = format!("line {} of {path} has no {absent}, at which musubi-tuner stops: add it", index + 1);
            return tell(Severity::Error, message);
        }
        let file = file.and_then(|file| file.as_str()).and_then(normal);
        let folder = file.as_deref().and_then(|file| file.rsplit_once('/')).map(|(folder, _)| folder.to_owned());
        // Data whose folder is not in the repository is brought by the job.
        if folder.is_some_and(|folder| config.repository.has(&folder)) {
            missing.extend(file.filter(|file| !config.repository.has(file)));
        }
    }
    let names: Vec<&str> = missing.iter().map(String::as_str).collect();
    let message = format!("{path} names files that are not there: {}; add them, or remove their lines", listed(&names));
    if names.is_empty() { None } else { tell(Severity::Warning, message) }
}

/// Finds data sets with the same cache. Without a `cache_directory`, the folder of the data is the cache.
fn shared_caches(sets: &[&Map<'_>]) -> Vec<Finding> {
    let keys = ["cache_directory", "image_directory", "video_directory"];
    let caches = sets.iter().filter_map(|set| keys.iter().find_map(|key| set.get(key)));
    let mut seen: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for (entry, name) in caches.filter_map(|entry| Some((entry, entry.node.text()?))) {
        if seen.contains(&name) {
            let message = format!(
                "two data sets have the cache {name}, at which musubi-tuner stops: give each its own cache_directory"
            );
            let key = format!("datasets.{}", entry.name());
            findings.push(finding(Rule::ConflictingKeys, Severity::Error, message, entry.node.at, key));
        }
        seen.push(name);
    }
    findings
}
