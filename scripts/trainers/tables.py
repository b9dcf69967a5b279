#!/usr/bin/env python3
"""Fills the tables of tensors in crates/lora/src/mock/models from the configs next to them.

    tables.py MODEL.json...

The models are made by the diffusers and transformers that this Python has. The names and shapes of what they save
become the table; names that differ in one place only share a line. Run it after a change of a config.
"""
import json
import math
import re
import sys
import tempfile
from pathlib import Path

import diffusers
import transformers
from safetensors import safe_open


def made(config):
    if "_class_name" in config:
        return getattr(diffusers, config["_class_name"]).from_config(config)
    kind = getattr(transformers, config["architectures"][0])
    return kind(kind.config_class.from_dict(dict(config)))


def tensors(config):
    with tempfile.TemporaryDirectory() as folder:
        made(config).save_pretrained(folder)
        (path,) = Path(folder).glob("*.safetensors")
        with safe_open(path, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    # transformers 5 saves this class without the prefix that released models have.
    prefix = "text_model." if config.get("architectures") == ["CLIPTextModel"] else ""
    return {name if name.startswith(prefix) else prefix + name: shape for name, shape in found.items()}


def merged(rows, place, numbers):
    """Merges rows that differ only in the part of the name at `place`."""
    groups = {}
    for name, shape in rows:
        fits = len(name) > place and all(part.isdigit() for part in name[place]) == numbers
        key = (name[:place], name[place + 1 :], shape) if fits else (name, shape)
        groups.setdefault(key, []).append((name, shape))
    result = []
    for members in groups.values():
        name, shape = members[0]
        parts = tuple(part for other, _ in members for part in other[place]) if len(members) > 1 else name[place : place + 1]
        result.append((name[:place] + (parts,) + name[place + 1 :], shape) if len(members) > 1 else (name, shape))
    return result


def shown(parts):
    if len(parts) == 1:
        return parts[0]
    if all(part.isdigit() for part in parts):
        numbers = sorted(map(int, parts))
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{{{numbers[0]}..{numbers[-1]}}}"
        parts = map(str, numbers)
    return "{" + ",".join(parts) + "}"


def table(config):
    found = tensors(config)
    natural = lambda name: [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]
    rows = [(tuple((part,) for part in name.split(".")), found[name]) for name in sorted(found, key=natural)]
    longest = max(len(name) for name, _ in rows)
    for _ in range(2):
        for numbers in (True, False):
            for place in range(longest):
                rows = merged(rows, place, numbers)
    assert sum(math.prod(map(len, name)) for name, _ in rows) == len(found)
    return {".".join(map(shown, name)): list(shape) for name, shape in rows}


def written(value):
    """JSON with a line for each key, and lists of plain values on one line."""
    text = json.dumps(value, indent=2)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match.group().split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"


for path in map(Path, sys.argv[1:]):
    model = json.loads(path.read_text())
    for part in model["parts"].values():
        if isinstance(part["tensors"], dict):
            part["tensors"] = table(part["config"])
    path.write_text(written(model))
    print(path)
