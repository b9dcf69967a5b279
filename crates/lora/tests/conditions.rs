//! Checks that the trainers make of a config, each with a wrong and a sound config: `tests/cases/*.cases`.
//!
//! A file begins with a config, in which the lines of a case take the place of `@`. A case has the form
//! `SEVERITY: PART OF THE MESSAGE | WRONG LINES | SOUND LINES`, with `;` between lines; `-KEY` takes a line of the config
//! away.

mod support;

use std::path::Path;

use trainyard_base::domain::Severity::{Error, Warning};

use support::among;

/// Returns the config with these lines in it.
fn with(config: &str, lines: &str) -> String {
    let (gone, more): (Vec<&str>, Vec<&str>) =
        lines.split(" ; ").map(str::trim).partition(|line| line.starts_with('-'));
    let is_gone = |line: &str| gone.iter().any(|key| line.split([':', '=']).next().map(str::trim) == key.get(1..));
    let place = |line: &str| match line.trim() {
        "@" => more.iter().map(|new| line.replace('@', new) + "\n").collect(),
        _ => format!("{line}\n"),
    };
    config.lines().filter(|line| !is_gone(line)).map(place).collect()
}

/// Tells what is wrong with a case.
fn fault(path: &str, config: &str, case: &str) -> Option<String> {
    let parts: Vec<&str> = case.split(" | ").collect();
    let &[head, wrong, sound] = parts.as_slice() else { return Some(format!("no case: {case}")) };
    let (severity, about) = head.split_once(": ")?;
    let severity = if severity == "error" { Error } else { Warning };
    let wrong = with(config, wrong);
    let told = among(path, &[(path, &wrong)]);
    if !told.iter().any(|(found, line, message)| *found == severity && line.is_some() && message.contains(about)) {
        return Some(format!("not told: {about}\n{wrong}{told:#?}"));
    }
    let sound = with(config, sound);
    let told = among(path, &[(path, &sound)]);
    let is_told = told.iter().any(|(found, _, message)| *found == Error || message.contains(about));
    is_told.then(|| format!("not sound: {about}\n{sound}{told:#?}"))
}

#[track_caller]
fn check(cases: &str, path: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(cases);
    let text = std::fs::read_to_string(file).expect("the cases");
    let (config, cases) = text.split_once("---\n").expect("a config and its cases");
    let faults: Vec<String> = cases.lines().filter_map(|case| fault(path, config, case)).collect();
    assert!(!cases.is_empty() && faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn axolotl() {
    check("axolotl.cases", "a.yml");
}

#[test]
fn llama_factory() {
    check("llama-factory.cases", "a.yaml");
}

#[test]
fn sd_scripts() {
    check("sd-scripts.cases", "a.toml");
    check("sd-scripts-dataset.cases", "a.toml");
}

#[test]
fn ai_toolkit() {
    check("ai-toolkit.cases", "a.yaml");
}

/// A check that a release has given up is told of no newer one, and a warning where the release is unknown.
#[test]
fn checks_hold_for_the_releases_that_have_them() {
    let config = "base_model: a/b\ndatasets: [{path: x, type: alpaca}]\nadapter: lora\nlearning_rate: 0.0002\n\
                  micro_batch_size: 1\n";
    let of = |requirements: &str, more: &str| {
        let config = format!("{config}{more}");
        let told = among("a.yml", &[("a.yml", &config), ("requirements.txt", requirements)]);
        told.into_iter().map(|(severity, ..)| severity).collect::<Vec<_>>()
    };
    for (requirements, severity) in
        [("torch", vec![Warning]), ("axolotl==0.18.0", vec![Error]), ("axolotl==0.19", vec![])]
    {
        assert_eq!(of(requirements, ""), severity, "{requirements}");
    }
    let more = "gradient_accumulation_steps: 1\noptimizer: polora\nload_in_8bit: true\npeft_use_dora: true\n";
    for (requirements, severity) in
        [("torch", vec![Error]), ("axolotl==0.18.0", vec![]), ("axolotl==0.19", vec![Error])]
    {
        assert_eq!(of(requirements, more), severity, "{requirements}");
    }
}
