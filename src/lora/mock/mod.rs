//! Mock base models and dummy data sets: small enough for a CPU, and real enough that trainers load and train them.
//!
//! All of it is made here from nothing: weights are random numbers, words and pictures are ours. So it needs no download
//! and no licence. The same call gives the same bytes.

mod clip;
mod images;
mod llama;
mod stable_diffusion;
mod tensors;
mod texts;

pub(super) use clip::tokenizer;
pub(super) use images::{IMAGES, captioned, indexed, name};
pub(super) use llama::llama;
pub(super) use stable_diffusion::{GROUPS, WIDTH, stable_diffusion};
pub(super) use texts::{Row, conversation, lines};

/// A file that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where, from the folder on that holds all of them.
    pub path: String,
    /// What.
    pub bytes: Vec<u8>,
}

impl File {
    pub(super) fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }

    pub(super) fn json(path: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::new(path, format!("{value:#}\n"))
    }

    /// The file in a folder.
    pub(super) fn below(self, folder: &str) -> Self {
        Self { path: format!("{folder}/{}", self.path), ..self }
    }
}

/// What can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A diffusers folder.
    StableDiffusion,
    /// A transformers folder.
    Llama,
    /// Something that is there.
    File,
    /// Images with captions.
    Images,
    /// Texts for language models.
    Text,
}

/// The side of the images, in pixels, that nobody asked to be of another size.
const SIDE: u32 = 128;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::StableDiffusion, Self::Llama, Self::File, Self::Images, Self::Text];

    /// How people ask for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StableDiffusion => "stable-diffusion",
            Self::Llama => "llama",
            Self::File => "file",
            Self::Images => "images",
            Self::Text => "text",
        }
    }

    /// What it is.
    pub fn about(self) -> &'static str {
        match self {
            Self::StableDiffusion => "a Stable Diffusion 1.5 of the usual form and tiny width, as a diffusers folder",
            Self::Llama => "a Llama of two layers with tokenizer and chat template, as a transformers folder",
            Self::File => "model.safetensors with one tensor, for trainers that only look whether their model is there",
            Self::Images => {
                "a few images with captions as .txt, .caption and metadata.csv, also as kohya's N_name folder"
            }
            Self::Text => "a few texts as JSON lines: instructions, plain texts, chats, preferences; dataset_info.json",
        }
    }

    /// Its files.
    pub fn files(self) -> Vec<File> {
        match self {
            Self::StableDiffusion => stable_diffusion(),
            Self::Llama => llama(&[]),
            Self::File => vec![placeholder("model.safetensors")],
            Self::Images => {
                let in_folder = captioned(SIDE).into_iter().map(|file| file.below("1_smoke"));
                indexed(SIDE).into_iter().chain(in_folder).collect()
            }
            Self::Text => texts::files(),
        }
    }
}

/// A valid file of weights with a single number, for who only looks whether there is one.
pub(super) fn placeholder(path: &str) -> File {
    let mut weights = tensors::Weights::new();
    weights.norm("placeholder", 1);
    File::new(path, weights.written())
}

#[cfg(test)]
mod tests;
