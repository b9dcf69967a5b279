//! Mock base models and dummy data sets: small enough for a CPU, and real enough that trainers load and train them.
//!
//! Everything is generated: the weights are random numbers, the texts and images are our own. So it requires no
//! download and no licence. The same call returns the same bytes.

mod images;
mod model;
mod tensors;
mod texts;
mod tokenizer;

pub use model::Model;

pub(super) use images::{IMAGES, captioned, indexed, name};
pub(super) use texts::{Row, conversation, lines};
pub(super) use tokenizer::{clip, t5};

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
        let path = if folder.is_empty() { self.path } else { format!("{folder}/{}", self.path) };
        Self { path, ..self }
    }
}

/// The kinds of mocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A folder of diffusers or transformers.
    Model(Model),
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
    /// Returns all kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        Model::ALL.into_iter().map(Self::Model).chain([Self::File, Self::Images, Self::Text])
    }

    /// Returns the name for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model(model) => model.name(),
            Self::File => "file",
            Self::Images => "images",
            Self::Text => "text",
        }
    }

    /// Returns a description.
    pub fn about(self) -> String {
        match self {
            Self::Model(model) => model.about(),
            Self::File => {
                "model.safetensors with one tensor, for trainers that only check that their model exists".to_owned()
            }
            Self::Images => {
                "a few images with captions as .txt, .caption and metadata.csv, also as kohya's N_name folder"
                    .to_owned()
            }
            Self::Text => {
                "a few texts as JSON lines: instructions, plain texts, chats, preferences; dataset_info.json".to_owned()
            }
        }
    }

    /// Returns the files of this kind.
    pub fn files(self) -> Vec<File> {
        match self {
            Self::Model(model) => model.files(&[]),
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
    for name in ["placeholder.weight", "placeholder.bias"] {
        weights.add_like(name, &[1]);
    }
    File::new(path, weights.written())
}

#[cfg(test)]
mod tests;
