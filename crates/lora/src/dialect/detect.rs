//! Signs of each dialect: the keys that show which trainer a config is for.

use super::Dialect;
use crate::tree::{Node, Value};

impl Dialect {
    /// Returns true if the keys of a file show that it is of this dialect, when no dialect before it is.
    pub(super) fn is_told_by(self, keys: &Keys<'_>) -> bool {
        match self {
            Self::AiToolkit => {
                // The other kinds of job change or use a model, and train none.
                let other = ["extract", "mod", "generate"];
                let job = keys.0.entries().iter().find(|entry| entry.key == "job").and_then(|entry| entry.node.text());
                let is_training = !job.is_some_and(|job| other.contains(&job));
                let has = |key: &str| keys.below("config").any(|known| known == key);
                // Without `job` the process must be one of a training: then `job` was forgotten.
                let is_named = job.is_some_and(|job| ["extension", "train"].contains(&job)) && has("name");
                is_training && (keys.has("job") && has("process") || is_named || keys.has_training_process())
            }
            Self::LlamaFactory => {
                let others = ["model_name_or_path", "finetuning_type", "template"];
                keys.has("stage") && keys.count(&others) > 0 && !keys.has("export_dir")
            }
            Self::Trl => keys.is_trl(),
            Self::MsSwift => keys.is_ms_swift(),
            Self::Unsloth => {
                let telling = ["training_type", "max_seq_length", "num_epochs", "load_in_4bit"];
                let trains = keys.below("training").any(|key| telling.contains(&key));
                trains && keys.below("lora").any(|key| key == "lora_r") && keys.count(&["model", "data"]) > 0
            }
            Self::Diffusers => false,
            Self::Axolotl => {
                // One of these keys is enough together with `base_model`. Without it three are required: then
                // `base_model` was forgotten.
                let telling = [
                    "datasets",
                    "micro_batch_size",
                    "adapter",
                    "sequence_len",
                    "lora_r",
                    "sample_packing",
                    "pretraining_dataset",
                ];
                let wanted = if keys.has("base_model") { 1 } else { 3 };
                keys.count(&telling) >= wanted && !keys.has("model_name_or_path") && !keys.has("job")
            }
            Self::LoraScripts => {
                // Three of the keys that nearly every config has, so that a config without `base_model` is detected and
                // the missing key is reported.
                let telling = ["base_model", "train_data_dir", "metadata_path", "lora_rank", "conv_lora_rank"];
                let core = ["batch_size", "epochs", "max_train_steps", "learning_rate", "output_dir", "save_steps"];
                let foreign = [
                    "model_name_or_path",
                    "stage",
                    "job",
                    "config",
                    "pretrained_model_name_or_path",
                    "tuner_type",
                    "train_type",
                    "mcore_model",
                ];
                let is_foreign = keys.count(&foreign) > 0 || keys.count(&["network_module", "network_dim"]) > 0;
                keys.count(&telling) > 0 && keys.count(&telling) + keys.count(&core) >= 3 && !is_foreign
            }
            Self::Musubi => keys.is_musubi_arguments(),
            Self::MusubiDataset => keys.is_musubi_data() && !keys.has_arguments(),
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
            Self::OneTrainerDataset => keys.onetrainer_list().is_some(),
            Self::Peft => keys.has("peft_type"),
        }
    }
}

/// The networks that only musubi-tuner has.
const OF_MUSUBI: [&str; 10] = [
    "networks.lora_flux_2",
    "networks.lora_framepack",
    "networks.lora_hidream_o1",
    "networks.lora_hv_1_5",
    "networks.lora_ideogram4",
    "networks.lora_kandinsky",
    "networks.lora_krea2",
    "networks.lora_qwen_image",
    "networks.lora_wan",
    "networks.lora_zimage",
];

/// Access to the keys of the root map and of the maps directly below it.
pub(super) struct Keys<'a>(pub(super) &'a Node);

impl<'a> Keys<'a> {
    /// Returns true if a process of ai-toolkit trains a model.
    fn has_training_process(&self) -> bool {
        let within = |node: &'a Node, key: &str| node.entries().iter().find(|entry| entry.key == key);
        let process = within(self.0, "config").and_then(|config| within(&config.node, "process"));
        let items = process.map_or(&[][..], |process| process.node.items());
        items.iter().any(|item| ["type", "model", "datasets"].iter().all(|key| within(item, key).is_some()))
    }

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

    /// Returns the key of OneTrainer's config at which such a list stands: that of concepts, or that of samples.
    pub(super) fn onetrainer_list(&self) -> Option<&'static str> {
        let first = Keys(self.0.items().first()?);
        let of_concepts =
            ["include_subdirectories", "image_variations", "text_variations", "balancing", "concept_stats"];
        let of_samples = ["diffusion_steps", "noise_scheduler", "cfg_scale", "random_seed", "sample_inpainting"];
        let is_concept = first.has("path") && first.count(&of_concepts) >= 2;
        let is_sample = || first.has("prompt") && first.has("diffusion_steps") && first.count(&of_samples) >= 3;
        if is_concept { Some("concepts") } else { is_sample().then_some("samples") }
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
        let more = ["vae", "dataset_config", "text_encoder", "text_encoder1", "t5", "learning_rate", "optimizer_type"];
        let entries = self.0.entries().iter().flat_map(|entry| std::iter::once(entry).chain(entry.node.entries()));
        let mut named = entries.filter(|entry| entry.key == "network_module").filter_map(|entry| entry.node.text());
        let has_model = self.anywhere(&["dit", "dit_high_noise"])
            && (self.anywhere(&["network_module", "network_dim"])
                || more.iter().filter(|key| self.anywhere(&[key])).count() >= 2);
        !self.anywhere(&["pretrained_model_name_or_path"])
            && (has_model || named.any(|module| OF_MUSUBI.contains(&module)))
    }

    /// Returns true for arguments of ms-swift, and not for those of its Megatron or for those that it saves itself.
    fn is_ms_swift(&self) -> bool {
        let telling = ["tuner_type", "train_type", "rlhf_type", "split_dataset_ratio", "attn_impl", "model_author"];
        let more = ["torch_dtype", "lora_rank", "target_modules", "per_device_train_batch_size", "learning_rate"];
        let foreign = [
            "swift_version",
            "micro_batch_size",
            "global_batch_size",
            "tensor_model_parallel_size",
            "mcore_model",
            "load",
            "lr",
            "sampler_type",
            "sampler_engine",
            "base_model",
            "stage",
            "model_name_or_path",
        ];
        let has_data = self.has("dataset") || self.has("cached_dataset");
        let is_like = self.count(&telling) > 0 && self.count(&more) > 0;
        self.has("model") && has_data && is_like && self.count(&foreign) == 0
    }

    /// Returns true if the file is for trl's commands, and not for another script with the arguments of transformers.
    fn is_trl(&self) -> bool {
        let telling = [
            "use_peft",
            "lora_r",
            "lora_target_modules",
            "dataset_train_split",
            "dataset_test_split",
            "dataset_streaming",
            "dataset_text_field",
            "assistant_only_loss",
            "completion_only_loss",
            "packing",
            "max_length",
            "max_completion_length",
            "max_prompt_length",
            "num_generations",
            "reward_funcs",
            "reward_model_name_or_path",
            "precompute_ref_log_probs",
            "attn_implementation",
            "use_vllm",
        ];
        // Scripts of others that share many of these arguments.
        let foreign = [
            "stage",
            "finetuning_type",
            "template",
            "cutoff_len",
            "dataset_dir",
            "base_model",
            "model",
            "train_type",
            "tuner_type",
            "use_peft_lora",
            "use_unsloth",
            "dataset_mixer",
            "dataset_mixture",
            "dataset_splits",
            "dataset_prompt_column",
            "chat_template",
            "dataset_config_name",
            "train_file",
            "export_dir",
            "model_id",
        ];
        let has_data = self.has("dataset_name") || self.below("datasets").any(|key| key == "path");
        let wanted = if has_data { 1 } else { 3 };
        self.has("model_name_or_path") && self.count(&telling) >= wanted && self.count(&foreign) == 0
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
