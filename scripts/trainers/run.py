#!/usr/bin/env python3
"""Runs real trainers on mock models, and prints a table: trainer, family, adapter, and what held.

    run.py SMOKE TRAINYARD

SMOKE is the example `smoke`, TRAINYARD the program. The settings are variables:

TRAINERS         a folder with the sources of diffusers, sd-scripts, ai-toolkit, OneTrainer and mgds, as git has them.
                 Rows of trainers that are not in it are not run. Default: none.
TRAINER_PYTHONS  a folder with one virtual environment per trainer. Those that are missing are made with uv, once; they
                 share gigabytes of PyTorch. Default: trainyard/trainers in the user's cache folder.
ROWS             a regular expression over "trainer family adapter", to run these rows only.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from rows import ROWS

HERE = Path(__file__).resolve().parent
TIMEOUT = 900
# One release for most trainers, so that uv links its files and copies none.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]
# What each environment has besides: packages; the requirements in a source folder, less the lines that fit an
# expression (for other systems, for web UIs, repositories); packages that only work with a GPU, which go again; and
# another release of PyTorch.
ENVIRONMENTS = {
    "base": {"packages": ["diffusers", "transformers", "peft", "trl", "datasets", "sentencepiece", "ftfy", "tensorboard"]},
    "llamafactory": {"packages": ["llamafactory"]},
    "axolotl": {"packages": ["axolotl"]},
    # It imports names that later releases of diffusers lack. This diffusers fails with a later torchao, and a later peft
    # refuses this torchao.
    "simpletuner": {
        "packages": ["simpletuner", "transformers==5.5.4", "diffusers==0.36.0", "torchao==0.15.0", "peft==0.18.0"],
        "removed": ["kernels"],
    },
    # Its own pins do not import each other: it wants classes of a newer diffusers, which wants a newer transformers.
    "ai-toolkit": {
        "packages": ["{sources}/diffusers", "transformers==5.24.0", "huggingface-hub<2", "scipy", "matplotlib"],
        "requirements": "ai-toolkit/requirements_base.txt",
        "without": r"git\+|scipy|matplotlib|gradio|torchcodec|huggingface_hub|transformers|^-",
        "removed": ["triton"],
    },
    "onetrainer": {
        "packages": ["diffusers>=0.42", "huggingface-hub<2", "bitsandbytes", "{sources}/mgds"],
        "requirements": "OneTrainer/requirements-global.txt",
        "without": r"git\+|PySide|customtkinter|runpod|fabric|scalene|yt-dlp|huggingface-hub|^-",
        # It calls a method that earlier releases of PyTorch lack.
        "torch": ["torch==2.12.0", "torchvision==0.27.0"],
    },
    # lycoris-lora 4.1.3 gives two modules of Stable Diffusion 1 one name, and stops.
    "sd-scripts": {"packages": ["lycoris-lora<4"], "requirements": "sd-scripts/requirements.txt", "without": r"^-"},
}

def main(smoke, trainyard):
    sources = Path(os.environ["TRAINERS"]).resolve() if os.environ.get("TRAINERS") else None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pythons = Path(os.environ.get("TRAINER_PYTHONS") or cache / "trainyard/trainers").resolve()
    wanted = re.compile(os.environ.get("ROWS") or "")
    tools = [Path(smoke).resolve(), Path(trainyard).resolve()]
    print("| trainer | family | adapter | loads | 3 steps | weights sound | |\n|---|---|---|---|---|---|---|", flush=True)
    passed = ran = 0
    for row in ROWS:
        if wanted.search(f"{row.trainer} {row.family} {row.adapter}"):
            loads, steps, sound, note = attempt(row, sources, pythons, *tools)
            ran += loads is not None
            passed += bool(loads and steps and sound)
            mark = lambda holds: "–" if holds is None else "yes" if holds else "no"
            cells = [named(row, sources, pythons), row.family, row.adapter, mark(loads), mark(steps), mark(sound), note]
            print("| " + " | ".join(cells) + " |", flush=True)
    print(f"\n{passed} of {ran} rows passed, {len(ROWS) - ran} were not run")
    return 0 if passed == ran > 0 else 1


def named(row, sources, pythons):
    """The trainer with its commit or release."""
    if row.source and sources and (sources / row.source).exists():
        git = ["git", "-C", str(sources / row.source), "rev-parse", "--short", "HEAD"]
        return f"{row.trainer} {subprocess.run(git, capture_output=True, text=True).stdout.strip()}"
    package = {"LLaMA-Factory": "llamafactory"}.get(row.trainer, row.trainer.lower())
    found = list((pythons / row.environment).glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    return f"{row.trainer} {found[0].name.removesuffix('.dist-info').split('-')[1]}" if found else row.trainer


def attempt(row, sources, pythons, smoke, trainyard):
    """Returns whether the model loads, three steps are made and the weights are sound, with a note."""
    if row.source and not (sources and (sources / row.source).exists()):
        return None, None, None, f"not run: TRAINERS has no {row.source}"
    why = made(row.environment, pythons, sources)
    if why:
        return None, None, None, f"not run: {why}"
    with tempfile.TemporaryDirectory(prefix="trainyard-trainers-") as folder:
        folder = Path(folder)
        try:
            script = started(row, folder, smoke)
        except subprocess.CalledProcessError as error:
            return False, False, False, "no smoke job: " + error.stderr.strip().splitlines()[-1]
        ended = run(row, script, folder, sources, pythons)
        losses = subprocess.run([trainyard, "losses", folder / "log", "--json"], capture_output=True, text=True)
        seen = json.loads(losses.stdout)["steps_seen"] if losses.returncode == 0 else 0
        steps = ended == 0 and seen >= 3
        sound, note = judged(folder / "output", trainyard)
        if ended != 0:
            note = last_error(folder / "log")
        return ended == 0 or seen > 0, steps, sound, note


def started(row, folder, smoke):
    """Writes the files of the row, and returns the lines for bash that start its trainer."""
    if row.config:
        team = folder / "team" / row.config
        team.parent.mkdir()
        team.write_text(row.text)
        derive = [smoke, "derive", team, folder]
        return subprocess.run(derive, check=True, capture_output=True, text=True).stdout
    for kind, name in [(row.family, "model"), ("images", "all-images"), ("text", "all-texts")]:
        subprocess.run([smoke, "mock", kind, folder / name], check=True, capture_output=True, text=True)
    for name in ["images", "pictures", "texts"]:
        (folder / name).mkdir()
    for path in (folder / "all-images").glob("*.png"):
        for name in ["images", "pictures"]:
            shutil.copy(path, folder / name)
    # datasets takes one of the columns that name files.
    table = [line.split(",", 2) for line in (folder / "all-images/metadata.csv").read_text().splitlines()]
    (folder / "images/metadata.csv").write_text("".join(f"{name},{rest}\n" for name, _, rest in table))
    shutil.copy(folder / "all-texts/chat.jsonl", folder / "texts")
    names = {"HERE": HERE, **{name.upper(): folder / name for name in ["model", "images", "pictures", "texts"]}}
    return "".join(f"{name}='{value}'\n" for name, value in names.items()) + f"OUTPUT='{folder}/output'\n{row.command}\n"


def run(row, script, folder, sources, pythons):
    """Runs the trainer as a smoke job would: offline, on the CPU, with one thread. Returns its exit status."""
    bin = pythons / row.environment / "bin"
    quiet = {
        "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": f"{folder}/huggingface", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200",
        "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled",
    }
    environment = {**os.environ, **quiet, "PATH": f"{bin}:{os.environ['PATH']}", "VIRTUAL_ENV": str(bin.parent)}
    place = sources / row.source if row.source else folder
    with (folder / "log").open("wb") as log:
        try:
            process = ["bash", "-c", script]
            return subprocess.run(process, cwd=place, env=environment, stdout=log, stderr=log, timeout=TIMEOUT).returncode
        except subprocess.TimeoutExpired:
            return 124


def judged(output, trainyard):
    """Returns whether the program finds weights in the folder and nothing wrong with them, with a note."""
    files = sorted(path for path in output.rglob("*.safetensors") if "checkpoint-" not in str(path.relative_to(output)))
    files = files or sorted(output.rglob("*.safetensors"))
    if not files:
        return False, "no weights were saved"
    for path in files:
        found = subprocess.run([trainyard, "inspect", path], capture_output=True, text=True)
        if found.returncode != 0:
            last = found.stdout.strip().splitlines() or found.stderr.strip().splitlines()
            return False, f"{path.name}: {last[-1]}"
    return True, ""


def last_error(log):
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    # The launcher's own error only says that the trainer ended.
    told = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line) and "CalledProcessError" not in line]
    return (told or lines or ["no output"])[-1][:160].replace("|", "/")


def made(name, pythons, sources):
    """Makes an environment if it is missing. Returns the reason if it cannot be made."""
    folder = pythons / name
    if (folder / "bin/python").exists():
        return None
    wanted = ENVIRONMENTS[name]
    packages = [package.format(sources=sources) for package in wanted["packages"]]
    if "requirements" in wanted:
        lines = (sources / wanted["requirements"]).read_text().splitlines()
        lines = [line.split("#")[0].strip() for line in lines]
        packages += [line for line in lines if line and not re.search(wanted["without"], line)]
    uv = pythons / "uv"
    if not (uv / "bin/uv").exists():
        venv.create(uv, with_pip=True)
        subprocess.run([uv / "bin/pip", "install", "--quiet", "uv"], check=True)
    environment = {**os.environ, "UV_CACHE_DIR": str(pythons / "cache")}
    steps = [["venv", "--quiet", folder], ["pip", "install", "--quiet", "--python", folder, *wanted.get("torch", TORCH), *packages]]
    if "removed" in wanted:
        steps.append(["pip", "uninstall", "--quiet", "--python", folder, *wanted["removed"]])
    for step in steps:
        done = subprocess.run([uv / "bin/uv", *step], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            return (done.stderr.strip().splitlines() or ["uv failed"])[-1][:160]
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
