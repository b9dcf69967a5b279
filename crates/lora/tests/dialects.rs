//! Trainers beside those of the mutants: a right file of each has no problems, and its typical slips are told on their
//! line.

mod support;

use trainyard_base::domain::Severity::{Error, Warning};
use trainyard_lora::{Dialect, Repository, lint};

use support::{among, clean, one};

const IMAGE: &str = "GIF89a";

#[track_caller]
fn is(path: &str, text: &str, dialect: Option<Dialect>) {
    let linted = lint(path, text.as_bytes(), &Repository::default());
    assert_eq!(linted.and_then(|linted| linted.dialect), dialect, "{text}");
}

const MUSUBI: &str = "dit = \"wan.safetensors\"\nvae = \"vae.pth\"\ndataset_config = \"sets.toml\"\nsdpa = true\n\
                      task = \"t2v-14B\"\nnetwork_module = \"networks.lora_wan\"\nnetwork_dim = 32\n\
                      learning_rate = 2e-4\noutput_dir = \"out\"\noutput_name = \"style\"\n";

#[test]
fn arguments_of_musubi_are_held_against_its_scripts() {
    clean("a.toml", &[("a.toml", MUSUBI)]);
    clean("a.toml", &[("a.toml", &format!("[model]\n{MUSUBI}"))]);
    is("a.toml", MUSUBI, Some(Dialect::Musubi));
    is("a.toml", &MUSUBI.replace("dit =", "pretrained_model_name_or_path ="), Some(Dialect::SdScripts));
    for (more, about) in [
        ("tast = \"t2v-14B\"", "did you mean task?"),
        ("discrete_flowshift = 3.0", "did you mean discrete_flow_shift?"),
        ("timestep_sampling = \"flux-shift\"", "write one of"),
        ("sage_attn = true", "sage_attn cannot train"),
        ("fp8_scaled = true", "needs fp8_base"),
        ("network_alpha = \"16\"", "remove the quotes"),
        ("log_with = \"tensorboard\"", "needs a logging_dir"),
        ("lr_warmup_steps = 100", "excludes lr_warmup_steps"),
    ] {
        one("a.toml", &[("a.toml", &format!("{MUSUBI}{more}\n"))], Error, 11, about);
    }
    let other_task = MUSUBI.replace("t2v-14B", "k5-lite-t2v-5s-sd");
    one("a.toml", &[("a.toml", &other_task)], Error, 6, "of another model");
    one("a.toml", &[("a.toml", &MUSUBI.replace("sdpa = true\n", ""))], Warning, 1, "stops without sdpa");
}

const SETS: &str = "[general]\nresolution = [960, 544]\ncaption_extension = \".txt\"\nbatch_size = 1\n\
                    [[datasets]]\nimage_directory = \"data/images\"\ncache_directory = \"cache/images\"\n\
                    [[datasets]]\nvideo_directory = \"data/videos\"\ncache_directory = \"cache/videos\"\n\
                    target_frames = [1, 25, 45]\nframe_extraction = \"head\"\nsource_fps = 30.0\n";

#[test]
fn data_sets_of_musubi_have_their_own_schema() {
    clean("sets.toml", &[("sets.toml", SETS)]);
    is("sets.toml", SETS, Some(Dialect::MusubiDataset));
    for (right, wrong, line, about) in [
        ("batch_size", "batchsize", 4, "did you mean batch_size?"),
        ("cache_directory = \"cache/images\"", "num_repeat = 2", 7, "did you mean num_repeats?"),
        ("cache_directory = \"cache/images\"", "shuffle_caption = true", 7, "unknown here"),
        ("cache_directory = \"cache/images\"", "target_frames = [1]", 7, "for videos"),
        ("\"head\"", "\"first\"", 12, "write one of head"),
        ("30.0", "30", 13, "dot"),
        ("[1, 25, 45]", "25", 11, "write a list"),
        ("video_directory", "video_jsonl", 8, "names no data"),
        ("cache/videos", "cache/images", 10, "two data sets have the cache"),
        ("image_directory", "image_jsonl_file", 6, ""),
    ] {
        let text = SETS.replace(right, wrong);
        if about.is_empty() {
            clean("sets.toml", &[("sets.toml", &text)]);
            continue;
        }
        let found = among("sets.toml", &[("sets.toml", &text)]);
        let told = found
            .iter()
            .any(|(severity, at, message)| *severity == Error && *at == Some(line) && message.contains(about));
        assert!(told, "{wrong}: {found:?}");
    }
    let bare = SETS.replace("caption_extension = \".txt\"\n", "");
    assert_eq!(among("sets.toml", &[("sets.toml", &bare)]).len(), 2, "one for each folder");
}

#[test]
fn the_data_of_musubi_is_looked_up_as_it_does() {
    let of = |files: &[(&'static str, &'static str)], more: &str| {
        let set = SETS.split("[[datasets]]\nvideo").next().unwrap();
        let text = format!("{set}{more}");
        let all: Vec<(&str, &str)> = [("sets.toml", text.as_str())].into_iter().chain(files.iter().copied()).collect();
        among("sets.toml", &all).into_iter().map(|(_, _, message)| message).collect::<Vec<_>>()
    };
    let right = [("data/images/1.png", IMAGE), ("data/images/1.txt", "x")];
    assert_eq!(of(&right, ""), Vec::<String>::new());
    let bare = [right[0], right[1], ("data/images/2.png", IMAGE)];
    assert!(of(&bare, "")[0].contains("caption for 1 of 2 images in data/images"));
    assert!(of(&[("data/images/a/1.png", IMAGE)], "")[0].contains("finds no image"));
    let control = "control_directory = \"data/control\"\n";
    let with = |name| [right[0], right[1], (name, IMAGE)];
    assert_eq!(of(&with("data/control/1_0.png"), control), Vec::<String>::new());
    assert!(of(&with("data/control/2.png"), control)[0].contains("data/control has no file for 1.png"));
    let lines = |text| {
        let set =
            "[[datasets]]\nresolution = [512, 512]\nimage_jsonl_file = \"data/a.jsonl\"\ncache_directory = \"c\"\n";
        among("s.toml", &[("s.toml", set), ("data/a.jsonl", text), ("data/1.png", IMAGE)])
    };
    assert_eq!(lines("{\"image_path\": \"data/1.png\", \"caption\": \"x\"}\n"), []);
    assert_eq!(lines("{\"image_path\": \"/far/1.png\", \"caption\": \"x\"}\n"), []);
    assert!(lines("{\"image_path\": \"data/1.png\", \"text\": \"x\"}\n")[0].2.contains("no caption"));
    assert!(lines("{\"image_path\": \"data/2.png\", \"caption\": \"x\"}\n")[0].2.contains("not there: data/2.png"));
}

const TRL: &str = "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: trl-lib/Capybara\noutput_dir: out\nuse_peft: true\n\
                   lora_r: 16\nlora_alpha: 32\nlearning_rate: 2e-4\nper_device_train_batch_size: 2\n\
                   gradient_accumulation_steps: 4\npacking: true\n";

#[test]
fn arguments_of_trl_are_held_against_its_parser() {
    clean("sft.yaml", &[("sft.yaml", TRL)]);
    clean("sft.yaml", &[("sft.yaml", &format!("{TRL}num_processes: 4\nenv:\n  A: 1\nmax_length: \"2048\"\n"))]);
    is("sft.yaml", TRL, Some(Dialect::Trl));
    for foreign in ["stage: sft", "train_file: a.json", "dataset_mixer: {a: 1}"] {
        is("sft.yaml", &format!("{TRL}{foreign}\n"), foreign.starts_with("stage").then_some(Dialect::LlamaFactory));
    }
    for (more, severity, about) in [
        ("lora_target_module: all-linear", Error, "did you mean lora_target_modules?"),
        ("cutoff: 2048", Warning, "trl stops at the key cutoff"),
        ("num_generations: 8", Error, "is a key of `trl grpo`"),
        ("evaluation_strategy: steps", Warning, "write eval_strategy"),
        ("max_seq_length: 1024", Warning, "no key since trl 0.20"),
        ("lr_scheduler_type: cosin", Error, "write one of linear, cosine"),
        ("max_length: long", Error, "write an integer"),
        ("fp16: true\nbf16: true", Error, "at most one"),
        ("streaming: yes\ndatasets:\n- path: x", Warning, "ignores dataset_name"),
    ] {
        let found = among("sft.yaml", &[("sft.yaml", &format!("{TRL}{more}\n"))]);
        let is_told = |(one, line, message): &(_, Option<u32>, String)| {
            *one == severity && line.is_some_and(|line| line > 10) && message.contains(about)
        };
        assert!(found.iter().any(is_told), "{more}: {found:?}");
    }
    one("sft.yaml", &[("sft.yaml", &TRL.replace("use_peft: true\n", ""))], Warning, 5, "trains the whole model");
}

#[test]
fn keys_are_held_against_the_release_that_is_asked_for() {
    let with = |text: &str, file: &str, pin: &str| {
        among("sft.yaml", &[("sft.yaml", text), (file, pin)]).into_iter().map(|it| (it.0, it.2)).collect::<Vec<_>>()
    };
    let new = format!("{TRL}assistant_only_loss: true\n");
    assert_eq!(with(&new, "requirements.txt", "trl>=0.12\n"), []);
    assert_eq!(with(&new, "requirements.txt", "trl==0.19.1\n"), []);
    let told = with(&new, "requirements.txt", "trl==0.18.2\n");
    assert!(told.len() == 1 && told[0].0 == Error && told[0].1.contains("exists since trl 0.19"), "{told:?}");
    let old = format!("{TRL}max_seq_length: 1024\n");
    assert_eq!(with(&old, "pyproject.toml", "dependencies = [\"trl<0.20\"]\n"), []);
    assert_eq!(with(&old, ".travis.yml", "install: pip install trl==0.21\n")[0].0, Error);
    // A key of transformers follows its release, not trl's.
    let old = format!("{TRL}evaluation_strategy: \"no\"\n");
    assert_eq!(with(&old, "requirements.txt", "trl==0.13\ntransformers==4.46\n"), []);
    assert_eq!(with(&old, "requirements.txt", "transformers==4.51\n").len(), 1);
    // axolotl ignores what it does not know.
    let axolotl = "base_model: m\ndatasets:\n- path: x\nlearning_rate: 0.1\nmicro_batch_size: 1\n\
                   gradient_accumulation_steps: 1\nadapter: lora\nlora_r: 8\nlora_alpha_pattern: {q_proj: 8}\n";
    assert_eq!(with(axolotl, "requirements.txt", "axolotl\n"), []);
    let told = with(axolotl, "requirements.txt", "axolotl[flash-attn]==0.9.2\n");
    assert!(told.len() == 1 && told[0].0 == Warning && told[0].1.contains("since axolotl 0.18"), "{told:?}");
}

const SWIFT: &str = "model: Qwen/Qwen2.5-7B-Instruct\ntuner_type: lora\nlora_rank: 8\nlora_alpha: 32\n\
                     target_modules: all-linear\ndataset:\n- 'AI-ModelScope/alpaca-gpt4-data-en#500'\n\
                     torch_dtype: bfloat16\nlearning_rate: 1e-4\noutput_dir: output\n";

#[test]
fn arguments_of_ms_swift_are_held_against_its_parser() {
    clean("a.yaml", &[("a.yaml", SWIFT)]);
    is("a.yaml", SWIFT, Some(Dialect::MsSwift));
    is("a.yaml", &format!("{SWIFT}micro_batch_size: 1\n"), None);
    for (more, about) in [
        ("lora_ranks: 8", "did you mean lora_rank?"),
        ("cutoff_len: 8", "unknown here"),
        ("truncation_strategy: middle", "write one of"),
        ("packing: true\nattn_impl: sdpa", "need a flash attention"),
        ("max_length: long", "write an integer"),
    ] {
        let line = 11 + more.matches('\n').count() as u32;
        one("a.yaml", &[("a.yaml", &format!("{SWIFT}{more}\n"))], Error, line, about);
    }
    let old = SWIFT.replace("tuner_type", "train_type");
    one("a.yaml", &[("a.yaml", &old)], Warning, 2, "write tuner_type");
    one("a.yaml", &[("a.yaml", &old), ("setup.py", "deps = [\"ms-swift>=4.1\"]")], Error, 2, "write tuner_type");
    clean("a.yaml", &[("a.yaml", &old), ("requirements.txt", "ms-swift==3.8\n")]);
}

#[test]
fn files_of_unsloth_have_sections() {
    let text = "model: unsloth/Qwen2.5-0.5B\ndata:\n  dataset: tatsu-lab/alpaca\ntraining:\n  training_type: lora\n  \
                learning_rate: 2e-4\n  max_seq_length: 2048\nlora:\n  lora_r: 64\n  lora_alpha: 16\n  \
                target_modules: q_proj,v_proj\n";
    clean("a.yaml", &[("a.yaml", text)]);
    is("a.yaml", text, Some(Dialect::Unsloth));
    for (right, wrong, line, about) in [
        ("lora_alpha", "lora_alhpa", 10, "did you mean lora_alpha?"),
        ("training_type: lora", "training_type: qlora", 5, "write one of lora, full"),
        ("q_proj,v_proj", "[q_proj, v_proj]", 11, "write a string"),
    ] {
        one("a.yaml", &[("a.yaml", &text.replace(right, wrong))], Error, line, about);
    }
}

#[test]
fn scripts_without_a_network_are_held_against_their_own_rules() {
    let tuning = "pretrained_model_name_or_path = \"sdxl.safetensors\"\noutput_dir = \"out\"\ntrain_data_dir = \"d\"\n\
                  in_json = \"meta.json\"\nresolution = \"1024,1024\"\nlearning_rate_te1 = 1e-5\nblock_lr = \"1e-5\"\n\
                  cache_text_encoder_outputs = true\n";
    clean("a.toml", &[("a.toml", tuning)]);
    one("a.toml", &[("a.toml", &format!("{tuning}train_text_encoder = true\n"))], Error, 9, "cannot be trained");
    let inversion = "pretrained_model_name_or_path = \"m\"\noutput_dir = \"o\"\ndataset_config = \"s.toml\"\n\
                     token_string = \"mychar\"\ninit_word = \"cute girl\"\nnum_vectors_per_token = 4\n\
                     cache_latents = true\n";
    clean("a.toml", &[("a.toml", inversion)]);
    let control = "pretrained_model_name_or_path = \"m\"\noutput_dir = \"o\"\ndataset_config = \"s.toml\"\n\
                   control_net_lr = 1e-5\nconditioning_data_dir = \"c\"\n";
    clean("a.toml", &[("a.toml", control)]);
    one(
        "a.toml",
        &[("a.toml", &format!("{control}control_net_ir = 1e-5\n"))],
        Error,
        6,
        "did you mean control_net_lr?",
    );
}
