//! The data sets of sd-scripts: keys that the kind of a subset excludes, and limits of buckets against the resolution.
//! Values are inherited: a subset's from its data set, and both from `[general]`.

use super::{Config, Map, finding};
use crate::domain::{Rule, Severity};
use crate::tree::{Entry, Node, Value};
use crate::{Dialect, Finding};

/// Keys of subsets with images and captions, which the other kinds of subset refuse.
const REFUSED: [(&str, &[&str]); 2] = [
    ("metadata_file", &["caption_extension", "class_tokens", "cache_info", "is_reg"]),
    ("conditioning_data_dir", &["class_tokens", "is_reg"]),
];

/// Finds keys that the kind of a subset excludes, and data sets with two kinds of subsets.
pub(super) fn subset_kinds(config: &Config<'_>) -> Vec<Finding> {
    if config.dialect != Dialect::SdScriptsDataset {
        return Vec::new();
    }
    let sets =
        config.root.entries().iter().filter(|entry| entry.key == "datasets").flat_map(|entry| entry.node.items());
    sets.flat_map(of_data_set).collect()
}

fn of_data_set(set: &Node) -> Vec<Finding> {
    let subsets = get(set, "subsets").map_or(&[][..], |entry| entry.node.items());
    let mut findings = Vec::new();
    for (telling, refused) in REFUSED {
        let of_kind: Vec<&Node> = subsets.iter().filter(|subset| get(subset, telling).is_some()).collect();
        if of_kind.is_empty() {
            continue;
        }
        if telling == "metadata_file" && of_kind.len() < subsets.len() {
            let other = subsets.iter().find(|subset| get(subset, telling).is_none()).map_or(set.at, |subset| subset.at);
            let message = "sd-scripts stops at a data set that has subsets with metadata_file and without it: write a \
                           [[datasets]] for each kind"
                .to_owned();
            findings.push(finding(
                Rule::ConflictingKeys,
                Severity::Error,
                message,
                other,
                format!("datasets.subsets.{telling}"),
            ));
        }
        // A data set with conditioning images is of that kind only if all of its subsets are.
        let is_whole = of_kind.len() == subsets.len();
        let places = of_kind.into_iter().map(|subset| (subset, "datasets.subsets"));
        for (map, path) in places.chain(is_whole.then_some((set, "datasets"))).filter(|_| is_whole) {
            for entry in refused.iter().filter_map(|key| get(map, key)) {
                let message = format!("sd-scripts stops at {} beside {telling}: remove it", entry.key);
                let key = format!("{path}.{}", entry.key);
                findings.push(finding(Rule::ConflictingKeys, Severity::Error, message, entry.at, key));
            }
        }
    }
    findings
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|entry| entry.key == key)
}

/// Finds limits of buckets that do not fit the resolution.
pub(super) fn bucket_limits(config: &Config<'_>) -> Vec<Finding> {
    match config.dialect {
        Dialect::SdScripts => config.maps_at("").filter_map(|map| limit(map, None)).collect(),
        Dialect::SdScriptsDataset => {
            let general = config.maps_at("general").next();
            config.maps_at("datasets").filter_map(|map| limit(map, general)).collect()
        }
        _ => Vec::new(),
    }
}

fn limit<'a>(map: &Map<'a>, general: Option<&Map<'a>>) -> Option<Finding> {
    let get = |key: &str| map.get(key).or_else(|| general?.get(key));
    let (resolution, smallest, largest) =
        get("resolution").and_then(|entry| Some((entry, sides(&entry.node)?))).map(|(entry, sides)| {
            (entry, sides.iter().copied().fold(f64::MAX, f64::min), sides.iter().copied().fold(0.0, f64::max))
        })?;
    if !get("enable_bucket").is_some_and(|entry| entry.node.is_true()) || smallest < 1.0 {
        return None;
    }
    let number = |key: &str| get(key).and_then(|entry| Some((entry, *sides(&entry.node)?.first()?)));
    let (low, high) = (number("min_bucket_reso"), number("max_bucket_reso"));
    let tell = |other: Option<&Entry>, name: &str, limit: f64, side: f64, words: &str| {
        let entries = [Some(resolution), other];
        // An entry of the data set itself is nearer to what its author wrote last.
        let last = entries.into_iter().flatten().max_by_key(|entry| entry.at)?;
        let message =
            format!("sd-scripts stops, because {name} is {limit}, {words} than the resolution of {side}: change one");
        // A limit that is not written may be given on the command line.
        let severity = if other.is_some() { Severity::Error } else { Severity::Warning };
        Some(finding(Rule::ConflictingKeys, severity, message, last.at, map.path_of(last.name())))
    };
    match (low, high) {
        (Some((entry, low)), _) if low > smallest => tell(Some(entry), "min_bucket_reso", low, smallest, "more"),
        (_, Some((entry, high))) if high < largest => tell(Some(entry), "max_bucket_reso", high, largest, "less"),
        (None, _) if smallest < 256.0 => tell(None, "min_bucket_reso", 256.0, smallest, "more"),
        (_, None) if largest > 1024.0 => tell(None, "max_bucket_reso", 1024.0, largest, "less"),
        _ => None,
    }
}

/// Returns the sides of a resolution: a number, a list of numbers, or a text such as `512,512`.
pub(super) fn sides(node: &Node) -> Option<Vec<f64>> {
    let number = |node: &Node| match &node.value {
        Value::Number { value, .. } => Some(*value),
        _ => None,
    };
    match &node.value {
        Value::Number { value, .. } => Some(vec![*value]),
        Value::Text { text, .. } => text.split(',').map(|side| side.trim().parse().ok()).collect(),
        Value::List(items) if !items.is_empty() => items.iter().map(number).collect(),
        _ => None,
    }
}

/// Finds texts of sd-scripts that must hold numbers in a certain form.
pub(super) fn forms(config: &Config<'_>) -> Vec<Finding> {
    match config.dialect {
        Dialect::SdScripts => {
            let of_map = |map| [resolution(map), crop_range(map)].into_iter().flatten().chain(pairs(map));
            config.maps_at("").flat_map(of_map).collect()
        }
        Dialect::SdScriptsDataset => {
            let maps = config.maps.iter().flat_map(|map| ["resolution", "face_crop_aug_range"].map(|key| (map, key)));
            maps.filter_map(|(map, key)| two_numbers(map, key)).collect()
        }
        _ => Vec::new(),
    }
}

/// Finds items of arguments that are not of the form `key=value`.
fn pairs(map: &Map<'_>) -> Vec<Finding> {
    let keys = ["network_args", "optimizer_args", "lr_scheduler_args"].iter().filter_map(|key| map.get(key));
    let wrong = keys.filter_map(|entry| {
        let item = entry.node.items().iter().find(|item| !item.text().is_some_and(|text| text.contains('=')))?;
        Some((entry, item))
    });
    wrong
        .map(|(entry, item)| {
            let message = format!(
                "sd-scripts stops at an item of {} without a `=`: write texts such as \"conv_dim=4\"",
                entry.key
            );
            finding(Rule::Refused, Severity::Error, message, item.at, map.path_of(&entry.key))
        })
        .collect()
}

/// Reports a list of a data set that is not two numbers: whole ones for a resolution, ones with a dot for a range.
fn two_numbers(map: &Map<'_>, key: &str) -> Option<Finding> {
    let entry = map.get(key).filter(|entry| !entry.node.items().is_empty())?;
    let wants_whole = key == "resolution";
    let fits = |item: &Node| matches!(item.value, Value::Number { whole, .. } if whole == wants_whole);
    let items = entry.node.items();
    let words = if wants_whole { "whole numbers" } else { "numbers with a dot" };
    let message = format!("sd-scripts stops at this {key}: write two {words} in a list");
    (items.len() != 2 || !items.iter().all(fits))
        .then(|| finding(Rule::Refused, Severity::Error, message, entry.node.at, map.path_of(key)))
}

fn resolution(map: &Map<'_>) -> Option<Finding> {
    let entry = map.get("resolution")?;
    let text = entry.node.text().filter(|text| !text.is_empty() && !text.contains(['$', '{', '<']))?;
    let sides: Option<Vec<u32>> = text.split(',').map(|side| side.trim().parse().ok()).collect();
    let is_right = sides.is_some_and(|sides| sides.len() <= 2 && sides.iter().all(|side| *side > 0));
    let message = "sd-scripts stops at this resolution: write one or two whole numbers, such as \"512,768\"".to_owned();
    (!is_right).then(|| finding(Rule::Refused, Severity::Error, message, entry.node.at, map.path_of("resolution")))
}

fn crop_range(map: &Map<'_>) -> Option<Finding> {
    let entry = map.get("face_crop_aug_range")?;
    let text = entry.node.text().filter(|text| !text.is_empty())?;
    let ends: Option<Vec<f64>> = text.split(',').map(|end| end.trim().parse().ok()).collect();
    let is_right = ends.is_some_and(|ends| matches!(ends[..], [low, high] if low <= high));
    let message =
        "sd-scripts stops at this face_crop_aug_range: write two numbers, the smaller one first, as in \"2.0,4.0\""
            .to_owned();
    (!is_right)
        .then(|| finding(Rule::Refused, Severity::Error, message, entry.node.at, map.path_of("face_crop_aug_range")))
}
