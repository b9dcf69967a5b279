//! A Stable Diffusion 1.5 with all layers under their usual names, but very narrow.
//!
//! LoRA weights trained on this model have the names and the number of modules that real ones have.

use serde_json::json;

use super::tensors::Weights;
use super::{File, clip};

/// The width of each of the U-Net's four levels.
pub(crate) const WIDTH: usize = 16;
/// The groups of the U-Net's norms.
pub(crate) const GROUPS: usize = 8;
/// The width of the time embedding.
const TIME: usize = 4 * WIDTH;
/// The width of the text encoder, and of its output that the U-Net attends to.
const TEXT: usize = 32;
/// The layers of the text encoder.
const TEXT_LAYERS: usize = 12;
/// The width of the autoencoder.
const VAE: usize = 8;
/// The channels of a latent image.
const LATENT: usize = 4;

/// Returns the files of a diffusers folder.
pub(crate) fn stable_diffusion() -> Vec<File> {
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.31.0",
        "feature_extractor": [null, null],
        "requires_safety_checker": false,
        "safety_checker": [null, null],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    let scheduler = json!({
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.31.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.000_85,
        "clip_sample": false,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "steps_offset": 1,
    });
    let mut files = vec![
        File::json("model_index.json", &index),
        File::json("scheduler/scheduler_config.json", &scheduler),
        File::json("text_encoder/config.json", &text_encoder_config()),
        File::new("text_encoder/model.safetensors", text_encoder().written()),
        File::json("unet/config.json", &unet_config()),
        File::new("unet/diffusion_pytorch_model.safetensors", unet().written()),
        File::json("vae/config.json", &vae_config()),
        File::new("vae/diffusion_pytorch_model.safetensors", vae().written()),
    ];
    files.extend(clip::tokenizer().into_iter().map(|file| file.below("tokenizer")));
    files
}

fn unet_config() -> serde_json::Value {
    let (cross, plain) = ("CrossAttnDownBlock2D", "DownBlock2D");
    json!({
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.31.0",
        "attention_head_dim": 8,
        "block_out_channels": ([WIDTH; 4]),
        "cross_attention_dim": TEXT,
        "down_block_types": [cross, cross, cross, plain],
        "in_channels": LATENT,
        "layers_per_block": 2,
        "norm_num_groups": GROUPS,
        "out_channels": LATENT,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    })
}

fn unet() -> Weights {
    let mut weights = Weights::new();
    weights.conv("conv_in", LATENT, WIDTH, 3);
    weights.linear("time_embedding.linear_1", WIDTH, TIME);
    weights.linear("time_embedding.linear_2", TIME, TIME);
    for level in 0..4 {
        let block = format!("down_blocks.{level}");
        for layer in 0..2 {
            resnet(&mut weights, &format!("{block}.resnets.{layer}"), WIDTH, WIDTH, Some(TIME));
            if level < 3 {
                attention(&mut weights, &format!("{block}.attentions.{layer}"));
            }
        }
        if level < 3 {
            weights.conv(&format!("{block}.downsamplers.0.conv"), WIDTH, WIDTH, 3);
        }
    }
    attention(&mut weights, "mid_block.attentions.0");
    for layer in 0..2 {
        resnet(&mut weights, &format!("mid_block.resnets.{layer}"), WIDTH, WIDTH, Some(TIME));
    }
    for level in 0..4 {
        let block = format!("up_blocks.{level}");
        for layer in 0..3 {
            // The inputs are the output of the level below and the skip connection from the same level on the way down.
            resnet(&mut weights, &format!("{block}.resnets.{layer}"), 2 * WIDTH, WIDTH, Some(TIME));
            if level > 0 {
                attention(&mut weights, &format!("{block}.attentions.{layer}"));
            }
        }
        if level < 3 {
            weights.conv(&format!("{block}.upsamplers.0.conv"), WIDTH, WIDTH, 3);
        }
    }
    weights.norm("conv_norm_out", WIDTH);
    weights.conv("conv_out", WIDTH, LATENT, 3);
    weights
}

fn resnet(weights: &mut Weights, name: &str, inputs: usize, outputs: usize, time: Option<usize>) {
    weights.norm(&format!("{name}.norm1"), inputs);
    weights.conv(&format!("{name}.conv1"), inputs, outputs, 3);
    if let Some(time) = time {
        weights.linear(&format!("{name}.time_emb_proj"), time, outputs);
    }
    weights.norm(&format!("{name}.norm2"), outputs);
    weights.conv(&format!("{name}.conv2"), outputs, outputs, 3);
    if inputs != outputs {
        weights.conv(&format!("{name}.conv_shortcut"), inputs, outputs, 1);
    }
}

/// Adds a transformer with one block, which attends to the image and to the text.
fn attention(weights: &mut Weights, name: &str) {
    weights.norm(&format!("{name}.norm"), WIDTH);
    weights.conv(&format!("{name}.proj_in"), WIDTH, WIDTH, 1);
    let block = format!("{name}.transformer_blocks.0");
    for (attention, seen) in [("attn1", WIDTH), ("attn2", TEXT)] {
        weights.matrix(&format!("{block}.{attention}.to_q"), WIDTH, WIDTH);
        weights.matrix(&format!("{block}.{attention}.to_k"), seen, WIDTH);
        weights.matrix(&format!("{block}.{attention}.to_v"), seen, WIDTH);
        weights.linear(&format!("{block}.{attention}.to_out.0"), WIDTH, WIDTH);
    }
    weights.linear(&format!("{block}.ff.net.0.proj"), WIDTH, 8 * WIDTH);
    weights.linear(&format!("{block}.ff.net.2"), 4 * WIDTH, WIDTH);
    for norm in 1..=3 {
        weights.norm(&format!("{block}.norm{norm}"), WIDTH);
    }
    weights.conv(&format!("{name}.proj_out"), WIDTH, WIDTH, 1);
}

fn vae_config() -> serde_json::Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.31.0",
        "block_out_channels": ([VAE; 4]),
        "down_block_types": (["DownEncoderBlock2D"; 4]),
        "in_channels": 3,
        "latent_channels": LATENT,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "out_channels": 3,
        "sample_size": 512,
        "scaling_factor": 0.182_15,
        "up_block_types": (["UpDecoderBlock2D"; 4]),
    })
}

fn vae() -> Weights {
    let mut weights = Weights::new();
    // The encoder returns a mean and a variance for each channel; a block of the decoder has one more layer.
    for (half, inputs, outputs, blocks, layers, way) in [
        ("encoder", 3, 2 * LATENT, "down_blocks", 1, "downsamplers"),
        ("decoder", LATENT, 3, "up_blocks", 2, "upsamplers"),
    ] {
        weights.conv(&format!("{half}.conv_in"), inputs, VAE, 3);
        for level in 0..4 {
            for layer in 0..layers {
                resnet(&mut weights, &format!("{half}.{blocks}.{level}.resnets.{layer}"), VAE, VAE, None);
            }
            if level < 3 {
                weights.conv(&format!("{half}.{blocks}.{level}.{way}.0.conv"), VAE, VAE, 3);
            }
        }
        weights.norm(&format!("{half}.mid_block.attentions.0.group_norm"), VAE);
        for matrix in ["to_q", "to_k", "to_v", "to_out.0"] {
            weights.linear(&format!("{half}.mid_block.attentions.0.{matrix}"), VAE, VAE);
        }
        for layer in 0..2 {
            resnet(&mut weights, &format!("{half}.mid_block.resnets.{layer}"), VAE, VAE, None);
        }
        weights.norm(&format!("{half}.conv_norm_out"), VAE);
        weights.conv(&format!("{half}.conv_out"), VAE, outputs, 3);
    }
    weights.conv("quant_conv", 2 * LATENT, 2 * LATENT, 1);
    weights.conv("post_quant_conv", LATENT, LATENT, 1);
    weights
}

fn text_encoder_config() -> serde_json::Value {
    json!({
        "architectures": ["CLIPTextModel"],
        "bos_token_id": clip::start(),
        "eos_token_id": clip::end(),
        "hidden_act": "quick_gelu",
        "hidden_size": TEXT,
        "intermediate_size": 2 * TEXT,
        "max_position_embeddings": clip::LONGEST,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": TEXT_LAYERS,
        "pad_token_id": clip::end(),
        "projection_dim": TEXT,
        "torch_dtype": "float32",
        "vocab_size": clip::words(),
    })
}

fn text_encoder() -> Weights {
    let mut weights = Weights::new();
    weights.embedding("text_model.embeddings.token_embedding", clip::words(), TEXT);
    weights.embedding("text_model.embeddings.position_embedding", clip::LONGEST, TEXT);
    for layer in 0..TEXT_LAYERS {
        let layer = format!("text_model.encoder.layers.{layer}");
        for matrix in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            weights.linear(&format!("{layer}.self_attn.{matrix}"), TEXT, TEXT);
        }
        weights.linear(&format!("{layer}.mlp.fc1"), TEXT, 2 * TEXT);
        weights.linear(&format!("{layer}.mlp.fc2"), 2 * TEXT, TEXT);
        weights.norm(&format!("{layer}.layer_norm1"), TEXT);
        weights.norm(&format!("{layer}.layer_norm2"), TEXT);
    }
    weights.norm("text_model.final_layer_norm", TEXT);
    weights
}
