//! Tests on the particularities of each trainer.

use super::*;

const ARGUMENTS: &str = "\
[model]
pretrained_model_name_or_path = \"./sd.safetensors\"
vae = \"v.pt\"
[data]
dataset_config = \"./sets/mine.toml\"
resolution = \"512,512\"
[network]
network_module = \"networks.lora\"
network_dim = 32
network_alpha = 16
network_args = [\"conv_dim=8\", \"algo=x\"]
[training]
output_dir = \"./out\"
optimizer_type = \"PagedAdamW8bit\"
learning_rate = 1e-4
lr_warmup_steps = 100
max_train_epochs = 10
sample_every_n_epochs = 1
log_with = \"wandb\"
wandb_api_key = \"0123456789abcdef0123456789abcdef01234567\"
seed = 1337
";
const SETS: &str = "\
[general]
shuffle_caption = true
[[datasets]]
resolution = [768, 512]
batch_size = 4
[[datasets.subsets]]
image_dir = \"./a\"
num_repeats = 10
[[datasets.subsets]]
image_dir = \"./b\"
metadata_file = \"./b.json\"
";

#[test]
fn sd_scripts_starts_narrow_with_the_data_sets_that_it_names() {
    let paths = ["x/dev/train_network.py", "x/stable/train_network.py", "other.py"];
    let repository = Repository::of(paths, [("sets/mine.toml", SETS.as_bytes())]);
    let smoke = derive("a.toml", ARGUMENTS.as_bytes(), &Ask::default(), &repository, FOLDER).unwrap();
    let expected = "\
tokenizer_cache_dir = \"/home/travis/smoke/tokenizers\"
enable_bucket = true
min_bucket_reso = 64
max_bucket_reso = 256
max_train_steps = 3
train_batch_size = 1
max_data_loader_n_workers = 0
mixed_precision = \"no\"

[model]
pretrained_model_name_or_path = \"/home/travis/smoke/model\"

[data]
dataset_config = \"/home/travis/smoke/dataset.toml\"
resolution = \"128,128\"

[network]
network_module = \"networks.lora\"
network_dim = 4
network_alpha = 2
network_args = [\"conv_dim=4\", \"algo=x\"]

[training]
output_dir = \"/home/travis/smoke/output\"
optimizer_type = \"AdamW\"
learning_rate = 0.0001
lr_warmup_steps = 1
seed = 1337
";
    assert_eq!(text(&smoke, "config.toml"), expected);
    let images = "image_dir = \"/home/travis/smoke/data/1_smoke\"";
    let expected = format!(
        "[general]\nshuffle_caption = true\n\n[[datasets]]\nresolution = 128\nbatch_size = 1\nenable_bucket = true\nmin_bucket_reso = 64\n\
         max_bucket_reso = 256\n\n\
         [[datasets.subsets]]\n{images}\nnum_repeats = 1\n\n[[datasets.subsets]]\n{images}\n\
         metadata_file = \"/home/travis/smoke/data/captions.json\"\n"
    );
    assert_eq!(text(&smoke, "dataset.toml"), expected);
    assert!(text(&smoke, "data/captions.json").contains("/home/travis/smoke/data/1_smoke/image_01.png"));
    assert!(
        smoke.command.ends_with("/narrow.py x/stable/train_network.py --config_file /home/travis/smoke/config.toml")
    );
    assert!(text(&smoke, "narrow.py").contains("BLOCK_OUT_CHANNELS = (16, 16, 16, 16)"));
    assert!(smoke.files.iter().any(|file| file.path == "tokenizers/google_t5-v1_1-xxl/tokenizer.json"));
    assert!(smoke.files.iter().any(|file| file.path == "tokenizers/openai_clip-vit-large-patch14/vocab.json"));
    let changes = changes(&smoke);
    for told in ["wandb_api_key: [secret] → -", "dataset_config: datasets.subsets.num_repeats: 10 → 1"] {
        assert!(changes.iter().any(|change| change == told), "{told}: {changes:?}");
    }
}

#[test]
fn sd_scripts_takes_the_script_of_the_teams_model() {
    for (model, script) in [
        ("v1-5", "train_network.py"),
        ("sd_xl_base_1.0", "sdxl_train_network.py"),
        ("sd3.5_medium", "sd3_train_network.py"),
        ("flux1-dev", "flux_train_network.py"),
    ] {
        let arguments = ARGUMENTS.replace("./sd.safetensors", &format!("models/{model}.safetensors"));
        let smoke = derived("a.toml", &arguments).unwrap();
        assert!(smoke.command.contains(&format!("/narrow.py {script} --config_file")), "{model}: {}", smoke.command);
    }
}

#[test]
fn data_sets_that_are_not_there_are_stood_in_for_and_broken_ones_are_told() {
    let smoke = derive("a.toml", ARGUMENTS.as_bytes(), &Ask::default(), &Repository::default(), "/smoke").unwrap();
    let sets = text(&smoke, "dataset.toml");
    let linted = crate::lint("dataset.toml", sets.as_bytes(), &Repository::default()).unwrap();
    assert!(linted.dialect == Some(Dialect::SdScriptsDataset) && linted.problems.is_empty(), "{linted:?}");
    let repository = Repository::of([], [("sets/mine.toml", b"[[datasets".as_slice())]);
    let unfit = derive("a.toml", ARGUMENTS.as_bytes(), &Ask::default(), &repository, FOLDER).unwrap_err();
    assert!(
        matches!(&unfit, Unfit::Cannot(why) if why.contains("./sets/mine.toml, which cannot be read")),
        "{unfit:?}"
    );
    let simple = ARGUMENTS.replace("dataset_config = \"./sets/mine.toml\"", "train_data_dir = \"./train\"");
    let config = derived("a.toml", &simple).unwrap();
    assert!(text(&config, "config.toml").contains("train_data_dir = \"/home/travis/smoke/data\""));
}

#[test]
fn models_that_there_is_no_mock_of_are_told() {
    for (path, config, model) in [
        ("a.toml", ARGUMENTS.replace("networks.lora", "networks.lora_lumina"), "Lumina"),
        ("a.json", "{\"model_family\": \"auraflow\"}".to_owned(), "auraflow"),
        ("a.json", "{\"training_method\": \"LORA\", \"model_type\": \"FLUX_2\"}".to_owned(), "FLUX_2"),
        ("a.yaml", AI_TOOLKIT.replace("quantize: true", "is_pixart: true"), "PixArt"),
        ("a.yaml", AI_TOOLKIT.replace("quantize: true", "arch: wan22_14b"), "wan22_14b"),
    ] {
        match derived(path, &config) {
            Err(Unfit::Cannot(why)) => {
                assert!(why.contains(&format!("no mock base model for {model}: only ")), "{why}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(derived("a.json", "{\"LoRA_type\": \"Standard\"}"), Err(Unfit::Cannot(_))));
}

/// Returns the class of the mock model of a smoke job.
fn class(smoke: &Smoke) -> String {
    let mut paths = ["model/model_index.json", "model/config.json"].into_iter();
    let path = paths.find(|path| smoke.files.iter().any(|file| file.path == *path)).unwrap();
    let json: serde_json::Value = serde_json::from_str(text(smoke, path)).unwrap();
    json["_class_name"].as_str().or(json["architectures"][0].as_str()).unwrap().to_owned()
}

#[test]
fn the_mock_model_is_of_the_family_that_the_config_trains() {
    let toml = |module: &str, base: &str| ARGUMENTS.replace("networks.lora", module).replace("./sd.safetensors", base);
    let tuner = |family: &str| format!("{{\"model_family\": \"{family}\", \"model_type\": \"lora\"}}");
    let one = |kind: &str| format!("{{\"training_method\": \"LORA\", \"model_type\": \"{kind}\"}}");
    let kit = |kind: &str| AI_TOOLKIT.replace("quantize: true", kind);
    let axolotl = |base: &str| format!("base_model: {base}\ndatasets:\n  - {{path: a, type: alpaca}}\nadapter: lora\n");
    let factory =
        |base: &str| format!("model_name_or_path: {base}\nstage: sft\nfinetuning_type: lora\ntemplate: default\n");
    for (path, config, expected) in [
        ("a.toml", toml("networks.lora", "./sd.safetensors"), "StableDiffusionPipeline"),
        ("a.toml", toml("networks.lora", "./sd_xl_base_1.0.safetensors"), "StableDiffusionXLPipeline"),
        ("a.toml", toml("networks.lora_sd3", "./x.safetensors"), "StableDiffusion3Pipeline"),
        ("a.toml", toml("networks.lora_flux", "./x.safetensors"), "FluxPipeline"),
        ("a.json", tuner("sdxl"), "StableDiffusionXLPipeline"),
        ("a.json", tuner("qwen_image"), "QwenImagePipeline"),
        ("a.json", tuner("wan"), "WanPipeline"),
        ("a.json", one("STABLE_DIFFUSION_35"), "StableDiffusion3Pipeline"),
        ("a.json", one("FLUX_DEV_1"), "FluxPipeline"),
        ("a.json", one("QWEN"), "QwenImagePipeline"),
        ("a.yaml", kit("is_flux: true"), "FluxPipeline"),
        ("a.yaml", kit("arch: \"wan21:14b\""), "WanPipeline"),
        ("a.yaml", kit("arch: qwen_image"), "QwenImagePipeline"),
        ("a.yaml", axolotl("mistralai/Mistral-7B-v0.1"), "MistralForCausalLM"),
        ("a.yaml", axolotl("google/gemma-3-1b-it"), "Gemma3ForCausalLM"),
        ("a.yaml", axolotl("./models/ours"), "LlamaForCausalLM"),
        ("a.yaml", factory("Qwen/Qwen2.5-7B"), "Qwen2ForCausalLM"),
        ("a.yaml", factory("Qwen/Qwen3-4B"), "Qwen3ForCausalLM"),
        ("a.yaml", factory("google/gemma-2-9b"), "Gemma2ForCausalLM"),
    ] {
        let smoke = derived(path, &config).unwrap_or_else(|unfit| panic!("{unfit}: {config}"));
        assert_eq!(class(&smoke), expected, "{config}");
    }
}

const AI_TOOLKIT: &str = "\
job: extension
config:
  name: ink
  process:
    - type: sd_trainer
      training_folder: out
      network: {type: lora, linear: 16, linear_alpha: 16}
      save: {dtype: float16, save_every: 250, push_to_hub: true}
      datasets:
        - {folder_path: /data/a, caption_ext: txt, resolution: [512, 768], cache_latents_to_disk: true}
        - {folder_path: /data/b}
      train: {batch_size: 4, steps: 2000, lr: 1e-4, dtype: bf16, optimizer: adamw8bit, ema_config: {use_ema: true}}
      model: {name_or_path: runwayml/sd, quantize: true}
      sample: {sample_every: 250}
meta: {name: \"[name]\"}
";

#[test]
fn nested_keys_are_changed_where_they_are() {
    let smoke = derived("a.yaml", AI_TOOLKIT).unwrap();
    let config = text(&smoke, "config.yaml");
    for told in [
        "linear: 4\n        linear_alpha: 4\n",
        "save_every: 3\n",
        "- folder_path: \"/home/travis/smoke/data\"\n          caption_ext: txt\n          resolution: 128\n",
        "steps: 3\n        lr: 1e-4\n        dtype: \"fp32\"\n        optimizer: \"adamw\"\n        disable_sampling: true\n",
        "name_or_path: \"/home/travis/smoke/model\"\n",
        "name: \"[name]\"\n",
        "device: \"cpu\"\n",
    ] {
        assert!(config.contains(told), "{told}\n{config}");
    }
    for gone in ["push_to_hub", "cache_latents", "ema_config", "sample_every", "quantize", "/data/b", "bf16"] {
        assert!(!config.contains(gone), "{gone}\n{config}");
    }
    assert!(changes(&smoke).contains(&"config.process.train.steps: 2000 → 3".to_owned()));
    assert_eq!(smoke.command, "python run.py /home/travis/smoke/config.yaml");
}

#[test]
fn axolotl_gets_rows_with_the_fields_that_its_data_sets_read() {
    let config = "\
base_model: a/b
adapter: qlora
load_in_4bit: true
lora_r: 32
lora_target_modules: [in_proj, out_proj]
lora_modules_to_save: [lm_head, router]
micro_batch_size: 2
learning_rate: 2e-4
num_epochs: 3
plugins: [axolotl.integrations.liger.LigerPlugin]
liger_rope: true
special_tokens: {pad_token: <|mine|>}
datasets:
- {path: a/b, type: alpaca, split: train}
- path: c/d
  type: chat_template
  field_messages: talk
  message_property_mappings: {role: who, content: what}
- {path: e/f, type: {field_instruction: q, field_output: a}}
- {path: g/h, type: completion, field: body}
";
    let smoke = derived("a.yml", config).unwrap();
    let derived = text(&smoke, "config.yaml");
    let head = "base_model: \"/home/travis/smoke/model\"\nadapter: \"lora\"\nlora_r: 4\nlora_target_modules:\n  - \"q_proj\"\n  - \"v_proj\"\nlora_modules_to_save:\n  - lm_head\nmicro_batch_size: 1\nlearning_rate: 2e-4\n";
    assert!(derived.starts_with(head), "{derived}");
    for gone in ["load_in", "liger", "num_epochs", "split", "plugins"] {
        assert!(!derived.contains(gone), "{gone}\n{derived}");
    }
    let row =
        |path: &str| -> serde_json::Value { serde_json::from_str(text(&smoke, path).lines().next().unwrap()).unwrap() };
    assert_eq!(row("data/dataset_0.jsonl")["instruction"], "How many letters has the word apple?");
    assert_eq!(row("data/dataset_1.jsonl")["talk"][1]["who"], "assistant");
    assert_eq!(row("data/dataset_1.jsonl")["talk"][1]["what"], "The word apple has 5 letters.");
    assert_eq!(row("data/dataset_2.jsonl")["a"], "The word apple has 5 letters.");
    assert!(row("data/dataset_3.jsonl")["body"].is_string());
    assert!(text(&smoke, "model/tokenizer.json").contains("<|mine|>"));
    let many = format!("{config}{}", "- {path: a, type: alpaca}\n".repeat(50));
    assert!(matches!(
        super::derive("a.yml", many.as_bytes(), &Ask::default(), &Repository::default(), FOLDER),
        Err(Unfit::Cannot(_))
    ));
}

#[test]
fn llama_factory_gets_a_data_set_of_its_stage() {
    let config = "stage: dpo\nmodel_name_or_path: a/b\ndo_train: true\ndataset: x,y\ntemplate: llama3\nfinetuning_type: lora\nlora_target: W_pack\noutput_dir: o\nbf16: true\ndeepspeed: z.json\n";
    let smoke = derived("a.yaml", config).unwrap();
    let derived_text = text(&smoke, "config.yaml");
    assert!(derived_text.contains("dataset: \"smoke\"\n") && derived_text.contains("lora_target: \"q_proj,v_proj\"\n"));
    assert!(!derived_text.contains("deepspeed") && !derived_text.contains("bf16"), "{derived_text}");
    assert!(text(&smoke, "data/dataset_info.json").contains("ranking"));
    assert!(text(&smoke, "data/smoke.jsonl").contains("rejected"));
    assert!(matches!(derived("a.yaml", &config.replace("dpo", "ppo")), Err(Unfit::Cannot(_))));
    assert!(matches!(derived("a.yaml", &config.replace("llama3", "qwen3_vl")), Err(Unfit::Cannot(_))));
    assert!(matches!(derived("a.yaml", &config.replace("do_train: true", "do_train: false")), Err(Unfit::NotRun(_))));
}

#[test]
fn json_keeps_its_dashes_and_counts_epochs_where_it_has_no_steps() {
    let tuner = "{\"--model_family\": \"sd1x\", \"--learning_rate\": \"1e-4\", \"--push_to_hub\": \"true\"}";
    let smoke = derived("config.json", tuner).unwrap();
    let config = text(&smoke, "config.json");
    assert!(
        config.contains("\"--learning_rate\": \"1e-4\"") && config.contains("\"--max_train_steps\": 3"),
        "{config}"
    );
    assert!(!config.contains("push_to_hub"));
    assert_eq!(
        smoke.command,
        "PYTHONPATH=/home/travis/smoke/python${PYTHONPATH:+:$PYTHONPATH} CONFIG_PATH=/home/travis/smoke/config.json \
         simpletuner train"
    );
    assert!(text(&smoke, "python/sitecustomize.py").contains("pin_memory"));
    assert!(text(&smoke, "backends.json").contains("/home/travis/smoke/data"));
    let one = "{\"training_method\": \"LORA\", \"model_type\": \"STABLE_DIFFUSION_15\", \"optimizer\": {\"optimizer\": \"ADAMW_8BIT\"}}";
    let smoke = derived("one.json", one).unwrap();
    assert_eq!(
        (smoke.steps, smoke.command.as_str()),
        (4, "python scripts/train.py --config-path /home/travis/smoke/config.json")
    );
    assert!(text(&smoke, "config.json").contains("\"optimizer\": \"ADAMW\""));
    assert!(text(&smoke, "config.json").contains("/home/travis/smoke/samples.json"));
    assert_eq!(text(&smoke, "samples.json"), "[]\n");
}

#[test]
fn onetrainer_trains_in_one_precision_without_checkpointing() {
    for (version, members, expected) in [
        ("11", "\"vae\": {\"gradient_checkpointing\": true}", "\"vae\": {\n    \"gradient_checkpointing\": false"),
        ("11", "\"seed\": 1", "\"text_encoder_2\": {\n    \"gradient_checkpointing\": false"),
        ("10", "\"seed\": 1", "\"gradient_checkpointing\": \"OFF\""),
        ("4", "\"seed\": 1", "\"gradient_checkpointing\": false"),
    ] {
        let model = "\"training_method\": \"LORA\", \"model_type\": \"FLUX_DEV_1\"";
        let smoke = derived("one.json", &format!("{{\"__version\": {version}, {model}, {members}}}")).unwrap();
        let config = text(&smoke, "config.json");
        assert!(config.contains(expected), "{version}: {config}");
        assert!(config.contains("\"fallback_train_dtype\": \"FLOAT_32\""), "{config}");
    }
}

#[test]
fn commands_of_trl_get_the_data_of_their_method() {
    let config = "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: trl-lib/Capybara\nuse_peft: true\nlora_r: 64\n\
                  lora_target_modules: [q_proj, foreign]\nnum_train_epochs: 3\nbf16: true\npush_to_hub: true\n";
    let smoke = derived("sft.yaml", config).unwrap();
    let text_of = text(&smoke, "config.yaml");
    assert!(text_of.contains("max_steps: 3") && text_of.contains("lora_r: 4"), "{text_of}");
    assert!(!["num_train_epochs", "push_to_hub", "trl-lib"].iter().any(|gone| text_of.contains(gone)), "{text_of}");
    assert!(smoke.command.starts_with("trl sft --config ") && text(&smoke, "data/train.jsonl").contains("messages"));
    let smoke = derived("dpo.yaml", &format!("{config}beta: 0.1\nprecompute_ref_log_probs: true\n")).unwrap();
    assert!(smoke.command.starts_with("trl dpo ") && text(&smoke, "data/train.jsonl").contains("rejected"));
    let rewards = format!("{config}reward_funcs: [accuracy_reward]\n");
    assert!(matches!(derived("grpo.yaml", &rewards), Err(Unfit::Cannot(_))));
}

#[test]
fn configs_of_other_trainers_are_not_tried_yet() {
    let musubi = "dit = \"m\"\nvae = \"v\"\ndataset_config = \"s.toml\"\nnetwork_module = \"networks.lora_wan\"\n";
    let Err(Unfit::Cannot(why)) = derived("a.toml", musubi) else { panic!("there is no mock for it") };
    assert!(why.contains("musubi-tuner"), "{why}");
    assert!(!is_run("a.toml", musubi.as_bytes()));
}
