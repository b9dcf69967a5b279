//! The trainers' programs, and how they are recognised in a command.

mod tables;

use super::options::Options;
use super::parse::{Parser, recognised};
use super::shell::{Argument, Command};
use crate::Dialect;

use tables::{AI_TOOLKIT, AXOLOTL, AXOLOTL_MODULE, LLAMA_FACTORY, MS_SWIFT, ONETRAINER, SCRIPTS, SIMPLETUNER, TRL};

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
    /// Options, of which a config may stand before them.
    MaybeConfigAndOptions,
    /// Configs, and options of the program itself.
    Configs,
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
/// Programs that the trainers' packages install.
const CONSOLES: [&str; 6] = ["llamafactory-cli", "lmf", "axolotl", "simpletuner", "trl", "swift"];
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
            _ if CONSOLES.contains(&name) => return console(arguments, at, name, is_elsewhere),
            _ if name.ends_with(".py") => return script(arguments, at, is_elsewhere),
            _ if CONTAINERS.contains(&name) => {
                // The options of these programs are many, so their command is found by its own first word.
                is_elsewhere = true;
                let starts = |word: &Argument| {
                    let name = word.file_name().unwrap_or_default();
                    LAUNCHERS[..6].contains(&name) || CONSOLES.contains(&name)
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
        // Swift's own compiler has no such commands.
        ("swift", "sft" | "pt" | "rlhf") => &MS_SWIFT,
        ("trl", method) => TRL.get(method)?,
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
        } else if CONSOLES.contains(&word.text.as_str()) {
            return console(arguments, at, &word.text, is_elsewhere);
        }
        at += 1;
    };
    let (name, rest) = (&arguments[at], &arguments[at + 1..]);
    let program = if is_module { of_module(name.known()?)? } else { of_script(name, rest)? };
    // These are installed with their commands; a script comes with a copy of the sources, often an old one.
    let is_copy =
        !is_module && matches!(program.dialect, Some(Dialect::LlamaFactory | Dialect::Trl | Dialect::MsSwift));
    Some(Call { program, name, arguments: rest, is_elsewhere, is_copy })
}

fn of_module(module: &str) -> Option<&'static Program> {
    match module {
        "axolotl.cli.train" => Some(&AXOLOTL_MODULE),
        "llamafactory.train" => Some(&LLAMA_FACTORY),
        "swift.cli.sft" | "swift.cli.pt" | "swift.cli.rlhf" => Some(&MS_SWIFT),
        _ => match module.strip_prefix("trl.scripts.") {
            Some(method) => TRL.get(method),
            None => SCRIPTS.get(module.strip_prefix("musubi_tuner.")?),
        },
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
    let path = path.replace('\\', "/");
    if path.ends_with("scripts/train.py") && has("--config-path") {
        return Some(&ONETRAINER);
    }
    if let Some(program) = TRL.get(script) {
        // Other projects have scripts with these names; their arguments are not trl's.
        let is_own = path.ends_with(&format!("trl/scripts/{script}.py"));
        let is_told = has("--model_name_or_path") && has("--dataset_name");
        return (is_own || is_told && path.ends_with(&format!("scripts/{script}.py"))).then_some(program);
    }
    if ["sft", "pt", "rlhf"].iter().any(|name| path.ends_with(&format!("swift/cli/{name}.py"))) {
        return Some(&MS_SWIFT);
    }
    if script == "run" && arguments.iter().any(is_config) {
        return Some(&AI_TOOLKIT);
    }
    let is_factory = has("--stage") && has("--model_name_or_path") && (has("--finetuning_type") || has("--template"));
    (["train", "train_bash"].contains(&script) && is_factory).then_some(&*LLAMA_FACTORY)
}

/// Returns true for an argument that names a config.
pub(super) fn is_config(argument: &Argument) -> bool {
    let end = if argument.is_whole { &argument.text } else { &argument.end };
    !argument.text.starts_with('-') && [".yaml", ".yml", ".json"].iter().any(|kind| end.ends_with(kind))
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
    use crate::keys::table;

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
