//! Detection of the trainer that a config is for, by its content.

use super::read::Format;
use super::tree::{Node, Value};

/// The trainers whose configs are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `train.py --config x.yaml`: one flat YAML map with keys such as `base_model`, `train_data_dir` and `lora_rank`.
    LoraScripts,
    /// kohya's sd-scripts: arguments in TOML; its table headers have no meaning.
    SdScripts,
    /// kohya's sd-scripts: the data sets.
    SdScriptsDataset,
    /// A preset for the web UI of Akegarasu's lora-scripts: some sd-scripts arguments.
    AkegarasuPreset,
    /// A config saved by the kohya_ss web UI.
    KohyaGui,
    Axolotl,
    /// LLaMA-Factory's training configs. Its configs for export and inference are not detected.
    LlamaFactory,
    AiToolkit,
    SimpleTuner,
    OneTrainer,
    /// PEFT's `adapter_config.json`.
    Peft,
}

/// Behaviour of a trainer on a key that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The trainer stops.
    Refused,
    /// The trainer silently ignores the key; our table has all of its keys.
    Ignored,
    /// The trainer ignores the key; our table does not have all of its keys.
    Open,
}

impl Dialect {
    /// All dialects, in the order in which they are tried.
    pub const ALL: [Self; 11] = [
        Self::AiToolkit,
        Self::LlamaFactory,
        Self::Axolotl,
        Self::LoraScripts,
        Self::SdScriptsDataset,
        Self::AkegarasuPreset,
        Self::SdScripts,
        Self::KohyaGui,
        Self::SimpleTuner,
        Self::OneTrainer,
        Self::Peft,
    ];

    /// Returns the dialect's name in its usual spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoraScripts => "lora-scripts",
            Self::SdScripts => "sd-scripts",
            Self::SdScriptsDataset => "sd-scripts data set",
            Self::AkegarasuPreset => "Akegarasu preset",
            Self::KohyaGui => "kohya_ss GUI",
            Self::Axolotl => "axolotl",
            Self::LlamaFactory => "LLaMA-Factory",
            Self::AiToolkit => "ai-toolkit",
            Self::SimpleTuner => "SimpleTuner",
            Self::OneTrainer => "OneTrainer",
            Self::Peft => "PEFT",
        }
    }

    /// Detects the dialect of a config. Returns `None` if the file is not a training config.
    pub(super) fn of(format: Format, root: &Node) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.formats().contains(&format) && dialect.is_told_by(&Keys(root)))
    }

    fn formats(self) -> &'static [Format] {
        match self {
            Self::LoraScripts | Self::Axolotl => &[Format::Yaml],
            Self::AiToolkit | Self::LlamaFactory => &[Format::Yaml, Format::Json],
            Self::SdScripts | Self::AkegarasuPreset => &[Format::Toml],
            Self::SdScriptsDataset => &[Format::Toml, Format::Json],
            Self::KohyaGui | Self::SimpleTuner | Self::OneTrainer | Self::Peft => &[Format::Json],
        }
    }

    fn is_told_by(self, keys: &Keys<'_>) -> bool {
        match self {
            Self::AiToolkit => keys.has("job") && keys.below("config").any(|key| key == "process"),
            Self::LlamaFactory => {
                let others = ["model_name_or_path", "finetuning_type", "template"];
                keys.has("stage") && keys.count(&others) > 0 && !keys.has("export_dir")
            }
            Self::Axolotl => {
                // One of these keys is enough together with `base_model`. Without it three are required: then
                // `base_model` was forgotten.
                let telling = ["datasets", "micro_batch_size", "adapter", "sequence_len", "lora_r", "sample_packing"];
                let wanted = if keys.has("base_model") { 1 } else { 3 };
                keys.count(&telling) >= wanted && !keys.has("model_name_or_path") && !keys.has("job")
            }
            Self::LoraScripts => {
                // Three of the keys that nearly every config has, so that a config without `base_model` is detected and
                // the missing key is reported.
                let telling = ["base_model", "train_data_dir", "metadata_path", "lora_rank", "conv_lora_rank"];
                let core = ["batch_size", "epochs", "max_train_steps", "learning_rate", "output_dir", "save_steps"];
                let foreign = ["model_name_or_path", "stage", "job", "config", "pretrained_model_name_or_path"];
                let is_foreign = keys.count(&foreign) > 0 || keys.count(&["network_module", "network_dim"]) > 0;
                keys.count(&telling) > 0 && keys.count(&telling) + keys.count(&core) >= 3 && !is_foreign
            }
            Self::SdScriptsDataset => {
                let telling = ["subsets", "resolution", "batch_size", "enable_bucket", "validation_split"];
                keys.below("datasets").any(|key| telling.contains(&key)) && !keys.has("base_model")
            }
            Self::AkegarasuPreset => {
                keys.below("metadata").any(|key| ["train_type", "author"].contains(&key)) && keys.has("data")
            }
            Self::SdScripts => {
                let telling = ["pretrained_model_name_or_path", "network_module"];
                let is_settings = keys.has("settings") && keys.has("server");
                !is_settings && (keys.count(&telling) > 0 || keys.in_tables().any(|key| telling.contains(&key)))
            }
            Self::KohyaGui => {
                let is_like = keys.count(&["pretrained_model_name_or_path", "optimizer"]) == 2;
                keys.has("LoRA_type") || is_like && keys.count(&["max_resolution", "epoch"]) > 0
            }
            Self::SimpleTuner => keys.has("model_family"),
            Self::OneTrainer => keys.has("training_method"),
            Self::Peft => keys.has("peft_type"),
        }
    }

    /// Returns the trainer's behaviour on a key that it does not know.
    pub(super) fn unknown(self) -> Unknown {
        match self {
            Self::SdScriptsDataset | Self::LlamaFactory => Unknown::Refused,
            Self::LoraScripts | Self::SdScripts | Self::Axolotl | Self::AiToolkit | Self::OneTrainer => {
                Unknown::Ignored
            }
            Self::AkegarasuPreset | Self::KohyaGui | Self::SimpleTuner | Self::Peft => Unknown::Open,
        }
    }

    /// Returns true if the trainer converts strings, such as "8" into a number.
    pub(super) fn converts_texts(self) -> bool {
        match self {
            Self::LoraScripts | Self::SdScripts | Self::SdScriptsDataset | Self::AkegarasuPreset | Self::Peft => false,
            Self::KohyaGui
            | Self::Axolotl
            | Self::LlamaFactory
            | Self::AiToolkit
            | Self::SimpleTuner
            | Self::OneTrainer => true,
        }
    }
}

/// Access to the keys of the root map and of the maps directly below it.
struct Keys<'a>(&'a Node);

impl<'a> Keys<'a> {
    fn has(&self, key: &str) -> bool {
        self.0.entries().iter().any(|entry| entry.name() == key)
    }

    fn count(&self, keys: &[&str]) -> usize {
        keys.iter().filter(|key| self.has(key)).count()
    }

    /// Returns the keys of the map at `key`, or of the maps in the list at `key`.
    fn below(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let held = self.0.entries().iter().filter(move |entry| entry.key == key).map(|entry| &entry.node);
        held.flat_map(|node| std::iter::once(node).chain(node.items())).flat_map(Self::names)
    }

    /// Returns the keys of all maps directly below the root.
    fn in_tables(&self) -> impl Iterator<Item = &'a str> {
        let maps = self.0.entries().iter().filter(|entry| matches!(entry.node.value, Value::Map(_)));
        maps.flat_map(|entry| Self::names(&entry.node))
    }

    fn names(node: &'a Node) -> impl Iterator<Item = &'a str> {
        node.entries().iter().map(|entry| entry.key.as_str())
    }
}
