#!/usr/bin/env python3
"""Trains a LoRA: python train.py --config configs/style.yaml"""

import argparse
import contextlib
import math
import os
import sys
import time

from lora import config as configs  # checked first: importing torch takes seconds


def train(config):
    import torch
    from torch.nn import functional as F

    from lora.data import Captioned
    from lora.unet import UNet, adapt
    from lora.weights import load_base, save_lora

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if config["mixed_precision"] == "fp16" and device == "cpu":
        raise SystemExit("error: mixed_precision fp16 needs a GPU; say bf16 or no")
    precision = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}[config["mixed_precision"]]

    images = Captioned(config["train_data_dir"], config["metadata_path"], config["resolution"])
    model = UNet()
    print(load_base(model, config["base_model"]))
    torch.manual_seed(config["seed"])
    adapters = adapt(model, config["lora_rank"], config["conv_lora_rank"], config["lora_alpha"])
    model.to(device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    print(f"{len(images)} images at {config['resolution']}x{config['resolution']}, {len(adapters)} LoRA modules with"
          f" {sum(weight.numel() for weight in weights):,} weights, on {device}", flush=True)

    loader = torch.utils.data.DataLoader(images, config["batch_size"], shuffle=True, num_workers=config["num_workers"])
    steps = config["max_train_steps"] or config["epochs"] * len(loader)
    optimizer = torch.optim.AdamW(weights, lr=config["learning_rate"])
    scaler = torch.cuda.amp.GradScaler(enabled=config["mixed_precision"] == "fp16")  # or small gradients become 0
    # How much of the image is left at each of the 1000 noise levels (the schedule of Stable Diffusion).
    left = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, device=device) ** 2, 0)
    started = time.time()

    def save(name, step):
        save_lora(adapters, os.path.join(config["output_dir"], name), config, {
            "ss_steps": step, "ss_max_train_steps": steps, "ss_epoch": math.ceil(step / len(loader)),
            "ss_num_train_images": len(images), "ss_training_started_at": started,
            "ss_training_finished_at": time.time()})

    step = 0
    while step < steps:
        for image, tokens in loader:
            step += 1
            image, tokens = image.to(device), tokens.to(device)
            # Noise levels spread evenly over the batch: the loss of a step says more about the training than about luck.
            spread = torch.arange(len(image), device=device) * 1000 // len(image)
            noise, level = torch.randn_like(image), (torch.randint(0, 1000, (1,), device=device) + spread) % 1000
            kept = left[level][:, None, None, None]
            noisy = kept.sqrt() * image + (1 - kept).sqrt() * noise
            with torch.autocast(device, precision) if precision else contextlib.nullcontext():
                loss = F.mse_loss(model(noisy, level.float(), tokens).float(), noise)
            if not math.isfinite(loss.item()):
                raise SystemExit(f"error: the loss is {loss.item()} at step {step}/{steps}; try a lower learning_rate")
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            print(f"step {step}/{steps} loss={loss.item():.4f} lr={config['learning_rate']:.1e}", flush=True)
            if step == steps:
                break
            if config["save_steps"] and step % config["save_steps"] == 0:
                save(f"lora_weights-step{step:06}.safetensors", step)

    # An exit status of 0 must mean trained: finite weights, and not one adapter still where it started.
    still = [name for name, adapter in adapters.items() if not adapter.lora_up.weight.any()]
    if still or not all(weight.isfinite().all() for weight in weights):
        raise SystemExit(f"error: did not train: {still or 'weights are not finite'}")
    save("lora_weights.safetensors", step)
    print(f"wrote {os.path.join(config['output_dir'], 'lora_weights.safetensors')} after {time.time() - started:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file, see configs/style.yaml")
    path = parser.parse_args().config
    try:
        config = configs.load(path)
        if not os.path.isfile(config["base_model"]):
            raise configs.ConfigError(f"{path}: base_model {config['base_model']} does not exist")
    except configs.ConfigError as error:
        raise SystemExit("\n".join(f"config error: {line}" for line in str(error).splitlines())) from None
    config["lora_alpha"] = config["lora_alpha"] or float(config["lora_rank"])
    os.makedirs(config["output_dir"], exist_ok=True)

    from lora.data import DataError

    try:
        train(config)
    except DataError as error:
        reason = str(error).strip().splitlines()[-1]  # a loader's worker puts its traceback before it
        raise SystemExit(f"data error: {reason.partition('DataError: ')[2] or reason}") from None


if __name__ == "__main__":
    sys.exit(main())
