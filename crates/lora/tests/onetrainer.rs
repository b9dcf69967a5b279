//! Configs that OneTrainer refuses or changes without a word, each with a sound file next to the wrong one.

mod support;

use trainyard_base::domain::Severity::{self, Error, Warning};

use support::{among, clean, one};

const BASE: [(&str, &str); 3] =
    [("__version", "11"), ("training_method", "\"LORA\""), ("model_type", "\"STABLE_DIFFUSION_XL_10_BASE\"")];

/// Returns the problems of a config with these members, of which each takes the place of a usual one.
fn config(members: &str) -> Vec<(Severity, Option<u32>, String)> {
    let usual = BASE.iter().filter(|(key, _)| !members.contains(&format!("\"{key}\"")));
    let usual: Vec<String> = usual.map(|(key, value)| format!("\"{key}\": {value}, ")).collect();
    let text = format!("{{{}\n{members}}}", usual.concat());
    among("config.json", &[("config.json", &text)])
}

#[track_caller]
fn each(cases: &[(Severity, &str, &str, &str)]) {
    for (severity, wrong, sound, about) in cases {
        let found = config(wrong);
        let is_told = matches!(&found[..], [(found, Some(2), message)] if found == severity && message.contains(about));
        assert!(is_told, "{wrong}: {found:#?}");
        assert_eq!(config(sound), [], "{sound}");
    }
}

#[test]
fn values_that_cannot_be_taken_are_told() {
    each(&[
        (Error, r#""latent_caching": "false""#, r#""latent_caching": "true""#, "any text for true"),
        (Warning, r#""latent_caching": "maybe""#, r#""latent_caching": false"#, "any text for true"),
        (Warning, r#""batch_size": 2.5"#, r#""batch_size": 2.0"#, "the whole part"),
        (Error, r#""epochs": "5.0""#, r#""epochs": "5""#, "epochs"),
        (Error, r#""mse_strength": "False""#, r#""mse_strength": "0.5""#, "mse_strength"),
        (Warning, r#""clip_grad_norm": """#, r#""clip_grad_norm": null"#, "keeps its default for clip_grad_norm"),
        (Warning, r#""train_dtype": """#, r#""train_dtype": "BFLOAT_16""#, "keeps its default for train_dtype"),
        (Error, r#""concepts": ["a"]"#, r#""concepts": [{"path": "a"}]"#, "a list of maps"),
    ]);
}

#[test]
fn options_go_together() {
    each(&[
        (
            Error,
            r#""output_model_format": "SAFETENSORS""#,
            r#""output_model_format": "KOHYA_LORA""#,
            "cannot save a LoRA in this output_model_format",
        ),
        (
            Error,
            r#""output_model_format": "DIFFUSERS", "multi_gpu": false"#,
            r#""output_model_format": "SAFETENSORS", "training_method": "EMBEDDING""#,
            "cannot save a LoRA in this output_model_format",
        ),
        (
            Error,
            r#""optimizer": {"stochastic_rounding": true, "fused": true}"#,
            r#""optimizer": {"optimizer": "CAME", "stochastic_rounding": true, "fused": true}"#,
            "stochastic_rounding excludes",
        ),
        (
            Error,
            r#""multi_gpu": true, "optimizer": {"fused_back_pass": true}, "fused_gradient_reduce": false"#,
            r#""multi_gpu": true, "optimizer": {"fused_back_pass": true}"#,
            "needs fused_gradient_reduce",
        ),
        (
            Error,
            r#""model_type": "WUERSTCHEN_2", "optimizer": {"optimizer": "SCHEDULE_FREE_SGD"}"#,
            r#""model_type": "FLUX_2", "optimizer": {"optimizer": "SCHEDULE_FREE_SGD"}"#,
            "schedule-free",
        ),
        (
            Error,
            r#""training_method": "FINE_TUNE", "unet": {"offload_fraction": 1}, "optimizer": {"fused_back_pass": false}"#,
            r#""training_method": "FINE_TUNE", "unet": {"offload_fraction": 1}, "optimizer": {"fused_back_pass": true}"#,
            "needs an optimizer with fused_back_pass",
        ),
        (
            Error,
            r#""model_type": "QWEN", "training_method": "FINE_TUNE", "optimizer": {"optimizer": "LION"}, "transformer": {"offload_fraction": 1}"#,
            r#""model_type": "QWEN", "training_method": "FINE_TUNE", "optimizer": {"optimizer": "LION"}, "unet": {"offload_fraction": 1}"#,
            "needs an optimizer with fused_back_pass",
        ),
        (
            Error,
            r#""learning_rate_scheduler": "CUSTOM", "custom_learning_rate_scheduler": "Mine""#,
            r#""learning_rate_scheduler": "CUSTOM", "custom_learning_rate_scheduler": "a.Mine""#,
            "a module and a class",
        ),
        (
            Error,
            r#""dataloader_threads": 2, "latent_caching": true, "text_encoder_2": {"offload_fraction": 0.5}"#,
            r#""dataloader_threads": 2, "latent_caching": true, "text_encoder_3": {"offload_fraction": 0.5}"#,
            "set dataloader_threads to 1",
        ),
        (
            Warning,
            r#""train_dtype": "FLOAT_16", "fallback_train_dtype": "FLOAT_32", "train_device": "cpu""#,
            r#""train_dtype": "FLOAT_16", "fallback_train_dtype": "FLOAT_32", "train_device": "cuda:0""#,
            "on this train_device",
        ),
        (
            Error,
            r#""training_method": "EMBEDDING", "model_type": "QWEN""#,
            r#""training_method": "EMBEDDING", "model_type": "SANA""#,
            "no training_method EMBEDDING",
        ),
        (
            Error,
            r#""training_method": "FINE_TUNE_VAE", "model_type": "FLUX_2""#,
            r#""training_method": "FINE_TUNE_VAE", "model_type": "STABLE_DIFFUSION_21""#,
            "no training_method FINE_TUNE_VAE",
        ),
    ]);
}

#[test]
fn older_files_are_migrated() {
    each(&[
        (Error, r#""__version": 9"#, r#""__version": 9, "weight_dtype": "FLOAT_32""#, "needs weight_dtype"),
        (
            Error,
            r#""__version": 8, "weight_dtype": "FLOAT_32""#,
            r#""__version": 8, "weight_dtype": "FLOAT_32", "prior": {"weight_dtype": "NONE"}"#,
            "a map at prior",
        ),
        (
            Error,
            r#""__version": 9, "weight_dtype": "FLOAT_32", "vae": {"train": false}"#,
            r#""__version": 10, "vae": {"train": false}"#,
            "weight_dtype in each part",
        ),
    ]);
}

#[test]
fn concepts_and_samples_are_read_where_they_stand() {
    let list = r#"[{"path": "d", "include_subdirectories": true, "image_variations": 1}]"#;
    clean("concepts.json", &[("concepts.json", list)]);
    let wrong = list.replace("1}", "\"many\"}");
    one("concepts.json", &[("concepts.json", &wrong)], Error, 1, "image_variations");
    let wrong = list.replace("1}", "1, \"pth\": \"d\"}");
    one("concepts.json", &[("concepts.json", &wrong)], Error, 1, "did you mean path?");
    let samples = r#"[{"prompt": "x", "diffusion_steps": 20, "cfg_scale": 7, "noise_scheduler": "DDIM"}]"#;
    clean("samples.json", &[("samples.json", samples)]);
    one("samples.json", &[("samples.json", &samples.replace("DDIM", "DDIMM"))], Error, 1, "noise_scheduler");
    for other in [r#"[{"path": "d", "name": "x"}]"#, r#"[{"prompt": "x"}]"#, "[]", "[1]"] {
        assert_eq!(among("a.json", &[("a.json", other)]), [], "{other}");
    }
    // A config names its concepts.
    let concepts = list.replace("1}", "1, \"type\": \"PRIOR_PREDICTION\"}");
    let of = |method: &str| {
        let text = format!(
            "{{\"__version\": 11, \"training_method\": \"{method}\",\n\"concept_file_name\": \"c/concepts.json\"}}"
        );
        among("config.json", &[("config.json", &text), ("c/concepts.json", &concepts)]).len()
    };
    assert_eq!((of("FINE_TUNE"), of("LORA")), (1, 0));
}
