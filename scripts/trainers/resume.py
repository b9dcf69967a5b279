#!/usr/bin/env python3
"""Interrupts real trainings at a checkpoint, lets them go on as a train job does, and compares the weights with those of
trainings without a break. Prints a table.

    resume.py SMOKE

SMOKE is the example `smoke`. The trainers come from PyPI; run.py describes TRAINER_PYTHONS.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import ROWS, derived
from run import last_error, made, named, run

STEPS, SAVED = 6, 2
TRL = """\
model_name_or_path: meta-llama/Llama-3.2-1B
dataset_name: our/chats
use_peft: true
lora_r: 16
lora_target_modules: [q_proj, v_proj]
learning_rate: 1.0e-4
output_dir: out
"""
TRAINERS = ["LLaMA-Factory", "axolotl"]


def main(smoke):
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pythons = Path(os.environ.get("TRAINER_PYTHONS") or cache / "trainyard/trainers").resolve()
    rows = [derived("trl", "base", None, "llama", "LoRA", "train.yaml", TRL)]
    rows += [row for row in ROWS if (row.family, row.adapter) == ("llama", "LoRA") and row.trainer in TRAINERS]
    print("| trainer | steps after the break | weights | |\n|---|---|---|---|", flush=True)
    failed = 0
    for row in rows:
        steps, is_same, note = attempt(row, pythons, Path(smoke).resolve())
        failed += not is_same
        cells = [named(row, None, pythons), steps, "the same" if is_same else "others", note]
        print("| " + " | ".join(cells) + " |", flush=True)
    return 1 if failed else 0


def attempt(row, pythons, smoke):
    """Returns the steps of the training that goes on, whether its weights are those of one without a break, and a note."""
    why = made(row.environment, pythons, None)
    if why:
        return "–", False, f"not run: {why}"
    with tempfile.TemporaryDirectory(prefix="trainyard-trainers-") as folder:
        folder = Path(folder)
        team = folder / "team" / row.config
        team.parent.mkdir()
        team.write_text(row.text)
        lines = subprocess.run([smoke, "derive", team, folder], check=True, capture_output=True, text=True).stdout
        variables = "".join(line + "\n" for line in lines.splitlines() if line.startswith("export "))
        config, output = folder / "config.yaml", folder / "output"
        config.write_text(changed(config.read_text()))
        command = subprocess.run([smoke, "train", config], check=True, capture_output=True, text=True).stdout
        if run(row, variables + command, folder, None, pythons) != 0:
            return "–", False, last_error(folder / "log")
        whole = digest(output)
        checkpoint = output / f"checkpoint-{SAVED}"
        for path in output.iterdir():
            if path != checkpoint:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        resumed = f"export RESUME_FROM='{checkpoint}'\n"
        if run(row, variables + resumed + command, folder, None, pythons) != 0:
            return "–", False, last_error(folder / "log")
        log = (folder / "log").read_text(errors="replace")
        steps = sorted({int(step) for step in re.findall(rf"\b(\d+)/{STEPS} ", log)} - {0})
        is_right = steps == list(range(SAVED + 1, STEPS + 1)) and digest(output) == whole
        return ", ".join(map(str, steps)), is_right, ""


def changed(text):
    """The config with more steps, and a checkpoint after each second one."""
    kept = [line for line in text.splitlines() if not re.match(r"(max_steps|save_\w+|saves_\w+|seed):", line)]
    return "\n".join([*kept, f"max_steps: {STEPS}", f"save_steps: {SAVED}", "seed: 1"]) + "\n"


def digest(output):
    return hashlib.sha256((output / "adapter_model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
