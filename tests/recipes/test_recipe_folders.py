"""The folders of the built-in recipes: what a reader, a lock and the configuration may rely on."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from worldflux.config.compose import Composer
from worldflux.config.project import load_project

RECIPES = Path(__file__).parents[2] / "recipes"
FOLDERS = sorted(path.parent for path in RECIPES.glob("*/recipe.yaml"))
EACH = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
LOCKED = pytest.mark.parametrize(
    "folder", [f for f in FOLDERS if (f / "requirements.lock").exists()], ids=lambda folder: folder.name
)
PROGRAMS = [program for folder in FOLDERS for program in sorted(folder.glob("*.py"))]
KEYS = {
    "description", "adapter", "task", "command", "params", "seed", "env", "inputs", "timeout", "metrics",
    "artifacts", "requires", "deterministic", "policy", "source",
}  # fmt: skip
REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9.a-z]*)"
    r"(?: ; (?P<marker>[^\\]+?))?(?: --hash=sha256:[0-9a-f]{64})+"
)


def recipe_of(folder: Path) -> dict[str, Any]:
    found = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def lock_lines(folder: Path) -> list[str]:
    """Requirements of a lock, one a line, without comments."""
    text = (folder / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    kept = (
        re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if not line.strip().startswith("#")
    )
    return [line for line in kept if line]


def test_the_promised_recipes_are_there() -> None:
    """Six recipes come with WorldFlux, each in a folder of its own."""
    assert [folder.name for folder in FOLDERS] == [
        "cpu-smoke", "dreamer-light", "gymnasium-eval", "lerobot-eval", "mujoco-rollout", "tiny-jepa-eval",
    ]  # fmt: skip


@EACH
def test_recipe_is_plain_yaml_with_documented_keys(folder: Path) -> None:
    """A recipe reads without tricks: no anchors, no aliases, no tags, no key that is not documented."""
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    assert not [e for e in events if isinstance(e, yaml.AliasEvent) or getattr(e, "anchor", None)]
    assert not [e for e in events if getattr(e, "tag", None)]
    assert set(recipe_of(folder)) <= KEYS


@EACH
def test_recipe_says_what_it_does_and_for_how_long(folder: Path) -> None:
    """Every recipe has a description, a task, a seed, a time limit and commits what its metrics are read from."""
    recipe = recipe_of(folder)
    assert recipe["description"] and recipe["timeout"] and recipe["seed"] == 0
    assert recipe["task"] in ("generate", "rollout", "eval", "train")
    committed = {artifact["path"] for artifact in recipe["artifacts"] if artifact["commit"]}
    assert {metric["file"] for metric in recipe["metrics"].values()} <= committed


@EACH
def test_recipe_composes_with_its_settings_in_the_command(folder: Path, tmp_path: Path) -> None:
    """Each parameter and the seed reach the command, and the configuration accepts the whole recipe."""
    recipe = recipe_of(folder)
    composer = Composer(load_project(tmp_path))
    changed = [f"params.{name}=4321" for name, value in recipe["params"].items() if isinstance(value, int)]
    run = composer.compose([f"+recipe={folder.name}", "seed=1234", *changed])
    assert run.spec.command[0] == "python" and (folder / run.spec.command[1]).is_file()
    assert "1234" in run.spec.command and run.spec.command.count("4321") == len(changed)
    words = " ".join(recipe["command"])
    assert all(f"${{params.{name}}}" in words for name in recipe["params"])
    assert run.source_dir.resolve() == folder.resolve()


@EACH
def test_readme_covers_the_recipe(folder: Path) -> None:
    """The README shows how to run it and names every metric, every parameter and the licences it brings in."""
    readme, recipe = (folder / "README.md").read_text(encoding="utf-8"), recipe_of(folder)
    assert f"worldflux-run +recipe={folder.name}\n" in readme
    named = [*recipe["metrics"], *(f"params.{name}" for name in recipe["params"])]
    assert [name for name in named if name not in readme] == []
    assert "Licence of third parties" in readme or "env" not in recipe


@EACH
def test_pictures_are_small_and_shown(folder: Path) -> None:
    """Each picture in the folder is a whole PNG under 150 kB that the README shows, and none is missing."""
    from PIL import Image

    readme = (folder / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme))
    assert shown == {picture.name for picture in folder.glob("*.png")}
    assert shown or "env" not in recipe_of(folder)
    for picture in folder.glob("*.png"):
        assert picture.stat().st_size < 150_000
        with Image.open(picture) as image:
            image.verify()


@EACH
def test_nothing_names_a_machine_or_a_registry(folder: Path) -> None:
    """No text of a recipe carries an address, a host or a path of the machine it was written on."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".md", ".py", ".yaml", ".in", ".lock"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"://|\b[a-z0-9-]+\.(?:org|com|io|net)\b", text), path.name
            assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp|usr|opt|Users)/", text), path.name


@LOCKED
def test_lock_pins_and_hashes_everything(folder: Path) -> None:
    """Every line of a lock is one exact version with SHA-256 hashes, and nothing else."""
    lines = lock_lines(folder)
    assert lines and [line for line in lines if not REQUIREMENT.fullmatch(line)] == []


@LOCKED
def test_lock_belongs_to_its_input(folder: Path) -> None:
    """The lock holds every requirement of requirements.in, in the same version, for every Python."""
    pins = {match["name"]: match for match in map(REQUIREMENT.fullmatch, lock_lines(folder)) if match}
    for line in (folder / "requirements.in").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        assert pins[name]["version"] == version and not pins[name]["marker"]
    assert recipe_of(folder)["env"]["requirements"] == "requirements.lock"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_programs_stand_on_their_own(program: Path) -> None:
    """A program never imports WorldFlux, and imports only the standard library, its neighbours and its lock."""
    tree = ast.parse(program.read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    neighbours = {path.stem for path in program.parent.glob("*.py")}
    locked = {"pillow": "PIL"}
    if (program.parent / "requirements.in").exists():
        for line in (program.parent / "requirements.in").read_text(encoding="utf-8").splitlines():
            name = line.partition("==")[0]
            locked.setdefault(name, name.replace("-", "_"))
    assert imported <= set(sys.stdlib_module_names) | neighbours | set(locked.values())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_programs_stay_readable(program: Path) -> None:
    """Programs are examples to copy from: at most 400 lines, 50 a function, and each says what it is for."""
    text = program.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= 400 and ast.get_docstring(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 50] == []
