//! Estimates of a training's steps and GPU memory, as far as its config determines them.

use super::{Config, Map};
use crate::Dialect;

/// The keys with which a dialect sets the length of a training.
struct Words {
    dialect: Dialect,
    /// The path of the map that has the keys.
    within: &'static str,
    steps: &'static str,
    epochs: &'static str,
    batch: &'static str,
    accumulation: &'static str,
    model: &'static [&'static str],
}

use Dialect::{AiToolkit, Axolotl, LlamaFactory, LoraScripts, SdScripts};

const WORDS: [Words; 5] = [
    Words {
        dialect: LoraScripts,
        within: "",
        steps: "max_train_steps",
        epochs: "epochs",
        batch: "batch_size",
        accumulation: "gradient_accumulation_steps",
        model: &["base_model"],
    },
    Words {
        dialect: SdScripts,
        within: "",
        steps: "max_train_steps",
        epochs: "max_train_epochs",
        batch: "train_batch_size",
        accumulation: "gradient_accumulation_steps",
        model: &["pretrained_model_name_or_path"],
    },
    Words {
        dialect: AiToolkit,
        within: "config.process.train",
        steps: "steps",
        epochs: "epochs",
        batch: "batch_size",
        accumulation: "gradient_accumulation_steps",
        model: &[],
    },
    Words {
        dialect: Axolotl,
        within: "",
        steps: "max_steps",
        epochs: "num_epochs",
        batch: "micro_batch_size",
        accumulation: "gradient_accumulation_steps",
        model: &["base_model"],
    },
    Words {
        dialect: LlamaFactory,
        within: "",
        steps: "max_steps",
        epochs: "num_train_epochs",
        batch: "per_device_train_batch_size",
        accumulation: "gradient_accumulation_steps",
        model: &["model_name_or_path"],
    },
];

/// GPU memory in GB that a LoRA requires at usual settings, by a part of the base model's name. The first match counts.
const IMAGE_MODELS: [(&[&str], u32); 5] = [
    (&["flux", "qwen-image", "hidream", "chroma", "wan2", "hunyuan"], 24),
    (&["sd3", "stable-diffusion-3", "lumina", "omnigen", "kolors"], 24),
    (&["sdxl", "xl-base", "_xl", "-xl", "pony", "illustrious", "noobai"], 12),
    (&["v1-5", "sd15", "sd-1", "sd_1", "stable-diffusion-v1", "v1.5"], 8),
    (&["v2-1", "stable-diffusion-2", "sd21"], 8),
];
/// The usual memory sizes of GPUs, in GB.
const GPUS: [u32; 6] = [8, 12, 16, 24, 48, 80];

/// Describes the steps and the GPU memory of a training.
pub(super) fn estimate(config: &Config<'_>) -> Option<String> {
    let words = WORDS.iter().find(|words| words.dialect == config.dialect)?;
    let map = config.maps_at(words.within).next()?;
    let length = length(config, map, words);
    let memory = memory(config, map, words);
    let parts: Vec<String> = length.into_iter().chain(memory).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Formats the length as `1500 steps` or `600 steps (40 images × 10 × 3 epochs / batches of 2)`.
fn length(config: &Config<'_>, map: &Map<'_>, words: &Words) -> Option<String> {
    let batch =
        map.number(words.batch).unwrap_or(1.0).max(1.0) * map.number(words.accumulation).unwrap_or(1.0).max(1.0);
    let epochs = map.number(words.epochs).filter(|epochs| *epochs > 0.0);
    // In sd-scripts epochs take precedence over steps; in other trainers steps take precedence.
    let steps = map.number(words.steps).filter(|steps| *steps > 0.0);
    let steps = steps.filter(|_| config.dialect != SdScripts || epochs.is_none());
    if let Some(steps) = steps {
        let samples = (batch > 1.0).then(|| format!(" of {batch}, {} samples", (steps * batch).round()));
        return Some(format!("{steps} steps{}", samples.unwrap_or_default()));
    }
    let (images, repeats) = images(config, map)?;
    let epochs = epochs?;
    let steps = (images * epochs / batch).ceil();
    Some(format!("{steps} steps ({repeats} × {epochs} epochs / batches of {batch})"))
}

/// Returns the number of images per epoch including repeats, and how it was computed.
fn images(config: &Config<'_>, map: &Map<'_>) -> Option<(f64, String)> {
    let folder = crate::repository::normal(map.text("train_data_dir")?)?;
    let files = config.repository.files_in(&folder);
    let images = files.iter().filter(|path| super::data::is_image(path));
    if config.dialect == LoraScripts {
        let count = images.count();
        return (count > 0).then(|| (count as f64, counted(count)));
    }
    let repeats = images.filter_map(|path| {
        let (times, _) = path[folder.len() + 1..].split_once('/')?.0.split_once('_')?;
        times.parse::<u32>().ok()
    });
    let repeats: Vec<u32> = repeats.collect();
    let total: u64 = repeats.iter().map(|times| u64::from(*times)).sum();
    (total > 0).then(|| (total as f64, format!("{} repeated to {total}", counted(repeats.len()))))
}

/// Formats a count as `1 image` or `2 images`.
fn counted(images: usize) -> String {
    format!("{images} image{}", if images == 1 { "" } else { "s" })
}

/// Formats the memory as `a GPU with 24 GB should do`.
fn memory(config: &Config<'_>, map: &Map<'_>, words: &Words) -> Option<String> {
    let of_map = || words.model.iter().find_map(|key| map.text(key));
    let in_model = || config.maps_at("config.process.model").find_map(|model| model.text("name_or_path"));
    let name = of_map().or_else(in_model)?.to_lowercase();
    let needed = match config.dialect {
        Axolotl | LlamaFactory => {
            let bits = match (map.is_true("load_in_4bit"), map.is_true("load_in_8bit"), map.number("quantization_bit"))
            {
                (true, ..) | (_, _, Some(4.0)) => 4.0,
                (_, true, _) | (_, _, Some(8.0)) => 8.0,
                _ => 16.0,
            };
            // The weights, plus 2 GB and a fifth of the weights for the adapter, its optimizer and activations.
            billions(&name)? * bits / 8.0 * 1.2 + 2.0
        }
        _ => IMAGE_MODELS.iter().find(|(names, _)| names.iter().any(|part| name.contains(part)))?.1.into(),
    };
    match GPUS.iter().find(|size| needed <= f64::from(**size)) {
        Some(size) => Some(format!("a GPU with {size} GB should do")),
        None => Some(format!("more than one GPU: about {} GB are needed", needed.round())),
    }
}

/// Reads the billions of parameters from a name such as `Llama-3-8B` or `qwen2.5-0.5b`.
fn billions(name: &str) -> Option<f64> {
    let words = name.rsplit('/').next()?.split(['-', '_']);
    let sizes = words.filter_map(|word| word.strip_suffix('b')?.parse::<f64>().ok());
    sizes.filter(|size| *size > 0.0 && *size < 2000.0).reduce(f64::max)
}
