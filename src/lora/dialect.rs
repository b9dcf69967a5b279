//! Which trainer a config is for, told by its content.

use crate::yaml::Node;

/// The trainers whose configs are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `train.py --config x.yaml`: one flat YAML map with `base_model`, `train_data_dir`, `lora_rank` and the like.
    LoraScripts,
}

/// Keys that this dialect shares with few others: one of them must be there.
const TELLING: [&str; 5] = ["base_model", "train_data_dir", "metadata_path", "lora_rank", "conv_lora_rank"];
/// The keys that nearly every config has: three of them must be there, so that one that lacks `base_model` is still
/// recognised and told so.
const CORE: [&str; 11] = [
    "base_model",
    "train_data_dir",
    "metadata_path",
    "lora_rank",
    "conv_lora_rank",
    "batch_size",
    "epochs",
    "max_train_steps",
    "learning_rate",
    "output_dir",
    "save_steps",
];
/// Keys that show another trainer: axolotl, LLaMA-Factory, ai-toolkit, sd-scripts.
const FOREIGN: [&str; 11] = [
    "datasets",
    "micro_batch_size",
    "adapter",
    "sequence_len",
    "model_name_or_path",
    "stage",
    "job",
    "config",
    "pretrained_model_name_or_path",
    "network_module",
    "network_dim",
];

impl Dialect {
    /// The dialect of a config, if it is one.
    pub fn of(root: &Node) -> Option<Self> {
        let keys: Vec<&str> = root.entries().iter().map(|entry| entry.key.as_str()).collect();
        Self::of_keys(&keys)
    }

    /// The dialect by what looks like keys at the starts of lines.
    pub fn of_lines(text: &str) -> Option<Self> {
        let is_key = |key: &&str| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let keys: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).filter(is_key).collect();
        Self::of_keys(&keys)
    }

    fn of_keys(keys: &[&str]) -> Option<Self> {
        let has = |list: &[&str]| list.iter().filter(|key| keys.contains(key)).count();
        (has(&FOREIGN) == 0 && has(&TELLING) >= 1 && has(&CORE) >= 3).then_some(Self::LoraScripts)
    }

    /// The keys that the trainer knows.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::LoraScripts => &[
                "base_model",
                "train_data_dir",
                "metadata_path",
                "output_dir",
                "task_type",
                "lora_rank",
                "lora_alpha",
                "lora_dropout",
                "conv_lora_rank",
                "target_modules",
                "batch_size",
                "gradient_accumulation_steps",
                "epochs",
                "max_train_steps",
                "learning_rate",
                "lr_scheduler",
                "warmup_steps",
                "optimizer",
                "weight_decay",
                "save_steps",
                "resolution",
                "mixed_precision",
                "num_workers",
                "max_length",
                "seed",
                "logging_dir",
                "resume_from_checkpoint",
            ],
        }
    }
}
