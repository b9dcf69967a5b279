use super::*;

fn findings(text: &str) -> Vec<String> {
    let linted = lint("configs/style.yaml", text.as_bytes(), &Repository::default()).expect("a training config");
    let tell = |p: &Problem| format!("{} {} {}: {}", p.place(), p.rule, p.severity as u8, p.message);
    linted.problems.iter().map(tell).collect()
}

const GOOD: &str = "base_model: ./m.safetensors\ntrain_data_dir: ./data\nlora_rank: 8\nepochs: 10\noutput_dir: ./out\n";

#[test]
fn a_good_config_has_no_problems() {
    assert_eq!(findings(GOOD), Vec::<String>::new());
}

#[test]
fn a_config_that_lacks_only_base_model_is_still_one() {
    let text = GOOD.replace("base_model: ./m.safetensors\n", "");
    assert_eq!(
        findings(&text),
        [
            "configs/style.yaml:1:1 missing-required 2: train.py needs base_model: name the base model file or Hub id to train on"
        ]
    );
}

#[test]
fn a_key_without_a_value_is_missing_where_it_stands() {
    let text = GOOD.replace("./out", "");
    assert_eq!(
        findings(&text),
        [
            "configs/style.yaml:5:1 missing-required 2: train.py needs output_dir: name the folder for the trained weights"
        ]
    );
}

#[test]
fn misspelled_keys_are_told_once() {
    let text = GOOD.replace("train_data_dir", "trainDataDir");
    assert_eq!(
        findings(&text),
        [
            "configs/style.yaml:2:1 camel-case 2: train.py ignores the key trainDataDir and trains as if train_data_dir were not given: did you mean train_data_dir?"
        ]
    );
}

#[test]
fn duration_duplicates_and_syntax() {
    assert!(findings(&GOOD.replace("epochs: 10\n", ""))[0].contains("with epochs or max_train_steps"));
    assert!(findings(&format!("{GOOD}max_train_steps: 5\n"))[0].contains("conflicting-keys"));
    assert!(findings(&format!("{GOOD}lora_rank: 5\n"))[0].starts_with("configs/style.yaml:6:1 duplicate-key"));
    assert!(findings(&GOOD.replace("epochs: 10", "epochs:10"))[0].contains("bad-yaml"));
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

/// Returns the rule of each problem of a file.
fn rules(path: &str, text: &str) -> Vec<String> {
    let linted = lint(path, text.as_bytes(), &Repository::default()).expect("a training config");
    linted.problems.into_iter().map(|problem| problem.rule).collect()
}

#[test]
fn values_are_seen_as_the_trainer_sees_them() {
    let with = |line: &str| findings(&format!("{GOOD}{line}\n"));
    assert_eq!(
        with("learning_rate: 2e-4"),
        [
            "configs/style.yaml:6:16 wrong-type 1: train.py gets 2e-4 as a text, as PyYAML reads such a number: write learning_rate: 2.0e-4"
        ]
    );
    assert_eq!(
        with("mixed_precision: no"),
        [
            "configs/style.yaml:6:18 wrong-type 1: train.py gets false for mixed_precision, as PyYAML reads this word: write it in quotes"
        ]
    );
    assert_eq!(with("mixed_precision: \"no\""), Vec::<String>::new());
    assert_eq!(
        with("mixed_precision: fp8"),
        [
            "configs/style.yaml:6:18 enum 2: train.py does not know this word for mixed_precision: write one of no, fp16, bf16"
        ]
    );
    assert!(with("learning_rate: 3.0")[0].contains("out-of-range 2: train.py cannot train with learning_rate 3"));
    assert!(
        with("learning_rate: 0.5")[0].contains("out-of-range 1: train.py rarely trains well with learning_rate 0.5")
    );
    assert!(with("batch_size: ${BATCH}").is_empty());
    // axolotl converts strings into numbers.
    let axolotl = "base_model: a/b\ndatasets: [{path: x}]\nadapter: lora\nlearning_rate: 2e-4\nlora_r: \"8\"\nmicro_batch_size: 1\ngradient_accumulation_steps: 1\n";
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
    assert_eq!(told, ["sd-scripts stops at the key validation_split, unknown here: it belongs in general"]);
}

#[test]
fn a_secret_is_told_and_never_repeated() {
    let token = format!("hf_{}", "a1B2".repeat(9));
    let rest = r#""model_type": "lora", "optimizer": "muon", "output_dir": "o", "data_backend_config": "d.json""#;
    let text = format!("{{\"model_family\": \"flux\", \"train_batch_size\": \"{token}\", {rest}}}");
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
fn folders_of_root_may_be_those_of_a_container() {
    let severity = |path: &str| {
        let text = GOOD.replace("./data", path);
        let linted = lint("x.yaml", text.as_bytes(), &Repository::default()).expect("a training config");
        linted.problems.into_iter().find(|problem| problem.rule == "private-path").map(|problem| problem.severity)
    };
    assert_eq!(severity("/root/ai-toolkit/images"), Some(Severity::Warning));
    assert_eq!(severity("/home/alice/images"), Some(Severity::Error));
}

#[test]
fn what_is_filled_in_later_may_be_anything() {
    let text = "base_model: ${MODEL}\nadapter: lora\ndatasets: [{path: a, type: alpaca}]\nmicro_batch_size: 1\n\
                gradient_accumulation_steps: 1\nlearning_rate: 0.0002\nlora_r: 8\nlora_alpha: 16\n";
    let with = |more: &str| rules("a.yml", &format!("{text}{more}"));
    assert_eq!(with(""), [""; 0]);
    assert_eq!(with("load_in_8bit: true\nload_in_4bit: true\n"), ["conflicting-keys"]);
    assert_eq!(with("load_in_8bit: ${A}\nload_in_4bit: \"{{ b }}\"\n"), [""; 0]);
    assert_eq!(with("lora_target_modules: ['(q|v)_proj']\n"), ["module-names"]);
    assert_eq!(with("lora_target_modules: ['${MODULES}']\n"), [""; 0]);
}

#[test]
fn files_are_looked_for_where_the_repository_has_their_folder() {
    let repository = Repository::of(["data/a/1.png"], [("data/dataset_info.json", b"{\"mine\": {}}".as_slice())]);
    let findings = |path: &str, text: &str| -> Vec<String> {
        let linted = lint(path, text.as_bytes(), &repository).expect("a training config");
        let findings = linted.problems.into_iter().filter(|problem| problem.severity > Severity::Info);
        findings.map(|problem| format!("{}: {}", problem.rule, problem.message)).collect()
    };
    assert_eq!(
        findings("x.yaml", &GOOD.replace("./data", "./data/b")),
        ["missing-file: train.py finds no b in data, which train_data_dir names: add it, or correct the path"]
    );
    for there in ["./data/a", "data/a/../a/", "elsewhere/b", "/data/b"] {
        assert_eq!(findings("x.yaml", &GOOD.replace("./data", there)), Vec::<String>::new(), "{there}");
    }
    let factory = "stage: sft\nmodel_name_or_path: a/b\noutput_dir: o\ndataset: mine,yours\n";
    assert_eq!(
        findings("x.yaml", factory),
        [
            "missing-file: LLaMA-Factory stops, because data/dataset_info.json has no data set yours: add it there, or correct the name"
        ]
    );
}

/// Returns the problems in the data of a config: rule and message.
fn in_data(path: &str, config: &str, files: &[(&str, &str)]) -> Vec<(String, String)> {
    let texts = files.iter().map(|(path, text)| (*path, text.as_bytes()));
    let repository = Repository::of(files.iter().map(|(path, _)| *path), texts);
    let problems = lint(path, config.as_bytes(), &repository).expect("a config").problems;
    let data = problems.into_iter().filter(|problem| problem.rule.starts_with("data-"));
    data.map(|problem| (problem.rule, problem.message)).collect()
}

const FLAT: &str = "base_model: m\ntrain_data_dir: ./data\nmetadata_path: ./data/metadata.csv\noutput_dir: out\n\
                    lora_rank: 4\nepochs: 2\nbatch_size: 2\n";

#[test]
fn tables_of_captions_and_their_images_belong_together() {
    let of = |table: &str| {
        // A file that was not read is large, and thus most likely an image.
        let texts = [("data/metadata.csv", table.as_bytes())];
        let repository = Repository::of(["data/metadata.csv", "data/a.png", "data/b.JPG"], texts);
        let problems = lint("a.yaml", FLAT.as_bytes(), &repository).expect("a config").problems;
        let data = problems.into_iter().filter(|problem| problem.rule.starts_with("data-"));
        data.map(|problem| (problem.rule, problem.message, problem.line)).collect::<Vec<_>>()
    };
    assert_eq!(of("file_name,prompt\na.png,\"a cat, black\"\nb.JPG,two\n"), []);
    let found = of("filename,caption\na.png,x\nc.png,y\n");
    assert_eq!(found.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["data-captions", "data-captions"]);
    assert!(found[0].1.contains("names 1 images that are not in data: c.png"), "{found:?}");
    assert!(found[1].1.contains("1 of 2 images in data have no line in data/metadata.csv: b.JPG"), "{found:?}");
    assert_eq!(found[0].2, Some(3));
    let found = of("a.png,grey square\n");
    assert!(found[0].0 == "data-columns" && found[0].1.contains("`a.png,grey square`"), "{found:?}");
    assert!(of("")[0].1.contains("is empty"));
}

#[test]
fn what_is_no_image_is_told() {
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    let table = "file_name,prompt\na.png,x\nb.png,x\nc.png,x\nd.gif,x\n";
    let files = [
        ("data/metadata.csv", table),
        ("data/a.png", lfs),
        ("data/b.png", ""),
        ("data/c.png", "<html>"),
        ("data/d.gif", "GIF89a"),
    ];
    let found = in_data("a.yaml", FLAT, &files);
    assert_eq!(found.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["data-lfs", "data-images", "data-images"]);
    assert!(found[0].1.contains("1 of 4 images in data are Git LFS pointers: a.png"), "{found:?}");
    assert!(found[1].1.contains("that are empty: b.png") && found[2].1.contains("not images: c.png"), "{found:?}");
}

#[test]
fn captions_beside_images_have_the_extension_that_the_trainer_wants() {
    let args = "pretrained_model_name_or_path = \"m\"\nnetwork_module = \"networks.lora\"\ntrain_data_dir = \"data\"\n\
                resolution = \"512,512\"\noutput_dir = \"out\"\nmax_train_epochs = 3\ntrain_batch_size = 2\n";
    let image = "GIF89a";
    let of = |config: &str, paths: &[&str]| {
        let files: Vec<(&str, &str)> =
            paths.iter().map(|path| (*path, if path.ends_with(".png") { image } else { "words" })).collect();
        in_data("a.toml", config, &files)
    };
    let with_txt = format!("{args}caption_extension = \".txt\"\n");
    assert_eq!(of(&with_txt, &["data/10_ink/a.png", "data/10_ink/a.txt"]), []);
    let found = of(args, &["data/10_ink/a.png", "data/10_ink/a.txt"]);
    assert!(found.len() == 1 && found[0].1.contains("set the key for the captions' extension to .txt"), "{found:?}");
    let found = of(&with_txt, &["data/10_ink/a.png", "data/10_ink/a.txt", "data/10_ink/b.png", "data/10_ink/c.txt"]);
    assert!(found[0].1.contains("no .txt caption for 1 of 2 images in data: 10_ink/b.png"), "{found:?}");
    assert!(found[1].1.contains("as 1 in data: 10_ink/c"), "{found:?}");
    let found = of(&with_txt, &["data/a.png", "data/a.txt"]);
    assert!(found.len() == 1 && found[0].0 == "data-folders", "{found:?}");
    // Data that the job itself downloads is not known.
    assert_eq!(of(&with_txt, &["README.md"]), []);
}

#[test]
fn what_a_training_takes_is_estimated() {
    let estimate = |path: &str, config: &str, files: &[&str]| {
        let repository = Repository::of(files.iter().copied(), []);
        lint(path, config.as_bytes(), &repository).expect("a config").estimate
    };
    let sdxl = FLAT.replace("base_model: m", "base_model: stabilityai/sdxl-base");
    assert_eq!(
        estimate("a.yaml", &sdxl, &["data/a.png", "data/b.png", "data/c.png"]).as_deref(),
        Some("3 steps (3 images × 2 epochs / batches of 2); a GPU with 12 GB should do")
    );
    let llama = "base_model: meta/Llama-3-8B\nadapter: qlora\nload_in_4bit: true\nlearning_rate: 0.0002\nmax_steps: 100\n\
                 micro_batch_size: 2\ngradient_accumulation_steps: 4\ndatasets: [{path: x, type: alpaca}]\n";
    assert_eq!(
        estimate("b.yaml", llama, &[]).as_deref(),
        Some("100 steps of 8, 800 samples; a GPU with 8 GB should do")
    );
    assert_eq!(estimate("a.yaml", FLAT, &[]), None);
}

#[test]
fn a_team_sets_how_much_a_rule_matters() {
    let config =
        "base_model: m\ntrain_data_dir: /home/anna/data\noutput_dir: out\nlora_rank: 4\nepochs: 2\nbatch_sise: 2\n";
    let of = |rules: &str| {
        let settings = Settings::of_travis(format!("lora: {{rules: {{{rules}}}}}\n").as_bytes());
        let repository = Repository::default();
        let problems =
            Linter::new(&settings, &repository).lint("a.yaml", config.as_bytes()).expect("a config").problems;
        let findings = problems.into_iter().filter(|problem| problem.severity > Severity::Info);
        findings.map(|problem| (problem.rule, problem.severity)).collect::<Vec<_>>()
    };
    let rule = |name: &str, severity| (name.to_owned(), severity);
    let usual = of("");
    assert!(usual.contains(&rule("unknown-key", Severity::Error)), "{usual:?}");
    let changed = of("unknown-key: warning, private-path: off");
    assert!(changed.contains(&rule("unknown-key", Severity::Warning)), "{changed:?}");
    assert!(usual.iter().any(|it| it.0 == "private-path") && !changed.iter().any(|it| it.0 == "private-path"));
}
