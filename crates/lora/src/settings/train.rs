//! Reader of `lora.train`: the whole trainings of a repository.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::publish::{self, Publish};
use super::reader::{MOST, Reader, time};
use super::{gates, inputs};
use crate::gates::Gates;
use crate::input::{Input, InputKind};
use crate::repository::normal;
use crate::yaml::{Data, Mark, Node};

/// Maximum number of GPUs of a training.
const MOST_GPUS: u8 = 64;
const KEYS: [&str; 11] =
    ["config", "if", "command", "gpus", "timeout", "output", "dataset", "model", "matrix", "gate", "publish"];
/// Maximum number of combinations of a matrix.
const MOST_COMBINATIONS: usize = 8;

/// A whole training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Train {
    /// The only config that is trained; `None` for each config that `lora.configs` covers and the push changes.
    pub config: Option<String>,
    /// The condition under which a push, a pull request, a tag or a cron starts it; `None` if only people do.
    pub when: Option<When>,
    /// The command, with `{config}` for the config's path; `None` for `lora.command` or the trainer's usual command.
    pub command: Option<String>,
    /// Number of GPUs; 0 for a training on CPU.
    pub gpus: u8,
    /// Wall-clock timeout; `None` for the server's.
    pub timeout: Option<Duration>,
    /// The folder in which the trainer saves, from the root of the repository; `None` for the one that the config names.
    pub output: Option<String>,
    /// The data that the service fetches before it starts.
    pub inputs: Vec<Input>,
    pub gates: Gates,
    /// Keys of the config, each with the values that it is trained with. Without any there is one training, as the config
    /// is.
    pub matrix: Vec<(String, Vec<Json>)>,
    /// The place to which the weights go; `None` if they are not published.
    pub publish: Option<Publish>,
    /// Position of the entry in the `.travis.yml`.
    pub at: Mark,
}

/// A change to one key of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted path of the key.
    pub key: String,
    /// A number, a text or a boolean.
    pub value: Json,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Json::String(text) => write!(f, "{}={text}", self.key),
            value => write!(f, "{}={value}", self.key),
        }
    }
}

/// A condition in Travis's language, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    pub text: String,
    pub at: Mark,
}

impl Train {
    /// Returns the changes to the config for each of its trainings.
    pub fn combinations(&self) -> Vec<Vec<Change>> {
        self.matrix.iter().fold(vec![Vec::new()], |combinations, (key, values)| {
            let with = |combination: &Vec<Change>, value: &Json| {
                let change = Change { key: key.clone(), value: value.clone() };
                combination.iter().cloned().chain([change]).collect()
            };
            combinations.iter().flat_map(|known| values.iter().map(move |value| with(known, value))).collect()
        })
    }
}

/// Reads one training or a list of them.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<Train> {
    match &node.data {
        Data::Seq(items) => items.iter().take(MOST).map(|item| training(reader, item)).collect(),
        _ => vec![training(reader, node)],
    }
}

fn training(reader: &mut Reader, node: &Node) -> Train {
    let mut train = Train { gpus: 1, at: node.at, ..Train::default() };
    for entry in reader.entries("lora.train", node) {
        let at = entry.value.at;
        let text = entry.value.text().unwrap_or_default();
        match entry.key.as_str() {
            "config" => match normal(text) {
                Some(path) => train.config = Some(path),
                None => reader.wrong("lora.train.config", at, "the path of a config in the repository"),
            },
            "if" if text.is_empty() => reader.wrong("lora.train.if", at, "a condition such as `branch = main`"),
            "if" => train.when = Some(When { text: text.to_owned(), at }),
            "command" if text.contains("{config}") => train.command = Some(text.to_owned()),
            "command" => {
                reader.wrong("lora.train.command", at, "a command with {config} where the config's path belongs");
            }
            "gpus" => match text.parse().ok().filter(|gpus| *gpus <= MOST_GPUS) {
                Some(gpus) => train.gpus = gpus,
                None => reader.wrong("lora.train.gpus", at, "a number from 0, for a CPU, to 64"),
            },
            "timeout" => match time(text) {
                Some(timeout) => train.timeout = Some(timeout),
                None => reader.wrong("lora.train.timeout", at, "a time such as 12h, up to 30d"),
            },
            "output" => match normal(text) {
                Some(folder) => train.output = Some(folder),
                None => reader.wrong("lora.train.output", at, "a folder below the root of the repository"),
            },
            "matrix" => train.matrix = matrix(reader, &entry.value),
            "gate" => train.gates = gates::read(reader, &entry.value),
            "publish" => train.publish = publish::read(reader, &entry.value),
            "dataset" => inputs::read(reader, InputKind::Dataset, &entry.value, &mut train.inputs),
            "model" => inputs::read(reader, InputKind::Model, &entry.value, &mut train.inputs),
            _ => reader.unknown("lora.train", node, entry, &KEYS),
        }
    }
    train
}

fn matrix(reader: &mut Reader, node: &Node) -> Vec<(String, Vec<Json>)> {
    let mut matrix: Vec<(String, Vec<Json>)> = Vec::new();
    for entry in reader.entries("lora.train.matrix", node) {
        let values: Option<Vec<Json>> = entry.value.items().iter().map(scalar).collect();
        match values.filter(|values| !values.is_empty()) {
            Some(values) => matrix.push((entry.key.clone(), values)),
            None => {
                let key = format!("lora.train.matrix.{}", entry.key);
                reader.wrong(&key, entry.value.at, "a list of values, such as [1.0e-4, 5.0e-5]");
            }
        }
    }
    let combinations = matrix.iter().fold(1, |count: usize, (_, values)| count.saturating_mul(values.len()));
    if combinations > MOST_COMBINATIONS {
        let wanted = format!("at most {MOST_COMBINATIONS} combinations, and has {combinations}");
        reader.wrong("lora.train.matrix", node.at, &wanted);
        matrix.clear();
    }
    matrix
}

/// Reads a value of a matrix. Unlike in a config, `2e-4` is a number: the config is written in the form that its trainer
/// reads as one.
fn scalar(node: &Node) -> Option<Json> {
    let Data::Scalar { text, plain } = &node.data else { return None };
    let number = || -> Option<Json> {
        let whole = text.parse::<i64>().ok().map(Json::from);
        whole.or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number))
    };
    match text.as_str() {
        "true" if *plain => Some(Json::Bool(true)),
        "false" if *plain => Some(Json::Bool(false)),
        _ if *plain => Some(number().unwrap_or_else(|| Json::String(text.clone()))),
        _ => Some(Json::String(text.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::gates::{Bounds, LossGate};

    fn read(text: &str) -> (Vec<Train>, Vec<String>) {
        let document = crate::yaml::read(text).expect("YAML");
        let (settings, findings) = Settings::read(&document.root.expect("a value"));
        (settings.train, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn everything_that_can_be_said() {
        let (trainings, wrong) = read(
            "train:\n  config: ./configs/style.yaml\n  if: branch = main\n  command: python t.py {config}\n  gpus: 2\n  \
             timeout: 12h\n  output: ./out/\n  gate:\n    loss: {max: 0.2, window: 20, falling: true, within: 10%}\n    \
             weights: {finite: true, trained: true, rank: 16, size: {max: 200MB}, norm: {min: 0.01, factor: 2}}\n    \
             metrics: {clip/score: {min: 0.25}}\n    duration: {max: 2h}\n    samples: {min: 4}\n    vram: {max: 22GiB}\n    \
             reference: ./ci/ink.json\n",
        );
        assert_eq!(wrong, Vec::<String>::new());
        let [train] = trainings.as_slice() else { panic!("{trainings:?}") };
        assert_eq!(train.config.as_deref(), Some("configs/style.yaml"));
        assert_eq!(train.when.as_ref().map(|when| when.text.as_str()), Some("branch = main"));
        assert_eq!((train.gpus, train.timeout), (2, Some(Duration::from_secs(12 * 3600))));
        assert_eq!((train.command.as_deref(), train.output.as_deref()), (Some("python t.py {config}"), Some("out")));
        let Gates { loss, rank, size, norm, norm_factor, metrics, vram, duration, samples, reference } = &train.gates;
        let mean = Bounds { min: None, max: Some(0.2) };
        assert_eq!(*loss, Some(LossGate { mean, window: 20, falling: true, within: Some(0.1) }));
        assert_eq!((*norm_factor, *vram, reference.as_deref()), (Some(2.0), Some(22 << 30), Some("ci/ink.json")));
        assert_eq!((*rank, *duration, *samples), (Some(16), Some(7200), Some(4)));
        assert_eq!((size.max, norm.min), (Some(200e6), Some(0.01)));
        assert_eq!(metrics["clip/score"], Bounds { min: Some(0.25), max: None });
    }

    #[test]
    fn several_trainings_and_one_with_nothing_said() {
        let (trainings, wrong) = read("train: [{config: a.yaml}, {config: b.toml, gpus: 0}]");
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(trainings.iter().map(|train| train.gpus).collect::<Vec<_>>(), [1, 0]);
        let (trainings, wrong) = read("train:");
        assert_eq!((trainings.len(), wrong), (1, Vec::new()));
    }

    #[test]
    fn a_matrix_gives_each_combination_with_typed_values() {
        let (trainings, wrong) = read("train: {matrix: {lr: [2e-4, 1.0e-4], rank: [8, '8'], on: [true, cosine]}}");
        assert_eq!(wrong, Vec::<String>::new());
        let combinations = trainings[0].combinations();
        assert_eq!(combinations.len(), 8);
        let shown: Vec<String> = combinations[1].iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["lr=0.0002", "rank=8", "on=cosine"]);
        assert_eq!(combinations[0][1].value, 8);
        assert_eq!((&combinations[2][1].value, &combinations[0][2].value), (&Json::from("8"), &Json::Bool(true)));
        assert_eq!(Train::default().combinations(), [Vec::new()]);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        for (text, told) in [
            ("train: yes please", "`lora.train` has to be a map"),
            ("train: {config: /etc/passwd}", "the path of a config in the repository"),
            ("train: {config: ../x.yaml}", "the path of a config in the repository"),
            ("train: {command: python t.py}", "{config}"),
            ("train: {gpus: -1}", "from 0, for a CPU, to 64"),
            ("train: {gpus: 65}", "from 0, for a CPU, to 64"),
            ("train: {timeout: 1y}", "such as 12h"),
            ("train: {output: /root}", "below the root of the repository"),
            ("train: {if: ''}", "a condition such as"),
            ("train: {gpu: 1}", "`lora.train.gpu` is not known"),
            ("train: {dataset: {name: x}}", "`lora.train.dataset.name` is not known"),
            ("train: {matrix: {lora_rank: 8}}", "`lora.train.matrix.lora_rank` has to be a list of values"),
            ("train: {matrix: {a: [1, 2, 3], b: [1, 2, 3]}}", "at most 8 combinations, and has 9"),
            ("train: {gate: {loss: {}}}", "lets every loss through"),
            ("train: {gate: {loss: {max: nan}}}", "`lora.train.gate.loss.max` has to be a number"),
            ("train: {gate: {loss: {maximum: 1}}}", "`lora.train.gate.loss.maximum` is not known"),
            ("train: {gate: {weights: {finite: false}}}", "never good"),
            ("train: {gate: {weights: {size: {max: big}}}}", "such as 200MB"),
            ("train: {gate: {metrics: {score: {}}}}", "lets everything through"),
            ("train: {gate: {metrics: {score: 0.3}}}", "has to be a map"),
            ("train: {gate: {duration: 2h}}", "{max: TIME}"),
            ("train: {gate: {samples: {min: many}}}", "{min: NUMBER}"),
            ("train: {gate: {vram: 22GiB}}", "{max: SIZE}"),
            ("train: {gate: {loss: {within: 10}}}", "a percentage such as 10%"),
            ("train: {gate: {weights: {norm: {factor: 0.5}}}}", "a number above 1"),
            ("train: {gate: {weights: {norm: {}}}}", "lets everything through"),
            ("train: {gate: {reference: /etc/passwd, loss: {within: 5%}}}", "the path of a file in the repository"),
            ("train: {gate: {reference: ci/ink.json}}", "which compare with it"),
        ] {
            let (_, wrong) = read(text);
            assert!(wrong.iter().any(|message| message.contains(told)), "{text}: {wrong:?}");
        }
    }
}
