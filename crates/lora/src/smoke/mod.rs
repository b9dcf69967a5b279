//! Smoke jobs: the team's own config, changed so that its training takes a few steps on a CPU with a mock model and
//! dummy data. Settings that cost no time and do not access the network stay as they are, since they are what the job
//! tests.
//!
//! The head of each dialect's file states whether its derived configs were run with the real trainer, or were written
//! by reading its source only.

mod ai_toolkit;
mod axolotl;
mod draft;
mod family;
mod llama_factory;
mod llm;
mod lora_scripts;
mod onetrainer;
mod sd_dataset;
pub(crate) mod sd_scripts;
mod simpletuner;
pub(crate) mod trl;

use super::mock::File;
use super::read::{Format, Source};
use super::tree::Node;
use super::{Dialect, Repository};
use crate::domain::ConfigChange;
use crate::yaml::MAX_BYTES;
use draft::Draft;

/// The requested settings of a smoke job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The number of training steps, 1 to [`MAX_STEPS`].
    pub steps: u32,
    /// The side of the images in pixels: a multiple of 64 from 64 to [`MAX_RESOLUTION`]. With 64, the middle of a
    /// Stable Diffusion U-Net sees a single position, and some of its weights learn nothing even in a sound training.
    pub resolution: u32,
    /// The command that starts the trainer, in place of its usual one. `{config}` stands for the path of the config.
    /// The scripts of sd-scripts must be started through `narrow.py` in the same folder, or the mock model does not fit
    /// them. SimpleTuner needs the folder `python` beside the config in `PYTHONPATH`, or it stops without a GPU.
    pub command: Option<String>,
}

/// Maximum number of steps of a smoke job.
pub const MAX_STEPS: u32 = 1000;
/// Maximum side of the images, in pixels.
pub const MAX_RESOLUTION: u32 = 1024;
/// The placeholder for the config's path in a command.
pub(crate) const CONFIG: &str = "{config}";
/// The folder in which the trainer saves, below the folder of the smoke job.
pub const OUTPUT: &str = "output";

impl Default for Ask {
    fn default() -> Self {
        Self { steps: 3, resolution: 128, command: None }
    }
}

/// Everything that a smoke job requires in addition to the checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smoke {
    pub dialect: Dialect,
    /// Config, model and data, with paths relative to the smoke job's folder.
    pub files: Vec<File>,
    /// Environment variables for the trainer.
    pub environment: Vec<(String, String)>,
    /// The command for bash, run in the root of the repository.
    pub command: String,
    /// The folder in which the trainer saves, below the folder of the smoke job.
    pub output: String,
    /// The number of steps that the trainer will make.
    pub steps: u32,
    /// The changes to the team's config.
    pub changes: Vec<ConfigChange>,
}

/// The reason why a file has no smoke job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The file is not a config that is run by itself, so nothing is missing.
    #[error("{0}")]
    NotRun(String),
    /// The file should be tried but cannot be. The text says why, and what to do.
    #[error("{0}")]
    Cannot(String),
}

/// Derives a smoke job from the config at `path`. `folder` is the place of its files: an absolute path outside of the
/// checkout. The same arguments return the same bytes.
pub fn derive(path: &str, text: &[u8], ask: &Ask, repository: &Repository<'_>, folder: &str) -> Result<Smoke, Unfit> {
    let (format, dialect, root) = read(path, text)?;
    check(ask)?;
    let draft = Draft::new(format, dialect, root);
    let part = |what: &str| Err(Unfit::NotRun(format!("{path} is {what}")));
    let mut work = Work { draft, ask, repository, folder, files: Vec::new(), steps: ask.steps, changes: Vec::new() };
    let usual = match dialect {
        Dialect::LoraScripts => lora_scripts::derive(&mut work)?,
        Dialect::SdScripts => sd_scripts::derive(&mut work)?,
        Dialect::Axolotl => axolotl::derive(&mut work)?,
        Dialect::LlamaFactory => llama_factory::derive(&mut work)?,
        Dialect::AiToolkit => ai_toolkit::derive(&mut work)?,
        Dialect::SimpleTuner => simpletuner::derive(&mut work)?,
        Dialect::OneTrainer => onetrainer::derive(&mut work)?,
        Dialect::Trl => trl::derive(&mut work)?,
        Dialect::KohyaGui => {
            let advice = "add the TOML that it writes for sd-scripts to the repository, which can be tried";
            return Err(Unfit::Cannot(format!("only the web UI kohya_ss reads {path}: {advice}")));
        }
        Dialect::Musubi | Dialect::MsSwift | Dialect::Unsloth | Dialect::Diffusers => {
            let trainer = dialect.name();
            return Err(Unfit::Cannot(format!("{path} is for {trainer}, whose trainings cannot be tried yet")));
        }
        Dialect::SdScriptsDataset
        | Dialect::MusubiDataset
        | Dialect::SimpleTunerDataset
        | Dialect::OneTrainerDataset => {
            return part("a data set, which is tried with the config that names it");
        }
        Dialect::AkegarasuPreset => return part("a preset, which a web UI merges into the arguments of a training"),
        Dialect::Peft => return part("written next to trained weights by PEFT"),
    };
    let Work { mut draft, mut files, steps, changes: more, .. } = work;
    draft.remove_secrets();
    let config = format!("config.{}", format.extension());
    let command = ask.command.as_deref().unwrap_or(&usual).replace(CONFIG, &shell_word(&format!("{folder}/{config}")));
    let (text, mut changes) = draft.finish();
    changes.extend(more);
    files.insert(0, File::new(config, text));
    Ok(Smoke { dialect, files, environment: environment(folder), command, output: OUTPUT.to_owned(), steps, changes })
}

/// Returns true if the file is a training config that is run by itself. That does not mean that a smoke job can be
/// derived from it, which costs far more.
pub fn is_run(path: &str, text: &[u8]) -> bool {
    read(path, text).is_ok_and(|(_, dialect, _)| !is_part(dialect) && !is_untried(dialect))
}

/// Returns true for configs of trainers for which there are no smoke jobs.
fn is_untried(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::KohyaGui | Dialect::Musubi | Dialect::MsSwift | Dialect::Unsloth | Dialect::Diffusers)
}

/// Returns true for files that belong to another config or to trained weights.
pub(crate) fn is_part(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::SdScriptsDataset
            | Dialect::MusubiDataset
            | Dialect::SimpleTunerDataset
            | Dialect::OneTrainerDataset
            | Dialect::AkegarasuPreset
            | Dialect::Peft
    )
}

/// Reads a config that can be run.
pub(crate) fn read(path: &str, text: &[u8]) -> Result<(Format, Dialect, Node), Unfit> {
    let unknown = || Unfit::NotRun(format!("{path} is not a known training config"));
    let format = Format::of(path).filter(|_| text.len() <= MAX_BYTES).ok_or_else(unknown)?;
    let Source { root, faults } = format.read(std::str::from_utf8(text).map_err(|_| unknown())?);
    let root = root.ok_or_else(unknown)?;
    let dialect = Dialect::of(format, &root).ok_or_else(unknown)?;
    if let Some(fault) = faults.iter().find(|fault| fault.fatal && !is_part(dialect)) {
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
            Err(Unfit::Cannot(format!("the smoke command would run the original config: {advice}")))
        }
        _ => Ok(()),
    }
}

/// A smoke job under construction.
struct Work<'a> {
    draft: Draft,
    ask: &'a Ask,
    repository: &'a Repository<'a>,
    folder: &'a str,
    files: Vec<File>,
    /// The number of steps that the trainer will make: the requested number if the trainer counts in steps.
    steps: u32,
    /// The changes to files that the config names.
    changes: Vec<ConfigChange>,
}

impl Work<'_> {
    /// Adds files in a folder below the job's folder, and returns the absolute path of that folder.
    fn add(&mut self, name: &str, files: Vec<File>) -> String {
        self.files.extend(files.into_iter().map(|file| file.below(name)));
        self.path(name)
    }

    /// Returns the absolute path of a file or folder in the job's folder.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Returns the folder in which the trainer saves.
    fn output(&self) -> String {
        self.path(OUTPUT)
    }

    /// Returns the path of the trainer's script from the repository's root. It is `usual` where the script lies as in
    /// the trainer's own repository.
    fn script(&self, usual: &str) -> Result<String, Unfit> {
        let name = usual.rsplit('/').next().unwrap_or(usual);
        if let Some(path) = self.repository.nearest(name) {
            return Ok(shell_word(path));
        }
        if self.repository.is_unknown() || self.ask.command.is_some() {
            return Ok(usual.to_owned());
        }
        let advice = "set lora.command to the command that starts the trainer";
        Err(Unfit::Cannot(format!("there is no {name} in the repository: {advice}")))
    }
}

/// Returns the variables that keep a trainer on the CPU, offline, and its log readable. It gets one thread, since many
/// threads on few cores wait for each other: with the default, a tiny U-Net is up to 50 times slower. All trainers get
/// the same variables, so that a container that waits for a smoke job fits any of them.
fn environment(folder: &str) -> Vec<(String, String)> {
    let fixed = [
        ("AXOLOTL_DO_NOT_TRACK", "1"),
        ("COLUMNS", "200"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("DO_NOT_TRACK", "1"),
        ("HF_DATASETS_OFFLINE", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("HF_HUB_OFFLINE", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("SIMPLETUNER_CONFIG_BACKEND", "json"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("WANDB_MODE", "disabled"),
    ];
    let mut variables: Vec<_> = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    variables.push(("HF_HOME".to_owned(), format!("{folder}/huggingface")));
    variables.sort();
    variables
}

/// Shortens a string from a config for a message.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Quotes a text as one shell word.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests;
