"""Finding recipes on disk, without Hydra."""

from __future__ import annotations

import os
from pathlib import Path

from worldflux.config.project import RECIPE_FILES, Project, builtin_dir

RECIPE_GROUP = "recipe"
_SUFFIXES = (".yaml", ".yml")


def recipe_folders(project: Project) -> list[Path]:
    """Folders that hold recipes, the project's first."""
    folders = [project.root / "recipes", builtin_dir("recipes")]
    seen: list[Path] = []
    for folder in folders:
        if folder.is_dir() and folder.resolve() not in [known.resolve() for known in seen]:
            seen.append(folder)
    return seen


def find_recipe(folder: Path, name: str) -> Path | None:
    """The file of recipe `name` in one folder, or None. `name` may hold `/`, never `..`."""
    parts = name.split("/")
    if not all(parts) or ".." in parts:
        return None
    for file in (
        *(folder / (name + suffix) for suffix in _SUFFIXES),
        *(folder / name / f for f in RECIPE_FILES),
    ):
        if parts[-1] != "recipe" and file.is_file():
            return file
    return None


def locate_recipe(project: Project, name: str) -> tuple[Path, Path] | None:
    """The file of a recipe and the recipes folder it was found in; the project's comes first."""
    for folder in recipe_folders(project):
        file = find_recipe(folder, name)
        if file is not None:
            return file, folder
    return None


def recipe_label(file: Path, folder: Path) -> str:
    """How messages call a recipe's file: `recipes/NAME/recipe.yaml`."""
    return f"recipes/{file.relative_to(folder).as_posix()}"


def list_recipes(folder: Path) -> list[str]:
    """Names of all recipes of one folder, sorted; `team/a` for one in a sub-folder."""
    names: set[str] = set()
    for root, folders, files in os.walk(folder):
        here = Path(root).relative_to(folder)
        folders[:] = [f for f in folders if not f.startswith((".", "__"))]
        if here.parts and any(file in RECIPE_FILES for file in files):
            names.add(here.as_posix())
            folders[:] = []
            continue
        names |= {(here / Path(file).stem).as_posix() for file in files if Path(file).suffix in _SUFFIXES}
    return sorted(names)


def all_recipes(project: Project) -> list[str]:
    """Names of the recipes a project can use, sorted."""
    return sorted({name for folder in recipe_folders(project) for name in list_recipes(folder)})


def group_options(project: Project, group: str) -> list[str]:
    """Options of a config group (`runtime`, `cost_guard`, ...), the project's and the built-in ones."""
    if group == RECIPE_GROUP:
        return all_recipes(project)
    names: set[str] = set()
    for folder in (project.root / "conf" / group, builtin_dir("conf") / group):
        if folder.is_dir():
            names |= {f.stem for f in folder.iterdir() if f.suffix in _SUFFIXES and f.is_file()}
    return sorted(names)


def group_names(project: Project) -> list[str]:
    """Config groups that can be chosen on the command line."""
    names = {RECIPE_GROUP}
    for folder in (project.root / "conf", builtin_dir("conf")):
        if folder.is_dir():
            names |= {
                f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__", "hydra"))
            }
    return sorted(names)


def mentions(project: Project, word: bytes) -> bool:
    """Whether a recipe, or a configuration file of the project, has a word in it, in comments too."""
    conf = project.root / "conf"
    files = [file for file in conf.rglob("*") if file.suffix in _SUFFIXES] if conf.is_dir() else []
    for name in all_recipes(project):
        found = locate_recipe(project, name)
        files += [found[0]] if found is not None else []
    for file in files:
        try:
            if word in file.read_bytes():
                return True
        except OSError:  # told when somebody needs it
            continue
    return False
