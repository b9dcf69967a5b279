//! Mends of slips: a right config with one slip becomes the very text that was right before, and nothing else changes.

use std::path::Path;

use proptest::prelude::*;
use trainyard_base::domain::{Fix, Problem, Severity};
use trainyard_lora::{Repository, lint};

/// Right configs with comments, blanks and quotes that have to stay.
const RIGHT: [(&str, &str); 6] = [
    (
        "a.yaml",
        "# Style: été\nbase_model:   ./m.safetensors # ours\ntrain_data_dir: './data'\n\nlora_rank: 8\nepochs: 2\r\n\
         learning_rate: 2.0e-4   # slow\nmixed_precision: \"no\"\noutput_dir: out\nsave_steps: 100",
    ),
    (
        "a.toml",
        "[model]\npretrained_model_name_or_path = \"m\" # base\n[more]\nnetwork_module = \"networks.lora\"\n\
         network_dim = 8\ntrain_data_dir = 'd'\noutput_dir = \"o\"\nresolution = \"512,512\"\nmax_train_steps = 100\n\
         mixed_precision = \"bf16\"\nlearning_rate = 2e-4\n",
    ),
    (
        "sets.toml",
        "[general]\nenable_bucket = true\n# one\n[[datasets]]\nresolution = 512\nbatch_size = 2\n\
         [[datasets.subsets]]\nimage_dir = \"d\"\ncaption_extension = \".txt\"\nnum_repeats = 10\nkeep_tokens = 1\n",
    ),
    (
        "a.yml",
        "base_model: acme/m\nadapter: lora\ndatasets:\n  - {path: acme/d, type: alpaca} # ours\nlora_r: 8\n\
         lora_alpha: 16\nmicro_batch_size: 1\ngradient_accumulation_steps: 1\nlearning_rate: 0.0002\nsequence_len: 512\n",
    ),
    (
        "l.yaml",
        "### model\nmodel_name_or_path: acme/m\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 8\n\
         dataset: d\ntemplate: qwen\ncutoff_len: 512\noutput_dir: out\nlearning_rate: 1.0e-4\n",
    ),
    (
        "config.json",
        "{\n  \"--model_family\": \"flux\",\n\t\"model_type\": \"lora\",\n  \"--optimizer\": \"adamw_bf16\",\n  \
         \"output_dir\": \"o\",\n  \"data_backend_config\": \"d.json\",\n  \"max_train_steps\": 100,\n  \
         \"num_train_epochs\": 0\n}",
    ),
];

fn problems(path: &str, text: &str) -> Vec<Problem> {
    lint(path, text.as_bytes(), &Repository::default()).map(|linted| linted.problems).unwrap_or_default()
}

/// Mends a text once.
fn mended_once(path: &str, text: &str) -> String {
    let problems = problems(path, text);
    Fix::apply(problems.iter().filter_map(|problem| problem.fix.as_ref()), text)
}

/// Mends a text until nothing is left to mend.
fn mended(path: &str, text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..5 {
        text = mended_once(path, &text);
    }
    assert_eq!(mended_once(path, &text), text, "mends without an end");
    text
}

#[test]
fn the_right_configs_are_right() {
    for (path, text) in RIGHT {
        let found = problems(path, text);
        assert!(lint(path, text.as_bytes(), &Repository::default()).is_some(), "{path}");
        assert!(found.iter().all(|problem| problem.severity == Severity::Info), "{path}: {found:#?}");
    }
}

#[test]
fn slips_become_what_was_right() {
    for (path, right, slip) in [
        ("a.yaml", "lora_rank: 8", "lora_rnak: 8"),
        ("a.yaml", "train_data_dir: './data'", "trainDataDir: './data'"),
        ("a.yaml", "train_data_dir: './data'", "Train-Data-Dir: './data'"),
        ("a.yaml", "learning_rate: 2.0e-4   # slow", "learning_rate: 2e-4   # slow"),
        ("a.yaml", "mixed_precision: \"no\"", "mixed_precision: no"),
        ("a.yaml", "mixed_precision: \"no\"", "mixed_precision: NO"),
        ("a.yaml", "lora_rank: 8", "lora_rank: \"8\""),
        ("a.yaml", "lora_rank: 8", "lora_rank: 8.0"),
        ("a.yaml", "save_steps: 100", "save_steps: 1e2"),
        ("a.yaml", "save_steps: 100", "save_steps: \"1e2\""),
        ("a.toml", "max_train_steps = 100", "max_train_steps = 1e2"),
        ("l.yaml", "cutoff_len: 512", "cutoff_len: 512.0"),
        ("a.toml", "mixed_precision = \"bf16\"", "mixed_precision = \"BF16\""),
        ("a.toml", "mixed_precision = \"bf16\"", "mixed_precison = \"BF16\""),
        ("a.toml", "network_dim = 8", "network_dim = '8'"),
        ("a.toml", "[model]", "\u{feff}[model]"),
        ("sets.toml", "enable_bucket = true", "enable_bucket = \"True\""),
        ("sets.toml", "[[datasets.subsets]]\nimage_dir", "[[datasets.subsets]]\nimage_dri"),
        ("sets.toml", "num_repeats", "num-repeats"),
        ("a.yml", "micro_batch_size", "micro_batchsize"),
        ("l.yaml", "finetuning_type: lora", "finetuning_type: LoRA"),
        ("l.yaml", "do_train: true", "do_train: 'yes'"),
        ("config.json", "--optimizer", "--optimizr"),
        ("config.json", "\"num_train_epochs\": 0\n", "\"num_train_epochs\": 0,\n"),
        ("config.json", "\"lora\",", "\"lora\",,"),
    ] {
        let text = RIGHT.iter().find(|(known, _)| *known == path).map(|(_, text)| *text).expect("a config");
        assert!(text.contains(right), "{path}: {right}");
        let slipped = text.replacen(right, slip, 1);
        assert_eq!(mended(path, &slipped), text, "{slip}: {:#?}", problems(path, &slipped));
    }
}

#[test]
fn what_is_not_certain_is_left_alone() {
    for (path, right, slip) in [
        // Two keys may be meant.
        ("a.toml", "network_dim = 8", "network_dim = 8\nclip_q = 'm'"),
        // The key that is meant is given, too.
        ("a.yaml", "lora_rank: 8", "lora_rank: 8\nlora_rnak: 16"),
        // Two slips of one key.
        ("a.yaml", "lora_rank: 8", "lora_rnak: 8\nlora_rakn: 16"),
        // The value may be meant otherwise where the anchor is named.
        ("l.yaml", "finetuning_type: lora", "finetuning_type: &x LoRA"),
        ("a.yaml", "mixed_precision: \"no\"", "mixed_precision: false"),
        ("a.yaml", "lora_rank: 8", "lora_rank: \"many\""),
        ("a.yaml", "lora_rank: 8", "lora_rank: 8.5"),
        // Which number in the range is meant, nobody knows.
        ("a.yaml", "lora_rank: 8", "lora_rank: -8"),
        ("a.yaml", "learning_rate: 2.0e-4", "learning_rate: 2.0e+4"),
    ] {
        let text = RIGHT.iter().find(|(known, _)| *known == path).map(|(_, text)| *text).expect("a config");
        let slipped = text.replacen(right, slip, 1);
        assert_eq!(mended(path, &slipped), slipped, "{slip}");
    }
}

/// A slip of a person who types a word.
fn slip(word: &str, kind: usize, at: usize) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let at = at % letters.len();
    match kind {
        0 => letters.swap(at, (at + 1) % word.len()),
        1 => drop(letters.remove(at)),
        2 => letters.insert(at, letters[at]),
        3 => return word.replace('_', "-"),
        _ => return word.to_uppercase(),
    }
    letters.into_iter().collect()
}

proptest! {
    #[test]
    fn a_slip_in_any_key_is_mended_to_the_right_text_or_left_alone(
        file in 0..RIGHT.len(), line in 0_usize..20, kind in 0_usize..5, at in 0_usize..40,
    ) {
        let (path, text) = RIGHT[file];
        let lines: Vec<&str> = text.split('\n').collect();
        let line = lines[line % lines.len()];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let key = line.split([':', '=']).next().unwrap_or_default().trim_matches(|c| !is_part(c));
        prop_assume!(!line.starts_with(['#', '[']) && key.len() > 2 && key.chars().all(is_part));
        let slipped = text.replacen(line, &line.replacen(key, &slip(key, kind, at), 1), 1);
        let mended = mended(path, &slipped);
        prop_assert!(mended == text || mended == slipped, "{}\n{}", slipped, mended);
        // Whatever has a fix is gone.
        let left = problems(path, &mended);
        prop_assert!(left.iter().all(|problem| problem.fix.is_none()), "{:?}", left);
    }
}

/// The configs with one change each, and the trainer's verdict: see `mutants.rs`.
#[test]
fn mends_of_changed_configs_break_nothing() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("TRAINYARD_SHARED").map_or(beside, Into::into).join("lora/mutants");
    let Ok(manifest) = std::fs::read_to_string(dir.join("MANIFEST.tsv")) else {
        return println!("lora/mutants is absent: nothing mended");
    };
    let mut count = 0;
    for name in manifest.lines().skip(1).filter_map(|row| row.split('\t').next()) {
        let Ok(text) = std::fs::read_to_string(dir.join(name)) else { continue };
        let before = problems(name, &text);
        let after = mended(name, &text);
        if after == text {
            continue;
        }
        count += 1;
        let found = problems(name, &after);
        let bad = |rule: &str| rule.starts_with("bad-") || rule == "duplicate-key";
        assert!(found.iter().all(|problem| !bad(&problem.rule)), "{name}: {found:#?}");
        let errors = |all: &[Problem]| all.iter().filter(|problem| problem.severity == Severity::Error).count();
        let is_syntax = before.iter().any(|problem| bad(&problem.rule));
        assert!(is_syntax || errors(&found) <= errors(&before), "{name}: {before:#?} {found:#?}");
        let changed = text.split('\n').zip(after.split('\n')).filter(|(old, new)| old != new).count();
        assert!(changed <= before.len(), "{name}: {changed} lines changed");
    }
    println!("{count} of the changed configs are mended");
    assert!(count > 0);
}
