"""Weights in and out: the frozen base model, the trained LoRA."""

import datetime
import hashlib
import json
import os

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file


def load_base(model, path):
    """Loads the base model, or, for a stand-in file as CI makes it with dd, seeds random weights by its contents."""
    size = os.path.getsize(path)
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except SafetensorError:
        shapes = None
    if shapes == {key: tuple(value.shape) for key, value in model.state_dict().items()}:
        model.load_state_dict(load_file(path))
        return f"base model {path}: {len(shapes)} tensors"
    with open(path, "rb") as file:
        digest = hashlib.sha256(str(size).encode() + file.read(1 << 20)).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    why = "is no safetensors file" if shapes is None else "holds another model"
    return f"note: {path} {why}; the base weights are RANDOM, seeded by the file's contents"


def save_lora(adapters, path, config, facts):
    """Writes the adapters under the names and with the metadata that LoRA loaders look for."""
    tensors = {}
    for name, adapter in adapters.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = adapter.lora_down.weight
        tensors[f"{key}.lora_up.weight"] = adapter.lora_up.weight
        tensors[f"{key}.alpha"] = adapter.alpha
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    rank, conv_rank, alpha = config["lora_rank"], config["conv_lora_rank"], config["lora_alpha"]
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": alpha,
        "ss_network_args": json.dumps({"conv_dim": conv_rank, "conv_alpha": alpha * conv_rank / rank}),
        "ss_base_model_version": "tiny_unet_v1",
        "ss_sd_model_name": os.path.basename(config["base_model"]),
        "ss_learning_rate": config["learning_rate"],
        "ss_batch_size_per_device": config["batch_size"],
        "ss_resolution": f"({config['resolution']}, {config['resolution']})",
        "ss_mixed_precision": config["mixed_precision"],
        "ss_seed": config["seed"],
        **facts,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "tiny-unet-v1/lora",
        "modelspec.implementation": "lora-scripts",
        "modelspec.title": os.path.splitext(os.path.basename(path))[0],
        "modelspec.date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "modelspec.resolution": f"{config['resolution']}x{config['resolution']}",
        "modelspec.prediction_type": "epsilon",
    }  # and no captions or folder names: a published file should not tell them
    # A reader, or a killed job, never sees half a file; and others than its owner may read it.
    save_file(tensors, path + ".part", {key: str(value) for key, value in metadata.items()})
    os.chmod(path + ".part", 0o644)
    os.replace(path + ".part", path)
