//! The trainers' programs, and how they are recognised in a command.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::options::{self, Options};
use super::parse::{Parser, recognised};
use super::shell::{Argument, Command};
use crate::Dialect;
use crate::keys::table;

/// A trainer's program and the way in which it takes arguments.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) trainer: &'static str,
    /// The dialect of configs whose keys the arguments are.
    pub(super) dialect: Option<Dialect>,
    pub(super) form: Form,
    pub(super) options: Options,
    /// True when copies of the program have other options: only misspellings are reported.
    is_often_changed: bool,
}

/// The form of a program's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Options; one of these may name a config.
    Options(Parser, &'static [&'static str]),
    /// A config first, and options that go before its keys.
    ConfigAndOptions(Parser),
    /// A config first, and `--key=value` with any key.
    ConfigAndKeys,
    /// A config first and `key=value`, or else options alone.
    ConfigOrOptions,
}

/// A call of a trainer in a command.
#[derive(Debug)]
pub(super) struct Call<'c> {
    pub(super) program: &'static Program,
    /// The program's own name in the command.
    pub(super) name: &'c Argument,
    pub(super) arguments: &'c [Argument],
    /// True when it runs where the files are not those of the repository.
    pub(super) is_elsewhere: bool,
    /// True when the script may be of another version than the table's.
    pub(super) is_copy: bool,
}

impl Call<'_> {
    /// Returns true if the program may have options that its table does not.
    pub(super) fn may_know_more(&self) -> bool {
        self.program.is_often_changed || self.is_copy
    }
}

/// Programs that start another one, with options of their own before it.
const WRAPPERS: [&str; 22] = [
    "nohup", "sudo", "exec", "command", "env", "time", "nice", "stdbuf", "timeout", "srun", "poetry", "uv", "pipenv",
    "conda", "mamba", "rye", "pixi", "run", "xvfb-run", "numactl", "ionice", "call",
];
/// Programs that start a Python script.
const LAUNCHERS: [&str; 9] =
    ["python", "python3", "py", "accelerate", "torchrun", "deepspeed", "ipython", "torch", "launch"];
/// Programs that run a command on another machine or in another file system.
const CONTAINERS: [&str; 6] = ["docker", "podman", "kubectl", "singularity", "apptainer", "ssh"];
/// Names of scripts that other projects have, too. Their arguments decide.
const COMMON_NAMES: [&str; 6] =
    ["train_network", "train_db", "fine_tune", "train_controlnet", "train_control_net", "train_textual_inversion"];
/// Arguments that show that a script with a common name is one of sd-scripts.
const TELLING: [&str; 13] = [
    "network_module",
    "network_dim",
    "network_alpha",
    "network_args",
    "config_file",
    "dataset_config",
    "in_json",
    "caption_extension",
    "max_train_epochs",
    "save_model_as",
    "save_precision",
    "output_name",
    "enable_bucket",
];

/// The scripts of trainers by their names, without `.py`.
static SCRIPTS: LazyLock<HashMap<String, Program>> = LazyLock::new(|| {
    let of = |trainer, dialect, is_often_changed, text| {
        let scripts = options::parse(text).expect("a table that the tests have read");
        scripts.into_iter().map(move |(script, options)| {
            let form = Form::Options(Parser::Argparse, &["config_file"]);
            (script, Program { trainer, dialect, form, options, is_often_changed })
        })
    };
    let sd_scripts = of("sd-scripts", Some(Dialect::SdScripts), false, include_str!("arguments/sd-scripts.arguments"));
    let musubi = of("musubi-tuner", None, false, include_str!("arguments/musubi-tuner.arguments"));
    // People copy these examples, of any version, and add to them.
    let diffusers = of("diffusers", None, true, include_str!("arguments/diffusers.arguments"));
    sd_scripts.chain(musubi).chain(diffusers).collect()
});

static AXOLOTL: LazyLock<Program> = LazyLock::new(|| {
    let mut options = only(include_str!("arguments/axolotl.arguments"));
    let keys = table(Dialect::Axolotl);
    for (path, section) in keys.sections() {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        let named = |(name, choice): (String, options::Choice)| match name.strip_prefix("no-") {
            Some(name) if choice.is_flag() => (format!("no-{prefix}{name}").replace('_', "-"), choice),
            _ => (format!("{prefix}{name}").replace('_', "-"), choice),
        };
        options.extend(options::of_click(section).into_iter().map(named));
    }
    let form = Form::ConfigAndOptions(Parser::Click);
    Program { trainer: "axolotl", dialect: Some(Dialect::Axolotl), form, options, is_often_changed: false }
});

static AXOLOTL_MODULE: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "axolotl",
    dialect: Some(Dialect::Axolotl),
    form: Form::ConfigAndKeys,
    options: Options::new(),
    is_often_changed: false,
});

static LLAMA_FACTORY: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "LLaMA-Factory",
    dialect: Some(Dialect::LlamaFactory),
    form: Form::ConfigOrOptions,
    options: options::of_dataclasses(table(Dialect::LlamaFactory).section("").expect("a section")),
    is_often_changed: false,
});

static SIMPLETUNER: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "SimpleTuner",
    dialect: None,
    form: Form::Options(Parser::Argparse, &[]),
    options: options::of_dataclasses(table(Dialect::SimpleTuner).section("").expect("a section")),
    is_often_changed: true,
});

static ONETRAINER: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "OneTrainer",
    dialect: None,
    form: Form::Options(Parser::Argparse, &["config-path"]),
    options: only(include_str!("arguments/onetrainer.arguments")),
    is_often_changed: false,
});

/// Returns the options of a table with one script.
fn only(text: &str) -> Options {
    let scripts = options::parse(text).expect("a table that the tests have read");
    scripts.into_values().next().unwrap_or_default()
}

/// Recognises the trainer that a command starts.
pub(super) fn call(command: &Command) -> Option<Call<'_>> {
    let arguments = &command.arguments;
    let mut at = 0;
    let mut is_elsewhere = command.is_elsewhere;
    loop {
        let word = arguments.get(at)?;
        let name = word.file_name().unwrap_or_default();
        let name = name.strip_suffix(".exe").unwrap_or(name);
        let is_launcher = LAUNCHERS.contains(&name) || name.starts_with("python") || name.ends_with("python");
        match name {
            _ if is_launcher => return script(arguments, at + 1, is_elsewhere),
            "llamafactory-cli" | "lmf" | "axolotl" | "simpletuner" => {
                return console(arguments, at, name, is_elsewhere);
            }
            _ if name.ends_with(".py") => return script(arguments, at, is_elsewhere),
            _ if CONTAINERS.contains(&name) => {
                // The options of these programs are many, so their command is found by its own first word.
                is_elsewhere = true;
                let starts = |word: &Argument| {
                    let name = word.file_name().unwrap_or_default();
                    LAUNCHERS[..6].contains(&name) || ["llamafactory-cli", "axolotl"].contains(&name)
                };
                at += 1 + arguments[at + 1..].iter().position(starts)?;
                continue;
            }
            _ if WRAPPERS.contains(&name) => {}
            // Options and values of a wrapper, and assignments of `env`.
            _ if at > 0 && (word.text.starts_with('-') || word.text.contains('=') || is_number(name)) => {}
            _ if at > 0 && arguments[at - 1].text.starts_with('-') => {}
            _ => return None,
        }
        at += 1;
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) && text.len() < 8
}

/// Recognises a program that a trainer's package installs.
fn console<'c>(arguments: &'c [Argument], at: usize, name: &str, is_elsewhere: bool) -> Option<Call<'c>> {
    let rest = arguments.get(at + 1..)?;
    let program: &'static Program = match (name, rest.first()?.known()?) {
        ("axolotl", "train") => &AXOLOTL,
        ("simpletuner", "train") => &SIMPLETUNER,
        ("llamafactory-cli" | "lmf", "train") => &LLAMA_FACTORY,
        _ => return None,
    };
    Some(Call { program, name: &arguments[at], arguments: &rest[1..], is_elsewhere, is_copy: false })
}

/// Recognises a script that stands among the arguments of a launcher.
fn script(arguments: &[Argument], from: usize, is_elsewhere: bool) -> Option<Call<'_>> {
    let mut at = from;
    let is_module = loop {
        let word = arguments.get(at)?;
        // A launcher's own options may have any values; another script ends the search.
        if word.text == "-m" || word.text == "--module" {
            at += 1;
            // `python -m accelerate.commands.launch` and its like are launchers themselves.
            let module = arguments.get(at)?.known()?;
            if !module.starts_with("accelerate") && !module.starts_with("torch.") {
                break true;
            }
        } else if word.file_name().is_some_and(|name| name.ends_with(".py")) {
            break false;
        } else if ["axolotl", "llamafactory-cli"].contains(&word.text.as_str()) {
            return console(arguments, at, &word.text, is_elsewhere);
        }
        at += 1;
    };
    let (name, rest) = (&arguments[at], &arguments[at + 1..]);
    let program = if is_module { of_module(name.known()?)? } else { of_script(name, rest)? };
    // LLaMA-Factory is installed with its commands; its script comes with a copy of the sources, often an old one.
    let is_copy = !is_module && program.dialect == Some(Dialect::LlamaFactory);
    Some(Call { program, name, arguments: rest, is_elsewhere, is_copy })
}

fn of_module(module: &str) -> Option<&'static Program> {
    match module {
        "axolotl.cli.train" => Some(&AXOLOTL_MODULE),
        "llamafactory.train" => Some(&LLAMA_FACTORY),
        _ => SCRIPTS.get(module.strip_prefix("musubi_tuner.")?),
    }
}

fn of_script(name: &Argument, arguments: &[Argument]) -> Option<&'static Program> {
    let path = if name.is_whole { &name.text } else { &name.end };
    let script = name.file_name()?.strip_suffix(".py")?;
    if let Some(program) = SCRIPTS.get(script) {
        return (!COMMON_NAMES.contains(&script) || is_told(program, script, arguments)).then_some(program);
    }
    let has = |option: &str| {
        let is_it = |text: &str| text == option || text.strip_prefix(option).is_some_and(|rest| rest.starts_with('='));
        arguments.iter().any(|argument| is_it(&argument.text))
    };
    if path.replace('\\', "/").ends_with("scripts/train.py") && has("--config-path") {
        return Some(&ONETRAINER);
    }
    let is_factory = has("--stage") && has("--model_name_or_path") && (has("--finetuning_type") || has("--template"));
    (["train", "train_bash"].contains(&script) && is_factory).then_some(&*LLAMA_FACTORY)
}

/// Returns true if the arguments are surely those of this program, and not of another script with its name.
fn is_told(program: &Program, script: &str, arguments: &[Argument]) -> bool {
    let (known, others) = recognised(&program.options, arguments);
    // Examples of diffusers have the other names, and also this argument.
    let is_own_name = ["train_network", "train_db"].contains(&script);
    let tells = |name: &str| TELLING.contains(&name) || is_own_name && name == "pretrained_model_name_or_path";
    known.iter().any(|name| tells(name)) && known.len() >= 3 * others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_read_and_their_keys_are_those_of_the_configs() {
        assert!(SCRIPTS.len() >= 40, "{}", SCRIPTS.len());
        let section = table(Dialect::SdScripts).section("").expect("a section");
        let network = &SCRIPTS["train_network"];
        let unknown: Vec<&String> = network.options.keys().filter(|name| !section.contains_key(*name)).collect();
        assert_eq!(unknown, Vec::<&String>::new());
        assert!(SCRIPTS["flux_train_network"].options.contains_key("t5xxl") && !network.options.contains_key("t5xxl"));
        assert!(AXOLOTL.options.contains_key("learning-rate") && AXOLOTL.options.contains_key("no-fp16"));
        assert!(AXOLOTL.options.contains_key("trl.beta") && !AXOLOTL.options.contains_key("lora_r"));
        assert!(LLAMA_FACTORY.options.contains_key("lora_rank") && LLAMA_FACTORY.options.contains_key("lora-rank"));
        assert_eq!(ONETRAINER.options.len(), 6);
    }
}
