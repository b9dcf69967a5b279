//! Smoke jobs: a config of the team's own, changed so that its training takes a few steps on a CPU with a mock model and
//! dummy data. Whatever costs no time and reaches nowhere stays as the team has it, since that is what is tried.
//!
//! Which dialects were run with their real trainer, and which were derived from reading it only, is told at the head of
//! each dialect's file.

mod ai_toolkit;
mod axolotl;
mod draft;
mod llama_factory;
mod llm;
mod lora_scripts;
mod onetrainer;
mod sd_dataset;
mod sd_scripts;
mod simpletuner;

use super::mock::File;
use super::read::{Format, Source};
use super::tree::Node;
use super::{Dialect, Repository};
use crate::yaml::MAX_BYTES;
use draft::Draft;

pub use draft::Change;

/// What is wanted of a smoke job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The training's steps, 1 to [`MAX_STEPS`].
    pub steps: u32,
    /// The side of the images in pixels: a multiple of 64 from 64 to [`MAX_RESOLUTION`]. With 64, the middle of a
    /// Stable Diffusion U-Net sees a single place, and some of its weights learn nothing in a sound training.
    pub resolution: u32,
    /// How the trainer is started, in place of what is usual for it. `{config}` stands for the path of the config. The
    /// scripts of sd-scripts have to be started through `narrow.py` in the same folder, or the mock model does not fit
    /// them.
    pub command: Option<String>,
}

/// The most steps of a smoke job.
pub const MAX_STEPS: u32 = 1000;
/// The largest side of its images.
pub const MAX_RESOLUTION: u32 = 1024;
/// What a command has in place of the config's path.
const CONFIG: &str = "{config}";
/// Where the trainer saves, below the folder of the smoke job.
pub const OUTPUT: &str = "output";

impl Default for Ask {
    fn default() -> Self {
        Self { steps: 3, resolution: 128, command: None }
    }
}

/// All that a smoke job needs beside the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smoke {
    /// The trainer.
    pub dialect: Dialect,
    /// Config, model and data, from the folder on that the smoke was derived for.
    pub files: Vec<File>,
    /// Variables for the trainer, by name.
    pub environment: Vec<(String, String)>,
    /// One command for bash, to be run in the root of the repository.
    pub command: String,
    /// The folder into which the trainer saves, below that of the smoke job.
    pub output: String,
    /// The steps that the trainer is told to make.
    pub steps: u32,
    /// What is different in the config.
    pub changes: Vec<Change>,
}

/// Why there is no smoke job for a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The file is no config that is run by itself, so nothing is missing.
    #[error("{0}")]
    NotRun(String),
    /// The file should be tried, and cannot be. The text says why, and what to do.
    #[error("{0}")]
    Cannot(String),
}

/// Makes a smoke job of the config at `path`. `folder` is where its files will be: an absolute path outside of the
/// checkout. The same arguments give the same bytes.
pub fn derive(path: &str, text: &[u8], ask: &Ask, repository: &Repository<'_>, folder: &str) -> Result<Smoke, Unfit> {
    let (format, dialect, root) = read(path, text)?;
    check(ask)?;
    let draft = Draft::new(format, dialect, root);
    let part = |what: &str| Err(Unfit::NotRun(format!("{path} is {what}")));
    let (environment, steps) = (environment(folder), ask.steps);
    let mut work = Work { draft, ask, repository, folder, files: Vec::new(), environment, steps, changes: Vec::new() };
    let usual = match dialect {
        Dialect::LoraScripts => lora_scripts::derive(&mut work)?,
        Dialect::SdScripts => sd_scripts::derive(&mut work)?,
        Dialect::Axolotl => axolotl::derive(&mut work)?,
        Dialect::LlamaFactory => llama_factory::derive(&mut work)?,
        Dialect::AiToolkit => ai_toolkit::derive(&mut work)?,
        Dialect::SimpleTuner => simpletuner::derive(&mut work)?,
        Dialect::OneTrainer => onetrainer::derive(&mut work)?,
        Dialect::KohyaGui => {
            let advice = "put the TOML that it writes for sd-scripts into the repository, and that is tried";
            return Err(Unfit::Cannot(format!("only the web page kohya_ss reads {path}: {advice}")));
        }
        Dialect::SdScriptsDataset => return part("a data set, which is tried with the config that names it"),
        Dialect::AkegarasuPreset => return part("a preset, which a web page merges into the arguments of a training"),
        Dialect::Peft => return part("written beside trained weights by PEFT"),
    };
    let Work { mut draft, mut files, mut environment, steps, changes: more, .. } = work;
    environment.sort();
    draft.remove_secrets();
    let config = format!("config.{}", format.extension());
    let command = ask.command.as_deref().unwrap_or(&usual).replace(CONFIG, &shell_word(&format!("{folder}/{config}")));
    let (text, mut changes) = draft.finish();
    changes.extend(more);
    files.insert(0, File::new(config, text));
    Ok(Smoke { dialect, files, environment, command, output: OUTPUT.to_owned(), steps, changes })
}

/// The tree of a config that can be run.
fn read(path: &str, text: &[u8]) -> Result<(Format, Dialect, Node), Unfit> {
    let unknown = || Unfit::NotRun(format!("{path} is no training config that is known here"));
    let format = Format::of(path).filter(|_| text.len() <= MAX_BYTES).ok_or_else(unknown)?;
    let Source { root, faults } = format.read(std::str::from_utf8(text).map_err(|_| unknown())?);
    let root = root.ok_or_else(unknown)?;
    let dialect = Dialect::of(format, &root).ok_or_else(unknown)?;
    let is_part = matches!(dialect, Dialect::SdScriptsDataset | Dialect::AkegarasuPreset | Dialect::Peft);
    if let Some(fault) = faults.iter().find(|fault| fault.fatal && !is_part) {
        return Err(Unfit::Cannot(match fault.at {
            Some(at) => format!("{path}:{}: {}", at.line, fault.message),
            None => format!("{path}: {}", fault.message),
        }));
    }
    Ok((format, dialect, root))
}

fn check(ask: &Ask) -> Result<(), Unfit> {
    if !(1..=MAX_STEPS).contains(&ask.steps) {
        return Err(Unfit::Cannot(format!("steps must be 1 to {MAX_STEPS}, and not {}", ask.steps)));
    }
    if !(64..=MAX_RESOLUTION).contains(&ask.resolution) || !ask.resolution.is_multiple_of(64) {
        let range = format!("a multiple of 64 from 64 to {MAX_RESOLUTION}");
        return Err(Unfit::Cannot(format!("resolution must be {range}, and not {}", ask.resolution)));
    }
    match &ask.command {
        Some(command) if !command.contains(CONFIG) => {
            let advice = format!("write {CONFIG} where the path of the derived config belongs");
            Err(Unfit::Cannot(format!("the smoke command would run the config as it stands: {advice}")))
        }
        _ => Ok(()),
    }
}

/// A smoke job on its way.
struct Work<'a> {
    draft: Draft,
    ask: &'a Ask,
    repository: &'a Repository<'a>,
    folder: &'a str,
    files: Vec<File>,
    environment: Vec<(String, String)>,
    /// The steps that the trainer is told to make: those that were asked for, where it counts in steps.
    steps: u32,
    /// What is different in files that the config names.
    changes: Vec<Change>,
}

impl Work<'_> {
    /// Adds files below the job's folder and gives their absolute path.
    fn add(&mut self, name: &str, files: Vec<File>) -> String {
        self.files.extend(files.into_iter().map(|file| file.below(name)));
        self.path(name)
    }

    /// The absolute path of something in the job's folder.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// The folder into which the trainer is told to save.
    fn output(&self) -> String {
        self.path(OUTPUT)
    }

    /// The path from the repository's root of the trainer's script, which is `usual` where it lies as its authors have it.
    fn script(&self, usual: &str) -> Result<String, Unfit> {
        let name = usual.rsplit('/').next().unwrap_or(usual);
        if let Some(path) = self.repository.nearest(name) {
            return Ok(shell_word(path));
        }
        if self.repository.is_unknown() || self.ask.command.is_some() {
            return Ok(usual.to_owned());
        }
        let advice = "tell how the trainer is started with the key command of smoke";
        Err(Unfit::Cannot(format!("there is no {name} in the repository: {advice}")))
    }
}

/// What keeps a trainer on the CPU, offline and readable. One thread, since many on few cores wait for each other: a tiny
/// U-Net is up to 50 times slower with the default.
fn environment(folder: &str) -> Vec<(String, String)> {
    let fixed = [
        ("COLUMNS", "200"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("DO_NOT_TRACK", "1"),
        ("HF_DATASETS_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_OFFLINE", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("WANDB_MODE", "disabled"),
    ];
    let mut variables: Vec<_> = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    variables.push(("HF_HOME".to_owned(), format!("{folder}/huggingface")));
    variables.sort();
    variables
}

/// A text of a config, short enough for a message.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// The text as one word for a shell.
fn shell_word(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests;
