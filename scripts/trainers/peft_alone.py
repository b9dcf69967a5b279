#!/usr/bin/env python3
"""Trains an adapter on a mock model, with nothing but peft and the library that loads the model.

    peft_alone.py MODEL-FOLDER ADAPTER OUTPUT-FOLDER

ADAPTER is lora, dora, lokr or loha, or several of them with commas between; each gets a folder of its own below
OUTPUT-FOLDER. A pipeline is loaded whole; its U-Net or transformer is trained for three steps on
random latents. A language model is trained on three texts.
"""
import sys
from pathlib import Path

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

STEPS = 3


def adapted(model, adapter, targets):
    options = {"target_modules": targets, "r": 4}
    if adapter in ("lora", "dora"):
        config = LoraConfig(lora_alpha=4, use_dora=adapter == "dora", **options)
    else:
        config = {"lokr": LoKrConfig, "loha": LoHaConfig}[adapter](alpha=4, **options)
    return get_peft_model(model, config)


def language_model(folder, adapter):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How many letters has apple?"}, {"role": "assistant", "content": "5."}], tokenize=False
    )
    tokens = tokenizer(chat, return_tensors="pt")
    model = adapted(model, adapter, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    return model, lambda: model(**tokens, labels=tokens["input_ids"]).loss


def pipeline_model(folder, adapter):
    import diffusers

    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    kind = type(pipeline).__name__
    name = "unet" if hasattr(pipeline, "unet") else "transformer"
    model = adapted(getattr(pipeline, name), adapter, ["to_q", "to_k", "to_v", "to_out.0"])
    image = torch.rand(1, 3, 128, 128) * 2 - 1
    is_video = kind in ("WanPipeline", "QwenImagePipeline")
    with torch.no_grad():
        latents = pipeline.vae.encode(image.unsqueeze(2) if is_video else image).latent_dist.mode()
        inputs = arguments(kind, pipeline, latents)

    def run():
        return model(**inputs).sample

    return model, aimed(run)


def arguments(kind, pipeline, latents):
    """The arguments of the trained model, with the prompt as the pipeline's own code encodes it."""
    told, time = "a red gradient, smoke test", torch.tensor([500])
    plain = {"hidden_states": latents, "timestep": time}
    if kind == "StableDiffusionPipeline":
        text, _ = pipeline.encode_prompt(told, "cpu", 1, False)
        return {"sample": latents, "timestep": time, "encoder_hidden_states": text}
    if kind == "StableDiffusionXLPipeline":
        text, _, pooled, _ = pipeline.encode_prompt(told, device="cpu", do_classifier_free_guidance=False)
        more = {"text_embeds": pooled, "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]])}
        return {"sample": latents, "timestep": time, "encoder_hidden_states": text, "added_cond_kwargs": more}
    if kind == "StableDiffusion3Pipeline":
        text, _, pooled, _ = pipeline.encode_prompt(told, None, None, do_classifier_free_guidance=False)
        return {**plain, "encoder_hidden_states": text, "pooled_projections": pooled}
    if kind == "WanPipeline":
        text, _ = pipeline.encode_prompt(told, do_classifier_free_guidance=False)
        return {**plain, "encoder_hidden_states": text}
    packed = {"hidden_states": pipeline._pack_latents(latents, 1, 16, 16, 16), "timestep": time / 1000}
    if kind == "QwenImagePipeline":
        text, mask = pipeline.encode_prompt(told)
        more = {"encoder_hidden_states_mask": mask, "img_shapes": [[(1, 8, 8)]]}
        return {**packed, "encoder_hidden_states": text, **more}
    text, pooled, text_ids = pipeline.encode_prompt(told, None)
    image_ids = pipeline._prepare_latent_image_ids(1, 8, 8, "cpu", torch.float32)
    more = {"pooled_projections": pooled, "img_ids": image_ids, "txt_ids": text_ids, "guidance": torch.tensor([3.5])}
    return {**packed, "encoder_hidden_states": text, **more}


def aimed(run):
    """The distance to fixed random numbers."""
    wanted = None

    def loss():
        nonlocal wanted
        got = run()
        wanted = torch.randn_like(got) if wanted is None else wanted
        return torch.nn.functional.mse_loss(got, wanted)

    return loss


def main(folder, adapters, output):
    is_pipeline = (Path(folder) / "model_index.json").exists()
    for adapter in adapters.split(","):
        torch.manual_seed(0)
        model, loss = (pipeline_model if is_pipeline else language_model)(folder, adapter)
        train(model, loss)
        model.save_pretrained(Path(output) / adapter)


def train(model, loss):
    optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=1e-3)
    for step in range(1, STEPS + 1):
        found = loss()
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}/{STEPS} loss={found.item():.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
