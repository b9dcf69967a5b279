//! Smoke jobs for trl's commands. Derived configs of sft, dpo, kto and reward were run with trl 1.16.0 and transformers 5:
//! three steps, and weights.

use serde_json::{Value as Json, json};

use super::draft::{Draft, Part};
use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family, llm};
use crate::Dialect;
use crate::keys::table;
use crate::mock::{self, Row};
use crate::read::Format;
use crate::tree::Node;

/// The methods that need no second model and no answers of the model itself, with the most usual one first.
const METHODS: [&str; 4] = ["sft", "dpo", "kto", "reward"];
/// Keys of methods for which Trainyard has no rewards or teacher.
const OTHERS: [&str; 3] = ["num_generations", "reward_funcs", "teacher_model_name_or_path"];

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    if OTHERS.iter().any(|key| root.get(key).is_some()) {
        return Err(Unfit::Cannot("Trainyard has no dummy rewards or teacher for this method of trl".to_owned()));
    }
    let method = method(&root, work.ask.command.as_deref().unwrap_or_default());
    work.files.push(mock::lines("data/train.jsonl", form(method)));
    let family = family::language(&[root.text("model_name_or_path")]);
    let (model, data) = (work.model(family), work.path("data"));
    let (steps, output) = (work.ask.steps, work.output());
    let mut root = work.draft.root();
    root.set("model_name_or_path", model);
    root.set("dataset_name", data);
    root.set("dataset_train_split", "train");
    root.remove(&["datasets", "streaming", "dataset_config", "dataset_streaming", "test_split_size", "model_revision"]);
    root.remove(&["dataset_text_field", "chat_template_path", "eos_token", "pad_token", "assistant_only_loss"]);
    llm::trainer(&mut root, steps, output);
    cheap(&mut root);
    llm::modules(&mut root, "lora_target_modules", "lora_modules_to_save");
    llm::quiet(&mut root);
    Ok(format!("trl {method} --config {{config}}"))
}

/// Returns the command for a config; `None` if the config does not tell its method.
pub(crate) fn command(format: Format, root: Node) -> Option<String> {
    let mut draft = Draft::new(format, Dialect::Trl, root);
    let root = draft.root();
    let is_other = OTHERS.iter().any(|key| root.get(key).is_some());
    (!is_other).then(|| format!("trl {} --config {{config}}", method(&root, "")))
}

/// Returns the method that the command names, or the one that knows the most of the keys.
fn method(root: &Part<'_>, command: &str) -> &'static str {
    let is_named = |method: &&str| command.contains(&format!("trl {method}"));
    if let Some(method) = METHODS.into_iter().find(is_named) {
        return method;
    }
    if root.text("lora_task_type") == Some("SEQ_CLS") {
        return "reward";
    }
    let count = |method: &str| {
        let section = table(Dialect::Trl).section(&format!("method {method}"));
        section.map_or(0, |section| section.keys().filter(|key| root.get(key).is_some()).count())
    };
    METHODS.into_iter().rev().max_by_key(|method| count(method)).unwrap_or(METHODS[0])
}

/// Returns the conversion of a row to the JSON of a method.
fn form(method: &str) -> fn(&Row) -> Json {
    match method {
        "dpo" | "reward" => |row| {
            let of = |answer: &str| json!([{"role": "user", "content": row.question}, {"role": "assistant", "content": answer}]);
            json!({"chosen": of(&row.answer), "rejected": of(&row.worse)})
        },
        "kto" => |row| {
            // There are good and bad answers: KTO requires both.
            let is_good = row.answer.len().is_multiple_of(2);
            let answer = if is_good { &row.answer } else { &row.worse };
            let user = json!([{"role": "user", "content": row.question}]);
            json!({"prompt": user, "completion": [{"role": "assistant", "content": answer}], "label": is_good})
        },
        _ => |row| json!({"messages": mock::conversation(row, "role", "content", "user", "assistant")}),
    }
}

fn cheap(root: &mut Part<'_>) {
    // KTO needs two samples in a batch.
    root.set("per_device_train_batch_size", 2);
    root.replace("gradient_accumulation_steps", 1);
    root.at_most("max_length", llm::LONGEST);
    root.at_most("max_seq_length", llm::LONGEST);
    root.at_most("warmup_steps", 1.0);
    root.remove(&["dataset_num_proc", "dataloader_num_workers", "dataloader_prefetch_factor"]);
    root.remove(&["dataloader_persistent_workers", "num_processes", "num_machines", "accelerate_config", "multi_gpu"]);
    root.set("use_cpu", true);
    root.set("bf16", false);
    root.remove(&["fp16", "tf32", "dtype", "torch_dtype", "mixed_precision", "load_in_4bit", "load_in_8bit"]);
    root.remove(&["attn_implementation", "packing", "padding_free", "deepspeed", "fsdp", "fsdp_config", "config_file"]);
    root.remove(&["use_liger_kernel", "use_liger_loss", "use_liger", "activation_offloading", "torch_compile"]);
    root.remove(&["eval_strategy", "evaluation_strategy", "eval_steps", "do_eval", "load_best_model_at_end"]);
    root.remove(&["metric_for_best_model", "eval_on_start", "env"]);
    root.remove_beginning(&["bnb_4bit", "use_bnb", "torch_compile_", "deepspeed_", "fsdp_"]);
    root.set("gradient_checkpointing", false);
    plain_optimizer(root, "optim", "adamw_torch");
    root.rank("lora_r", "lora_alpha", RANK);
}
