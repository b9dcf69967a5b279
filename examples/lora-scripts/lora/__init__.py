"""A small LoRA trainer, whole and readable: config, data, model, weights."""
