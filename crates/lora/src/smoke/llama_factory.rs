//! Smoke jobs for LLaMA-Factory. Derived configs of all supported stages were run with release 0.9.1 on PyTorch 1.13:
//! three steps, and weights in which every module has learned something. On 2026-12-01 those for six families trained
//! with release 0.9.5 on PyTorch 2.11.

use serde_json::{Value as Json, json};

use super::draft::Part;
use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family, llm, shortened};
use crate::mock::{self, File, Row};

/// The name of the dummy data set.
const DATA: &str = "smoke";

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    if root.get("do_train").is_some() && !root.is_true("do_train") {
        return Err(Unfit::NotRun("the config has do_train off, so it trains nothing".to_owned()));
    }
    if sees(&root) {
        return Err(Unfit::Cannot("Trainyard has no mock base model for images, video or audio".to_owned()));
    }
    let family = family::language(&[root.text("model_name_or_path"), root.text("template")]);
    let (info, row) = data(root.text("stage").unwrap_or("sft"))?;
    work.files.push(mock::lines(&format!("data/{DATA}.jsonl"), row));
    work.files.push(File::json("data/dataset_info.json", &json!({DATA: info})));
    let (model, data) = (work.model(family), work.path("data"));
    let (steps, output) = (work.ask.steps, work.output());
    let mut root = work.draft.root();
    root.set("model_name_or_path", model);
    root.remove(&["model_revision", "adapter_name_or_path", "create_new_adapter", "ref_model", "ref_model_adapters"]);
    root.set("dataset_dir", data);
    root.set("dataset", DATA);
    root.remove(&["eval_dataset", "mix_strategy", "interleave_probs", "streaming", "buffer_size", "tokenized_path"]);
    root.set("overwrite_output_dir", true);
    llm::trainer(&mut root, steps, output);
    cheap(&mut root);
    llm::listed_modules(&mut root, "lora_target", "additional_target");
    llm::quiet(&mut root);
    Ok("llamafactory-cli train {config}".to_owned())
}

/// Returns true if the model takes more than text. The template's name or keys for images show this.
fn sees(root: &Part<'_>) -> bool {
    let names = ["vl", "llava", "omni", "audio", "vision", "video", "pixtral", "paligemma", "minicpm_v"];
    let template = root.text("template").unwrap_or_default().to_lowercase();
    let keys = ["image_max_pixels", "video_max_pixels", "video_maxlen", "freeze_vision_tower", "use_audio_in_video"];
    names.iter().any(|name| template.contains(name)) || keys.iter().any(|key| root.gives(key))
}

/// A conversion of a row to the JSON of a stage.
type Form = fn(&Row) -> Json;

/// Returns the entry for `dataset_info.json`, and the conversion of a row, for a stage of training.
fn data(stage: &str) -> Result<(Json, Form), Unfit> {
    let file = format!("{DATA}.jsonl");
    Ok(match stage {
        "sft" => {
            (json!({"file_name": file}), |row| json!({"instruction": row.question, "input": "", "output": row.answer}))
        }
        "pt" => (
            json!({"file_name": file, "columns": {"prompt": "text"}}),
            |row| json!({"text": format!("{} {}", row.question, row.answer)}),
        ),
        "rm" | "dpo" => {
            let columns = json!({"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"});
            (
                json!({"file_name": file, "ranking": true, "columns": columns}),
                |row| json!({"prompt": row.question, "chosen": row.answer, "rejected": row.worse}),
            )
        }
        "kto" => {
            let columns = json!({"prompt": "prompt", "response": "response", "kto_tag": "label"});
            (json!({"file_name": file, "columns": columns}), |row| {
                // There are good and bad answers: KTO requires both.
                let is_good = row.answer.len().is_multiple_of(2);
                let response = if is_good { &row.answer } else { &row.worse };
                json!({"prompt": row.question, "response": response, "label": is_good})
            })
        }
        other => {
            let other = shortened(other);
            return Err(Unfit::Cannot(format!("Trainyard has no dummy data for stage {other}")));
        }
    })
}

fn cheap(root: &mut Part<'_>) {
    root.set("per_device_train_batch_size", 1);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("cutoff_len", llm::LONGEST);
    root.at_most("max_samples", 16.0);
    root.at_most("warmup_steps", 1.0);
    root.set("preprocessing_num_workers", 1);
    root.set("dataloader_num_workers", 0);
    root.remove(&["dataloader_prefetch_factor", "dataloader_persistent_workers"]);
    root.set("use_cpu", true);
    root.remove(&["bf16", "fp16", "pure_bf16", "tf32", "fp8", "fp8_backend", "fp8_enable_fsdp_float8_all_gather"]);
    root.remove(&["deepspeed", "fsdp", "fsdp_config", "flash_attn", "shift_attn", "neat_packing", "rope_scaling"]);
    root.remove(&["double_quantization", "use_unsloth", "use_unsloth_gc", "enable_liger_kernel", "use_liger_kernel"]);
    root.remove(&["use_kt", "use_hyper_parallel", "mixture_of_depths", "resources_per_worker", "placement_strategy"]);
    root.remove_beginning(&["quantization_", "ray_", "kt_", "torch_compile"]);
    root.remove(&["eval_strategy", "eval_steps", "val_size", "do_eval", "do_predict", "predict_with_generate"]);
    root.remove(&["load_best_model_at_end", "metric_for_best_model", "early_stopping_steps", "eval_on_start"]);
    root.set("disable_gradient_checkpointing", true);
    plain_optimizer(root, "optim", "adamw_torch");
    root.rank("lora_rank", "lora_alpha", RANK);
}
