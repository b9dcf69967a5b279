//! The choice of a mock base model for a config.

use super::{Unfit, Work, shortened};
use crate::mock::Model;

/// The image and video models, with the names that trainers and people use for them.
const IMAGE: [(Model, &[&str]); 6] = [
    (Model::Sdxl, &["sdxl", "xl-base", "xl_base", "stable-diffusion-xl", "stable_diffusion_xl_10_base", "illustrious"]),
    (
        Model::StableDiffusion3,
        &["sd3", "stable-diffusion-3", "stable_diffusion_3", "stable_diffusion_35", "stable-diffusion-3.5"],
    ),
    (Model::Flux, &["flux", "flux1", "flux_dev_1", "flux.1"]),
    (Model::QwenImage, &["qwen_image", "qwen-image", "qwen"]),
    (Model::Wan, &["wan21", "wan2.1", "wan"]),
    (Model::StableDiffusion, &["sd1", "sd15", "sd1x", "stable_diffusion_15", "stable-diffusion-v1-5"]),
];

/// Returns the image or video model of exactly this name, as the keys of trainers have it. A trainer that names its
/// families by `arch: name:variant` means the name before the colon.
pub(super) fn image(name: &str) -> Option<Model> {
    let name = name.to_lowercase();
    let name = name.split(':').next().unwrap_or_default();
    IMAGE.iter().find(|(_, names)| names.contains(&name)).map(|(model, _)| *model)
}

/// Returns the image model that the name or path of a base model tells. Most are Stable Diffusion 1 under names of their
/// own.
pub(super) fn image_named(path: &str) -> Model {
    let path = path.to_lowercase();
    let told = IMAGE.iter().find(|(_, names)| names.iter().any(|name| name.len() > 3 && path.contains(name)));
    told.map_or(Model::StableDiffusion, |(model, _)| *model)
}

/// Returns the language model that a name tells: the path of a base model, a class or a template. A model of another
/// family is treated as a Llama, which most of them follow.
pub(super) fn language(names: &[Option<&str>]) -> Model {
    let told = [
        (Model::Qwen3, ["qwen3", "qwen-3"]),
        (Model::Qwen2, ["qwen", "qwq"]),
        (Model::Gemma3, ["gemma3", "gemma-3"]),
        (Model::Gemma2, ["gemma", "gemma"]),
        (Model::Mistral, ["mistral", "ministral"]),
    ];
    let of = |name: &&str| {
        let name = name.to_lowercase();
        told.iter().find(|(_, words)| words.iter().any(|word| name.contains(word))).map(|(model, _)| *model)
    };
    names.iter().flatten().find_map(of).unwrap_or(Model::Llama)
}

/// Returns the error for a model without a mock, with the ones that there are.
pub(super) fn unknown(name: &str, known: &[Model]) -> Unfit {
    let known: Vec<&str> = known.iter().map(|model| model.title()).collect();
    let known = known.join(", ");
    Unfit::Cannot(format!("Trainyard has no mock base model for {}: only {known}", shortened(name)))
}

impl Work<'_> {
    /// Adds a mock base model, and returns its folder.
    pub(super) fn model(&mut self, model: Model) -> String {
        self.add("model", model.files(&[]))
    }
}
