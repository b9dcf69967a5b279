//! Comparison of weights with the config of their adapter: `adapter_config.json` of PEFT beside the file, or the
//! configs that diffusers writes into the metadata.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{listed, modules, problem};
use crate::domain::{Problem, Severity};
use crate::weights::{Module, Report};

/// The metadata entry in which diffusers keeps the configs of a pipeline's adapters, with the part as a prefix.
const METADATA: &str = "lora_adapter_metadata";
/// Name of the config beside a file.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Maximum number of bytes of a compiled pattern of a config.
const MAX_PATTERN: usize = 1 << 20;
/// Maximum number of patterns of a config that are compiled.
const MAX_PATTERNS: usize = 1000;
/// Maximum number of comparisons of a module's name with a pattern or a target of a config.
const MAX_COMPARED: usize = 2_000_000;
/// Modules that language models have together: where one is trained, the others are there.
const TOGETHER: [&[&str]; 2] = [&["q_proj", "k_proj", "v_proj", "o_proj"], &["gate_proj", "up_proj", "down_proj"]];

impl Report {
    /// Returns the problems of the weights with the `adapter_config.json` beside them.
    pub fn problems_with(&self, config: &[u8]) -> Vec<Problem> {
        let unreadable = |error: String| {
            let message = format!("{ADAPTER_CONFIG} is not the config of an adapter: {error}; save the adapter again");
            vec![problem(Severity::Error, "weights-config", message, None)]
        };
        match serde_json::from_slice(config) {
            Ok(config @ Value::Object(_)) => {
                let named = |module: &Module| {
                    let name = module.name.strip_prefix("base_model.model.").unwrap_or(&module.name);
                    Some(name.to_owned())
                };
                Compared::of(self, ADAPTER_CONFIG, &config, named).problems()
            }
            Ok(_) => unreadable("it holds no map".to_owned()),
            Err(error) => unreadable(error.to_string()),
        }
    }
}

/// Returns the problems of the weights with the configs in their metadata.
pub(super) fn of_metadata(report: &Report) -> Vec<Problem> {
    let Some(Ok(Value::Object(all))) = report.metadata.get(METADATA).map(|text| serde_json::from_str(text)) else {
        return Vec::new();
    };
    let mut configs: BTreeMap<&str, serde_json::Map<String, Value>> = BTreeMap::new();
    for (key, value) in &all {
        if let Some((part, key)) = key.split_once('.') {
            configs.entry(part).or_default().insert(key.to_owned(), value.clone());
        }
    }
    let problems = |(part, config): (&str, serde_json::Map<String, Value>)| {
        let prefix = format!("{part}.");
        let named = |module: &Module| module.name.strip_prefix(&prefix).map(str::to_owned);
        Compared::of(report, "the metadata", &Value::Object(config), named).problems()
    };
    configs.into_iter().flat_map(problems).collect()
}

/// The modules of a config, with the names that the config has for them.
struct Compared<'a> {
    whose: &'static str,
    config: &'a Value,
    modules: Vec<(String, &'a Module)>,
    report: &'a Report,
}

impl<'a> Compared<'a> {
    fn of(
        report: &'a Report,
        whose: &'static str,
        config: &'a Value,
        named: impl Fn(&Module) -> Option<String>,
    ) -> Self {
        let modules = report.modules.iter().filter_map(|module| Some((named(module)?, module))).collect();
        Self { whose, config, modules, report }
    }

    fn problems(&self) -> Vec<Problem> {
        let kind = self.config["peft_type"].as_str().unwrap_or("LORA").to_ascii_uppercase();
        if !["LORA", "LOHA"].contains(&kind.as_str()) || self.modules.is_empty() {
            return Vec::new();
        }
        let problems =
            [self.rank(), self.alpha(), self.dora(), self.targets(), self.missing_targets(), self.missing_modules()];
        problems.into_iter().flatten().collect()
    }

    fn problem(&self, severity: Severity, key: &str, message: String) -> Option<Problem> {
        Some(problem(severity, "weights-config", message, Some(key)))
    }

    /// Returns the number that the config has for a module under a key, or in the key's patterns.
    fn number(&self, name: &str, key: &str, patterns: &[(Regex, f64)]) -> Option<f64> {
        let special = patterns.iter().find(|(pattern, _)| pattern.is_match(name)).map(|(_, number)| *number);
        special.or_else(|| self.config[key].as_f64())
    }

    fn is_affordable(&self, count: usize) -> bool {
        count.saturating_mul(self.modules.len()) <= MAX_COMPARED
    }

    /// Compiles the patterns of a key, each of which fits the end of a module's name, as in PEFT. Returns `None` if one
    /// cannot be read as PEFT reads it.
    fn patterns(&self, key: &str) -> Option<Vec<(Regex, f64)>> {
        let Some(entries) = self.config[key].as_object() else { return Some(Vec::new()) };
        if entries.len() > MAX_PATTERNS || !self.is_affordable(entries.len()) {
            return None;
        }
        let compiled =
            |(name, number): (&String, &Value)| Some((pattern(&format!(r"^(?:.*\.)?(?:{name})$"))?, number.as_f64()?));
        entries.iter().map(compiled).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    fn rank(&self) -> Option<Problem> {
        // The ranks of experts' parameters are multiples, and those of replicated layers have other names.
        let is_other = |key: &str| !matches!(&self.config[key], Value::Null | Value::Bool(false));
        if is_other("target_parameters") || is_other("layer_replication") {
            return None;
        }
        let patterns = self.patterns("rank_pattern")?;
        let wanted = |name: &str| self.number(name, "r", &patterns);
        let differs = |(name, module): &&(String, &Module)| {
            wanted(name).zip(module.rank).is_some_and(|(wanted, rank)| wanted != rank as f64)
        };
        let found: Vec<_> = self.modules.iter().filter(differs).collect();
        let (name, _) = found.first()?;
        let mut ranks: Vec<u64> = found.iter().filter_map(|(_, module)| module.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let ranks: Vec<String> = ranks.iter().take(8).map(u64::to_string).collect();
        let message = format!(
            "{} of {} have the rank {}, but {} says r {}: the load stops with a size mismatch, so put the config of this \
             training beside the weights",
            found.len(),
            modules(self.modules.len()),
            ranks.join(" or "),
            self.whose,
            wanted(name).unwrap_or_default()
        );
        self.problem(Severity::Error, "r", message)
    }

    fn alpha(&self) -> Option<Problem> {
        let patterns = self.patterns("alpha_pattern")?;
        let wanted = |name: &str| self.number(name, "lora_alpha", &patterns);
        let differs = |(name, module): &&(String, &Module)| {
            wanted(name)
                .zip(module.alpha)
                .is_some_and(|(wanted, alpha)| (wanted - f64::from(alpha)).abs() > 1e-3 * wanted)
        };
        let found: Vec<_> = self.modules.iter().filter(differs).collect();
        let (name, module) = found.first()?;
        let message = format!(
            "{} of {} have an alpha of their own, such as {}, but {} says lora_alpha {}: the strength depends on the \
             program, so keep one of the two",
            found.len(),
            modules(self.modules.len()),
            module.alpha.unwrap_or_default(),
            self.whose,
            wanted(name).unwrap_or_default()
        );
        self.problem(Severity::Warning, "lora_alpha", message)
    }

    fn dora(&self) -> Option<Problem> {
        let is_wanted = self.config["use_dora"].as_bool().unwrap_or(false);
        let count = self.modules.iter().filter(|(_, module)| module.is_dora).count();
        let message = match (is_wanted, count) {
            (true, 0) => format!(
                "{} says use_dora, but no module has magnitudes: the result is not that of the training, so save again",
                self.whose
            ),
            (false, 1..) => format!(
                "{count} of {} have magnitudes of DoRA, but {} does not say use_dora: they are ignored, and the result is \
                 not that of the training",
                modules(self.modules.len()),
                self.whose
            ),
            _ => return None,
        };
        self.problem(Severity::Warning, "use_dora", message)
    }

    /// Returns true if the config trains a module of this name; `None` if that cannot be told.
    fn is_target(&self) -> Option<impl Fn(&str) -> bool> {
        let (names, whole) = match &self.config["target_modules"] {
            Value::Array(items) if self.is_affordable(items.len()) => {
                (items.iter().map(|item| Some(item.as_str()?.to_owned())).collect::<Option<Vec<_>>>()?, None)
            }
            // PEFT matches a text with the whole name.
            Value::String(text) if text != "all-linear" => (Vec::new(), Some(pattern(&format!("^(?:{text})$"))?)),
            _ => return None,
        };
        Some(move |name: &str| {
            let is_named = names.iter().any(|target| is_called(name, target));
            is_named || whole.as_ref().is_some_and(|whole| whole.is_match(name))
        })
    }

    fn targets(&self) -> Option<Problem> {
        let is_target = self.is_target()?;
        let found: Vec<&str> =
            self.modules.iter().filter(|(name, _)| !is_target(name)).map(|(_, module)| module.name.as_str()).collect();
        if found.is_empty() {
            return None;
        }
        let message = format!(
            "{} of {} are no target_modules of {}: {}; their weights are ignored when the file is loaded, so put the \
             config of this training beside the weights",
            found.len(),
            modules(self.modules.len()),
            self.whose,
            listed(&found)
        );
        self.problem(Severity::Warning, "target_modules", message)
    }

    /// Finds targets without weights. A target that the model does not have has none, and rightly so.
    fn missing_targets(&self) -> Option<Problem> {
        let targets: Vec<&str> = self.config["target_modules"].as_array()?.iter().filter_map(Value::as_str).collect();
        if !self.is_affordable(targets.len()) {
            return None;
        }
        let has = |target: &str| self.modules.iter().any(|(name, _)| is_called(name, target));
        let has_any = self.is_target().is_none_or(|is_target| self.modules.iter().any(|(name, _)| is_target(name)));
        let is_certain =
            |target: &str| TOGETHER.iter().any(|group| group.contains(&target) && group.iter().any(|other| has(other)));
        let missing: Vec<&str> =
            targets.into_iter().filter(|target| !has(target) && (is_certain(target) || !has_any)).collect();
        if missing.is_empty() {
            return None;
        }
        let message = format!(
            "{} of the target_modules of {} have no weights: {}; a load leaves them untrained, so check whether the \
             config or the weights are of another training",
            missing.len(),
            self.whose,
            listed(&missing)
        );
        self.problem(Severity::Warning, "target_modules", message)
    }

    /// Finds modules that the training saved whole, or should have.
    fn missing_modules(&self) -> Option<Problem> {
        let wanted: Vec<&str> = self.config["modules_to_save"].as_array()?.iter().filter_map(Value::as_str).collect();
        if wanted.len().saturating_mul(self.report.others.len()) > MAX_COMPARED {
            return None;
        }
        let has = |module: &str| self.report.others.iter().any(|name| name.split('.').any(|part| part == module));
        let missing: Vec<&str> = wanted.into_iter().filter(|module| !has(module)).collect();
        if missing.is_empty() {
            return None;
        }
        let message = format!(
            "{} of the modules_to_save of {} are not in the file: {}; a load takes those of the base model, so save the \
             adapter again",
            missing.len(),
            self.whose,
            listed(&missing)
        );
        self.problem(Severity::Warning, "modules_to_save", message)
    }
}

/// Returns true if a module has this name at the end of its path.
fn is_called(name: &str, target: &str) -> bool {
    name.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Compiles a pattern of Python. Returns `None` for one that this program cannot read.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(MAX_PATTERN).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Family, inspect, tests::file};
    use serde_json::json;

    /// Returns the keys of the problems of a file with these modules, of rank 1 but for the last, which has rank 2.
    fn keys(config: &Value, dora: bool) -> Vec<String> {
        let report = report(dora, &json!({}));
        assert_eq!(report.family, Some(Family::Peft));
        let problems = report.problems_with(config.to_string().as_bytes());
        problems.into_iter().filter_map(|problem| problem.key).collect()
    }

    fn report(dora: bool, metadata: &Value) -> Report {
        let part = if metadata == &json!({}) { "base_model.model.model.layers" } else { "transformer.blocks" };
        let name = |n: u32, of: &str, end: &str| format!("{part}.{n}.{of}.{end}");
        let (one, two, four) = ([1.0, 2.0], [0.5, 0.25], [1.0, 2.0, 3.0, 4.0]);
        let mut tensors: Vec<(String, Vec<u64>, &[f32])> = Vec::new();
        for n in 0..2 {
            tensors.push((name(n, "q_proj", "lora_A.weight"), vec![1, 2], &one));
            tensors.push((name(n, "q_proj", "lora_B.weight"), vec![2, 1], &two));
        }
        tensors.push((name(1, "v_proj", "lora_A.weight"), vec![2, 2], &four));
        tensors.push((name(1, "v_proj", "lora_B.weight"), vec![2, 2], &four));
        if dora {
            tensors.push((name(1, "v_proj", "lora_magnitude_vector"), vec![2], &one));
        }
        let tensors: Vec<(&str, &[u64], &[f32])> =
            tensors.iter().map(|(name, shape, numbers)| (name.as_str(), shape.as_slice(), *numbers)).collect();
        inspect(file(&tensors, metadata).as_slice()).expect("weights")
    }

    #[test]
    fn a_config_is_compared_with_its_weights() {
        let fine =
            json!({"r": 1, "rank_pattern": {"v_proj": 2}, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]});
        let with = |key: &str, value: Value| {
            let mut config = fine.clone();
            config[key] = value;
            config
        };
        assert_eq!(keys(&fine, false), Vec::<String>::new());
        for (config, dora, key) in [
            (with("r", json!(32)), false, "r"),
            (with("rank_pattern", json!({})), false, "r"),
            (with("rank_pattern", json!({"layers.1.v_proj": 4})), false, "r"),
            (with("use_dora", json!(true)), false, "use_dora"),
            (fine.clone(), true, "use_dora"),
            (with("modules_to_save", json!(["lm_head"])), false, "modules_to_save"),
            (with("target_modules", json!(["q_proj"])), false, "target_modules"),
            (with("target_modules", json!(["q_proj", "v_proj", "k_proj"])), false, "target_modules"),
            (with("target_modules", json!("model.layers.0.*")), false, "target_modules"),
        ] {
            assert_eq!(keys(&config, dora), [key], "{config}");
        }
        for config in [
            with("target_modules", json!("all-linear")),
            with("target_modules", json!(r".*\.(q|v)_proj")),
            with("target_modules", json!(["q_proj", "v_proj", "c_attn"])),
            with("rank_pattern", json!({r"layers\.\d+\.v_proj": 2})),
            with("peft_type", json!("LOKR")),
            with("modules_to_save", Value::Null),
            json!({}),
        ] {
            assert_eq!(keys(&config, false), Vec::<String>::new(), "{config}");
        }
        assert_eq!(keys(&with("use_dora", json!(true)), true), Vec::<String>::new());
    }

    #[test]
    fn a_config_in_the_metadata_and_one_that_is_broken() {
        let config = json!({"transformer.r": 8, "transformer.rank_pattern": {"v_proj": 2}, "text_encoder.r": 4});
        let problems = report(false, &json!({METADATA: config.to_string()})).problems();
        let told: Vec<_> = problems.iter().filter(|problem| problem.rule == "weights-config").collect();
        assert!(
            told.len() == 1 && told[0].message.contains("2 of 3 modules have the rank 1, but the metadata says r 8")
        );
        for text in ["{", "[]"] {
            let problems = report(false, &json!({})).problems_with(text.as_bytes());
            assert!(problems[0].message.contains("is not the config of an adapter"), "{problems:?}");
        }
    }
}
