"""The training config: one YAML file, every key checked before anything is loaded."""

import math

import yaml

REQUIRED = object()
# key: (type, default, what a good value looks like, test)
KEYS = {
    "train_data_dir": (str, REQUIRED, "a folder", None),
    "metadata_path": (str, REQUIRED, "a CSV file", None),
    "base_model": (str, REQUIRED, "a .safetensors file", None),
    "output_dir": (str, REQUIRED, "a folder", None),
    "lora_rank": (int, REQUIRED, "an integer from 1 to 1024", lambda v: 1 <= v <= 1024),
    "conv_lora_rank": (int, 0, "an integer from 0 (no LoRA on convolutions) to 1024", lambda v: 0 <= v <= 1024),
    "lora_alpha": (float, None, "a number above 0", lambda v: v > 0),
    "batch_size": (int, REQUIRED, "an integer from 1", lambda v: v >= 1),
    "epochs": (int, None, "an integer from 1", lambda v: v >= 1),
    "max_train_steps": (int, None, "an integer from 1", lambda v: v >= 1),
    "learning_rate": (float, REQUIRED, "a number above 0 and at most 1", lambda v: 0 < v <= 1),
    "save_steps": (int, None, "an integer from 1", lambda v: v >= 1),
    "resolution": (int, 256, "a multiple of 16 from 64 to 4096", lambda v: 64 <= v <= 4096 and v % 16 == 0),
    "mixed_precision": (str, "no", "no, fp16 or bf16", lambda v: v in ("no", "fp16", "bf16")),
    "num_workers": (int, 0, "an integer from 0 to 64", lambda v: 0 <= v <= 64),
    "seed": (int, 0, "an integer from 0", lambda v: v >= 0),
}


class ConfigError(Exception):
    """All the problems of one file, a line each."""


def load(path):
    """Reads and checks the file; missing optional keys come back with their defaults."""
    try:
        with open(path, encoding="utf-8") as file:
            raw = yaml.safe_load(file)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: {getattr(error, 'problem', error)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values")

    problems = [f"{key} is not a known key" for key in raw if key not in KEYS]
    config = {}
    for key, (kind, default, good, test) in KEYS.items():
        value = raw.get(key)
        if value is None:
            if default is REQUIRED:
                problems.append(f"{key} is required")
            config[key] = default
            continue
        value = _convert(key, kind, value)
        if value is None or (test and not test(value)):
            problems.append(f"{key} must be {good}, not {raw[key]!r}")
        config[key] = value
    if (raw.get("epochs") is None) == (raw.get("max_train_steps") is None):
        problems.append("exactly one of epochs and max_train_steps is required")
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return config


def _convert(key, kind, value):
    """The value as `kind`, or None. Lenient only where YAML 1.1 reads something else than what was meant."""
    if key == "mixed_precision" and value is False:
        return "no"  # a bare `no` is a boolean
    if kind is float and isinstance(value, str):
        try:
            value = float(value)  # `1e-4` has no dot, so it is a string
        except ValueError:
            return None
    if isinstance(value, bool):
        return None  # `true` is an int in Python, but never meant as one
    if kind is float and isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return value if isinstance(value, kind) and value != "" else None
