//! Mock base models and dummy data sets: small enough for a CPU, and real enough that trainers load and train them.
//!
//! Everything is generated: the weights are random numbers, the texts and images are our own. So it requires no
//! download and no licence. The same call returns the same bytes.

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

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The path relative to the folder of all files.
    pub path: String,
    pub bytes: Vec<u8>,
}

impl File {
    pub(super) fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }

    pub(super) fn json(path: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::new(path, format!("{value:#}\n"))
    }

    /// Moves the file into a folder.
    pub(super) fn below(self, folder: &str) -> Self {
        Self { path: format!("{folder}/{}", self.path), ..self }
    }
}

/// The kinds of mocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A diffusers folder.
    StableDiffusion,
    /// A transformers folder.
    Llama,
    /// A placeholder file of weights.
    File,
    /// Images with captions.
    Images,
    /// Texts for language models.
    Text,
}

/// The default side of the images, in pixels.
const SIDE: u32 = 128;

impl Kind {
    pub const ALL: [Self; 5] = [Self::StableDiffusion, Self::Llama, Self::File, Self::Images, Self::Text];

    /// Returns the name for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::StableDiffusion => "stable-diffusion",
            Self::Llama => "llama",
            Self::File => "file",
            Self::Images => "images",
            Self::Text => "text",
        }
    }

    /// Returns a description.
    pub fn about(self) -> &'static str {
        match self {
            Self::StableDiffusion => {
                "a Stable Diffusion 1.5 with the usual layers and a tiny width, as a diffusers folder"
            }
            Self::Llama => "a Llama with two layers, tokenizer and chat template, as a transformers folder",
            Self::File => "model.safetensors with one tensor, for trainers that only check that their model exists",
            Self::Images => {
                "a few images with captions as .txt, .caption and metadata.csv, also as kohya's N_name folder"
            }
            Self::Text => "a few texts as JSON lines: instructions, plain texts, chats, preferences; dataset_info.json",
        }
    }

    /// Returns the files of this kind.
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

/// Returns a valid file of weights with a single number, for trainers that only check that the file exists.
pub(super) fn placeholder(path: &str) -> File {
    let mut weights = tensors::Weights::new();
    weights.norm("placeholder", 1);
    File::new(path, weights.written())
}

#[cfg(test)]
mod tests;
