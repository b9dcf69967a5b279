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
    /// SimpleTuner's data loader: a list of data sets.
    SimpleTunerDataset,
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

/// Treatment of a value that is not of the wanted kind, by a trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Nothing: the value is used as it was loaded.
    Nothing,
    /// As `Nothing`, but its YAML loader reads `1e-4` without a dot as a number.
    Exponents,
    /// A pydantic model: numbers and booleans from strings, but no strings from numbers.
    Model,
    /// Command line options: everything becomes a string first.
    Options,
    /// Python's `int()` and `float()`.
    Casts,
}

impl Dialect {
    /// All dialects, in the order in which they are tried.
    pub const ALL: [Self; 12] = [
        Self::AiToolkit,
        Self::LlamaFactory,
        Self::Axolotl,
        Self::LoraScripts,
        Self::SdScriptsDataset,
        Self::AkegarasuPreset,
        Self::SdScripts,
        Self::KohyaGui,
        Self::SimpleTuner,
        Self::SimpleTunerDataset,
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
            Self::SimpleTunerDataset => "SimpleTuner data set",
            Self::OneTrainer => "OneTrainer",
            Self::Peft => "PEFT",
        }
    }

    /// Returns the name of the program that reads such a config.
    pub(super) fn trainer(self) -> &'static str {
        match self {
            Self::LoraScripts => "train.py",
            Self::SdScriptsDataset => "sd-scripts",
            Self::AkegarasuPreset => "the web UI",
            Self::KohyaGui => "kohya_ss",
            Self::SimpleTunerDataset => "SimpleTuner",
            _ => self.name(),
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
            Self::KohyaGui | Self::SimpleTuner | Self::SimpleTunerDataset | Self::OneTrainer | Self::Peft => {
                &[Format::Json]
            }
        }
    }

    fn is_told_by(self, keys: &Keys<'_>) -> bool {
        match self {
            Self::AiToolkit => {
                // The other kinds of job change or use a model, and train none.
                let other = ["extract", "mod", "generate"];
                let job = keys.0.entries().iter().find(|entry| entry.key == "job").and_then(|entry| entry.node.text());
                let is_training = keys.has("job") && !job.is_some_and(|job| other.contains(&job));
                is_training && keys.below("config").any(|key| key == "process")
            }
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
                let is_data = keys.below("datasets").any(|key| telling.contains(&key)) || keys.has_subsets_only();
                is_data && !keys.has("base_model") && !keys.is_musubi_data() && !keys.has_arguments()
            }
            Self::AkegarasuPreset => {
                keys.below("metadata").any(|key| ["train_type", "author"].contains(&key)) && keys.has("data")
            }
            Self::SdScripts => {
                let is_settings = keys.has("settings") && keys.has("server");
                !is_settings && keys.has_arguments() && !keys.is_musubi_arguments()
            }
            Self::KohyaGui => {
                let is_like = keys.count(&["pretrained_model_name_or_path", "optimizer"]) == 2;
                keys.has("LoRA_type") || is_like && keys.count(&["max_resolution", "epoch"]) > 0
            }
            Self::SimpleTuner => {
                // Without `model_family`, three keys show that it was forgotten.
                let telling =
                    ["data_backend_config", "model_type", "lora_type", "base_model_precision", "model_flavour"];
                keys.has("model_family") || keys.count(&telling) >= 3
            }
            Self::SimpleTunerDataset => keys.0.items().iter().any(|item| Keys(item).is_data_backend()),
            Self::OneTrainer => keys.has("training_method") || keys.is_onetrainer_preset(),
            Self::Peft => keys.has("peft_type"),
        }
    }

    /// Returns the trainer's behaviour on a key that it does not know.
    pub(super) fn unknown(self) -> Unknown {
        match self {
            Self::SdScriptsDataset | Self::LlamaFactory | Self::SimpleTuner => Unknown::Refused,
            Self::LoraScripts | Self::SdScripts | Self::Axolotl | Self::AiToolkit | Self::OneTrainer => {
                Unknown::Ignored
            }
            Self::AkegarasuPreset | Self::KohyaGui | Self::SimpleTunerDataset | Self::Peft => Unknown::Open,
        }
    }

    /// Returns true if the trainer checks the values of all keys at its start, and stops at a wrong one.
    pub(super) fn refuses(self) -> bool {
        self == Self::SdScriptsDataset || matches!(self.conversion(), Conversion::Model | Conversion::Options)
    }

    /// Returns what the trainer makes of a value that is not of the wanted kind.
    pub(super) fn conversion(self) -> Conversion {
        match self {
            Self::LoraScripts
            | Self::SdScripts
            | Self::SdScriptsDataset
            | Self::AkegarasuPreset
            | Self::SimpleTunerDataset
            | Self::Peft => Conversion::Nothing,
            Self::LlamaFactory | Self::AiToolkit => Conversion::Exponents,
            Self::Axolotl => Conversion::Model,
            Self::SimpleTuner => Conversion::Options,
            Self::KohyaGui | Self::OneTrainer => Conversion::Casts,
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

    /// Returns true for an item of SimpleTuner's data loader.
    fn is_data_backend(&self) -> bool {
        let telling = ["instance_data_dir", "dataset_type", "cache_dir_vae", "caption_strategy", "metadata_backend"];
        self.has("id") && self.has("type") && self.count(&telling) > 0
    }

    /// Returns true for a config of OneTrainer without a training method, for which there is a default.
    fn is_onetrainer_preset(&self) -> bool {
        let telling = ["base_model_name", "output_model_destination", "output_model_format", "model_type"];
        let more = ["output_dtype", "train_dtype", "learning_rate_scheduler", "layer_filter", "peft_type"];
        self.count(&telling) >= 2 && self.count(&telling) + self.count(&more) >= 3
    }

    /// Returns true if the root or a table has a key of these.
    fn anywhere(&self, keys: &[&str]) -> bool {
        self.count(keys) > 0 || self.in_tables().any(|key| keys.contains(&key))
    }

    /// Returns true if the file has arguments of sd-scripts, which name a base model or a network.
    fn has_arguments(&self) -> bool {
        self.anywhere(&["pretrained_model_name_or_path", "network_module"])
    }

    /// Returns true if the arguments are those of musubi-tuner, whose scripts have other keys: it calls the base model
    /// `dit`, and has its own networks.
    fn is_musubi_arguments(&self) -> bool {
        let modules =
            ["networks.lora_wan", "networks.lora_framepack", "networks.lora_qwen_image", "networks.lora_kontext"];
        let entries = self.0.entries().iter().flat_map(|entry| std::iter::once(entry).chain(entry.node.entries()));
        let mut named = entries.filter(|entry| entry.key == "network_module").filter_map(|entry| entry.node.text());
        self.anywhere(&["dit", "dit_high_noise", "text_encoder1"]) || named.any(|module| modules.contains(&module))
    }

    /// Returns true if the data sets are those of musubi-tuner, which have no subsets.
    fn is_musubi_data(&self) -> bool {
        let telling = ["image_directory", "video_directory", "cache_directory", "image_jsonl_file", "video_jsonl_file"];
        let more = ["target_frames", "frame_extraction", "control_directory", "source_fps", "frame_stride"];
        let mut keys = self.below("datasets").chain(self.below("general"));
        let is_own = |key: &str| telling.contains(&key) || more.contains(&key);
        keys.any(is_own) && !self.below("datasets").any(|key| key == "subsets")
    }

    /// Returns true if the file has `[general]` and a list of data sets without a key that tells their kind.
    fn has_subsets_only(&self) -> bool {
        let known = ["enable_bucket", "shuffle_caption", "keep_tokens", "caption_extension", "flip_aug", "color_aug"];
        self.has("datasets") && self.below("general").any(|key| known.contains(&key))
    }

    fn names(node: &'a Node) -> impl Iterator<Item = &'a str> {
        node.entries().iter().map(|entry| entry.key.as_str())
    }
}
