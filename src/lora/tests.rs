use super::*;

fn told(text: &str) -> Vec<String> {
    let linted = lint("configs/style.yaml", text.as_bytes(), &Repository::default()).expect("a training config");
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
            "configs/style.yaml:2:1 camel-case 2: trainDataDir is a key that the trainer ignores: did you mean train_data_dir?"
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
    for other in ["", "a: b\n", "- 1\n", "{{ template }}: [", "model_name_or_path: x\ntemplate: qwen\nexport_dir: x\n"]
    {
        assert_eq!(lint("x.yaml", other.as_bytes(), &Repository::default()), None, "{other}");
    }
    assert_eq!(lint("x.txt", GOOD.as_bytes(), &Repository::default()), None);
    assert_eq!(lint("x.yaml", b"\xff\xfe", &Repository::default()), None);
}

/// The rule of each problem of a file.
fn rules(path: &str, text: &str) -> Vec<String> {
    let linted = lint(path, text.as_bytes(), &Repository::default()).expect("a training config");
    linted.problems.into_iter().map(|problem| problem.rule).collect()
}

#[test]
fn values_are_seen_as_the_trainer_sees_them() {
    let with = |line: &str| told(&format!("{GOOD}{line}\n"));
    assert_eq!(
        with("learning_rate: 2e-4"),
        [
            "configs/style.yaml:6:16 wrong-type 1: 2e-4 without a dot is a text to PyYAML, not a number: write learning_rate: 2.0e-4"
        ]
    );
    assert_eq!(
        with("mixed_precision: no"),
        [
            "configs/style.yaml:6:18 wrong-type 1: mixed_precision is false to PyYAML, not a text: write the word in quotes"
        ]
    );
    assert_eq!(with("mixed_precision: \"no\""), Vec::<String>::new());
    assert_eq!(
        with("mixed_precision: fp8"),
        ["configs/style.yaml:6:18 enum 2: mixed_precision must be one of no, fp16, bf16"]
    );
    assert!(with("learning_rate: 3.0")[0].contains("out-of-range 2: learning_rate is 3, which cannot work"));
    assert!(with("learning_rate: 0.5")[0].contains("out-of-range 1: learning_rate is 0.5, which rarely works"));
    assert!(with("batch_size: ${BATCH}").is_empty());
    // axolotl makes numbers of texts.
    let axolotl = "base_model: a/b\ndatasets: [{path: x}]\nadapter: lora\nlearning_rate: 2e-4\nlora_r: \"8\"\n";
    assert_eq!(rules("x.yml", axolotl), Vec::<String>::new());
    assert_eq!(rules("x.yml", &axolotl.replace("\"8\"", "many")), ["wrong-type"]);
}

#[test]
fn tables_of_sd_scripts_arguments_are_one_map_and_those_of_its_data_sets_are_not() {
    let arguments = "[a]\npretrained_model_name_or_path = \"m\"\nresolution = \"512\"\n[b]\noutput_dir = \"o\"\ntrain_data_dir = \"d\"\nnetwork_module = \"networks.lora\"\n";
    assert_eq!(rules("x.toml", arguments), Vec::<String>::new());
    assert_eq!(rules("x.toml", &arguments.replace("\"512\"", "512")), ["wrong-type"]);
    let sets = "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = \"d\"\nvalidation_split = 0.5\n";
    let linted = lint("x.toml", sets.as_bytes(), &Repository::default()).expect("a training config");
    let told: Vec<&str> = linted.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(told, ["validation_split is a key that the trainer refuses here: it belongs in general"]);
}

#[test]
fn a_secret_is_told_and_never_repeated() {
    let token = format!("hf_{}", "a1B2".repeat(9));
    let text = format!("{{\"model_family\": \"flux\", \"train_batch_size\": \"{token}\"}}");
    let problems = lint("config.json", text.as_bytes(), &Repository::default()).expect("a training config").problems;
    assert_eq!(problems.iter().map(|p| p.rule.as_str()).collect::<Vec<_>>(), ["wrong-type", "secret"]);
    assert!(problems.iter().all(|problem| !problem.message.contains(&token)));
    assert!(!hidden(&text).contains(&token));
    assert_eq!(hidden("wandb_api_key: 0123456789"), "wandb_api_key: [secret]");
}

#[test]
fn folders_of_one_person_are_told_and_examples_are_not() {
    let with = |path: &str| rules("x.yaml", &GOOD.replace("./data", path));
    for private in ["/home/alice/data", "/root/autodl-tmp/x", "C:\\Users\\alice\\x", "/content/drive/MyDrive/x"] {
        assert_eq!(with(private), ["private-path"], "{private}");
    }
    for example in ["/path/to/data", "/home/user/data", "/home/<name>/x", "/workspace/x", "data/home/x"] {
        assert_eq!(with(example), Vec::<String>::new(), "{example}");
    }
}

#[test]
fn files_are_looked_for_where_the_repository_has_their_folder() {
    let repository = Repository::of(["data/a/1.png"], [("data/dataset_info.json", b"{\"mine\": {}}".as_slice())]);
    let told = |path: &str, text: &str| -> Vec<String> {
        let linted = lint(path, text.as_bytes(), &repository).expect("a training config");
        linted.problems.into_iter().map(|problem| format!("{}: {}", problem.rule, problem.message)).collect()
    };
    assert_eq!(
        told("x.yaml", &GOOD.replace("./data", "./data/b")),
        ["missing-file: train_data_dir names b, which is not in data: add it, or correct the path"]
    );
    for there in ["./data/a", "data/a/../a/", "elsewhere/b", "/data/b"] {
        assert_eq!(told("x.yaml", &GOOD.replace("./data", there)), Vec::<String>::new(), "{there}");
    }
    let factory = "stage: sft\nmodel_name_or_path: a/b\noutput_dir: o\ndataset: mine,yours\n";
    assert_eq!(
        told("x.yaml", factory),
        [
            "missing-file: the data set yours is not defined in data/dataset_info.json: add it there, or correct the name"
        ]
    );
}
