//! Mock base models. Each has the parts and the names of the real one, few layers and tiny widths, and random weights.
//!
//! A file in `models` has the configs of a model's parts, as diffusers and transformers write them, and a table of the
//! shapes of the tensors. `scripts/trainers/tables.py` fills the tables.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::tensors::Weights;
use super::{File, tokenizer};

/// The families of models, under the names that people use for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Model {
    StableDiffusion,
    Sdxl,
    StableDiffusion3,
    Flux,
    QwenImage,
    Wan,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
}

/// The content of a file in `models`.
#[derive(Deserialize)]
struct Described {
    /// The class of the pipeline. A language model has none.
    pipeline: Option<String>,
    /// More entries of `model_index.json`.
    #[serde(default)]
    index: Map<String, Value>,
    scheduler: Option<Value>,
    /// The kinds of tokenizers, by folder.
    tokenizers: BTreeMap<String, String>,
    /// The parts with weights, by folder.
    parts: BTreeMap<String, Part>,
}

#[derive(Deserialize)]
struct Part {
    config: Map<String, Value>,
    tensors: Tensors,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Tensors {
    /// The table of another model's part, as `model.part`.
    As(String),
    /// Shapes by name. In a name, `{0..3}` and `{k,v}` stand for each of these.
    Own(BTreeMap<String, Vec<usize>>),
}

/// The release that the index files name. Newer releases of diffusers read files of older ones.
const DIFFUSERS: &str = "0.31.0";

impl Model {
    pub const ALL: [Self; 12] = [
        Self::StableDiffusion,
        Self::Sdxl,
        Self::StableDiffusion3,
        Self::Flux,
        Self::QwenImage,
        Self::Wan,
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
    ];

    /// Returns the name for the command line, the name that people use, and the content of its file.
    fn facts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::StableDiffusion => {
                ("stable-diffusion", "Stable Diffusion 1", include_str!("models/stable-diffusion.json"))
            }
            Self::Sdxl => ("sdxl", "Stable Diffusion XL", include_str!("models/sdxl.json")),
            Self::StableDiffusion3 => ("sd3", "Stable Diffusion 3", include_str!("models/sd3.json")),
            Self::Flux => ("flux", "FLUX.1", include_str!("models/flux.json")),
            Self::QwenImage => ("qwen-image", "Qwen-Image", include_str!("models/qwen-image.json")),
            Self::Wan => ("wan", "Wan 2.1", include_str!("models/wan.json")),
            Self::Llama => ("llama", "Llama", include_str!("models/llama.json")),
            Self::Mistral => ("mistral", "Mistral", include_str!("models/mistral.json")),
            Self::Qwen2 => ("qwen2", "Qwen 2.5", include_str!("models/qwen2.json")),
            Self::Qwen3 => ("qwen3", "Qwen 3", include_str!("models/qwen3.json")),
            Self::Gemma2 => ("gemma2", "Gemma 2", include_str!("models/gemma2.json")),
            Self::Gemma3 => ("gemma3", "Gemma 3", include_str!("models/gemma3.json")),
        }
    }

    /// Returns the name for the command line.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Returns the name that people use.
    pub fn title(self) -> &'static str {
        self.facts().1
    }

    /// Returns a description.
    pub fn about(self) -> String {
        match self {
            Self::StableDiffusion | Self::Sdxl => {
                format!("{} with the usual layers and tiny widths, as a diffusers folder", self.title())
            }
            Self::StableDiffusion3 | Self::Flux | Self::QwenImage | Self::Wan => {
                format!("{} with two layers, as a diffusers folder", self.title())
            }
            _ => format!("{} with a few layers, tokenizer and chat template, as a transformers folder", self.title()),
        }
    }

    /// Returns the files of its folder. The tokenizer of a language model also knows the tokens in `more`.
    pub(crate) fn files(self, more: &[&str]) -> Vec<File> {
        let described = self.described();
        let mut files = described.index_files();
        for (folder, part) in described.parts {
            let is_diffusers = part.config.contains_key("_class_name");
            let weights = if is_diffusers { "diffusion_pytorch_model.safetensors" } else { "model.safetensors" };
            let mut config = part.config;
            if is_diffusers {
                config.insert("_diffusers_version".to_owned(), json!(DIFFUSERS));
            } else if described.pipeline.is_none() {
                let ids = ["bos_token_id", "eos_token_id", "pad_token_id"].map(|key| (key, config.get(key)));
                let ids: Map<_, _> = ids.into_iter().map(|(key, id)| (key.to_owned(), json!(id))).collect();
                files.push(File::json("generation_config.json", &ids.into()));
            }
            files.push(File::json("config.json", &config.into()).below(&folder));
            files.push(File::new(weights, random(part.tensors)).below(&folder));
        }
        for (folder, kind) in &described.tokenizers {
            let own = match kind.as_str() {
                "clip" => tokenizer::clip(),
                "t5" => tokenizer::t5(),
                "qwen" => tokenizer::chat("Qwen2Tokenizer", more),
                _ => tokenizer::chat(tokenizer::FAST, more),
            };
            files.extend(own.into_iter().map(|file| file.below(folder)));
        }
        files
    }

    fn described(self) -> Described {
        serde_json::from_str(self.facts().2).expect("a file of ours")
    }
}

impl Described {
    /// Returns `model_index.json` and the scheduler's config of a pipeline.
    fn index_files(&self) -> Vec<File> {
        let (Some(pipeline), Some(scheduler)) = (&self.pipeline, &self.scheduler) else { return Vec::new() };
        let mut index = self.index.clone();
        let mut put = |key: &str, value: Value| index.insert(key.to_owned(), value);
        put("_class_name", json!(pipeline));
        put("_diffusers_version", json!(DIFFUSERS));
        put("scheduler", json!(["diffusers", scheduler["_class_name"]]));
        for (folder, part) in &self.parts {
            let class = part.config.get("_class_name").map(|class| json!(["diffusers", class]));
            put(folder, class.unwrap_or_else(|| json!(["transformers", part.config["architectures"][0]])));
        }
        for (folder, kind) in &self.tokenizers {
            let class = match kind.as_str() {
                "clip" => "CLIPTokenizer",
                "t5" => "T5TokenizerFast",
                _ => "Qwen2Tokenizer",
            };
            put(folder, json!(["transformers", class]));
        }
        let mut scheduler = scheduler.clone();
        scheduler["_diffusers_version"] = json!(DIFFUSERS);
        vec![File::json("model_index.json", &index.into()), File::json("scheduler/scheduler_config.json", &scheduler)]
    }
}

/// Returns a file of random weights with the tensors of a table.
fn random(tensors: Tensors) -> Vec<u8> {
    let mut all = BTreeMap::new();
    for (name, shape) in own(tensors) {
        all.extend(names(&name).into_iter().map(|name| (name, shape.clone())));
    }
    let mut weights = Weights::new();
    for (name, shape) in all {
        weights.add_like(&name, &shape);
    }
    weights.written()
}

/// Returns a table, also if it is another part's.
fn own(tensors: Tensors) -> BTreeMap<String, Vec<usize>> {
    match tensors {
        Tensors::Own(table) => table,
        Tensors::As(place) => {
            let (model, part) = place.split_once('.').expect("a model and its part");
            let model = Model::ALL.into_iter().find(|known| known.name() == model).expect("a model");
            own(model.described().parts.remove(part).expect("a part").tensors)
        }
    }
}

/// Returns the names for which a name with braces stands.
fn names(name: &str) -> Vec<String> {
    let Some((before, (inner, after))) =
        name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![name.to_owned()];
    };
    let each: Vec<String> = match inner.split_once("..") {
        Some((first, last)) => {
            let number = |text: &str| text.parse::<usize>().expect("a number");
            (number(first)..=number(last)).map(|number| number.to_string()).collect()
        }
        None => inner.split(',').map(str::to_owned).collect(),
    };
    let rests = names(after);
    each.iter().flat_map(|one| rests.iter().map(move |rest| format!("{before}{one}{rest}"))).collect()
}
