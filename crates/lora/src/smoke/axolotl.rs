//! Smoke jobs for axolotl. Written by reading the source at 067b021, whose schema the derived configs satisfy. Most of
//! axolotl's own examples, derived, were run with release 0.5.2 on PyTorch 1.13: three steps, and weights in which
//! every module has learned something. On 2026-12-01 derived configs for six families trained with release 0.19.0 on
//! PyTorch 2.11.

use serde_json::{Map, Value as Json, json};

use super::draft::Part;
use super::lora_scripts::{RANK, plain_optimizer};
use super::{Unfit, Work, family, llm};
use crate::mock::{self, Row};
use crate::tree::{Node, Value};

/// Maximum number of data sets that are replaced with dummies.
const MAX_SETS: usize = 32;

pub(super) fn derive(work: &mut Work<'_>) -> Result<String, Unfit> {
    let root = work.draft.root();
    if root.gives("processor_type") || root.gives("image_size") {
        return Err(Unfit::Cannot("Trainyard has no mock base model for images, video or audio".to_owned()));
    }
    if let Some(rl @ ("grpo" | "gdpo" | "ebft")) = root.text("rl") {
        return Err(Unfit::Cannot(format!("Trainyard has no dummy data for rl: {rl}, whose rewards are code")));
    }
    let family = family::language(&[root.text("base_model"), root.text("model_type"), root.text("chat_template")]);
    let words: Vec<String> =
        ["special_tokens", "tokens", "eot_tokens"].iter().flat_map(|key| texts(root.get(key))).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let model = work.add("model", family.files(&words));
    data(work)?;
    let (steps, output, prepared) = (work.ask.steps, work.output(), work.path("prepared"));
    let mut root = work.draft.root();
    root.set("base_model", model);
    root.remove(&["base_model_config", "model_type", "model_config", "model_kwargs", "model_revision", "rope_scaling"]);
    root.remove(&["tokenizer_config", "tokenizer_type", "tokenizer_use_mistral_common", "lora_model_dir"]);
    root.remove_beginning(&["is_", "revision_of_model", "overrides_of_model"]);
    root.set("dataset_prepared_path", prepared);
    root.set("output_dir", output);
    root.remove(&["num_epochs", "saves_per_epoch", "save_strategy", "save_first_step", "batch_size"]);
    root.set("max_steps", steps);
    root.set("save_steps", steps);
    root.set("logging_steps", 1);
    // The default differs between releases; only weights in this format can be inspected afterwards.
    root.set("save_safetensors", true);
    cheap(&mut root);
    without_gpu(&mut root);
    llm::modules(&mut root, "lora_target_modules", "lora_modules_to_save");
    llm::quiet(&mut root);
    root.remove(&["auto_resume_from_checkpoints"]);
    root.remove_beginning(&[
        "mlflow",
        "use_mlflow",
        "comet",
        "use_comet",
        "trackio",
        "use_trackio",
        "otel",
        "use_otel",
    ]);
    Ok("axolotl train {config}".to_owned())
}

/// Returns all strings in a value.
fn texts(node: Option<&Node>) -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(node) = node {
        node.each_scalar(None, &mut |_, node| texts.extend(node.text().map(str::to_owned)));
    }
    texts
}

fn cheap(root: &mut Part<'_>) {
    root.at_most("sequence_len", llm::LONGEST);
    root.set("micro_batch_size", 1);
    root.set("gradient_accumulation_steps", 1);
    root.at_most("warmup_steps", 1.0);
    root.replace("sample_packing", false);
    root.remove(&["eval_sample_packing", "pad_to_sequence_len", "batch_flattening", "multipack_real_batches"]);
    root.remove(&["dataloader_prefetch_factor", "dataset_processes"]);
    root.set("dataset_num_proc", 1);
    root.replace("dataloader_num_workers", 0);
    root.set("val_set_size", 0);
    root.remove(&["test_datasets", "do_bench_eval", "do_causal_lm_eval", "load_best_model_at_end"]);
    root.remove(&["early_stopping_patience", "metric_for_best_model", "generate_samples"]);
    root.remove_beginning(&["eval_", "evals_", "evaluation_", "generation_", "sample_packing_"]);
    // A model of random numbers starts with a loss that a watchdog treats as a failure.
    root.remove_beginning(&["loss_watchdog_"]);
    root.rank("lora_r", "lora_alpha", RANK);
    root.remove(&["peft", "peft_layers_to_transform", "peft_layers_pattern", "unfrozen_parameters"]);
    root.remove(&["lora_target_parameters"]);
}

/// Removes settings that only work on a GPU, or on several.
fn without_gpu(root: &mut Part<'_>) {
    if root.text("adapter") == Some("qlora") {
        root.set("adapter", "lora");
    }
    root.remove(&["load_in_8bit", "load_in_4bit", "bnb_config_kwargs", "quantize_moe_experts", "qat", "quantization"]);
    root.remove(&["tf32", "fp16", "fp8", "float16", "bfloat16", "fp8_enable_fsdp_float8_all_gather"]);
    root.remove_beginning(&["gptq", "model_quantization_config", "qlora_sharded"]);
    root.set("bf16", false);
    plain_optimizer(root, "optimizer", "adamw_torch");
    root.remove(&["attn_implementation", "xformers_attention", "sage_attention", "s2_attention", "flex_attention"]);
    root.remove(&["sdp_attention", "eager_attention", "fused_attn_kernel", "gemma4_hybrid_attn_impl"]);
    root.remove_beginning(&["flash_", "flex_attn_"]);
    root.remove(&["lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel", "lora_embedding_kernel", "use_kernels"]);
    root.remove(&["plugins", "experts_implementation", "use_onebitllms", "chunked_cross_entropy"]);
    root.remove_beginning(&["liger_", "cut_cross_entropy", "use_scattermoe", "unsloth_", "torch_compile", "tiled_mlp"]);
    root.remove(&[
        "deepspeed",
        "activation_offloading",
        "layer_offloading",
        "gpu_memory_limit",
        "device",
        "device_map",
    ]);
    root.remove_beginning(&["fsdp", "gradient_checkpointing", "dp_", "ddp", "use_ray", "ray_"]);
    root.remove(&["context_parallel_size", "sequence_parallel_degree", "tensor_parallel_size", "ring_attn_func"]);
    root.remove(&["heads_k_stride", "resources_per_worker"]);
}

/// Replaces each data set with a dummy file, with the fields that its type reads.
fn data(work: &mut Work<'_>) -> Result<(), Unfit> {
    let mut root = work.draft.root();
    if root.gives("pretraining_dataset") {
        let set: Value = [("path", Value::from("")), ("type", "completion".into())].into();
        root.remove(&["pretraining_dataset", "streaming"]);
        root.set("datasets", vec![set]);
    }
    let compares = work.draft.root().gives("rl");
    let path = work.path("data");
    let mut files = Vec::new();
    work.draft.each("datasets", |set| {
        let name = format!("dataset_{}.jsonl", files.len());
        if files.len() < MAX_SETS {
            let row = |row: &Row| fields(set, row);
            files.push(mock::lines(&name, row));
        }
        set.set("path", format!("{path}/{name}"));
        set.set("ds_type", "json");
        set.remove(&["split", "train_on_split", "name", "data_files", "data_dir", "revision", "shards", "shards_idx"]);
        set.remove(&["preprocess_shards", "trust_remote_code"]);
        if compares {
            // The other loader, used with `rl`, looks for local files here.
            set.set("data_files", vec![Value::from(format!("{path}/{name}"))]);
            set.set("split", "train");
        }
    });
    if files.len() == MAX_SETS {
        return Err(Unfit::Cannot(format!(
            "the config has {MAX_SETS} data sets or more, which is too many to replace with dummy data"
        )));
    }
    work.add("data", files);
    Ok(())
}

/// Merges turns under both names: the default names differ between releases.
fn merged(turns: &Json, more: &Json) -> Json {
    let mut turns = turns.clone();
    for (turn, more) in turns.as_array_mut().into_iter().flatten().zip(more.as_array().into_iter().flatten()) {
        if let (Some(turn), Some(more)) = (turn.as_object_mut(), more.as_object()) {
            turn.extend(more.clone());
        }
    }
    turns
}

/// Converts a row to the fields of all types of data sets, since a type ignores the fields that it does not read. The
/// fields are added also under the names that the data set sets for them.
fn fields(set: &Part<'_>, row: &Row) -> Json {
    let mapped = |key: &str, usual: &str| -> String {
        let mapping = set.get("message_property_mappings").map(Node::entries).unwrap_or_default();
        let property = mapping.iter().find(|entry| entry.key == key).and_then(|entry| entry.node.text());
        property.or(set.text(&format!("message_field_{key}"))).unwrap_or(usual).to_owned()
    };
    let kind = set.text("type").unwrap_or_default();
    let is_sharegpt = kind.starts_with("sharegpt");
    let names = if is_sharegpt { ["from", "value", "human", "gpt"] } else { ["role", "content", "user", "assistant"] };
    let (role, content) = (mapped("role", names[0]), mapped("content", names[1]));
    let messages = mock::conversation(row, &role, &content, names[2], names[3]);
    let usual = mock::conversation(row, "from", "value", "human", "gpt");
    let (mut chosen, mut rejected) = (json!(row.answer), json!(row.worse));
    let mut asked = messages.clone();
    if kind.starts_with("chat_template.") {
        // The answers are turns, and the question is the conversation before them.
        chosen = json!({&role: names[3], &content: row.answer});
        rejected = json!({&role: names[3], &content: row.worse});
        asked = json!([{&role: names[2], &content: row.question}]);
    }
    let good = row.answer.len().is_multiple_of(2);
    let mut fields = Map::new();
    for (name, value) in [
        ("system", json!("")),
        ("instruction", json!(row.question)),
        ("input", json!("")),
        ("output", json!(row.answer)),
        ("question", json!(row.question)),
        ("answer", json!(row.answer)),
        ("prompt", json!(row.question)),
        ("response", json!(row.answer)),
        ("completion", json!(row.answer)),
        ("text", json!(format!("{} {}", row.question, row.answer))),
        ("label", json!(good)),
        ("conversations", merged(&messages, &usual)),
        ("messages", asked.clone()),
        ("chosen", chosen),
        ("rejected", rejected),
    ] {
        fields.insert(name.to_owned(), value);
    }
    add_named(set, &mut fields);
    fields.into()
}

/// Adds the fields under the names that the data set gives them.
fn add_named(set: &Part<'_>, fields: &mut Map<String, Json>) {
    let own = set.get("type").map(Node::entries).unwrap_or_default();
    let named = |key: &str| {
        let below = own.iter().find(|entry| entry.key == key).and_then(|entry| entry.node.text());
        set.text(key).or(below).map(str::to_owned)
    };
    for (key, usual) in [
        ("field", "text"),
        ("field_system", "system"),
        ("field_instruction", "instruction"),
        ("field_input", "input"),
        ("field_output", "output"),
        ("field_prompt", "prompt"),
        ("field_chosen", "chosen"),
        ("field_rejected", "rejected"),
        ("field_messages", "messages"),
    ] {
        if let (Some(name), Some(value)) = (named(key), fields.get(usual).cloned()) {
            fields.insert(name, value);
        }
    }
}
