//! The rule for modules that learned nothing. It names them by their place in the model, and what the place points to.

use std::collections::{BTreeMap, BTreeSet};

use super::{listed, modules, problem};
use crate::domain::{Problem, Severity};
use crate::weights::{Module, Report};

/// The largest resolution at which the middle of a U-Net of Stable Diffusion has a single position.
const SMALL: u64 = 64;
/// Number of last layers of a text encoder that are skipped in practice.
const SKIPPED: usize = 2;
/// Maximum number of places in a message.
const MOST_PLACES: usize = 12;
/// Parts of the names of self-attention that has nothing to choose from with a single position.
const CHOOSING: [&str; 4] = ["attn1_to_q", "attn1_to_k", "attn1.to_q", "attn1.to_k"];

pub(super) fn untrained(report: &Report) -> Vec<Problem> {
    let zero: Vec<&Module> = report.modules.iter().filter(|module| module.is_zero).collect();
    if zero.is_empty() {
        return Vec::new();
    }
    if zero.len() == report.modules.len() {
        let message = format!(
            "nothing was learned: in {} a factor of the change is all zero, as before the first step; check that the \
             training made steps, and that the learning rate is above zero",
            modules(zero.len())
        );
        return vec![problem(Severity::Error, "weights-untrained", message, Some(&zero[0].name))];
    }
    let (middle, rest): (Vec<_>, Vec<_>) = zero.into_iter().partition(|module| is_in_small_middle(report, module));
    let unused = last_blocks(report);
    let (last, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|module| is_unused(module, &unused));
    let whole = format!("of {}", modules(report.modules.len()));
    let tell = |found: &[&Module], severity, reason: &str| {
        let first = found.first()?;
        let message = format!(
            "{} {whole} learned nothing, a factor is all zero: {}; {reason}",
            found.len(),
            places(report, found)
        );
        Some(problem(severity, "weights-untrained", message, Some(&first.name)))
    };
    let reason = pointer(report, &rest);
    [
        tell(&rest, Severity::Warning, reason),
        tell(
            &middle,
            Severity::Info,
            "this is normal at a small resolution, where the middle of the U-Net has a single position",
        ),
        tell(
            &last,
            Severity::Info,
            "this is normal where a model does not use what its last block gives, as with clip_skip or in SDXL and SD3",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A block: the part of the model and the block in it.
type Key<'a> = (&'static str, &'a str);

fn key(module: &Module) -> Key<'_> {
    (module.part, &module.block)
}

fn is_in_small_middle(report: &Report, module: &Module) -> bool {
    let is_middle = ["mid_block", "middle_block"].iter().any(|name| module.block.starts_with(name));
    let is_choosing = CHOOSING.iter().any(|name| module.name.contains(name));
    is_middle && is_choosing && resolution(report).is_none_or(|side| side <= SMALL)
}

/// Returns the longer side of the images of the training, if the metadata have it.
fn resolution(report: &Report) -> Option<u64> {
    let text = ["ss_resolution", "modelspec.resolution"].iter().find_map(|key| report.metadata.get(*key))?;
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|side| side.parse().ok()).max()
}

/// The last blocks of a part, by the part and the stem of their names.
#[derive(Debug, Default)]
struct Last<'a> {
    /// Blocks of text encoders that learned nothing, while all before them learned something.
    skipped: BTreeSet<Key<'a>>,
    /// The very last block of each stem.
    ends: BTreeSet<Key<'a>>,
}

fn last_blocks(report: &Report) -> Last<'_> {
    let mut stems: BTreeMap<Key<'_>, Vec<(u64, Key<'_>, bool)>> = BTreeMap::new();
    let complete = complete(report.modules.iter().filter(|module| module.is_zero), report, key);
    for block in report.modules.iter().map(key).collect::<BTreeSet<_>>() {
        if let Some((stem, number)) = numbered(block.1) {
            stems.entry((block.0, stem)).or_default().push((number, block, complete.contains(&block)));
        }
    }
    let mut last = Last::default();
    for ((part, _), mut blocks) in stems {
        blocks.sort_unstable_by_key(|(number, ..)| *number);
        last.ends.extend(blocks.last().map(|(_, block, _)| *block));
        let count = blocks.iter().rev().take_while(|(.., is_zero)| *is_zero).count();
        let all = blocks.iter().filter(|(.., is_zero)| *is_zero).count();
        if part.starts_with("text encoder") && count == all && count <= SKIPPED && count < blocks.len() {
            last.skipped.extend(blocks.iter().rev().take(count).map(|(_, block, _)| *block));
        }
    }
    last
}

/// Returns true if a model is known not to use what a module computes. In the last block of SD3, the queries of the text
/// are such.
fn is_unused(module: &Module, last: &Last<'_>) -> bool {
    last.skipped.contains(&key(module)) || (module.name.ends_with(".add_q_proj") && last.ends.contains(&key(module)))
}

/// Returns the classes of which all modules are among those found.
fn complete<'a, K: Ord>(
    found: impl Iterator<Item = &'a Module>,
    report: &'a Report,
    class: impl Fn(&'a Module) -> K,
) -> BTreeSet<K> {
    let mut counts: BTreeMap<K, (usize, usize)> = BTreeMap::new();
    report.modules.iter().for_each(|module| counts.entry(class(module)).or_default().0 += 1);
    found.for_each(|module| counts.entry(class(module)).or_default().1 += 1);
    counts.into_iter().filter(|(_, (all, found))| all == found).map(|(class, _)| class).collect()
}

/// Splits the name of a block into its stem and its number: `down_blocks_` and 2.
fn numbered(block: &str) -> Option<(&str, u64)> {
    let stem = block.trim_end_matches(|c: char| c.is_ascii_digit());
    Some((stem, block[stem.len()..].parse().ok()?))
}

/// Describes where some modules are: whole parts, whole blocks, modules of one kind, and the rest by name.
fn places(report: &Report, found: &[&Module]) -> String {
    let all = || found.iter().copied();
    let parts = complete(all(), report, |module| module.part);
    let blocks = complete(all(), report, key);
    let kinds = complete(all(), report, |module| (module.part, kind(module)));
    let mut told: Vec<String> = parts.iter().map(|part| format!("the whole {part}")).collect();
    let mut numbers: BTreeMap<Key<'_>, Vec<u64>> = BTreeMap::new();
    for (part, block) in blocks.iter().filter(|(part, _)| !parts.contains(part)) {
        match numbered(block) {
            Some((stem, number)) => numbers.entry((*part, stem)).or_default().push(number),
            None => told.push(of_part(part, block)),
        }
    }
    let ranged = |((part, stem), numbers)| of_part(part, &format!("{stem}{}", ranges(numbers)));
    told.extend(numbers.into_iter().map(ranged));
    let rest = || all().filter(|module| !parts.contains(module.part) && !blocks.contains(&key(module)));
    let mut counts: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    rest().for_each(|module| *counts.entry((module.part, kind(module))).or_default() += 1);
    counts.retain(|kind, count| *count > 1 && kinds.contains(kind));
    told.extend(counts.keys().map(|(part, kind)| format!("each {kind} of {part}")));
    let single = rest().filter(|module| !counts.contains_key(&(module.part, kind(module))));
    let names: Vec<&str> = single.map(|module| module.name.as_str()).collect();
    told.extend((!names.is_empty()).then(|| listed(&names)));
    let more = told.len().saturating_sub(MOST_PLACES);
    told.truncate(MOST_PLACES);
    told.join(", ") + &if more > 0 { format!(" and {more} more places") } else { String::new() }
}

/// Formats a place in a part of the model. A part that is only called model says nothing.
fn of_part(part: &str, place: &str) -> String {
    if part == "model" { place.to_owned() } else { format!("{part} {place}") }
}

/// Returns the kind of a module: its name behind its last number.
fn kind(module: &Module) -> &str {
    let is_between = |c: char| c == '.' || c == '_';
    let at = module.name.rmatch_indices(is_between).find(|(at, _)| {
        let before = module.name[..*at].trim_end_matches(|c: char| c.is_ascii_digit());
        before.len() < *at && before.ends_with(is_between)
    });
    at.map_or(module.name.as_str(), |(at, _)| &module.name[at + 1..])
}

/// Formats numbers as `0-2, 5`.
fn ranges(mut numbers: Vec<u64>) -> String {
    numbers.sort_unstable();
    let groups = numbers.chunk_by(|a, b| b - a == 1).map(|group| match group {
        [first, .., last] => format!("{first}-{last}"),
        _ => group[0].to_string(),
    });
    groups.collect::<Vec<_>>().join(", ")
}

/// Returns what the places of some modules point to.
fn pointer(report: &Report, found: &[&Module]) -> &'static str {
    let parts = complete(found.iter().copied(), report, |module| module.part);
    let blocks = complete(found.iter().copied(), report, key);
    if found.iter().all(|module| module.part.starts_with("text encoder") && parts.contains(module.part)) {
        return "their learning rate was 0, or the training left the text encoder out: then save without it";
    }
    if found.iter().all(|module| blocks.contains(&key(module))) {
        return "such whole blocks got no gradient: gradient checkpointing without gradients at its input does this, and \
                frozen blocks or a learning rate of 0 for them do, so train a few steps without gradient_checkpointing \
                to compare";
    }
    "these modules got no gradient: check whether the model uses them in training, and the options that freeze modules"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::weights::{inspect, tests::file};

    /// Returns severities and messages for a file with these modules, of which some are zero.
    fn told(names: &[String], is_zero: impl Fn(&str) -> bool, resolution: Option<&str>) -> Vec<(Severity, String)> {
        let tensors: Vec<(String, [u64; 2], f32)> = names
            .iter()
            .flat_map(|name| {
                let up = if is_zero(name) { 0.0 } else { 1.0 };
                [(format!("{name}.lora_A.weight"), [1, 1], 1.0), (format!("{name}.lora_B.weight"), [1, 1], up)]
            })
            .collect();
        let tensors: Vec<(&str, &[u64], &[f32])> = tensors
            .iter()
            .map(|(name, shape, number)| (name.as_str(), shape.as_slice(), std::slice::from_ref(number)))
            .collect();
        let metadata = resolution.map_or(json!({}), |side| json!({"ss_resolution": side}));
        let report = inspect(file(&tensors, &metadata).as_slice()).expect("weights");
        untrained(&report).into_iter().map(|problem| (problem.severity, problem.message)).collect()
    }

    fn kohya() -> Vec<String> {
        let mut names = vec!["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q".to_owned()];
        for n in 0..3 {
            for kind in ["attn1_to_q", "attn2_to_k"] {
                names.push(format!("lora_unet_down_blocks_{n}_attentions_0_transformer_blocks_0_{kind}"));
                names.push(format!("lora_unet_up_blocks_{n}_attentions_0_transformer_blocks_0_{kind}"));
            }
            names.push(format!("lora_te_text_model_encoder_layers_{n}_mlp_fc1"));
        }
        names
    }

    #[test]
    fn modules_without_training_are_told_by_place() {
        let layers = |part: &str| {
            (0..6).flat_map(|n| ["q", "v"].map(|k| format!("{part}.{n}.attn.{k}_proj"))).collect::<Vec<_>>()
        };
        let language = layers("base_model.model.model.layers");
        let first = |name: &str| name.contains("layers.0.") || name.contains("layers.1.") || name.contains("layers.4.");
        let part = |name: &str| name.starts_with("lora_te");
        let several = |name: &str| {
            name.contains("down_blocks_1")
                || name.contains("attn2_to_k")
                || name.contains("te_text_model_encoder_layers_0")
        };
        for (names, found) in [
            (
                told(&kohya(), |name| name.contains("down_blocks"), None),
                "6 of 16 modules learned nothing, a factor is all zero: U-Net down_blocks_0-2; such whole blocks",
            ),
            (told(&language, first, None), ": model.layers.0-1, 4; such whole blocks"),
            (told(&kohya(), part, None), ": the whole text encoder; their learning rate"),
            (told(&kohya(), |name| name.ends_with("attn2_to_k"), None), ": each attn2_to_k of U-Net; these modules"),
            (
                told(&language, |name| name.ends_with("3.attn.v_proj"), None),
                ": base_model.model.model.layers.3.attn.v_proj; these",
            ),
            (
                told(&kohya(), several, None),
                ": U-Net down_blocks_1, text encoder text_model_encoder_layers_0, each attn2_to_k of U-Net; these",
            ),
        ] {
            assert!(
                names.len() == 1 && names[0].0 == Severity::Warning && names[0].1.contains(found),
                "{found}: {names:?}"
            );
        }
    }

    #[test]
    fn what_is_normal_is_no_warning() {
        let middle = |resolution| told(&kohya(), |name| name.contains("mid_block"), resolution)[0].0;
        assert_eq!(
            [middle(None), middle(Some("(64, 64)")), middle(Some("(512, 512)"))],
            [Severity::Info, Severity::Info, Severity::Warning]
        );
        let last = told(&kohya(), |name| name.contains("encoder_layers_2"), None);
        assert!(last[0].0 == Severity::Info && last[0].1.contains("clip_skip"), "{last:?}");
        let blocks = |n| format!("transformer.transformer_blocks.{n}.attn.add_q_proj");
        let queries: Vec<String> =
            (0..4).map(blocks).chain((0..4).map(|n| blocks(n).replace("add_q", "add_k"))).collect();
        assert_eq!(told(&queries, |name| name.ends_with("3.attn.add_q_proj"), None)[0].0, Severity::Info);
        assert_eq!(told(&queries, |name| name.ends_with("2.attn.add_q_proj"), None)[0].0, Severity::Warning);
        let first = told(&kohya(), |name| name.contains("encoder_layers_0"), None);
        assert_eq!(first[0].0, Severity::Warning);
        assert_eq!(told(&kohya(), |_| true, None)[0].0, Severity::Error);
        assert_eq!(told(&kohya(), |_| false, None), []);
    }

    #[test]
    fn numbers_are_told_as_ranges() {
        assert_eq!(ranges(vec![2, 0, 1, 5, 8, 7]), "0-2, 5, 7-8");
        assert_eq!(numbered("down_blocks_12"), Some(("down_blocks_", 12)));
        assert_eq!(numbered("mid_block"), None);
    }
}
