//! Configs that SimpleTuner refuses, or whose keys it leaves out, each with a sound file next to the wrong one.

mod support;

use trainyard_base::domain::Severity::{self, Error, Warning};

use support::{among, clean, one};

const BASE: [(&str, &str); 6] = [
    ("model_family", "\"flux\""),
    ("model_type", "\"lora\""),
    ("optimizer", "\"adamw_bf16\""),
    ("output_dir", "\"out\""),
    ("data_backend_config", "\"sets.json\""),
    ("num_train_epochs", "1"),
];
/// A wrong file, a sound one, and words of the problem.
type Case<'a> = (Severity, &'a str, &'a str, &'a str);
const SETS: &str = r#"[{"id": "a", "type": "local", "instance_data_dir": "x", "dataset_type": "image"}]"#;

/// Returns the problems of a config with these members, of which each takes the place of a usual one.
fn config(members: &str, sets: &str) -> Vec<(Severity, Option<u32>, String)> {
    let usual = BASE.iter().filter(|(key, _)| !members.contains(&format!("\"{key}\"")));
    let usual: Vec<String> = usual.map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let text = format!("{{{},\n{members}}}", usual.join(", "));
    among("config.json", &[("config.json", &text), ("sets.json", sets)])
}

fn data_set(members: &str) -> Vec<(Severity, Option<u32>, String)> {
    let usual = [("id", "\"a\""), ("type", "\"local\""), ("instance_data_dir", "\"x\""), ("dataset_type", "\"image\"")];
    let usual = usual.iter().filter(|(key, _)| !members.contains(&format!("\"{key}\"")));
    let usual: Vec<String> = usual.map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let text = format!("[{{{},\n{members}}}]", usual.join(", "));
    among("sets.json", &[("sets.json", &text)])
}

#[track_caller]
fn each(cases: &[Case<'_>], problems: impl Fn(&str) -> Vec<(Severity, Option<u32>, String)>) {
    for (severity, wrong, sound, about) in cases {
        let found = problems(wrong);
        // The members stand in the second line, and what is missing is told at the first.
        let is_told =
            matches!(&found[..], [(found, Some(1 | 2), message)] if found == severity && message.contains(about));
        assert!(is_told, "{wrong}: {found:#?}");
        assert_eq!(problems(sound), [], "{sound}");
    }
}

#[test]
fn values_become_options() {
    let cases = [
        (Error, r#""hub_model_id": "true""#, r#""hub_model_id": "mine""#, "stops at true for hub_model_id"),
        (Error, r#""mixed_precision": true"#, r#""mixed_precision": "no""#, "true or false for mixed_precision"),
        (Error, r#""lora_type": false"#, r#""lora_type": "false""#, "this word for lora_type"),
        (Error, r#""use_ema": "t""#, r#""use_ema": "n""#, "a string for use_ema"),
        (Error, r#""prediction_type": """#, r#""prediction_type": null"#, "prediction_type is empty"),
        (Error, r#""loss_type": ["l2", "l3"]"#, r#""loss_type": ["l2"]"#, "this word for loss_type"),
        (Error, r#""model_type": "false""#, r#""model_type": "full""#, "without model_type"),
        (Error, r#""model_family": "fluxx""#, r#""model_family": " FLUX ""#, "model_family"),
        (Warning, r#""lora_rank": {"a": 1}"#, r#""webhook_config": {"a": 1}"#, "ignores a map for lora_rank"),
        (Warning, r#""loss_type": ["l2", "huber"]"#, r#""use_ema": [0]"#, "only the last"),
        (Warning, r#""gradient_checkpointing": "false""#, r#""gradient_checkpointing": false"#, "which stays true"),
        (Warning, r#""adam_beta1": 1.5"#, r#""adam_beta1": 0.95"#, "at most 1 is usual"),
        (Warning, r#""learning_rat": 1e-4"#, r#""learning_rate": 1e-4"#, "learning_rat for learning_rate"),
        (Warning, r#""repeats": 3"#, r#""seed": -1"#, "ignores repeats here"),
        (Warning, r#""aspect_ratio_bucket_min": 1"#, r#""aspect_ratio_bucket_min": null"#, "bucket_min here"),
        (Error, r#""validate_after_step": -1"#, r#""validate_after_step": 0"#, "validate_after_step -1"),
    ];
    each(&cases, |members| config(members, SETS));
    assert_eq!(config(r#""lr_scheduler": "cosine_with_warmup""#, SETS), []);
    // A config without a list of its data sets.
    let text =
        "{\"model_family\": \"flux\",\n\"model_type\": \"lora\", \"optimizer\": \"muon\", \"output_dir\": \"o\"}";
    one("config.json", &[("config.json", text)], Error, 1, "without data_backend_config");
    let text = text.replace("\n", "\"data_backend_config\": \"sets.json\", ");
    clean("config.json", &[("config.json", &text)]);
}

#[test]
fn options_are_json_or_files() {
    let cases = [
        (Error, r#""webhook_config": 5"#, r#""webhook_config": "config/hook.json""#, "webhook_config must be"),
        (Error, r#""webhook_config": "{'a': 1}""#, r#""webhook_config": [{"a": 1}]"#, "webhook_config must be"),
        (Error, r#""publishing_config": "hub""#, r#""publishing_config": "[]""#, "publishing_config must be"),
        (Error, r#""deepspeed_config": "{1""#, r#""deepspeed_config": "{'a': 1}""#, "deepspeed_config is not JSON"),
        (Error, r#""distillation_config": "[1""#, r#""distillation_config": {"a": 1}"#, "is not JSON"),
        (Error, r#""validation_adapter_config": "{""#, r#""validation_adapter_config": "{}""#, "is not JSON"),
        (Error, r#""quantization_config": "int8""#, r#""quantization_config": "{\"a\": 1}""#, "a map in JSON"),
        (Error, r#""quantization_config": "{a}""#, r#""quantization_config": "x.json""#, "is not JSON"),
        (Error, r#""quantization_config": "[1]""#, r#""quantization_config": "None""#, "must be a map"),
        (Error, r#""diffusion_blocks_config": 3"#, r#""diffusion_blocks_config": {"layers_per_block": 2}"#, "a map in"),
        (Error, r#""sdnq_modules_dtype_dict": "int8""#, r#""sdnq_modules_dtype_dict": "{}""#, "a map in JSON"),
        (Error, r#""sdnq_modules_quant_config": "[1]""#, r#""sdnq_modules_quant_config": "a.json""#, "a map in JSON"),
        (Error, r#""peft_lora_target_modules": "to_q""#, r#""peft_lora_target_modules": ["to_q"]"#, "a list of names"),
        (Error, r#""optimizer_config": "0.1""#, r#""optimizer_config": "eps=1e-6""#, "optimizer_config must be"),
        (Error, r#""disk_low_threshold": "much""#, r#""disk_low_threshold": "1.5TB""#, "no size"),
        (Error, r#""disk_low_threshold": -1"#, r#""disk_low_threshold": 100"#, "no size"),
        (Error, r#""flow_cubic_schedule_weights": "high""#, r#""flow_cubic_schedule_weights": "1;2""#, "numbers of at"),
    ];
    each(&cases, |members| config(members, SETS));
    let skip = |layers: &str| {
        let members = format!("\"validation_guidance_skip_layers\": \"{layers}\", \"model_family\": \"sd3\"");
        config(&members, SETS).len()
    };
    assert_eq!((skip("7 8"), skip("[7, 8]")), (1, 0));
}

#[test]
fn files_of_options_are_looked_for() {
    let of = |file: &str| {
        let text = format!("\"webhook_config\": \"{file}\"");
        let usual: Vec<String> = BASE.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let text = format!("{{{text}, {}}}", usual.join(", "));
        among("config.json", &[("config.json", &text), ("hooks/a.json", "{}"), ("config/examples/a.json", "{}")]).len()
    };
    assert_eq!((of("hooks/a.json"), of("hooks/b.json")), (0, 1));
    // The trainer's package has these.
    assert_eq!(of("config/examples/b.json"), 0);
}

const TOGETHER: &[Case<'static>] = &[
    (Error, r#""max_train_steps": 5"#, r#""max_train_steps": 5, "num_train_epochs": 0"#, "both given"),
    (Error, r#""num_train_epochs": 0"#, r#""num_train_epochs": 2"#, "there is no max_train_steps"),
    (
        Error,
        r#""num_train_epochs": 0, "max_train_steps": 0"#,
        r#""num_train_epochs": "false", "max_train_steps": 0"#,
        "both 0",
    ),
    (
        Error,
        r#""quantize_via": "pipeline", "base_model_precision": "int8-sdnq""#,
        r#""quantize_via": "pipeline", "base_model_precision": "nf4-bnb""#,
        "quantize_via pipeline",
    ),
    (
        Error,
        r#""quantize_via": "pipeline", "text_encoder_2_precision": "fp8-native""#,
        r#""quantize_via": "pipeline", "text_encoder_2_precision": "no_change""#,
        "precision of a text encoder",
    ),
    (
        Error,
        r#""base_model_precision": "int8-quanto", "text_encoder_1_precision": "int8-sdnq""#,
        r#""base_model_precision": "int8-sdnq", "text_encoder_1_precision": "int8-sdnq""#,
        "exclude each other",
    ),
    (
        Error,
        r#""quantization_config": "q.json", "base_model_precision": "int8-sdnq""#,
        r#""quantization_config": "q.json", "base_model_precision": "int8-quanto""#,
        "excludes this base_model_precision",
    ),
    (
        Error,
        r#""quantization_config": "q.json", "text_encoder_1_precision": "int8-quanto""#,
        r#""quantization_config": "q.json", "text_encoder_1_precision": "no_change""#,
        "of the text encoders",
    ),
    (
        Warning,
        r#""lora_init_type": "loftq", "base_model_precision": "int8-quanto""#,
        r#""lora_init_type": "loftq""#,
        "lora_init_type default",
    ),
    (
        Warning,
        r#""use_dora": true, "base_model_precision": "int8-quanto""#,
        r#""use_dora": true, "base_model_precision": "int8-torchao""#,
        "without DoRA",
    ),
    (
        Warning,
        r#""base_model_precision": "int8-quanto", "base_model_default_dtype": "fp32""#,
        r#""base_model_precision": "int8-quanto", "base_model_default_dtype": "bf16""#,
        "optimi-adamw",
    ),
    (
        Error,
        r#""distillation_method": "lcm", "train_text_encoder": true"#,
        r#""distillation_method": "lcm", "train_text_encoder": false"#,
        "keep one of them",
    ),
    (
        Error,
        r#""flow_cubic_schedule_weights": "[1, 2]", "flow_use_beta_schedule": true"#,
        r#""flow_cubic_schedule_weights": "[1, 2]", "flow_use_beta_schedule": false"#,
        "the other schedules",
    ),
    (
        Error,
        r#""fsdp_enable": true, "text_encoder_2_precision": "int8-quanto""#,
        r#""fsdp_enable": false, "text_encoder_2_precision": "int8-quanto""#,
        "version 2 of FSDP",
    ),
    (
        Error,
        r#""fsdp_enable": 1, "fsdp_cpu_offload": 1, "optimizer_release_gradients": 1, "optimizer": "optimi-lion""#,
        r#""fsdp_enable": 1, "fsdp_cpu_offload": 1, "optimizer_release_gradients": 0, "optimizer": "optimi-lion""#,
        "excludes optimizer_release_gradients",
    ),
    (
        Error,
        r#""fsdp_enable": true, "use_ema": true, "ema_cpu_only": true"#,
        r#""fsdp_enable": true, "use_ema": false, "ema_cpu_only": true"#,
        "ema_cpu_only",
    ),
    (Warning, r#""fsdp_enable": true, "fsdp_version": 1"#, r#""fsdp_enable": true, "fsdp_version": 2"#, "version 1"),
    (Error, r#""init_lora_ema": "e.pt", "use_ema": true"#, r#""use_ema": true"#, "init_lora_ema needs init_lora"),
    (
        Error,
        r#""init_lora_ema": "e.pt", "init_lora": "l.safetensors""#,
        r#""init_lora_ema": "e.pt", "init_lora": "l.safetensors", "use_ema": true"#,
        "init_lora_ema needs use_ema",
    ),
    (Error, r#""init_lora_step": 5"#, r#""init_lora_step": 5, "init_lora": "l.safetensors""#, "needs init_lora"),
    (
        Error,
        r#""init_lora_step": 5, "init_lora": "l", "max_train_steps": 5, "num_train_epochs": 0"#,
        r#""init_lora_step": 4, "init_lora": "l", "max_train_steps": 5, "num_train_epochs": 0"#,
        "less than max_train_steps",
    ),
    (Error, r#""twinflow_enabled": true"#, r#""twinflow_enabled": true, "use_ema": true"#, "needs use_ema"),
    (
        Error,
        r#""crepa_enabled": true, "crepa_self_flow": true, "crepa_teacher_block_index": 4"#,
        r#""crepa_self_flow": true, "crepa_teacher_block_index": 4"#,
        "self_flow of CREPA needs use_ema",
    ),
    (
        Error,
        r#""crepa_enabled": true, "crepa_feature_source": "self_flow", "use_ema": true"#,
        r#""crepa_enabled": true, "crepa_feature_source": "encoder", "use_ema": true"#,
        "crepa_teacher_block_index",
    ),
    (
        Error,
        r#""irepa_enabled": true, "crepa_enabled": true, "lora_type": "lycoris", "lycoris_config": "l.json""#,
        r#""irepa_enabled": true, "crepa_enabled": true, "lora_type": "standard", "lycoris_config": "l.json""#,
        "irepa_enabled does not work",
    ),
    (
        Error,
        r#""internal_guidance_enabled": true, "lora_type": "lycoris", "lycoris_config": "l.json""#,
        r#""internal_guidance_enabled": true"#,
        "internal_guidance_enabled does not work",
    ),
    (
        Error,
        r#""nextlat_enabled": true, "lora_type": "lycoris", "lycoris_config": "l.json""#,
        r#""nextlat_enabled": true"#,
        "nextlat_enabled does not work",
    ),
    (
        Error,
        r#""mixflow_enabled": true, "flow_use_uniform_schedule": true"#,
        r#""mixflow_enabled": true, "flow_use_uniform_schedule": "no""#,
        "mixflow_enabled excludes",
    ),
    (
        Error,
        r#""diffusion_blocks_config": {"layers_per_block": 2}, "musubi_blocks_to_swap": 4"#,
        r#""diffusion_blocks_config": {"layers_per_block": 2}, "musubi_blocks_to_swap": 0"#,
        "excludes musubi_blocks_to_swap",
    ),
    (
        Error,
        r#""diffusion_blocks_config": "b.json", "find_unused_parameters": false"#,
        r#""diffusion_blocks_config": "b.json", "find_unused_parameters": true"#,
        "needs find_unused_parameters",
    ),
    (
        Warning,
        r#""enable_group_offload": true, "group_offload_use_stream": true"#,
        r#""enable_group_offload": true, "group_offload_use_stream": true, "gradient_checkpointing": false"#,
        "group_offload_use_stream off",
    ),
    (
        Error,
        r#""maximum_image_size": 1024, "target_downsample_size": 0"#,
        r#""maximum_image_size": 1024, "target_downsample_size": 1280"#,
        "needs target_downsample_size",
    ),
];

#[test]
fn options_go_together() {
    each(TOGETHER, |members| config(members, SETS));
}

#[test]
fn families_differ() {
    let cases = [
        (
            Error,
            r#""optimizer": "muon", "model_family": "sdxl""#,
            r#""optimizer": "muon", "model_family": "wan""#,
            "optimizer muon",
        ),
        (
            Error,
            r#""mixflow_enabled": true, "model_family": "sdxl""#,
            r#""mixflow_enabled": true, "model_family": "sd3""#,
            "flow matching",
        ),
        (
            Error,
            r#""internal_guidance_enabled": true, "model_family": "kolors""#,
            r#""internal_guidance_enabled": true, "model_family": "pixart""#,
            "this model_family has none",
        ),
        (Error, r#""irepa_enabled": true"#, r#""irepa_enabled": true, "crepa_enabled": true"#, "needs crepa_enabled"),
        (
            Warning,
            r#""crepa_enabled": true, "model_family": "sdxl""#,
            r#""urepa_enabled": true, "model_family": "sdxl""#,
            "without CREPA",
        ),
        (
            Error,
            r#""gradient_checkpointing_offload_attention": true, "model_family": "sdxl""#,
            r#""gradient_checkpointing_offload_attention": true, "model_family": "flux""#,
            "offload_attention needs a transformer",
        ),
        (Warning, r#""vae_dtype": "fp16""#, r#""vae_dtype": "fp32""#, "write bf16"),
        (Warning, r#""urepa_enabled": true"#, r#""urepa_enabled": false"#, "without U-REPA"),
        (
            Warning,
            r#""lyrics_embedder_train": true"#,
            r#""lyrics_embedder_train": true, "model_family": "ace_step""#,
            "embedder of lyrics",
        ),
        (
            Warning,
            r#""pretrained_vae_model_name_or_path": "madebyollin/sdxl-vae-fp16-fix""#,
            r#""pretrained_vae_model_name_or_path": "madebyollin/sdxl-vae-fp16-fix", "model_family": "sdxl""#,
            "the VAE of SDXL",
        ),
        (Error, r#""model_flavour": "devv""#, r#""model_flavour": "dev""#, "no such model_flavour: write one of dev,"),
        (
            Error,
            r#""model_flavour": "v1", "model_family": "kolors""#,
            r#""model_flavour": "v1", "model_family": "kolors", "pretrained_model_name_or_path": "a/b""#,
            "no such model_flavour: write 1.0",
        ),
        (
            Error,
            r#""model_family": "deepfloyd""#,
            r#""model_family": "deepfloyd", "model_flavour": "i-large-900m""#,
            "needs a model_flavour",
        ),
        (
            Warning,
            r#""model_family": "bria""#,
            r#""model_family": "ltxvideo2", "model_flavour": "2.5""#,
            "bria any more",
        ),
    ];
    each(&cases, |members| config(members, SETS));
}

#[test]
fn a_config_and_its_data_sets_belong_together() {
    let of = |members: &str, set: &str| {
        let sets = SETS.replace("\"image\"", &format!("\"image\", {set}"));
        config(members, &sets).into_iter().map(|it| it.2).collect::<Vec<_>>()
    };
    for (members, wrong, sound, about) in [
        (r#""controlnet": true"#, r#""repeats": 1"#, r#""conditioning": [{"type": "canny"}]"#, "controlnet needs"),
        (r#""seed": 1"#, r#""audio": {"audio_only": true}"#, r#""audio": {"audio_only": false}"#, "audio_only"),
        (r#""seed": 1"#, r#""start_epoch": 2"#, r#""start_epoch": 1"#, "never uses a data set"),
        (
            r#""model_family": "qwen_image", "model_flavour": "edit-v2""#,
            r#""conditioning_type": "mask""#,
            r#""conditioning_type": "reference_loose""#,
            "an edit flavour",
        ),
        (
            r#""seed": 1"#,
            r#""caption_strategy": "instanceprompt""#,
            r#""caption_strategy": "instanceprompt", "instance_prompt": "x""#,
            "needs an instance_prompt",
        ),
    ] {
        let found = of(members, wrong);
        assert!(found.len() == 1 && found[0].contains(about), "{wrong}: {found:?}");
        assert_eq!(of(members, sound), Vec::<String>::new(), "{sound}");
    }
}

#[test]
fn data_sets_have_the_keys_of_their_type() {
    let table = r#""type": "csv", "csv_file": "a", "csv_caption_column": "b", "csv_url_column": "c""#;
    let csv = format!("{table}, \"caption_strategy\": \"csv\"");
    let (full, named) = (format!("{csv}, \"csv_cache_dir\": \"d\""), format!("{table}, \"csv_cache_dir\": \"d\""));
    let web = r#""type": "webshart", "source": "s""#;
    let (json, text) =
        (format!("{web}, \"metadata_backend\": \"json\""), format!("{web}, \"caption_strategy\": \"csv\""));
    let cases = [
        (Error, r#""instance_data_dir": null"#, r#""instance_data_dir": null, "disabled": true"#, "instance_data_dir"),
        (Error, r#""type": "huggingface""#, r#""type": "huggingface", "dataset_name": "a/b""#, "needs dataset_name"),
        (Error, csv.as_str(), full.as_str(), "csv_cache_dir"),
        (Error, named.as_str(), full.as_str(), "caption_strategy csv"),
        (Error, r#""type": "aws""#, r#""type": "aws", "disable": true"#, "aws_bucket_name"),
        (Error, r#""type": "webshart""#, web, "needs a source"),
        (Error, text.as_str(), web, "caption_strategy"),
        (Error, json.as_str(), web, "metadata_backend webshart"),
        (Error, r#""type": "s3""#, r#""type": "memory""#, "this word for type"),
        (Error, r#""caption_strategy": "txt""#, r#""caption_strategy": "textfile""#, "this word for caption_strategy"),
        (
            Error,
            r#""caption_strategy": "parquet""#,
            r#""caption_strategy": "parquet", "metadata_backend": "parquet", "parquet": {"path": "p"}"#,
            "needs metadata_backend parquet",
        ),
        (Error, r#""metadata_backend": "parquet""#, r#""metadata_backend": "discovery""#, "a map at parquet"),
        (Warning, r#""metadata_backend": "filesystem""#, r#""metadata_backend": "json""#, "write discovery"),
        (
            Error,
            r#""resolution_type": "pixel_area", "resolution": 1024.0"#,
            r#""resolution_type": "pixel_area", "resolution": 1024"#,
            "without a dot",
        ),
    ];
    each(&cases, data_set);
    let cases = [
        (Error, r#""caption_shuffle": true"#, r#""caption_shuffle": {}"#, "must be a map"),
        (Error, r#""caption_shuffle": {"split_on": ";"}"#, r#""caption_shuffle": {"split_on": "comma"}"#, "split_on"),
        (Error, r#""caption_shuffle": {"count": 0}"#, r#""caption_shuffle": {"count": 2}"#, "count of caption_shuffle"),
        (
            Error,
            r#""crop_aspect": "closest", "crop_aspect_buckets": [1.0, "0.5"]"#,
            r#""crop_aspect": "closest", "crop_aspect_buckets": [1, {"aspect_bucket": 0.5, "weight": 1.0}]"#,
            "an item of crop_aspect_buckets",
        ),
        (Error, r#""train_batch_size": 0"#, r#""train_batch_size": 2"#, "train_batch_size 0"),
        (
            Error,
            r#""grounding": {"enabled": true, "auto_detect": {"enabled": true}}, "type": "memory""#,
            r#""grounding": {"enabled": true, "auto_detect": {"enabled": true}}, "type": "local""#,
            "auto_detect",
        ),
        (
            Warning,
            r#""prepend_instance_prompt": true"#,
            r#""prepend_instance_prompt": true, "instance_prompt": "x""#,
            "instance_prompt either",
        ),
    ];
    each(&cases, data_set);
}

#[test]
fn data_sets_fit_each_other() {
    let of = |first: &str, second: &str| {
        let text = format!(
            "[{{\"id\": \"a\", \"type\": \"local\", \"instance_data_dir\": \"x\", {first}}},\n\
             {{\"id\": \"b\", \"type\": \"local\", \"instance_data_dir\": \"y\", {second}}}]"
        );
        among("sets.json", &[("sets.json", &text)])
    };
    for (first, second, line, about) in [
        (r#""conditioning_data": ["c"]"#, r#""dataset_type": "conditioning""#, 1, "has the id c"),
        (r#""text_embeds": "b""#, r#""dataset_type": "image_embeds""#, 1, "of type text_embeds has the id b"),
        (r#""cache_dir_vae": "v""#, r#""cache_dir_vae": "v""#, 2, "two data sets have this cache_dir_vae"),
        (r#""start_epoch": 2"#, r#""start_step": 9"#, 1, "no data set starts with the training"),
        (r#""start_epoch": 4, "end_epoch": 3"#, r#""repeats": 1"#, 1, "end_epoch must be at least"),
        (r#""start_step": 4, "end_step": 3"#, r#""repeats": 1"#, 1, "end_step must be at least"),
    ] {
        match &of(first, second)[..] {
            [(Error, Some(at), message)] => assert!(*at == line && message.contains(about), "{at} {message}"),
            found => panic!("{first}: {found:?}"),
        }
    }
    for (first, second) in [
        (r#""conditioning_data": "b""#, r#""dataset_type": "conditioning""#),
        (r#""conditioning_data": "a_canny", "conditioning": [{"type": "canny"}]"#, r#""repeats": 1"#),
        (r#""text_embeds": "b""#, r#""dataset_type": "text_embeds""#),
        (r#""cache_dir_vae": "v""#, r#""cache_dir_vae": "w""#),
        (r#""cache_dir_vae": "{id}""#, r#""cache_dir_vae": "{id}""#),
        (r#""start_epoch": 2"#, r#""start_step": 0"#),
        (r#""start_epoch": 2"#, r#""dataset_type": "image", "end_epoch": 3"#),
    ] {
        assert_eq!(of(first, second), [], "{first}");
    }
}
