use super::*;

fn told(text: &str) -> Vec<String> {
    let linted = lint("configs/style.yaml", text.as_bytes()).expect("a training config");
    let tell = |p: &Problem| format!("{} {} {}: {}", p.place(), p.rule, p.severity as u8, p.message);
    linted.problems.iter().map(tell).collect()
}

const GOOD: &str = "base_model: ./m.safetensors\ntrain_data_dir: ./data\nlora_rank: 8\nepochs: 10\noutput_dir: ./out\n";

#[test]
fn a_good_config_has_no_problems() {
    assert_eq!(told(GOOD), Vec::<String>::new());
}

#[test]
fn a_config_that_lacks_only_base_model_is_still_one() {
    let text = GOOD.replace("base_model: ./m.safetensors\n", "");
    assert_eq!(
        told(&text),
        [
            "configs/style.yaml:1:1 missing-required 2: base_model is missing: name the base model file or Hub id to train on"
        ]
    );
}

#[test]
fn a_key_without_a_value_is_missing_where_it_stands() {
    let text = GOOD.replace("./out", "");
    assert_eq!(
        told(&text),
        ["configs/style.yaml:5:1 missing-required 2: output_dir is missing: name the folder for the trained weights"]
    );
}

#[test]
fn misspelled_keys_are_told_once() {
    let text = GOOD.replace("train_data_dir", "trainDataDir");
    assert_eq!(
        told(&text),
        [
            "configs/style.yaml:2:1 unknown-key 2: trainDataDir is not a key of this trainer and is ignored: did you mean train_data_dir?"
        ]
    );
}

#[test]
fn duration_duplicates_and_syntax() {
    assert!(told(&GOOD.replace("epochs: 10\n", ""))[0].contains("with epochs or max_train_steps"));
    assert!(told(&format!("{GOOD}max_train_steps: 5\n"))[0].contains("conflicting-keys"));
    assert!(told(&format!("{GOOD}lora_rank: 5\n"))[0].starts_with("configs/style.yaml:6:1 duplicate-key"));
    assert!(told(&GOOD.replace("epochs: 10", "epochs:10"))[0].contains("bad-yaml"));
}

#[test]
fn other_files_are_left_alone() {
    for other in ["", "a: b\n", "- 1\n", "{{ template }}: [", "base_model: x\ndatasets: []\nepochs: 1\noutput_dir: x\n"]
    {
        assert_eq!(lint("x.yaml", other.as_bytes()), None, "{other}");
    }
    assert_eq!(lint("x.txt", GOOD.as_bytes()), None);
    assert_eq!(lint("x.yaml", b"\xff\xfe"), None);
}
