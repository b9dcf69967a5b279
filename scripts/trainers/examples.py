#!/usr/bin/env python3
"""Lints what the trainers publish: example configs, scripts and pages. Prints a table, and fails at a false error.

    examples.py TRAINYARD

TRAINYARD is the program, and the variable TRAINERS a folder with the sources of the trainers, as git has them. An error
is expected if `expected-errors.tsv` has it with the reason why the trainer itself refuses the file. Another release of a
trainer may have mended some of these.
"""
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAINERS = [
    "axolotl", "LLaMA-Factory", "sd-scripts", "ai-toolkit", "SimpleTuner", "OneTrainer", "musubi-tuner", "trl", "ms-swift",
    "diffusers",
]
TIMEOUT = 600


def main(trainyard):
    sources = Path(os.environ["TRAINERS"]).resolve() if os.environ.get("TRAINERS") else None
    expected = known()
    print("| trainer | files | errors | expected | gone | |\n|---|---|---|---|---|---|", flush=True)
    surprises = []
    for trainer in TRAINERS:
        source = sources / trainer if sources else None
        if not (source and source.is_dir()):
            print(f"| {trainer} | | | | | not run: TRAINERS has no {trainer} |", flush=True)
            continue
        files, errors = linted(Path(trainyard).resolve(), source)
        found = {place(error) for error in errors}
        awaited = {tuple(row) for of, *row in expected if of == trainer}
        new = [error for error in errors if place(error) not in awaited]
        surprises += [(trainer, error) for error in new]
        cells = [trainer, files, len(errors), len(errors) - len(new), len(awaited - found), ""]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    for trainer, error in surprises:
        print(f"{trainer}: {error['file']}:{error['line']}: {error['message']} [{error['rule']}]")
    if surprises:
        print(f"{len(surprises)} errors are not in {HERE.name}/expected-errors.tsv: mend the rule, or say there why the "
              "trainer itself refuses the file")
    return 1 if surprises else 0


def place(error):
    return error["file"], error["rule"], error["key"] or ""


def known():
    """The expected errors: trainer, file, rule and key. Each has a reason."""
    with (HERE / "expected-errors.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert all(row["reason"] for row in rows), "an expected error has no reason"
    return [(row["trainer"], row["file"], row["rule"], row["key"]) for row in rows]


def linted(trainyard, source):
    """Returns the number of files that the linter reads, and its errors."""
    run = lambda *more: subprocess.run([trainyard, "lint", *more, "."], cwd=source, capture_output=True, text=True, timeout=TIMEOUT)
    problems = json.loads(run("--format", "json").stdout)["problems"]
    count = re.search(r"^(\d+) files? checked", run().stdout, re.MULTILINE)
    return count[1] if count else 0, [problem for problem in problems if problem["severity"] == "error"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
