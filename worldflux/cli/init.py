"""`worldflux init`: the four files of a project."""

from __future__ import annotations

import argparse
from pathlib import Path

from worldflux.cli.answer import Answer
from worldflux.errors import UsageError
from worldflux.manifest.names import project_name

FILES = {
    "worldflux.yaml": """\
# The project file: what every run of this folder starts from.
project: {name}
recipe: default          # what `worldflux run` runs
# runtime: local         # where it runs: worldflux runtime list
# cost_guard: {{max_usd: 5}}
# pass: [HF_TOKEN]       # provider variables that recipes may ask for
""",
    "run.py": '''\
"""A run: do the work, write metrics, leave files in the current folder."""

import argparse
import json
import os
import random

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

random.seed(args.seed)
loss = 1.0
with open(os.environ.get("WORLDFLUX_METRICS", os.devnull), "a", encoding="utf-8") as metrics:
    for step in range(args.steps):
        loss *= 0.9 + 0.05 * random.random()
        metrics.write(json.dumps({{"name": "loss", "value": loss, "step": step}}) + "\\n")

with open("result.json", "w", encoding="utf-8") as result:
    json.dump({{"final_loss": loss, "steps": args.steps}}, result)
print(f"loss {{loss:.4f}} after {{args.steps}} steps")
''',
    "recipes/default/recipe.yaml": """\
description: The project's own run
task: train
source: ../..            # the folder with run.py
command: [python, run.py, --steps, "${{params.steps}}", --seed, "${{seed}}"]
params: {{steps: 20}}
seed: 0
timeout: 10m
metrics:
  final_loss: {{file: result.json, select: final_loss}}
artifacts:
  - {{path: result.json, commit: true}}
""",
    ".gitignore": "runs/\n.worldflux/\n__pycache__/\n",
}


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="DIR", help="where; the current folder by default"
    )
    parser.set_defaults(function=init)


def init(args: argparse.Namespace) -> Answer:
    """Write the files that are missing; a file that is there is never touched."""
    root = Path(args.folder).expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file, not a folder", "worldflux init OTHER")
    name = project_name(root.name)
    written, kept = [], []
    for relative, text in FILES.items():
        path = root / relative
        if path.exists() or path.is_symlink():
            kept.append(relative)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text.format(name=name))
        written.append(relative)
    lines = [f"wrote {relative}" for relative in written] + [
        f"kept  {relative} (it was there)" for relative in kept
    ]
    step = "worldflux run" if root == Path.cwd() else f"cd {args.folder} && worldflux run"
    return Answer({"root": str(root), "written": written, "kept": kept}, "\n".join([*lines, f"next: {step}"]))
