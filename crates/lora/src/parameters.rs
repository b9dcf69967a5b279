//! The keys of a training's config with their values, for statements and trackers.

use serde_json::{Value as Json, json};

use super::Dialect;
use super::secret::{is_key, is_secret};
use super::settings::Change;
use super::train::tree;
use super::tree::{Node, Value};

/// Maximum number of keys, and of characters of a key and of a value.
const MOST: usize = 500;
const MOST_KEY: usize = 200;
const MOST_VALUE: usize = 500;

/// The parameters of a training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// Dotted paths of the keys, with their values. A list of values is one value. Secrets are left out.
    pub all: Vec<(String, Json)>,
    /// The seed of the training; `None` if the config names none.
    pub seed: Option<u64>,
}

/// Returns the parameters of the config at `path`, with these changes; none for a file that is no config.
pub fn parameters(path: &str, text: &[u8], changes: &[Change]) -> Parameters {
    let Ok((_, dialect, root)) = tree(path, text, changes) else { return Parameters::default() };
    let mut all = Vec::new();
    collect("", &root, &mut all);
    Parameters { all, seed: seed(dialect, &root) }
}

fn collect(path: &str, node: &Node, all: &mut Vec<(String, Json)>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let name = entry.name();
                let below = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                collect(&below, &entry.node, all);
            }
        }
        Value::List(items) if items.iter().any(|item| !matches!(item.value, Value::Map(_) | Value::List(_))) => {
            if let Some(values) = items.iter().map(|item| scalar(path, item)).collect::<Option<Vec<Json>>>() {
                push(path, Json::Array(values), all);
            }
        }
        Value::List(items) => {
            items.iter().enumerate().for_each(|(place, item)| collect(&format!("{path}.{place}"), item, all));
        }
        _ => {
            if let Some(value) = scalar(path, node) {
                push(path, value, all);
            }
        }
    }
}

fn push(path: &str, value: Json, all: &mut Vec<(String, Json)>) {
    if all.len() < MOST && (1..=MOST_KEY).contains(&path.chars().count()) && value.to_string().len() <= MOST_VALUE {
        all.push((path.to_owned(), value));
    }
}

/// Returns a simple value; `None` for a secret.
fn scalar(path: &str, node: &Node) -> Option<Json> {
    let key = path.rsplit('.').next().unwrap_or(path);
    match &node.value {
        Value::Null => Some(Json::Null),
        Value::Bool(is) => Some(json!(is)),
        Value::Number { value, whole: true } if value.abs() < 9e15 => Some(json!(*value as i64)),
        Value::Number { value, .. } => Some(json!(value)),
        Value::Text { text, .. } if is_key(key) || is_secret(key, text) => None,
        Value::Text { text, .. } => Some(json!(text)),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// Returns the seed with which a trainer begins. Seeds of sample images have the same name in deeper maps.
fn seed(dialect: Dialect, root: &Node) -> Option<u64> {
    match dialect {
        Dialect::AiToolkit => anywhere(root, "training_seed"),
        // Tables of the root only group the keys.
        Dialect::SdScripts => own(root, "seed").or_else(|| root.entries().iter().find_map(|it| own(&it.node, "seed"))),
        _ => own(root, "seed"),
    }
}

fn own(node: &Node, key: &str) -> Option<u64> {
    let entry = node.entries().iter().find(|entry| entry.name() == key)?;
    match entry.node.value {
        Value::Number { value, whole: true } if (0.0..9e15).contains(&value) => Some(value as u64),
        _ => entry.node.text().and_then(|text| text.parse().ok()),
    }
}

fn anywhere(node: &Node, key: &str) -> Option<u64> {
    let below = || node.entries().iter().find_map(|entry| anywhere(&entry.node, key));
    own(node, key).or_else(below).or_else(|| node.items().iter().find_map(|item| anywhere(item, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Parameters {
        parameters(path, text.as_bytes(), &[])
    }

    const AXOLOTL: &str = "base_model: m/x\nadapter: lora\nlora_r: 16\nlearning_rate: 2.0e-4\nseed: 42\n\
                           datasets: [{path: a/b, type: alpaca}]\noutput_dir: ./out\nlora_target_modules: [q, v]\n\
                           hf_token: hf_abcdefghijklmnopqrstuvwxyzabcdefgh\n";

    #[test]
    fn keys_have_dotted_paths_and_secrets_are_left_out() {
        let Parameters { all, seed } = of("a.yaml", AXOLOTL);
        let value = |key: &str| all.iter().find(|(known, _)| known == key).map(|(_, value)| value.to_string());
        assert_eq!(seed, Some(42));
        assert_eq!(value("datasets.0.path").as_deref(), Some("\"a/b\""));
        assert_eq!(value("lora_target_modules").as_deref(), Some("[\"q\",\"v\"]"));
        assert_eq!((value("lora_r").as_deref(), value("learning_rate").as_deref()), (Some("16"), Some("0.0002")));
        assert_eq!(value("hf_token"), None);
        let changes = [Change { key: "seed".to_owned(), value: 7.into() }];
        assert_eq!(parameters("a.yaml", AXOLOTL.as_bytes(), &changes).seed, Some(7));
        assert_eq!(of("notes.txt", "hello"), Parameters::default());
    }

    #[test]
    fn each_trainer_has_its_own_key_for_the_seed() {
        let sdxl = "pretrained_model_name_or_path = \"m\"\nnetwork_module = \"networks.lora\"\n[training]\nseed = 3\n";
        assert_eq!(of("c.toml", sdxl).seed, Some(3));
        let toolkit = "job: extension\nconfig:\n  name: ink\n  process:\n    - type: sd_trainer\n      training_folder: out\n      \
                       training_seed: 5\n      network: {type: lora, linear: 16}\n      sample: {seed: 9}\n      \
                       model: {name_or_path: m, is_flux: true}\n";
        assert_eq!(of("t.yaml", toolkit).seed, Some(5));
        assert_eq!(of("t.yaml", &toolkit.replace("training_seed: 5", "log_dir: x")).seed, None);
        let tuner = "{\"--model_type\": \"lora\", \"--model_family\": \"flux\", \"--seed\": 11, \"--output_dir\": \"out\", \
                     \"--pretrained_model_name_or_path\": \"m\", \"--data_backend_config\": \"b.json\"}";
        assert_eq!(of("s.json", tuner).seed, Some(11));
        assert_eq!(of("a.yaml", &AXOLOTL.replace("seed: 42\n", "")).seed, None);
    }

    #[test]
    fn a_huge_config_has_a_bound() {
        let many: String = (0..2000).map(|number| format!("key_{number}: {}\n", "x".repeat(number))).collect();
        let Parameters { all, .. } = of("a.yaml", &format!("{AXOLOTL}{many}"));
        assert!(all.len() <= MOST && all.iter().all(|(_, value)| value.to_string().len() <= MOST_VALUE));
    }
}
