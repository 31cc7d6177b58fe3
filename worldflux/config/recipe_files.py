"""The files that belong to a recipe: its own, its code, its requirements; each read once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worldflux.config.project import Project
from worldflux.config.recipes import locate_recipe, recipe_label
from worldflux.errors import Fault

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec


class RecipeFiles:
    """Finds the files of the recipes of one project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._located: dict[str, tuple[Path, Path] | None] = {}
        self._locks: dict[Path, str] = {}

    def locate(self, name: str) -> tuple[Path, Path] | None:
        """File of a recipe and the folder of recipes it was found in; None when there is none."""
        if name not in self._located:
            self._located[name] = locate_recipe(self.project, name)
        return self._located[name]

    def source_dir(self, spec: RunSpec, file: Path, folder: Path, faults: list[Fault]) -> Path:
        """The folder with the recipe's code: its own, or for a single file the project's."""
        own = file.parent if file.parent != folder else folder.parent
        if spec.source is None:
            return own
        source = (file.parent / spec.source).resolve()
        where = f"{recipe_label(file, folder)}:source"
        if not source.is_dir():
            faults.append(
                Fault(where, f"there is no folder {spec.source}", "the path is relative to the recipe's file")
            )
        elif not source.is_relative_to(self.project.root.resolve()) and not source.is_relative_to(
            own.resolve()
        ):
            faults.append(Fault(where, "the folder lies outside the project"))
        return source

    def lock_text(
        self, spec: RunSpec, file: Path, folder: Path, faults: list[Fault]
    ) -> tuple[str, Path | None]:
        """The requirements of the recipe as text, and the file they stand in."""
        wanted = spec.env.requirements
        if wanted is None:
            return "", None
        if isinstance(wanted, tuple):
            return "".join(f"{line}\n" for line in wanted), None
        where = f"{recipe_label(file, folder)}:env.requirements"
        path = file.parent / wanted
        try:
            if path not in self._locks:
                self._locks[path] = path.read_text(encoding="utf-8")
            return self._locks[path], path
        except (OSError, UnicodeDecodeError):
            hint = "the path is relative to the recipe's file"
            faults.append(Fault(where, f"there is no readable file {wanted}", hint))
            return "", path
