"""Where configuration is looked up: the project's folders first, then the built-in ones.

Hydra finds its configs through sources on a search path. Two sources are added in code, not as
installed plugins, so no other Hydra application of the same environment sees them:

    recipes://FOLDER   recipe NAME is FOLDER/NAME.yaml or FOLDER/NAME/recipe.yaml (or .yml)
    project://FOLDER   a project's `conf` folder, read by the strict reader

Both read YAML with `worldflux.config.yaml_file`. Faults go to the collector that is open
(`collecting`), so that one report can name all of them; without one they are raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from worldflux.config.project import Project, builtin_dir, load_project
from worldflux.config.recipes import RECIPE_GROUP, find_recipe, list_recipes, recipe_label
from worldflux.config.yaml_file import read_yaml
from worldflux.errors import ConfigError, Fault

_collected: ContextVar[list[Fault] | None] = ContextVar("collected_faults", default=None)
_SUFFIXES = (".yaml", ".yml")


@contextmanager
def collecting() -> Iterator[list[Fault]]:
    """Gather the faults of every file read inside the block, instead of raising at the first."""
    faults: list[Fault] = []
    token = _collected.set(faults)
    try:
        yield faults
    finally:
        _collected.reset(token)


def _report(faults: list[Fault]) -> None:
    collector = _collected.get()
    if collector is None and faults:
        raise ConfigError(faults)
    if collector is not None:
        collector.extend(fault for fault in faults if fault not in collector)


@lru_cache(maxsize=512)
def _read(path: Path, label: str, modified_ns: int) -> tuple[Any, tuple[Fault, ...]]:
    data, faults = read_yaml(path, label)
    return data, tuple(faults)


def _load(path: Path, label: str) -> dict[str, Any]:
    """Content of a file, read once as long as it does not change; faults are reported each time."""
    data, found = _read(path, label, path.stat().st_mtime_ns)
    faults = list(found)
    if data is not None and not isinstance(data, dict):
        faults.append(Fault(label, "must hold `key: value` lines"))
        data = None
    _report(faults)
    return data or {}


class RecipeSource(ConfigSource):
    """Recipes of one folder; their keys land at the root of the configuration."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def _name(self, config_path: str) -> str | None:
        name = config_path.removesuffix(".yaml")
        return name.removeprefix(RECIPE_GROUP + "/") if name.startswith(RECIPE_GROUP + "/") else None

    def is_config(self, config_path: str) -> bool:
        name = self._name(config_path)
        return name is not None and find_recipe(Path(self.path), name) is not None

    def is_group(self, config_path: str) -> bool:
        path = config_path.rstrip("/")
        if path in ("", RECIPE_GROUP):
            return self.available()
        name = self._name(path)
        folder = Path(self.path, name) if name else None
        return folder is not None and folder.is_dir() and find_recipe(Path(self.path), str(name)) is None

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._name(config_path)
        file = find_recipe(Path(self.path), name) if name else None
        if name is None or file is None:
            raise ConfigLoadError(f"there is no recipe at {config_path}")
        content = _load(file, recipe_label(file, Path(self.path)))
        content = {**content, "recipe": name}
        return ConfigResult(
            config=OmegaConf.create(content),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header={"package": "_global_"},
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        path = config_path.rstrip("/")
        if path == "":
            return [RECIPE_GROUP] if results_filter in (None, ObjectType.GROUP) else []
        prefix = (self._name(path) or "") + "/" if path != RECIPE_GROUP else ""
        inside = [
            name.removeprefix(prefix) for name in list_recipes(Path(self.path)) if name.startswith(prefix)
        ]
        configs = {name for name in inside if "/" not in name}
        groups = {name.split("/")[0] for name in inside if "/" in name}
        if results_filter == ObjectType.CONFIG:
            return sorted(configs)
        return sorted(groups) if results_filter == ObjectType.GROUP else sorted(configs | groups)


class ProjectSource(ConfigSource):
    """A `conf` folder read strictly: `GROUP/OPTION.yaml` (or .yml)."""

    @staticmethod
    def scheme() -> str:
        return "project"

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def _file(self, config_path: str) -> Path | None:
        stem = config_path.removesuffix(".yaml")
        for suffix in _SUFFIXES:
            file = Path(self.path, stem + suffix)
            if file.is_file():
                return file
        return None

    def is_config(self, config_path: str) -> bool:
        return self._file(config_path) is not None

    def is_group(self, config_path: str) -> bool:
        return Path(self.path, config_path).is_dir()

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._file(config_path)
        if file is None:
            raise ConfigLoadError(f"there is no config at {config_path}")
        with file.open(encoding="utf-8", errors="replace") as stream:
            header = ConfigSource._get_header_dict(stream.read(512))
        if "package" not in header and "/" in config_path:
            header["package"] = None
        label = f"conf/{file.relative_to(self.path).as_posix()}"
        return ConfigResult(
            config=OmegaConf.create(_load(file, label)),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=header,
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        folder = Path(self.path, config_path)
        names: set[str] = set()
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name.startswith((".", "__")):
                continue
            if entry.is_dir() and results_filter != ObjectType.CONFIG:
                names.add(entry.name)
            elif entry.is_file() and entry.suffix in _SUFFIXES and results_filter != ObjectType.GROUP:
                names.add(entry.stem)
        return sorted(names)


class WorldFluxSearchPath(SearchPathPlugin):
    """Puts the project's folders before the built-in ones."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        add_project_paths(search_path, load_project())


def add_project_paths(search_path: ConfigSearchPath, project: Project) -> None:
    """Add the sources of a project, in order of precedence, around the built-in `conf`."""
    main = SearchPathQuery(provider="main")
    conf, recipes = project.root / "conf", project.root / "recipes"
    if recipes.is_dir() and recipes.resolve() != builtin_dir("recipes").resolve():
        search_path.prepend(provider="project-recipes", path=f"recipes://{recipes}", anchor=main)
    if conf.is_dir() and conf.resolve() != builtin_dir("conf").resolve():
        search_path.prepend(provider="project", path=f"project://{conf}", anchor=main)
    search_path.append(provider="worldflux-recipes", path=f"recipes://{builtin_dir('recipes')}")


def register() -> None:
    """Make the sources known to Hydra in this process."""
    plugins = Plugins.instance()
    for plugin in (RecipeSource, ProjectSource, WorldFluxSearchPath):
        plugins.register(plugin)
