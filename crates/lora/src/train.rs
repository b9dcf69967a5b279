//! Whole trainings: the command that starts a config, as it is or with a few changed keys, and the folder in which its
//! trainer saves.

use serde_json::Value as Json;

use super::read::Format;
use super::repository::{folder, normal};
use super::settings::{Change, Train};
use super::smoke::{CONFIG, Unfit, is_part, read, sd_scripts, shell_word, trl};
use super::tree::{Entry, Node, Value};
use super::{Dialect, Repository};

/// A training that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Training {
    pub dialect: Dialect,
    /// The command for bash, run in the root of the repository.
    pub command: String,
    /// The folder in which the trainer saves, from the root of the repository.
    pub output: String,
    /// The folder in which it keeps its checkpoints.
    pub checkpoints: String,
    /// The total number of steps, if the config says it.
    pub steps: Option<u64>,
    /// True when the config lets the trainer stop before its last step.
    pub may_stop_early: bool,
}

/// Folder of a changed config in the container: beside the checkout, not in it.
pub const FOLDER: &str = "/home/travis/train";

/// Ends of the names of files that a training makes. One that the commit has already would pass for a result.
const RESULTS: [&str; 8] = [".safetensors", ".json", ".jsonl", ".csv", ".png", ".jpg", ".jpeg", ".webp"];

/// Trainers that go on from a checkpoint if a key of their config says so.
const CONFIG_RESUMES: [Dialect; 2] = [Dialect::SimpleTuner, Dialect::OneTrainer];

/// A config with changed keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Path in the container.
    pub path: String,
    pub text: String,
}

/// Changes keys of the config at `path`. Each of them must be there: a new key would most likely be a slip.
///
/// # Errors
/// Fails if the file is no config, or lacks a key.
pub fn changed(path: &str, text: &[u8], changes: &[Change]) -> Result<Changed, Unfit> {
    let (format, _, root) = tree(path, text, changes)?;
    Ok(Changed { path: format!("{FOLDER}/config.{}", format.extension()), text: format.write(&root) })
}

/// Returns the config with which a trainer goes on from its newest checkpoint; `None` for a trainer that has a flag for
/// that, or does it by itself.
///
/// # Errors
/// Fails as [`changed`] does.
pub fn resuming(path: &str, text: &[u8], changes: &[Change]) -> Result<Option<Changed>, Unfit> {
    let (format, dialect, mut root) = tree(path, text, changes)?;
    let (key, value) = match dialect {
        Dialect::SimpleTuner => ("resume_from_checkpoint", Value::Text { text: "latest".to_owned(), plain: false }),
        Dialect::OneTrainer => ("continue_last_backup", Value::Bool(true)),
        _ => return Ok(None),
    };
    let at = root.at;
    if !set(&mut root, &[key], &value)
        && let Value::Map(entries) = &mut root.value
    {
        entries.push(Entry { key: key.to_owned(), at, node: Node { value, at } });
    }
    Ok(Some(Changed { path: format!("{FOLDER}/resume.{}", format.extension()), text: format.write(&root) }))
}

/// Reads the config at `path`, and changes keys of it.
pub(super) fn tree(path: &str, text: &[u8], changes: &[Change]) -> Result<(Format, Dialect, Node), Unfit> {
    let (format, dialect, mut root) = read(path, text)?;
    apply(&mut root, dialect, path, changes)?;
    Ok((format, dialect, root))
}

fn apply(root: &mut Node, dialect: Dialect, path: &str, changes: &[Change]) -> Result<(), Unfit> {
    for Change { key, value } in changes {
        let value = match value {
            Json::Bool(is) => Value::Bool(*is),
            Json::Number(number) => {
                Value::Number { value: number.as_f64().unwrap_or_default(), whole: number.is_i64() || number.is_u64() }
            }
            Json::String(text) => Value::Text { text: text.clone(), plain: false },
            _ => return Err(Unfit::Cannot(format!("`{key}` of lora.train.matrix has no simple value"))),
        };
        let keys: Vec<&str> = key.split('.').collect();
        // In sd-scripts, tables of the root only group the keys.
        let is_set = set(root, &keys, &value) || (dialect == Dialect::SdScripts && set_below(root, &keys, &value));
        if !is_set {
            return Err(Unfit::Cannot(format!("`lora.train.matrix` changes `{key}`, which {path} does not have")));
        }
    }
    Ok(())
}

/// Sets a key wherever a path of keys leads. Lists on the way add nothing to the path. Returns false if it leads nowhere.
fn set(node: &mut Node, keys: &[&str], value: &Value) -> bool {
    match (&mut node.value, keys) {
        (Value::List(items), _) => set_each(items.iter_mut(), keys, value),
        (Value::Map(entries), [key, rest @ ..]) => {
            let named = entries.iter_mut().filter(|entry| entry.name() == *key).map(|entry| &mut entry.node);
            if !rest.is_empty() {
                return set_each(named, rest, value);
            }
            let set = named.map(|node| node.value = value.clone());
            set.count() > 0
        }
        _ => false,
    }
}

fn set_below(root: &mut Node, keys: &[&str], value: &Value) -> bool {
    let Value::Map(entries) = &mut root.value else { return false };
    let tables = entries.iter_mut().filter(|entry| matches!(entry.node.value, Value::Map(_)));
    set_each(tables.map(|table| &mut table.node), keys, value)
}

/// Sets a key below each of these nodes. Returns false if it is below none.
fn set_each<'a>(nodes: impl Iterator<Item = &'a mut Node>, keys: &[&str], value: &Value) -> bool {
    nodes.filter_map(|node| set(node, keys, value).then_some(())).count() > 0
}

/// Returns the training of the config at `path`, with these changes. `usual` is `lora.command`.
///
/// # Errors
/// Fails with the reason, and what to do, if the file cannot be trained.
pub fn training(
    path: &str,
    text: &[u8],
    asked: &Train,
    changes: &[Change],
    usual: Option<&str>,
    repository: &Repository<'_>,
) -> Result<Training, Unfit> {
    let (format, dialect, root) = tree(path, text, changes)?;
    if is_part(dialect) {
        return Err(Unfit::NotRun(format!("{path} is no config that is trained by itself")));
    }
    let own = asked.command.as_deref().or(usual).map(str::to_owned);
    let command = match &own {
        Some(command) => command.clone(),
        None => command(format, dialect, &root, path, repository)?,
    };
    let output = match &asked.output {
        Some(folder) => folder.clone(),
        None => output(dialect, &root, path)?,
    };
    let is_result = |file: &&&str| {
        let name = file.rsplit('/').next().unwrap_or(file).to_lowercase();
        RESULTS.iter().any(|end| name.ends_with(end))
    };
    if let Some(file) = repository.files_in(&output).iter().find(is_result) {
        return Err(Unfit::Cannot(format!(
            "the commit has {file}, which could pass for a result: remove it, or let the training save in another folder"
        )));
    }
    let started = if changes.is_empty() { path.to_owned() } else { format!("{FOLDER}/config.{}", format.extension()) };
    let started = match own {
        None if CONFIG_RESUMES.contains(&dialect) => format!("${{RESUME_CONFIG:-{}}}", shell_word(&started)),
        _ => shell_word(&started),
    };
    Ok(Training {
        dialect,
        command: command.replace(CONFIG, &started),
        checkpoints: checkpoints(dialect, &root).unwrap_or_else(|| output.clone()),
        output,
        steps: steps(dialect, &root),
        may_stop_early: has_key(&root, "early_stopping"),
    })
}

/// Returns the command with which people start a trainer.
fn command(
    format: Format,
    dialect: Dialect,
    root: &Node,
    path: &str,
    repository: &Repository<'_>,
) -> Result<String, Unfit> {
    let script = |usual: &str| -> Result<String, Unfit> {
        let name = usual.rsplit('/').next().unwrap_or(usual);
        match repository.nearest(name) {
            Some(path) => Ok(shell_word(path)),
            None if repository.is_unknown() => Ok(usual.to_owned()),
            None => {
                let advice = "set lora.train.command to the command that starts the trainer";
                Err(Unfit::Cannot(format!("there is no {name} in the repository: {advice}")))
            }
        }
    };
    let command = match dialect {
        Dialect::LoraScripts => Some(format!("python {} --config {CONFIG}", script("train.py")?)),
        Dialect::SdScripts => {
            let script = script(sd_scripts::script_name(format, root.clone()))?;
            let launch = format!("accelerate launch --num_cpu_threads_per_process 1 {script} --config_file {CONFIG}");
            Some(format!("{launch} ${{RESUME_FROM:+--resume \"$RESUME_FROM\"}}"))
        }
        Dialect::AiToolkit => Some(format!("python {} {CONFIG}", script("run.py")?)),
        Dialect::OneTrainer => Some(format!("python {} --config-path {CONFIG}", script("scripts/train.py")?)),
        Dialect::Axolotl => {
            Some(format!("axolotl train {CONFIG} ${{RESUME_FROM:+--resume-from-checkpoint \"$RESUME_FROM\"}}"))
        }
        Dialect::LlamaFactory => {
            Some(format!("llamafactory-cli train {CONFIG} ${{RESUME_FROM:+resume_from_checkpoint=\"$RESUME_FROM\"}}"))
        }
        Dialect::SimpleTuner => {
            let backend = format.extension();
            Some(format!("SIMPLETUNER_CONFIG_BACKEND={backend} CONFIG_PATH={CONFIG} simpletuner train"))
        }
        Dialect::Trl => trl::command(format, root.clone())
            .map(|command| format!("{command} ${{RESUME_FROM:+--resume_from_checkpoint \"$RESUME_FROM\"}}")),
        _ => None,
    };
    command.ok_or_else(|| {
        let trainer = dialect.name();
        let advice = format!("set lora.train.command, with {CONFIG} for the config's path");
        Unfit::Cannot(format!("{path} is for {trainer}, whose command is not known here: {advice}"))
    })
}

/// Returns the folder that a config names.
fn output(dialect: Dialect, root: &Node, path: &str) -> Result<String, Unfit> {
    let key = match dialect {
        Dialect::AiToolkit => "training_folder",
        Dialect::OneTrainer => "output_model_destination",
        _ => "output_dir",
    };
    let advice = "set lora.train.output to the folder in which it saves";
    let Some(named) = text_of(root, key) else {
        return Err(Unfit::Cannot(format!("{path} does not say where the training saves (`{key}`): {advice}")));
    };
    let below = normal(named).map(|path| match dialect {
        // The key names the file.
        Dialect::OneTrainer => folder(&path).to_owned(),
        _ => path,
    });
    below.filter(|folder| !folder.is_empty()).ok_or_else(|| {
        let told = format!("`{key}` of {path} is no folder below the root of the repository");
        Unfit::Cannot(format!("{told}: name one there, or {advice}"))
    })
}

/// Returns the folder in which a trainer keeps its checkpoints, if it is another one than that of its results.
fn checkpoints(dialect: Dialect, root: &Node) -> Option<String> {
    match dialect {
        Dialect::OneTrainer => normal(text_of(root, "workspace_dir").unwrap_or("workspace/run")),
        _ => None,
    }
}

/// Returns the first text that a key holds, in any map of the config.
fn text_of<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let own = node.entries().iter().find(|entry| entry.name() == key).and_then(|entry| entry.node.text());
    let below = || node.entries().iter().find_map(|entry| text_of(&entry.node, key));
    let items = || node.items().iter().find_map(|item| text_of(item, key));
    own.filter(|text| !text.is_empty()).or_else(below).or_else(items)
}

/// Returns true if a key of the config begins with a word, and is not switched off.
fn has_key(node: &Node, word: &str) -> bool {
    let is = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let mut entries = node.entries().iter();
    entries.any(|entry| (entry.name().starts_with(word) && is(&entry.node.value)) || has_key(&entry.node, word))
        || node.items().iter().any(|item| has_key(item, word))
}

/// Returns the number of steps that a config sets. Epochs, whose steps depend on the data, are left to the trainer.
fn steps(dialect: Dialect, root: &Node) -> Option<u64> {
    let key = match dialect {
        Dialect::AiToolkit => "steps",
        Dialect::Axolotl | Dialect::LlamaFactory | Dialect::Trl | Dialect::MsSwift | Dialect::Unsloth => "max_steps",
        // In sd-scripts, epochs take precedence over steps.
        Dialect::SdScripts if has_key(root, "max_train_epochs") => return None,
        _ => "max_train_steps",
    };
    let mut steps = None;
    root.each_scalar(None, &mut |entry, node| {
        if let Value::Number { value, whole: true } = node.value
            && entry.is_some_and(|entry| entry.name() == key)
            && (1.0..1e12).contains(&value)
        {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 1e12, and whole")]
            let value = value as u64;
            steps.get_or_insert(value);
        }
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str, asked: &Train, paths: &[&str]) -> Result<Training, String> {
        let repository = Repository::of(paths.iter().copied(), []);
        training(path, text.as_bytes(), asked, &[], None, &repository).map_err(|unfit| unfit.to_string())
    }

    const AXOLOTL: &str =
        "base_model: NousResearch/Llama-3.2-1B\nadapter: lora\nlora_r: 16\ndatasets: []\noutput_dir: ./outputs/ink\n";
    const SDXL: &str = "pretrained_model_name_or_path = \"models/sd_xl_base.safetensors\"\nnetwork_module = \
                        \"networks.lora\"\ntrain_data_dir = \"data\"\n[saving]\noutput_dir = \"out\"\n";

    #[test]
    fn a_config_starts_its_trainer_as_people_do() {
        let asked = Train::default();
        let training = of("configs/ink style.yaml", AXOLOTL, &asked, &["configs/ink style.yaml"]).unwrap();
        let resume = "${RESUME_FROM:+--resume-from-checkpoint \"$RESUME_FROM\"}";
        assert_eq!(training.command, format!("axolotl train 'configs/ink style.yaml' {resume}"));
        assert_eq!((training.output.as_str(), training.may_stop_early), ("outputs/ink", false));
        let paths = ["sd-scripts/sdxl_train_network.py", "sd-scripts/train_network.py", "c.toml"];
        let training = of("c.toml", SDXL, &asked, &paths).unwrap();
        let script = "sd-scripts/sdxl_train_network.py";
        assert_eq!(
            training.command,
            format!(
                "accelerate launch --num_cpu_threads_per_process 1 {script} --config_file c.toml \
                 ${{RESUME_FROM:+--resume \"$RESUME_FROM\"}}"
            )
        );
        assert_eq!(training.output, "out");
        let early = format!("{AXOLOTL}early_stopping_patience: 3\n");
        assert!(of("a.yaml", &early, &asked, &[]).unwrap().may_stop_early);
    }

    const ONE_TRAINER: &str = "{\"__version\": 10, \"training_method\": \"LORA\", \"model_type\": \"FLUX_DEV_1\", \
                               \"base_model_name\": \"m\", \"output_model_destination\": \"out/ink.safetensors\", \
                               \"workspace_dir\": \"workspace/ink\", \"lora_rank\": 16}";
    const SIMPLE_TUNER: &str = "{\"--model_type\": \"lora\", \"--model_family\": \"flux\", \"--output_dir\": \"out\", \
                                \"--pretrained_model_name_or_path\": \"m\", \"--resume_from_checkpoint\": \"\", \
                                \"--data_backend_config\": \"b.json\"}";

    #[test]
    fn a_key_of_the_config_makes_some_trainers_go_on() {
        let asked = Train::default();
        let training = of("my one.json", ONE_TRAINER, &asked, &["my one.json", "scripts/train.py"]).unwrap();
        assert_eq!(training.command, "python scripts/train.py --config-path ${RESUME_CONFIG:-'my one.json'}");
        assert_eq!((training.output.as_str(), training.checkpoints.as_str()), ("out", "workspace/ink"));
        let resuming = |path: &str, text: &str| resuming(path, text.as_bytes(), &[]).unwrap();
        let made = resuming("my one.json", ONE_TRAINER).unwrap();
        assert_eq!(made.path, "/home/travis/train/resume.json");
        let made: Json = serde_json::from_str(&made.text).unwrap();
        assert_eq!((&made["continue_last_backup"], &made["lora_rank"]), (&Json::Bool(true), &Json::from(16)));

        let training = of("s.json", SIMPLE_TUNER, &asked, &["s.json"]).unwrap();
        let command = "SIMPLETUNER_CONFIG_BACKEND=json CONFIG_PATH=${RESUME_CONFIG:-s.json} simpletuner train";
        assert_eq!((training.command.as_str(), training.checkpoints.as_str()), (command, "out"));
        let made = resuming("s.json", SIMPLE_TUNER).unwrap();
        let made: Json = serde_json::from_str(&made.text).unwrap();
        assert_eq!(made["--resume_from_checkpoint"], "latest", "{made:#}");
        assert_eq!(resuming("a.yaml", AXOLOTL), None);

        let own = Train { command: Some("python t.py {config}".to_owned()), ..Train::default() };
        assert_eq!(of("s.json", SIMPLE_TUNER, &own, &["s.json"]).unwrap().command, "python t.py s.json");
    }

    #[test]
    fn a_config_says_its_number_of_steps_or_leaves_it_to_the_trainer() {
        let steps = |path: &str, text: &str| {
            let paths = ["sd-scripts/sdxl_train_network.py", "c.toml"];
            of(path, text, &Train::default(), &paths).unwrap().steps
        };
        assert_eq!(steps("a.yaml", &format!("{AXOLOTL}max_steps: 400\n")), Some(400));
        assert_eq!(steps("a.yaml", &format!("{AXOLOTL}max_steps: -1\nnum_epochs: 3\n")), None);
        assert_eq!(steps("a.yaml", AXOLOTL), None);
        let sdxl = format!("{SDXL}[length]\nmax_train_steps = 1600\n");
        assert_eq!(steps("c.toml", &sdxl), Some(1600));
        assert_eq!(steps("c.toml", &format!("{sdxl}max_train_epochs = 10\n")), None, "epochs win");
    }

    #[test]
    fn settings_win_over_the_config() {
        let asked = Train {
            command: Some("python t.py {config}".to_owned()),
            output: Some("elsewhere".to_owned()),
            ..Train::default()
        };
        let training = of("a.yaml", AXOLOTL, &asked, &["a.yaml"]).unwrap();
        assert_eq!((training.command.as_str(), training.output.as_str()), ("python t.py a.yaml", "elsewhere"));
    }

    #[test]
    fn what_cannot_be_trained_is_told_with_what_to_do() {
        let asked = Train::default();
        let told = |path: &str, text: &str, paths: &[&str]| of(path, text, &asked, paths).unwrap_err();
        assert!(
            told("c.toml", SDXL, &["c.toml"]).contains("no sdxl_train_network.py in the repository: set lora.train")
        );
        let without = AXOLOTL.replace("output_dir: ./outputs/ink\n", "");
        assert!(told("a.yaml", &without, &[]).contains("does not say where the training saves (`output_dir`)"));
        let outside = AXOLOTL.replace("./outputs/ink", "/workspace/out");
        assert!(told("a.yaml", &outside, &[]).contains("is no folder below the root of the repository"));
        let stale = ["a.yaml", "outputs/ink/adapter_model.safetensors"];
        assert!(told("a.yaml", AXOLOTL, &stale).contains("could pass for a result"));
        assert!(of("a.yaml", AXOLOTL, &asked, &["a.yaml", "outputs/ink/.gitkeep"]).is_ok());
        assert!(matches!(
            training("notes.yaml", b"a: 1", &asked, &[], None, &Repository::of([], [])),
            Err(Unfit::NotRun(_))
        ));
    }

    #[test]
    fn a_change_is_made_where_the_key_is_and_nowhere_else() {
        let change = |key: &str, value: Json| Change { key: key.to_owned(), value };
        let of = |path: &str, text: &str, changes: &[Change]| changed(path, text.as_bytes(), changes);
        let made = of("a.yaml", AXOLOTL, &[change("lora_r", 32.into()), change("adapter", "dora".into())]).unwrap();
        assert_eq!(made.path, "/home/travis/train/config.yaml");
        assert!(made.text.contains("lora_r: 32\n") && made.text.contains("adapter: \"dora\"\n"), "{}", made.text);
        // Keys of sd-scripts stand in tables of any name.
        let made = of("c.toml", SDXL, &[change("output_dir", "other".into())]).unwrap();
        assert!(made.text.contains("output_dir = \"other\""), "{}", made.text);
        let lacking = of("a.yaml", AXOLOTL, &[change("lora_rank", 8.into())]).unwrap_err().to_string();
        assert_eq!(lacking, "`lora.train.matrix` changes `lora_rank`, which a.yaml does not have");
        let swept = [change("lora_r", 32.into())];
        let repository = Repository::of(["a.yaml"], []);
        let made = training("a.yaml", AXOLOTL.as_bytes(), &Train::default(), &swept, None, &repository).unwrap();
        assert!(made.command.starts_with("axolotl train /home/travis/train/config.yaml "), "{}", made.command);
    }
}
