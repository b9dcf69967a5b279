//! The rules for weights, one function each, and the table of them.

mod adapter;
mod places;
mod wrappers;

pub use adapter::ADAPTER_CONFIG;

use std::collections::HashSet;

use super::{Family, Method, Module, Private, Report, shortened};
use crate::domain::{Problem, Severity};

type Rule = fn(&Report) -> Vec<Problem>;

const RULES: [Rule; 11] = [
    nan,
    empty,
    unpaired,
    rank_mismatch,
    places::untrained,
    wrappers::wrapped,
    adapter::of_metadata,
    unknown,
    outlier,
    alpha,
    private_metadata,
];

/// A change stands out when it is this many times larger than the median.
const OUTLYING: f64 = 30.0;
/// Maximum number of names in a message.
const NAMED: usize = 3;

/// Returns all problems, errors first.
pub(super) fn of(report: &Report) -> Vec<Problem> {
    let mut problems: Vec<Problem> = RULES.iter().flat_map(|rule| rule(report)).collect();
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    problems
}

pub(super) fn problem(severity: Severity, rule: &str, message: String, key: Option<&str>) -> Problem {
    let key = key.map(|key| shortened(key, 200));
    Problem { severity, rule: rule.to_owned(), message, file: None, line: None, column: None, key, fix: None }
}

/// Formats names as `a, b, c and 4 more`.
fn listed(names: &[&str]) -> String {
    let named: Vec<String> = names.iter().take(NAMED).map(|name| shortened(name, 120)).collect();
    let more = names.len().saturating_sub(NAMED);
    named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Formats a count as `1 module` or `2 modules`.
fn modules(count: usize) -> String {
    format!("{count} module{}", if count == 1 { "" } else { "s" })
}

/// Returns one problem for all modules for which `is_so` is true, if there are any.
fn of_modules(
    report: &Report,
    rule: &str,
    severity: Severity,
    is_so: impl Fn(&Module) -> bool,
    tell: impl FnOnce(&[&Module], String) -> String,
) -> Vec<Problem> {
    let found: Vec<&Module> = report.modules.iter().filter(|module| is_so(module)).collect();
    let names: Vec<&str> = found.iter().map(|module| module.name.as_str()).collect();
    let Some(first) = names.first() else { return Vec::new() };
    vec![problem(severity, rule, tell(&found, listed(&names)), Some(first))]
}

fn nan(report: &Report) -> Vec<Problem> {
    let stats = |tensor: &super::TensorReport| tensor.stats.filter(|stats| !stats.is_finite());
    let unused = unused_alphas(report);
    let is_unused = |tensor: &super::TensorReport| unused.contains(&tensor.name);
    let broken = || report.tensors.iter().filter(|tensor| stats(tensor).is_some() && !is_unused(tensor));
    let names: Vec<&str> = broken().map(|tensor| tensor.name.as_str()).collect();
    let Some(first) = names.first() else { return Vec::new() };
    let (nan, infinite) = broken().filter_map(stats).fold((0, 0), |(a, b), s| (a + s.nan, b + s.infinite));
    let message = format!(
        "{} of {} tensors contain NaN or infinite values ({nan} NaN, {infinite} infinite): {}; the training diverged \
         or overflowed, so lower the learning rate, or train and save in bf16 or f32 instead of f16",
        names.len(),
        report.tensors.len(),
        listed(&names)
    );
    vec![problem(Severity::Error, "weights-nan", message, Some(first))]
}

/// Returns the names of the alphas of LoKr whose factors are both whole. Loaders do not use them. ai-toolkit writes
/// 9999999999 there, which is infinite as f16.
fn unused_alphas(report: &Report) -> HashSet<String> {
    let has_whole_factors = |module: &&Module| {
        module.method == Method::LoKr
            && module.missing.is_empty()
            && module.rank.is_none()
            && module.disagreeing.is_none()
            && module.alpha == Some(f32::INFINITY)
    };
    report.modules.iter().filter(has_whole_factors).map(|module| format!("{}.alpha", module.name)).collect()
}

fn empty(report: &Report) -> Vec<Problem> {
    let names: Vec<&str> =
        report.tensors.iter().filter(|tensor| tensor.shape.contains(&0)).map(|tensor| tensor.name.as_str()).collect();
    let Some(first) = names.first() else { return Vec::new() };
    let message = format!(
        "{} of {} tensors have no numbers: {}; DeepSpeed's ZeRO-3 and FSDP save such files where the parts of the weights \
         were not gathered, so save with stage3_gather_16bit_weights_on_model_save or a full state dict",
        names.len(),
        report.tensors.len(),
        listed(&names)
    );
    vec![problem(Severity::Error, "weights-empty", message, Some(first))]
}

fn unpaired(report: &Report) -> Vec<Problem> {
    let is_so = |module: &Module| !module.missing.is_empty();
    of_modules(report, "weights-unpaired", Severity::Error, is_so, |found, names| {
        let mut missing: Vec<&str> = found.iter().flat_map(|module| module.missing.iter().copied()).collect();
        missing.sort_unstable();
        missing.dedup();
        let missing = missing.join(" or ");
        format!(
            "{} of {} lack their {missing} tensor: {names}; the save or a merge dropped them, so save again",
            found.len(),
            modules(report.modules.len())
        )
    })
}

fn rank_mismatch(report: &Report) -> Vec<Problem> {
    let is_so = |module: &Module| module.disagreeing.is_some();
    let mut problems = of_modules(report, "weights-rank-mismatch", Severity::Error, is_so, |found, names| {
        let example = found.first().and_then(|module| module.disagreeing).unwrap_or_default();
        format!(
            "up and down disagree on the rank in {} ({} and {}): {names}; such a file cannot be loaded, so save it again",
            modules(found.len()),
            example.0,
            example.1
        )
    });
    // With LyCORIS and block-wise ranks a difference is legitimate; with plain LoRA it is not.
    let wanted = report.metadata.get("ss_network_dim").and_then(|dim| dim.parse::<u64>().ok());
    let is_plain = report.metadata.get("ss_network_module").is_some_and(|module| module.starts_with("networks.lora"));
    let has_own_ranks = report.metadata.get("ss_network_args").is_some_and(|args| args.contains("dim"));
    let has = |rank: u64| report.modules.iter().any(|module| module.rank == Some(rank));
    if let Some(wanted) = wanted
        && is_plain
        && !has_own_ranks
        && !has(wanted)
        && report.modules.iter().any(|module| module.rank.is_some())
    {
        let message = format!(
            "no module has the rank {wanted} of ss_network_dim in the metadata: the file was resized, or its \
             metadata belong to another file"
        );
        problems.push(problem(Severity::Warning, "weights-rank-mismatch", message, Some("ss_network_dim")));
    }
    problems.extend(other_alpha(report).filter(|_| is_plain && !has_own_ranks));
    problems
}

/// Returns a problem if no module has the alpha that the metadata of sd-scripts have.
fn other_alpha(report: &Report) -> Option<Problem> {
    let wanted: f32 = report.metadata.get("ss_network_alpha")?.parse().ok()?;
    let alphas = || report.modules.iter().filter_map(|module| module.alpha);
    let has_own = report.metadata.get("ss_network_args").is_some_and(|args| args.contains("alpha"));
    if has_own || alphas().next().is_none() || alphas().any(|alpha| (alpha - wanted).abs() <= 1e-3 * wanted.abs()) {
        return None;
    }
    let message = format!(
        "no module has the alpha {wanted} of ss_network_alpha in the metadata: the file was changed, or its metadata \
         belong to another file"
    );
    Some(problem(Severity::Warning, "weights-alpha", message, Some("ss_network_alpha")))
}

fn unknown(report: &Report) -> Vec<Problem> {
    let others: Vec<&str> = report.others.iter().map(String::as_str).collect();
    if report.tensors.is_empty() {
        let message = "this file contains no tensors: the trainer saved nothing, so check which modules it trains";
        return vec![problem(Severity::Error, "weights-empty", message.to_owned(), None)];
    }
    let (severity, message) = match report.modules.len() {
        0 => {
            let names = listed(&others);
            let message = format!(
                "no tensor has a name that a LoRA would have ({names}): this is a whole model, or no program can load \
                 these names"
            );
            (Severity::Error, message)
        }
        _ if others.is_empty() => return Vec::new(),
        _ => (
            Severity::Info,
            format!("{} tensors do not belong to a module of a LoRA: {}", others.len(), listed(&others)),
        ),
    };
    vec![problem(severity, "weights-unknown", message, others.first().copied())]
}

fn outlier(report: &Report) -> Vec<Problem> {
    let Some(median) = report.median_norm().filter(|median| *median > 0.0) else { return Vec::new() };
    let is_so = |module: &Module| module.norm.is_some_and(|norm| norm > OUTLYING * median);
    of_modules(report, "weights-outlier", Severity::Warning, is_so, |found, names| {
        format!(
            "the change of {} is more than {OUTLYING} times the median: {names}; try the weights, and lower the learning \
             rate if they spoil images or texts",
            modules(found.len())
        )
    })
}

fn alpha(report: &Report) -> Vec<Problem> {
    // Files with dotted names have an alpha or not, and mean it.
    let is_kohya = report.family == Some(Family::Kohya);
    let lacks = |module: &Module| is_kohya && module.method == Method::Lora && module.alpha.is_none();
    let mut problems = of_modules(report, "weights-alpha", Severity::Warning, lacks, |found, names| {
        format!(
            "{} of {} have no alpha: {names}; programs then use the rank as alpha, so the strength differs from the \
             training's unless alpha was equal to the rank",
            found.len(),
            modules(report.modules.len())
        )
    });
    let scale = |module: &Module| Some(f64::from(module.alpha?) / module.rank.filter(|rank| *rank > 0)? as f64);
    let is_odd =
        |module: &Module| scale(module).is_some_and(|scale| scale.is_finite() && !(scale > 0.0 && scale <= 2.0));
    problems.extend(of_modules(report, "weights-alpha", Severity::Warning, is_odd, |found, names| {
        let example = found.first().and_then(|module| scale(module)).unwrap_or_default();
        format!(
            "alpha / rank is {example:.3} in {}: {names}; usual values are above 0 and up to 2, so check whether alpha is \
             intended",
            modules(found.len())
        )
    }));
    problems
}

fn private_metadata(report: &Report) -> Vec<Problem> {
    let tell = |fact: &Private| {
        let (severity, key, message) = match fact {
            Private::Secret { key, whose } => (
                Severity::Error,
                key,
                format!("the metadata entry {key} contains a secret ({whose}): revoke it, and save without it"),
            ),
            Private::Home { key, user } => (
                Severity::Warning,
                key,
                format!(
                    "the metadata entry {key} names the home folder of {user}: remove it before you publish the file"
                ),
            ),
            Private::DataSet { key } => (
                Severity::Info,
                key,
                format!(
                    "the metadata entry {key} publishes captions or folders of the training data: remove it if that is not \
                     intended"
                ),
            ),
        };
        problem(severity, "weights-private-metadata", shortened(&message, 400), Some(key))
    };
    report.private.iter().take(100).map(tell).collect()
}
