mod trainers;

use super::*;

const FOLDER: &str = "/home/travis/smoke";
const STYLE: &str = "\
# our style
train_data_dir: ./data/style # images
metadata_path: ./data/style/metadata.csv
base_model: acme/base
lora_rank: 8
lora_alpha: 16
epochs: 10
learning_rate: 2e-4
optimizer: AdamW8bit
mixed_precision: fp16
output_dir: ./output
hf_token: short
note: hf_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
";

fn derived(path: &str, text: &str) -> Result<Smoke, Unfit> {
    derive(path, text.as_bytes(), &Ask::default(), &Repository::default(), FOLDER)
}

/// Returns the text of a file of the smoke job.
fn text<'a>(smoke: &'a Smoke, path: &str) -> &'a str {
    let file = smoke.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("there is no {path}"));
    std::str::from_utf8(&file.bytes).unwrap()
}

fn changes(smoke: &Smoke) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    smoke.changes.iter().map(|c| format!("{}: {} → {}", c.key, value(&c.from), value(&c.to))).collect()
}

#[test]
fn what_costs_time_or_reaches_out_is_changed_and_the_rest_stays() {
    let smoke = derived("configs/style.yaml", STYLE).unwrap();
    let expected = "\
train_data_dir: \"/home/travis/smoke/data\"
metadata_path: \"/home/travis/smoke/data/metadata.csv\"
base_model: \"/home/travis/smoke/model\"
lora_rank: 4
lora_alpha: 8
learning_rate: 2e-4
optimizer: \"AdamW\"
mixed_precision: \"no\"
output_dir: \"/home/travis/smoke/output\"
max_train_steps: 3
save_steps: 3
resolution: 128
batch_size: 1
num_workers: 0
";
    assert_eq!(text(&smoke, "config.yaml"), expected);
    assert_eq!(smoke.command, "python train.py --config /home/travis/smoke/config.yaml");
    assert_eq!((smoke.output.as_str(), smoke.steps, smoke.dialect), ("output", 3, Dialect::LoraScripts));
    let changes = changes(&smoke);
    for told in ["epochs: 10 → -", "hf_token: [secret] → -", "note: [secret] → -", "lora_rank: 8 → 4"] {
        assert!(changes.iter().any(|change| change == told), "{told}: {changes:?}");
    }
    assert!(smoke.files.iter().all(|file| !String::from_utf8_lossy(&file.bytes).contains("AAAAAAAA")));
    assert!(changes.iter().all(|change| !change.contains("short") && !change.contains("AAAAAAAA")), "{changes:?}");
    assert_eq!(derived("configs/style.yaml", STYLE).unwrap(), smoke, "the same each time");
}

#[test]
fn a_text_generator_is_tried_with_texts() {
    let smoke = derived("a.yaml", &format!("{STYLE}task_type: text-generation\nmax_length: 2048\n")).unwrap();
    let config = text(&smoke, "config.yaml");
    assert!(config.contains("max_length: 256\n") && !config.contains("resolution"), "{config}");
    assert!(text(&smoke, "data/alpaca.jsonl").contains("instruction"));
    assert!(smoke.files.iter().any(|file| file.path == "model/tokenizer.json"));
}

#[test]
fn the_start_is_the_teams_own_or_what_the_repository_has() {
    let of = |ask: &Ask, paths: &[&str]| {
        let repository = Repository::of(paths.iter().copied(), []);
        derive("a.yaml", STYLE.as_bytes(), ask, &repository, "/tmp/it's").map(|smoke| smoke.command)
    };
    let usual = Ask::default();
    assert_eq!(
        of(&usual, &["a.yaml", "tools/train.py", "lib/x/train.py"]).unwrap(),
        r"python tools/train.py --config '/tmp/it'\''s/config.yaml'"
    );
    let own = Ask { command: Some("make smoke C={config}".to_owned()), ..Ask::default() };
    assert_eq!(of(&own, &["a.yaml"]).unwrap(), r"make smoke C='/tmp/it'\''s/config.yaml'");
    let without = Ask { command: Some("make smoke".to_owned()), ..Ask::default() };
    for (ask, paths, reason) in [
        (&usual, ["a.yaml"].as_slice(), "there is no train.py in the repository"),
        (&without, &[], "write {config} where"),
        (&Ask { steps: 0, ..Ask::default() }, &[], "steps must be 1 to 1000"),
        (&Ask { resolution: 1 << 20, ..Ask::default() }, &[], "resolution must be a multiple of 64"),
    ] {
        match of(ask, paths) {
            Err(Unfit::Cannot(text)) => assert!(text.contains(reason), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_not_run_by_itself_is_told_from_what_cannot_be_run() {
    for (path, text) in [
        ("notes.txt", STYLE),
        ("a.yaml", "a: b\n"),
        ("a.yaml", "\u{0}"),
        ("d.toml", "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = \"d\"\n"),
        ("d.toml", "[[datasets]]\nresolution = 512\n[[datasets.subsets]\n"),
        ("p.toml", "[metadata]\nauthor = \"a\"\n[data]\nresolution = \"512,512\"\n"),
        ("adapter_config.json", "{\"peft_type\": \"LORA\"}"),
    ] {
        assert!(matches!(derived(path, text), Err(Unfit::NotRun(_))), "{path} {:?}", derived(path, text));
    }
    let broken = STYLE.replace("lora_rank: 8", "lora_rank:8");
    let Err(Unfit::Cannot(reason)) = derived("a.yaml", &broken) else { panic!("it does not parse") };
    assert!(reason.starts_with("a.yaml:") && reason.contains("not YAML"), "{reason}");
    let described = format!("{STYLE}task_type: image-to-text\n");
    assert!(matches!(derived("a.yaml", &described), Err(Unfit::Cannot(_))));
}

#[test]
fn large_configs_take_little_work() {
    let keys: String = (0..5_000).map(|number| format!("wandb_{number}: 1\n")).collect();
    let smoke = derived("a.yaml", &format!("{STYLE}{keys}")).unwrap();
    assert!(!text(&smoke, "config.yaml").contains("wandb") && smoke.changes.len() == 500);
}
