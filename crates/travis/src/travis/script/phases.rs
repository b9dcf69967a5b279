//! The phases of a job (travis-build stages.rb): when each of them runs, and what its failure ends.

use super::{Config, Facts, Script, deploy, languages};
use crate::travis::shell::{lines, quoted};
use crate::travis::{artifacts, cache};

/// Words that skip a phase when they stand in place of its commands.
const SKIP: [&str; 2] = ["skip", "ignore"];

/// The way in which a phase's lines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The first line that fails ends the job as errored.
    Assert,
    /// Every line runs, and any that fails makes the job failed.
    Result,
    /// Every line runs, whatever the status.
    Ignore,
}

/// Adds all phases in order.
pub fn phases(script: &mut Script, config: &Config, facts: &Facts) {
    for (name, rule) in [
        ("before_install", Rule::Assert),
        ("install", Rule::Assert),
        ("before_script", Rule::Assert),
        ("script", Rule::Result),
        ("before_cache", Rule::Ignore),
    ] {
        phase(script, config, name, rule);
    }
    if let Some(wanted) = cache::wanted(config).filter(|_| facts.cache.is_some()) {
        let paths: Vec<String> = wanted.paths.iter().map(|path| quoted(path)).collect();
        // If the job left `set -e` on, a folder that cannot be read must not end the job.
        script.line(&format!("travis_note_cache {} || :", paths.join(" ")));
    }
    conditional(script, config, "after_success", "=");
    deploy::deploy(script, config, facts);
    conditional(script, config, "after_failure", "!=");
    phase(script, config, "after_script", Rule::Ignore);
    if let Some(wanted) = artifacts::wanted(config) {
        let folder = wanted.working_dir.as_deref().unwrap_or_default();
        let words: Vec<String> =
            std::iter::once(folder).chain(wanted.paths.iter().map(String::as_str)).map(quoted).collect();
        // In a subshell, since it changes the folder, and its errors must not end the job.
        script.line(&format!("(travis_note_artifacts {}) || :", words.join(" ")));
    }
}

fn conditional(script: &mut Script, config: &Config, name: &str, operator: &str) {
    if config.contains_key(name) {
        script.line(&format!("if [ \"$TRAVIS_TEST_RESULT\" {operator} 0 ]; then"));
        // An empty list would leave nothing between `then` and `fi`.
        script.line(":");
        phase(script, config, name, Rule::Ignore);
        script.line("fi");
    }
}

fn phase(script: &mut Script, config: &Config, name: &str, rule: Rule) {
    let lines = config.get(name).map(lines);
    script.line(&format!("TRAVIS_PHASE={name}"));
    let Some(lines) = lines else {
        if matches!(name, "install" | "script") {
            languages::default_phase(script, config, name);
        }
        return;
    };
    if let [word] = lines.as_slice()
        && SKIP.contains(&word.as_str())
    {
        script.line(&format!("printf '%s\\n' 'Skipping the {name} step, as specified in the configuration.'"));
        if rule == Rule::Result {
            script.line("export TRAVIS_TEST_RESULT=0");
        }
        return;
    }
    for (index, line) in lines.iter().enumerate() {
        let fold = if lines.len() > 1 { format!("{name}.{}", index + 1) } else { name.to_owned() };
        run(script, name, &fold, line, rule);
    }
    if rule == Rule::Result && lines.is_empty() {
        script.line("export TRAVIS_TEST_RESULT=0");
    }
}

fn run(script: &mut Script, name: &str, fold: &str, line: &str, rule: Rule) {
    match rule {
        Rule::Result => {
            script.command(line, &format!("--echo --timing --event {name}"));
            script.line("travis_result $?");
        }
        Rule::Assert | Rule::Ignore => {
            let assert = if rule == Rule::Assert { "--assert " } else { "" };
            script.line(&format!("travis_fold start {fold}"));
            script.command(line, &format!("{assert}--echo --timing --event {name}"));
            script.line(&format!("travis_fold end {fold}"));
        }
    }
}
