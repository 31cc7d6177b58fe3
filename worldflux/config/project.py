"""The project: where it is, and what its `worldflux.yaml` says.

Needs neither Hydra nor pydantic, so that every command can ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldflux.config.nearest import did_you_mean
from worldflux.errors import ConfigError, Fault

PROJECT_FILE = "worldflux.yaml"
RECIPE_FILES = ("recipe.yaml", "recipe.yml")
_PACKAGE = Path(__file__).resolve().parent.parent


def builtin_dir(name: str) -> Path:
    """The folder `conf` or `recipes` that comes with WorldFlux, installed or in a checkout."""
    shipped = _PACKAGE / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name


@dataclass(frozen=True)
class Project:
    """A folder with runs, recipes and settings.

    Attributes:
        root: absolute path of the folder.
        name: what runs are filed under; the folder's name when the file names none.
        recipe: default recipe of `worldflux run`.
        runtime: default runtime.
        cost_guard: limits that every run of the project starts from.
        plugins: modules whose runtime classes may be used in `runtime._target_`.
        pass_env: provider variables that recipes of this project may ask for.
        allow_secrets: fingerprints that the secret gate lets pass.
        server: origin of the sync server.
        policy: support policy of every run that names none.
        has_file: whether there is a project file.
    """

    root: Path
    name: str
    recipe: str | None = None
    runtime: str | None = None
    cost_guard: Mapping[str, float] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    allow_secrets: tuple[str, ...] = ()
    server: str | None = None
    policy: str | None = None
    has_file: bool = False

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    @property
    def overrides(self) -> list[str]:
        """What the project file chooses; what is typed comes after and wins."""
        chosen = [f"runtime={self.runtime}"] if self.runtime else []
        chosen += [f"cost_guard.{key}={value}" for key, value in self.cost_guard.items() if value is not None]
        return chosen + ([f"policy={self.policy}"] if self.policy else [])


def find_root(start: Path | None = None) -> Path:
    """The project's folder: the nearest one upwards with `worldflux.yaml`, else the current folder.

    `WORLDFLUX_PROJECT` names it outright. A folder with `recipes/` or `conf/worldflux` beside a
    repository's root counts too, so that configs in a git checkout are found from below.
    """
    named = os.environ.get("WORLDFLUX_PROJECT")
    if named:
        return Path(named).expanduser().resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
        if (folder / ".git").exists():
            return folder if (folder / "recipes").is_dir() else here
    return here


def load_project(start: Path | None = None) -> Project:
    """The project of a folder.

    Raises:
        ConfigError: the project file has faults; all of them are listed.
    """
    root = find_root(start)
    path = root / PROJECT_FILE
    if not path.is_file():
        return Project(root=root, name=_folder_name(root))
    from worldflux.config.yaml_file import read_yaml

    data, faults = read_yaml(path, label=PROJECT_FILE)
    values = _project_values(data, faults)
    if faults:
        raise ConfigError(faults)
    name = values.pop("name", None) or _folder_name(root)
    return Project(root=root, name=name, has_file=True, **values)


def _folder_name(root: Path) -> str:
    from worldflux.manifest.names import project_name

    return project_name(root.name)


def _project_values(data: Any, faults: list[Fault]) -> dict[str, Any]:
    """Checked values of the project file; what is wrong goes to `faults`."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        faults.append(Fault(PROJECT_FILE, "must hold `key: value` lines"))
        return {}
    checks = {
        "project": ("name", _text),
        "recipe": ("recipe", _text),
        "runtime": ("runtime", _text),
        "server": ("server", _text),
        "policy": ("policy", _policy),
        "cost_guard": ("cost_guard", _amounts),
        "plugins": ("plugins", _texts),
        "pass": ("pass_env", _texts),
        "allow_secrets": ("allow_secrets", _texts),
    }
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in checks:
            hint = did_you_mean(str(key), checks)
            faults.append(Fault(f"{PROJECT_FILE}:{key}", "unknown key", hint))
            continue
        field_name, check = checks[key]
        if value is None:
            continue
        problem = check(value)
        if problem:
            faults.append(Fault(f"{PROJECT_FILE}:{key}", problem))
        else:
            values[field_name] = tuple(value) if isinstance(value, list) else value
    return values


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value.strip() else "must be a text"


def _texts(value: Any) -> str:
    ok = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return "" if ok else "must be a list of texts"


def _policy(value: Any) -> str:
    return "" if value == "production" else "must be `production` or left out"


def _amounts(value: Any) -> str:
    known = ("max_usd", "max_sweep_usd", "price_per_hour")
    if not isinstance(value, dict) or any(key not in known for key in value):
        return f"must hold only {', '.join(known)}"
    for amount in value.values():
        if amount is not None and (
            not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 < amount < 1e9
        ):
            return "amounts must be numbers above 0"
    return ""
