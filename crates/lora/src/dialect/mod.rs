//! Detection of the trainer that a config is for, by its content.

mod detect;

use super::read::Format;
use super::tree::Node;

/// The trainers whose configs are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `train.py --config x.yaml`: one flat YAML map with keys such as `base_model`, `train_data_dir` and `lora_rank`.
    LoraScripts,
    /// kohya's sd-scripts: arguments in TOML; its table headers have no meaning.
    SdScripts,
    /// kohya's sd-scripts: the data sets.
    SdScriptsDataset,
    /// kohya's musubi-tuner: arguments in TOML, as for sd-scripts.
    Musubi,
    /// kohya's musubi-tuner: the data sets.
    MusubiDataset,
    /// A preset for the web UI of Akegarasu's lora-scripts: some sd-scripts arguments.
    AkegarasuPreset,
    /// A config saved by the kohya_ss web UI.
    KohyaGui,
    Axolotl,
    /// LLaMA-Factory's training configs. Its configs for export and inference are not detected.
    LlamaFactory,
    /// trl's commands, such as `trl sft --config x.yaml`.
    Trl,
    /// ms-swift: `swift sft`, `pt` and `rlhf` with a file of arguments. Those of Megatron are not detected.
    MsSwift,
    /// unsloth's `unsloth train --config x.yaml`.
    Unsloth,
    /// The example scripts of diffusers. Their arguments come from command lines, so no file is detected.
    Diffusers,
    AiToolkit,
    SimpleTuner,
    /// SimpleTuner's data loader: a list of data sets.
    SimpleTunerDataset,
    OneTrainer,
    /// OneTrainer's lists of concepts or of samples.
    OneTrainerDataset,
    /// PEFT's `adapter_config.json`.
    Peft,
}

/// Behaviour of a trainer on a key that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The trainer stops.
    Refused,
    /// The trainer stops, but a script of the team may know more keys.
    Extended,
    /// The trainer silently ignores the key; our table has all of its keys.
    Ignored,
    /// The trainer ignores the key; our table does not have all of its keys.
    Open,
}

/// Treatment of a value that is not of the wanted kind, by a trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Nothing: the value is used as it was loaded.
    Nothing,
    /// As `Nothing`, but its YAML loader reads `1e-4` without a dot as a number.
    Exponents,
    /// A pydantic model: numbers and booleans from strings, but no strings from numbers.
    Model,
    /// Command line options: everything becomes a string first.
    Options,
    /// Options as SimpleTuner makes them: the text `true` is an option without a value, and some values are left out.
    Switches,
    /// Defaults of command line options: strings are converted, and other values used as they were loaded.
    Defaults,
    /// Python's `int()` and `float()`.
    Casts,
}

impl Dialect {
    /// All dialects, in the order in which they are tried.
    pub const ALL: [Self; 19] = [
        Self::AiToolkit,
        Self::LlamaFactory,
        Self::Trl,
        Self::MsSwift,
        Self::Unsloth,
        Self::Axolotl,
        Self::LoraScripts,
        Self::MusubiDataset,
        Self::SdScriptsDataset,
        Self::AkegarasuPreset,
        Self::Musubi,
        Self::SdScripts,
        Self::KohyaGui,
        Self::SimpleTuner,
        Self::SimpleTunerDataset,
        Self::OneTrainer,
        Self::OneTrainerDataset,
        Self::Peft,
        Self::Diffusers,
    ];

    /// Returns the dialect's name in its usual spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoraScripts => "lora-scripts",
            Self::SdScripts => "sd-scripts",
            Self::SdScriptsDataset => "sd-scripts data set",
            Self::Musubi => "musubi-tuner",
            Self::MusubiDataset => "musubi-tuner data set",
            Self::AkegarasuPreset => "Akegarasu preset",
            Self::KohyaGui => "kohya_ss GUI",
            Self::Axolotl => "axolotl",
            Self::LlamaFactory => "LLaMA-Factory",
            Self::Trl => "trl",
            Self::MsSwift => "ms-swift",
            Self::Unsloth => "unsloth",
            Self::Diffusers => "diffusers",
            Self::AiToolkit => "ai-toolkit",
            Self::SimpleTuner => "SimpleTuner",
            Self::SimpleTunerDataset => "SimpleTuner data set",
            Self::OneTrainer => "OneTrainer",
            Self::OneTrainerDataset => "OneTrainer data set",
            Self::Peft => "PEFT",
        }
    }

    /// Returns the name of the program that reads such a config.
    pub(super) fn trainer(self) -> &'static str {
        match self {
            Self::LoraScripts => "train.py",
            Self::SdScriptsDataset => "sd-scripts",
            Self::MusubiDataset => "musubi-tuner",
            Self::AkegarasuPreset => "the web UI",
            Self::KohyaGui => "kohya_ss",
            Self::SimpleTunerDataset => "SimpleTuner",
            Self::OneTrainerDataset => "OneTrainer",
            _ => self.name(),
        }
    }

    /// Detects the dialect of a config. Returns `None` if the file is not a training config.
    pub(super) fn of(format: Format, root: &Node) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.formats().contains(&format) && dialect.is_told_by(&detect::Keys(root)))
    }

    /// Returns the path at which the table of keys has the root of such a file.
    pub(super) fn root_path(self, root: &Node) -> &'static str {
        let is_list = self == Self::OneTrainerDataset;
        detect::Keys(root).onetrainer_list().filter(|_| is_list).unwrap_or_default()
    }

    fn formats(self) -> &'static [Format] {
        match self {
            Self::Diffusers => &[],
            Self::LoraScripts | Self::Axolotl | Self::Trl => &[Format::Yaml],
            Self::AiToolkit | Self::LlamaFactory | Self::MsSwift | Self::Unsloth => &[Format::Yaml, Format::Json],
            Self::SdScripts | Self::Musubi | Self::AkegarasuPreset => &[Format::Toml],
            Self::SdScriptsDataset | Self::MusubiDataset => &[Format::Toml, Format::Json],
            Self::KohyaGui
            | Self::SimpleTuner
            | Self::SimpleTunerDataset
            | Self::OneTrainer
            | Self::OneTrainerDataset
            | Self::Peft => &[Format::Json],
        }
    }

    /// Returns the name of the trainer's package, whose releases the tables count.
    pub(super) fn package(self) -> Option<&'static str> {
        match self {
            Self::Axolotl => Some("axolotl"),
            Self::LlamaFactory => Some("llamafactory"),
            Self::SimpleTuner | Self::SimpleTunerDataset => Some("simpletuner"),
            Self::Trl => Some("trl"),
            Self::MsSwift => Some("ms-swift"),
            Self::Diffusers => Some("diffusers"),
            _ => None,
        }
    }

    /// Returns the trainer's behaviour on a key that it does not know.
    pub(super) fn unknown(self) -> Unknown {
        match self {
            Self::SdScriptsDataset
            | Self::MusubiDataset
            | Self::LlamaFactory
            | Self::SimpleTuner
            | Self::MsSwift
            | Self::Diffusers => Unknown::Refused,
            Self::LoraScripts
            | Self::SdScripts
            | Self::Musubi
            | Self::Axolotl
            | Self::AiToolkit
            | Self::OneTrainer
            | Self::OneTrainerDataset
            | Self::Unsloth => Unknown::Ignored,
            Self::Trl => Unknown::Extended,
            Self::AkegarasuPreset | Self::KohyaGui | Self::SimpleTunerDataset | Self::Peft => Unknown::Open,
        }
    }

    /// Returns true if the trainer checks the values of all keys at its start, and stops at a wrong one.
    pub(super) fn refuses(self) -> bool {
        let is_checked = matches!(self.conversion(), Conversion::Model | Conversion::Options | Conversion::Switches);
        is_checked || matches!(self, Self::SdScriptsDataset | Self::MusubiDataset)
    }

    /// Returns what the trainer makes of a value that is not of the wanted kind.
    pub(super) fn conversion(self) -> Conversion {
        match self {
            Self::LoraScripts
            | Self::SdScripts
            | Self::SdScriptsDataset
            | Self::Musubi
            | Self::MusubiDataset
            | Self::AkegarasuPreset
            | Self::SimpleTunerDataset
            | Self::Peft => Conversion::Nothing,
            Self::LlamaFactory | Self::AiToolkit => Conversion::Exponents,
            Self::Axolotl | Self::Unsloth => Conversion::Model,
            Self::Trl => Conversion::Defaults,
            Self::SimpleTuner => Conversion::Switches,
            Self::MsSwift | Self::Diffusers => Conversion::Options,
            Self::KohyaGui | Self::OneTrainer | Self::OneTrainerDataset => Conversion::Casts,
        }
    }
}
