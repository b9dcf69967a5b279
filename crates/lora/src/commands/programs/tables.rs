//! The options of the trainers' programs: from tables of arguments, or from the keys of their configs.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Form, Program};
use crate::Dialect;
use crate::commands::options::{self, Options};
use crate::commands::parse::Parser;
use crate::keys::{Section, table};
use crate::rules::TRL_METHODS;

/// The scripts of trainers by their names, without `.py`.
pub(super) static SCRIPTS: LazyLock<HashMap<String, Program>> = LazyLock::new(|| {
    let of = |trainer, dialect, is_often_changed, text| {
        let scripts = options::parse(text).expect("a table that the tests have read");
        scripts.into_iter().map(move |(script, options)| {
            let form = Form::Options(Parser::Argparse, &["config_file"]);
            (script, Program { trainer, dialect, form, options, is_often_changed })
        })
    };
    let sd_scripts =
        of("sd-scripts", Some(Dialect::SdScripts), false, include_str!("../arguments/sd-scripts.arguments"));
    let musubi = of("musubi-tuner", None, false, include_str!("../arguments/musubi-tuner.arguments"));
    // People copy these examples, of any version, and add to them.
    let diffusers = of("diffusers", None, true, include_str!("../arguments/diffusers.arguments"));
    sd_scripts.chain(musubi).chain(diffusers).collect()
});

pub(super) static AXOLOTL: LazyLock<Program> = LazyLock::new(|| {
    let mut options = only(include_str!("../arguments/axolotl.arguments"));
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

pub(super) static AXOLOTL_MODULE: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "axolotl",
    dialect: Some(Dialect::Axolotl),
    form: Form::ConfigAndKeys,
    options: Options::new(),
    is_often_changed: false,
});

pub(super) static LLAMA_FACTORY: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "LLaMA-Factory",
    dialect: Some(Dialect::LlamaFactory),
    form: Form::ConfigOrOptions,
    options: options::of_dataclasses(table(Dialect::LlamaFactory).section("").expect("a section")),
    is_often_changed: false,
});

pub(super) static SIMPLETUNER: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "SimpleTuner",
    dialect: None,
    form: Form::Options(Parser::Argparse, &[]),
    options: options::of_dataclasses(table(Dialect::SimpleTuner).section("").expect("a section")),
    is_often_changed: true,
});

pub(super) static ONETRAINER: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "OneTrainer",
    dialect: None,
    form: Form::Options(Parser::Argparse, &["config-path"]),
    options: only(include_str!("../arguments/onetrainer.arguments")),
    is_often_changed: false,
});

/// The commands of trl by their names, which are also those of its scripts.
pub(super) static TRL: LazyLock<HashMap<&'static str, Program>> = LazyLock::new(|| {
    let program = |method: &'static str| {
        let mut options = options::of_loose_dataclasses(&trl_keys(method));
        options.insert("config".to_owned(), options::Choice::text("config"));
        let form = Form::Options(Parser::Argparse, &["config"]);
        (method, Program { trainer: "trl", dialect: Some(Dialect::Trl), form, options, is_often_changed: false })
    };
    TRL_METHODS.into_iter().map(program).collect()
});

/// Returns the keys that a command of trl knows: those that only other commands have are not among them.
fn trl_keys(method: &str) -> Section {
    let keys = table(Dialect::Trl);
    let of = |method: &str| keys.section(&format!("method {method}"));
    let is_own = |key: &str| {
        let mut methods = TRL_METHODS.iter().filter(|method| of(method).is_some_and(|own| own.contains_key(key)));
        methods.clone().next().is_none() || methods.any(|other| *other == method)
    };
    let all = keys.section("").into_iter().flatten();
    all.filter(|(key, _)| is_own(key)).map(|(key, spec)| (key.clone(), spec.clone())).collect()
}

pub(super) static MS_SWIFT: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "ms-swift",
    dialect: Some(Dialect::MsSwift),
    form: Form::MaybeConfigAndOptions,
    options: options::of_loose_dataclasses(table(Dialect::MsSwift).section("").expect("a section")),
    is_often_changed: false,
});

pub(super) static AI_TOOLKIT: LazyLock<Program> = LazyLock::new(|| Program {
    trainer: "ai-toolkit",
    dialect: None,
    form: Form::Configs,
    options: only(include_str!("../arguments/ai-toolkit.arguments")),
    is_often_changed: false,
});

/// Returns the options of a table with one script.
fn only(text: &str) -> Options {
    let scripts = options::parse(text).expect("a table that the tests have read");
    scripts.into_values().next().unwrap_or_default()
}
