use super::*;

/// Returns the place, rule and message of each problem of a file.
fn told(path: &str, text: &str) -> Vec<String> {
    of_repository(path, text, &Repository::default())
}

fn of_repository(path: &str, text: &str, repository: &Repository<'_>) -> Vec<String> {
    let found = problems(path, text, repository).expect("a call of a trainer");
    let tell = |finding: &Finding| {
        let at = finding.at.expect("a place");
        format!("{}:{} {}: {}", at.line, at.column, finding.rule, finding.message)
    };
    found.iter().map(tell).collect()
}

const GOOD: &str = "accelerate launch --num_cpu_threads_per_process 1 train_network.py \\
  --pretrained_model_name_or_path=runwayml/stable-diffusion-v1-5 \\
  --train_data_dir ./data --resolution 512,512 --output_dir out \\
  --network_module networks.lora --network_dim 32 --network_args \"conv_dim=4\" \"conv_alpha=1\" \\
  --learning_rate 1e-4 --enable_bucket --mixed_precision fp16
";

#[test]
fn a_good_command_has_no_problems() {
    assert_eq!(told("train.sh", GOOD), Vec::<String>::new());
}

#[test]
fn options_are_checked_as_argparse_does() {
    for (from, to, expected) in [
        (
            "--network_dim 32",
            "--netwrok_dim 32",
            "4:34 unknown-key: sd-scripts does not know --netwrok_dim: did you mean --network_dim?",
        ),
        ("--network_dim 32", "--network-dim 32", "did you mean --network_dim?"),
        (
            "--network_dim 32",
            "--network_dim 1e2",
            "4:48 wrong-type: --network_dim must be an integer, without a dot or an exponent",
        ),
        ("--network_dim 32", "--network_dim", "4:34 wrong-type: --network_dim needs a value"),
        ("--learning_rate 1e-4", "--learning_rate fast", "wrong-type: --learning_rate must be a number"),
        (
            "--enable_bucket",
            "--enable_bucket true",
            "wrong-type: --enable_bucket takes no value, so sd-scripts stops at true",
        ),
        ("--enable_bucket", "--enable_bucket=true", "takes no value"),
        ("--mixed_precision fp16", "--mixed_precision fp8", "enum: --mixed_precision must be one of"),
        ("--network_dim 32", "--network_di 32", ""),
        ("--network_dim 32", "--network_d 32", "unknown-key: --network_d may mean --network_dim or --network_dropout"),
        ("--network_dim 32", "--network_dim 32 --network_dim 8", "4:51 duplicate-key"),
        ("--network_dim 32", "--network_dim 0", "out-of-range"),
        ("--network_dim 32", "--network_rank 32", "sd-scripts does not know --network_rank and stops at it"),
        ("--output_dir out", "", "1:51 missing-required: sd-scripts stops at its first save without output_dir"),
        ("--network_dim 32", "--t5xxl t5", "does not know --t5xxl"),
        ("--learning_rate 1e-4", "--learning_rate $LR", ""),
        ("--learning_rate 1e-4", "--learning_rate \"$(lr)\" --seed `date +%s`", ""),
        ("--output_dir out", "\"$@\"", ""),
        ("--output_dir out", "$EXTRA", ""),
    ] {
        let found = told("train.sh", &GOOD.replace(from, to));
        let is_expected = match expected {
            "" => found.is_empty(),
            expected => found.len() == 1 && found[0].contains(expected),
        };
        assert!(is_expected, "{to}: {found:?}");
    }
}

#[test]
fn variables_of_the_script_are_known() {
    let with =
        |set: &str, used: &str| told("a/train.sh", &format!("{set}\n{}", GOOD.replace("--network_dim 32", used)));
    assert!(with("DIM=32", "--network_dim $DIM").is_empty());
    assert!(with("DIM=big", "--network_dim \"${DIM}\"")[0].contains("wrong-type: --network_dim"));
    assert!(with("ARGS=\"--network_dim 8 --network_rank 8\"", "$ARGS")[0].contains("--network_rank"));
    assert!(with("", "--network_dim ${DIM:-many}")[0].contains("--network_dim must be an integer"));
    let found = with("args=(\n  --network_dim 8 # small\n  --network_rnk 8\n)", "\"${args[@]}\"");
    assert!(found.len() == 1 && found[0].starts_with("3:3 unknown-key"), "{found:?}");
    assert!(with("args=(--network_dim)\nargs+=(x)", "\"${args[@]}\"")[0].starts_with("2:8 wrong-type"));
    assert!(with("if [ -z \"$DIM\" ]; then\n  DIM=big\nfi", "--network_dim $DIM").is_empty());
    assert!(with("for DIM in a b; do echo; done", "--network_dim $DIM").is_empty());
    assert!(with("read DIM", "--network_dim $DIM").is_empty());
}

#[test]
fn other_commands_are_left_alone() {
    for text in [
        "python train.py --stage sft\n",
        "cp train_network.py x --foo\n",
        "echo accelerate launch train_network.py --foo\n",
        "# accelerate launch train_network.py --foo\n",
        "cat <<EOF\naccelerate launch train_network.py --network_dim x\nEOF\n",
        "python train_network.py --epochs 3 --batch_size 4\n",
        "python fine_tune.py --model x\n",
        "llamafactory-cli chat x.yaml\n",
    ] {
        assert!(problems("x.sh", text, &Repository::default()).is_none(), "{text}");
    }
    assert!(problems("notes.txt", GOOD, &Repository::default()).is_none());
}

#[test]
fn wrappers_and_other_forms_are_seen_through() {
    let call = "sdxl_train_network.py --netwrok_dim 3 $MORE\n";
    for before in [
        "CUDA_VISIBLE_DEVICES=0 python ",
        "nohup env A=b python3 -u ",
        "poetry run accelerate launch ",
        "uv run --with x python ",
        "torchrun --nproc_per_node=2 ",
        "deepspeed --num_gpus 2 ",
        "cd sd-scripts && accelerate launch ",
        "if true; then python ",
        "docker run --rm -it image accelerate launch ",
        "python -m accelerate.commands.launch ",
        "python $SD/",
        "./venv/bin/python sd-scripts/",
    ] {
        assert_eq!(told("x.sh", &format!("{before}{call}")).len(), 1, "{before}");
    }
    let batch = "accelerate launch ^\n  sdxl_train_network.py --pretrained_model_name_or_path C:\\a\\b ^\n  --netwrok_dim %DIM%\n";
    assert!(told("x.bat", batch)[0].starts_with("3:3 unknown-key"));
    assert!(told("x.ps1", &batch.replace('^', "`").replace("%DIM%", "$dim"))[0].starts_with("3:3 unknown-key"));
}

#[test]
fn lines_after_a_cut_are_told() {
    let text = GOOD.replace("  --learning_rate", "  # the rate\n  --learning_rate");
    let found = told("x.sh", &text);
    assert!(found.len() == 1 && found[0].starts_with("6:3 cut-off-arguments: --learning_rate is no part"), "{found:?}");
    let text = GOOD.replace("\"conv_alpha=1\" \\", "\"conv_alpha=1\" \\ ");
    assert!(told("x.sh", &text)[0].starts_with("5:3 cut-off-arguments"));
}

#[test]
fn makefiles_pages_and_travis_files_have_their_own_lines() {
    let make = "DIM ?= 1e2\nARGS = --network_dim $(DIM)\ntrain:\n\t@python sdxl_train_network.py $(ARGS) \\\n\t  --fo $$HOME --learning_rte 1 $(MORE)\n";
    let found = told("Makefile", make);
    assert!(found[0].starts_with("4:32 wrong-type: --network_dim"), "{found:?}");
    assert!(
        found.iter().any(|line| line.starts_with("5:16 unknown-key: sd-scripts does not know --learning_rte")),
        "{found:?}"
    );
    let page = "# Train\n\n- so:\n\n  ```bash\n  python sdxl_train_network.py --netwrok_dim 3 ...\n  ```\n\n```python\npython sdxl_train_network.py --x\n```\n\n\
                ```console\n$ python sdxl_train_network.py \\\n>   --netwrok_dim <your dim> ...\nloss --netwrok_dim\n```\n";
    let found = told("README.md", page);
    assert_eq!(
        found.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["6:32", "15:5"]
    );
    let travis = "language: python\nscript:\n  - echo\n  - |\n    set -e\n    python sdxl_train_network.py \\\n      --netwrok_dim 3 $MORE\n  \
                  - python sdxl_train_network.py --netwrok_dim 3 $MORE\n  - >\n    python sdxl_train_network.py\n    --netwrok_dim 3 $MORE\njobs:\n  include:\n    \
                  - script: \"python sdxl_train_network.py --netwrok_dim 3 $MORE\"\n";
    let found = told(".travis.yml", travis);
    assert_eq!(
        found.iter().map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["7:7", "8:34", "11:5", "14:45"],
        "{found:?}"
    );
}

#[test]
fn pages_break_commands_and_leave_things_out() {
    let page = "```\npython sdxl_train_network.py\n    # rank\n  --network_dim YOUR_DIM ^ # small\n  --netwrok_alpha 3 \\\n\n```\n\n```\n--vae x\n```\n";
    let found = told("README.md", page);
    assert!(found.len() == 1 && found[0].starts_with("5:3 unknown-key"), "{found:?}");
}

#[test]
fn configs_that_commands_name_are_joined_with_them() {
    let toml = b"network_module = \"networks.lora\"\npretrained_model_name_or_path = \"m\"\ntrain_data_dir = \"d\"\nresolution = \"512\"\ncache_latents = true\n";
    let paths = ["cfg/a.toml", "cfg/train.sh", "out/x"];
    let repository = Repository::of(paths, [("cfg/a.toml", &toml[..])]);
    let found = |text: &str| of_repository("cfg/train.sh", text, &repository);
    assert!(found("accelerate launch train_network.py --config_file cfg/a --output_dir out\n").is_empty());
    assert!(
        found("accelerate launch train_network.py --config_file=a.toml --color_aug\n")[0].contains("conflicting-keys")
    );
    let missing = found("accelerate launch train_network.py --config_file cfg/b.toml\n");
    assert!(missing.len() == 1 && missing[0].starts_with("1:50 missing-file: b.toml is not in cfg"), "{missing:?}");
    assert!(found("cp x cfg/b.toml\naccelerate launch train_network.py --config_file cfg/b.toml\n").is_empty());
    let travis = "before_script: cd x\nscript: accelerate launch train_network.py --config_file cfg/b.toml\n";
    assert!(of_repository(".travis.yml", travis, &repository).is_empty());
    let travis = travis.replace("cd x", "ls x");
    assert!(of_repository(".travis.yml", &travis, &repository)[0].starts_with("2:58 missing-file"));
    assert!(found("cd x\naccelerate launch train_network.py --config_file cfg/b.toml\n").is_empty());
}

#[test]
fn what_a_command_gives_to_a_config_is_not_missing_in_it() {
    let toml = b"network_module = \"networks.lora\"\npretrained_model_name_or_path = \"m\"\ntrain_data_dir = \"d\"\nresolution = \"512\"\n";
    let lint = |script: &str| {
        let files = [("a.toml", &toml[..]), ("train.sh", script.as_bytes())];
        let repository = Repository::of(["a.toml", "train.sh"], files);
        let linted = crate::lint("a.toml", toml, &repository).expect("a config");
        linted.problems.into_iter().map(|problem| problem.rule).collect::<Vec<_>>()
    };
    assert_eq!(lint("accelerate launch train_network.py --config_file a.toml\n"), ["missing-required"]);
    assert_eq!(lint("accelerate launch train_network.py --config_file a.toml --output_dir $OUT\n"), [""; 0]);
    assert_eq!(lint("accelerate launch train_network.py --config_file a.toml \"$@\"\n"), [""; 0]);
}

#[test]
fn llama_factory_takes_keys_after_a_config_and_options_without_one() {
    let yaml = b"model_name_or_path: a/b\nstage: sft\nfinetuning_type: lora\ntemplate: qwen\ndataset: d\noutput_dir: o\ndo_train: true\n";
    let repository = Repository::of(["x/a.yaml", "x/data"], [("x/a.yaml", &yaml[..])]);
    let found = |text: &str| of_repository("train.sh", text, &repository);
    assert!(found("llamafactory-cli train x/a.yaml learning_rate=1e-5 output_dir=$OUT\n").is_empty());
    assert!(found("llamafactory-cli train x/a.yaml learning_rat=1e-5\n")[0].contains("1:33 unknown-key"));
    assert!(found("llamafactory-cli train x/a.yaml --lora_rank 8\n")[0].contains("write lora_rank=…"));
    assert!(found("llamafactory-cli train x/b.yaml\n")[0].contains("missing-file"));
    let options = "llamafactory-cli train --stage sft --do_train --model_name_or_path a/b --template qwen --finetuning-type lora \
                   --dataset d --output_dir o --bf16 true --lora_target q_proj,v_proj\n";
    assert_eq!(found(options), Vec::<String>::new());
    let has = |text: &str, part: &str| found(text).iter().any(|line| line.contains(part));
    assert!(has(&options.replace("--dataset d", "--lora_rnk 8"), "did you mean --lora_rank?"));
    assert!(has(&options.replace("sft", "sfd"), "enum"));
    assert!(has(&options.replace("--dataset d", "--lora_rank 8.5"), "wrong-type"));
    let old = options.replace("llamafactory-cli train", "torchrun src/train.py");
    assert!(has(&old.replace("--dataset d", "--lora_rnk 8"), "did you mean --lora_rank?"));
    assert!(!has(&old.replace("--dataset d", "--of_an_old_version 8"), "of_an_old_version"));
}

#[test]
fn axolotl_takes_options_with_dashes_and_its_module_any_keys() {
    let yaml = b"base_model: a/b\ndatasets: [{path: x, type: alpaca}]\nadapter: lora\nlora_r: 8\nmicro_batch_size: 1\ngradient_accumulation_steps: 1\nlearning_rate: 0.0002\n";
    let repository = Repository::of(["x.yml"], [("x.yml", &yaml[..])]);
    let found = |text: &str| of_repository("train.sh", text, &repository);
    assert!(
        found("axolotl train x.yml --learning-rate 1e-4 --no-sample-packing --launcher torchrun -- --nproc 2\n")
            .is_empty()
    );
    assert!(found("axolotl train x.yml --learning_rate 1e-4\n")[0].contains("did you mean --learning-rate?"));
    assert!(found("axolotl train x.yml --lora-r eight\n")[0].contains("lora_r"));
    assert!(found("axolotl train y.yml\n")[0].contains("missing-file"));
    assert!(found("accelerate launch -m axolotl.cli.train x.yml --learning_rate=1e-4 --debug\n").is_empty());
    assert!(found("python -m axolotl.cli.train x.yml --learning_rat 1e-4\n")[0].contains("unknown-key"));
    assert!(found("uv run axolotl train $CONFIG --learning-rte 3\n")[0].contains("did you mean --learning-rate?"));
}

#[test]
fn trl_takes_options_and_a_config_with_them() {
    let yaml = b"model_name_or_path: a/b\ndataset_name: c/d\noutput_dir: o\nuse_peft: true\nlora_r: 8\n";
    let repository = Repository::of(["cfg/sft.yaml", "x.sh"], [("cfg/sft.yaml", &yaml[..])]);
    let found = |text: &str| of_repository("x.sh", text, &repository);
    let options = "trl sft --model_name_or_path a/b --dataset_name c/d --output_dir o --learning-rate 1e-4 --use_peft \
                   --lora_target_modules q_proj v_proj --packing --bf16 False --num_processes 2 --multi_gpu\n";
    assert_eq!(found(options), Vec::<String>::new());
    assert_eq!(found(&options.replace("trl sft", "accelerate launch --num_processes 2 trl/scripts/sft.py")), [""; 0]);
    assert_eq!(found("trl sft --config cfg/sft.yaml --lora_alpha 16 --accelerate_config zero3\n"), [""; 0]);
    assert!(found("trl sft --config cfg/stf.yaml\n")[0].contains("1:18 missing-file: stf.yaml is not in cfg"));
    let has = |from: &str, to: &str, part: &str| {
        let found = found(&options.replace(from, to));
        assert!(found.len() == 1 && found[0].contains(part), "{to}: {found:?}");
    };
    has("--packing", "--pakcing", "unknown-key: trl does not know --pakcing: did you mean --packing?");
    has("--packing", "--num_generations 4", "trl does not know --num_generations and stops at it");
    has("--packing", "--lora_r eight", "wrong-type: --lora_r must be an integer");
    has("--bf16 False", "--fp16 --bf16", "fp16 and bf16 are both given");
    has("--dataset_name c/d", "", "missing-required");
    let grpo = options.replace("trl sft", "trl grpo").replace("--packing", "--num_generations 1");
    assert!(found(&grpo)[0].contains("out-of-range: trl cannot train with num_generations 1"));
    for other in [
        "python scripts/sft.py --model_name_or_path a --stage 2\n",
        "python sft.py --model_name_or_path a\n",
        "trl vllm-serve --model a\n",
    ] {
        assert!(problems("x.sh", other, &repository).is_none(), "{other}");
    }
    let given = |script: &str| {
        let files = [
            ("a.yaml", &b"model_name_or_path: a/b\nuse_peft: true\nlora_r: 8\npacking: true\nmax_length: 512\n"[..]),
            ("t.sh", script.as_bytes()),
        ];
        let linted = crate::lint("a.yaml", files[0].1, &Repository::of(["a.yaml", "t.sh"], files)).expect("a config");
        linted.problems.into_iter().map(|problem| problem.rule).collect::<Vec<_>>()
    };
    assert_eq!(given("trl sft --config a.yaml\n"), ["missing-required"]);
    assert_eq!(given("trl sft --config a.yaml --dataset_name c/d\n"), [""; 0]);
}

#[test]
fn ms_swift_takes_a_config_before_its_options() {
    let yaml = b"model: a/b\ndataset: [c/d]\ntuner_type: lora\nlora_rank: 8\n";
    let repository = Repository::of(["cfg/a.yaml", "x.sh"], [("cfg/a.yaml", &yaml[..])]);
    let found = |text: &str| of_repository("x.sh", text, &repository);
    let options = "NPROC_PER_NODE=2 swift sft --model a/b --tuner_type lora --dataset 'c/d#500' 'e/f#500' --lora_rank 8 \
                   --load_from_cache_file true --torch_dtype bfloat16 --learning_rate 1e-4\n";
    assert_eq!(found(options), Vec::<String>::new());
    assert_eq!(found("swift rlhf cfg/a.yaml --rlhf_type dpo --loss_type sigmoid sft --beta 0.1\n"), [""; 0]);
    assert!(found("swift sft cfg/b.yaml\n")[0].contains("1:11 missing-file"));
    assert!(found("swift sft cfg/a.yaml --max_steps 5 --num_train_epochs 3\n")[0].contains("conflicting-keys"));
    let has = |from: &str, to: &str, part: &str| {
        let found = found(&options.replace(from, to));
        assert!(found.len() == 1 && found[0].contains(part), "{to}: {found:?}");
    };
    has("--lora_rank", "--lora_rnk", "ms-swift does not know --lora_rnk: did you mean --lora_rank?");
    has("bfloat16", "bf16", "torch_dtype");
    has("--lora_rank 8", "--lora_rank x", "wrong-type: --lora_rank must be an integer");
    has("swift sft", "swift rlhf --rlhf_type grpo --num_generations 1", "num_generations of 2 or more");
    assert!(problems("x.sh", "swift build --trian x\n", &repository).is_none());
}

#[test]
fn ai_toolkit_takes_configs_and_few_options() {
    let yaml = b"job: extension\nconfig:\n  process:\n    - type: sd_trainer\n      training_folder: output\n      \
                 model: {name_or_path: a/b, arch: flux}\n      network: {type: lora, linear: 8}\n      \
                 datasets: [{folder_path: images}]\n      train: {steps: 10, batch_size: 1, lr: 1e-4}\n";
    let repository = Repository::of(["config/a.yaml", "x.sh"], [("config/a.yaml", &yaml[..])]);
    let found = |text: &str| of_repository("x.sh", text, &repository);
    assert_eq!(found("python run.py config/a.yaml --recover -n ink -l log.txt\n"), [""; 0]);
    assert!(
        found("python run.py config/a.yaml config/b.yaml\n")[0].contains("1:29 missing-file: b.yaml is not in config")
    );
    assert!(found("python run.py config/a.yaml --reocver\n")[0].contains("did you mean --recover?"));
    assert!(found("python run.py config/a.yaml --gpu 0\n")[0].contains("ai-toolkit does not know --gpu"));
    assert!(found("python ai-toolkit/run.py $CONFIG.yaml --gpu 0\n")[0].contains("does not know --gpu"));
    for other in [
        "python run.py other/a.yaml --gpu 0\n",
        "cd x && python run.py config/a.yaml --gpu 0\n",
        "python run.py --gpu 0\n",
    ] {
        assert!(found_or_none(other, &repository).is_empty(), "{other}");
    }
    let given = |script: &str| {
        let files = [("config/a.yaml", &yaml[..]), ("t.sh", script.as_bytes())];
        let linted =
            crate::lint("config/a.yaml", yaml, &Repository::of(["config/a.yaml", "t.sh"], files)).expect("a config");
        linted.problems.into_iter().map(|problem| problem.rule).collect::<Vec<_>>()
    };
    assert_eq!(given("python run.py config/a.yaml\n"), ["missing-required"]);
    assert_eq!(given("python run.py config/a.yaml --name ink\n"), [""; 0]);
}

fn found_or_none(text: &str, repository: &Repository<'_>) -> Vec<Finding> {
    problems("x.sh", text, repository).unwrap_or_default()
}

#[test]
fn hostile_scripts_are_bounded() {
    let mut text = "A=xxxxxxxxxxxxxxxx\n".to_owned();
    text.push_str(&"A=\"${A}${A}\"\nB+=($A \"${B[@]}\" \"${B[@]}\")\n".repeat(3_000));
    text.push_str("python sdxl_train_network.py --network_dim $A \"${B[@]}\"\n");
    let make: String = (1..2_000).map(|n| format!("A{n} = $(A{}) $(A{})\n", n - 1, n - 1)).collect();
    let make = format!("A0 = x\n{make}t:\n{}", "\tpython sdxl_train_network.py $(A30) $(A7)\n".repeat(3_000));
    for (path, text) in [
        ("a.sh", text),
        ("Makefile", make),
        ("b.sh", format!("train {}", "$(".repeat(100_000))),
        ("c.sh", format!("train {}", "${A:-".repeat(50_000))),
        ("d.sh", format!("train {}", "a=(".repeat(80_000))),
        ("e.md", format!("train\n{}", "```\n".repeat(60_000))),
        ("h.md", format!("train\n```\n{}", "#\n".repeat(120_000))),
        ("i.md", format!("train\n```\n{}", "<a>[b".repeat(50_000))),
        ("j.sh", format!("train\n{}", "B+=(x)\n".repeat(37_000))),
        ("f.sh", format!("python sdxl_train_network.py {}", "--a ".repeat(60_000))),
        ("k.sh", "python run.py a.yaml b/a.yaml\n".repeat(8_000)),
        ("l.sh", format!("python run.py {}", "a.yaml ".repeat(30_000))),
        ("m.sh", format!("trl sft {}", "--report_to a b c ".repeat(12_000))),
    ] {
        let begin = std::time::Instant::now();
        let _ = problems(path, &text, &Repository::default());
        assert!(begin.elapsed().as_secs() < 20, "{path}: {:?}", begin.elapsed());
    }
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_read(text in "(python sdxl_train_network.py |--[a-z]{1,3}|[ \\t\\n`'\"$(){}<>|&;#=%^\\\\\u{3000}é…]|```|A=|[a-c]){0,60}") {
        for path in ["a.sh", "a.bat", "a.ps1", "Makefile", "a.md", ".travis.yml"] {
            let text = match path {
                "Makefile" => format!("a:\n\t{text}"),
                "a.md" => format!("```\n{text}"),
                ".travis.yml" => format!("script: |\n  {text}"),
                _ => text.clone(),
            };
            let _ = problems(path, &format!("{text} train"), &Repository::default());
        }
    }
}
