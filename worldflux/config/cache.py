"""Compositions remembered, so that the same command starts several times faster the next time.

Loading Hydra, OmegaConf and pydantic takes most of the time of a short run. What they made of the
same words and the same files is kept in `.worldflux/composed/` (of sweeps, in `composed-sweeps/`), under
a digest of everything that the result depends on: the words, the versions, and name, size and time of
every file that was or could have been read. A configuration that reads the environment or calls any
other resolver is never kept. The folders may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from worldflux import __version__
from worldflux.config.project import PROJECT_FILE, RECIPE_FILES, Project, builtin_dir
from worldflux.config.request import RunRequest

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec

FORMAT = 2
#: Compositions of a project that are kept, of single runs and of sweeps.
MAX_ENTRIES = {"composed": 200, "composed-sweeps": 10}
#: Runs of a sweep up to which it is kept; some kilobytes each.
MAX_RUNS = 1000
#: A file changed this recently could change again within one tick of its clock; nanoseconds.
RACY_NS = 2 * 10**9
_LIBRARIES = ("hydra", "omegaconf", "pydantic")


def compose_cached(project: Project, overrides: Sequence[str]) -> RunRequest:
    """What `Composer(project).compose(overrides)` gives, remembered from the last time if possible.

    Raises:
        ConfigError: as `Composer.compose`; faults are never remembered.
    """
    from worldflux.config.compose import Composer

    def compose() -> list[RunRequest]:
        return [Composer(project).compose(overrides)]

    named = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith("recipe=")]
    return _remembered("composed", project, overrides, named, compose)[0]


def compose_all_cached(
    project: Project, words: Sequence[str], compose: Callable[[], list[RunRequest]]
) -> list[RunRequest]:
    """What `compose()` gives for a sweep that is described by `words`, remembered from the last time if possible.

    Args:
        words: all that it depends on besides the files of recipes and configuration.

    Raises:
        ConfigError: as `compose`; faults are never remembered.
    """
    from worldflux.config.recipes import all_recipes

    return _remembered("composed-sweeps", project, words, all_recipes(project), compose)


def _remembered(
    kind: str,
    project: Project,
    words: Sequence[str],
    recipes: Sequence[str],
    compose: Callable[[], list[RunRequest]],
) -> list[RunRequest]:
    key = _key(project, words, recipes)
    path = project.root / ".worldflux" / kind / f"{key}.json" if key else None
    found = _load(path) if path is not None else None
    if found is not None:
        return found
    made = compose()
    pure = len(made) <= MAX_RUNS and all(_is_pure(request.config) for request in made)
    if path is not None and pure and not _secret(words) and key == _key(project, words, recipes):
        _store(path, made, MAX_ENTRIES[kind])
    return made


def _secret(words: Sequence[str]) -> bool:
    """Whether a secret was typed: what is kept holds nothing but these words and what stands in files already."""
    from worldflux.manifest.secrets import Gate

    return bool(Gate.from_environment(os.environ).check(json.dumps(list(words)).encode()))


def _key(project: Project, words: Sequence[str], recipes: Sequence[str]) -> str | None:
    """Digest of all that a composition depends on, or None when a file is too fresh to trust."""
    newest = time.time_ns() - RACY_NS
    seen: list[Any] = [FORMAT, __version__, sys.version_info[:3], str(project.root), list(words)]
    for library in _LIBRARIES:
        spec = importlib.util.find_spec(library)
        seen.append(_stamp(spec.origin) if spec and spec.origin else None)
    for file in _files(project, recipes):
        stamp = _stamp(file)
        if stamp is not None and stamp[1] > newest:
            return None
        seen.append([file, stamp])
    return hashlib.sha256(json.dumps(seen).encode("utf-8", "backslashreplace")).hexdigest()[:40]


def _stamp(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _files(project: Project, recipes: Sequence[str]) -> Iterator[str]:
    """Every file that can have a part in the result, whether it exists or not."""
    yield str(project.root / PROJECT_FILE)
    for folder in (project.root / "conf", builtin_dir("conf")):
        for root, folders, files in os.walk(folder):
            folders.sort()
            yield from (
                os.path.join(root, file) for file in sorted(files) if file.endswith((".yaml", ".yml"))
            )
    for folder in (project.root / "recipes", builtin_dir("recipes")):
        for name in recipes:
            yield from (str(folder / f"{name}{suffix}") for suffix in (".yaml", ".yml"))
            yield from (str(folder / name / file) for file in RECIPE_FILES)


def _is_pure(value: Any) -> bool:
    """Whether no value calls a resolver (`${oc.env:X}`, `${now:%H}`): those may differ next time."""
    if isinstance(value, dict):
        return all(_is_pure(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_pure(inner) for inner in value)
    return not (isinstance(value, str) and "${" in value and ":" in value)


def _store(path: Path, requests: Sequence[RunRequest], most: int) -> None:
    """Keep compositions; a folder that can not be written is no reason to fail."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, most)
        entries = [_entry(request) for request in requests]
        temporary.write_text(json.dumps({"runs": entries}), encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, ValueError, TypeError):
        temporary.unlink(missing_ok=True)


def _make_room(folder: Path, most: int) -> None:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[: max(0, len(entries) - most)]:
        entry.unlink(missing_ok=True)


def _load(path: Path) -> list[RunRequest] | None:
    """Kept compositions; None when there are none, or anything about them is not as expected."""
    try:
        requests = [_request(entry) for entry in json.loads(path.read_bytes())["runs"]]
        return requests if all(folder.is_dir() for folder in {r.source_dir for r in requests}) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entry(request: RunRequest) -> dict[str, Any]:
    return {
        "spec": _plain(request.spec),
        "overrides": request.overrides,
        "config": request.config,
        "parameters": request.parameters,
        "recipe_file": str(request.recipe_file),
        "lock_file": str(request.lock_file) if request.lock_file else None,
        "lock": "" if request.lock_file else request.lock,
        "source_dir": str(request.source_dir),
        "choices": request.choices,
    }


def _request(entry: dict[str, Any]) -> RunRequest:
    lock_file = Path(entry["lock_file"]) if entry["lock_file"] else None
    return RunRequest(
        spec=cast("RunSpec", _view(entry["spec"])),
        overrides=tuple(entry["overrides"]),
        config=entry["config"],
        parameters=entry["parameters"],
        recipe_file=Path(entry["recipe_file"]),
        source_dir=Path(entry["source_dir"]),
        lock=lock_file.read_text(encoding="utf-8") if lock_file else entry["lock"],
        lock_file=lock_file,
        choices=entry["choices"],
    )


def _plain(value: Any) -> Any:
    """A checked model as JSON that `_view` understands: a model is `{"$": fields}`."""
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        fields = {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        if hasattr(value, "options"):
            fields["options"] = value.options
        return {"$": fields}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value


def _view(value: Any) -> Any:
    """The attributes of a checked model, without the library that checked it."""
    if isinstance(value, dict) and value.keys() == {"$"}:
        return SimpleNamespace(
            **{k: v if k in ("options", "params") else _view(v) for k, v in value["$"].items()}
        )
    if isinstance(value, dict):
        return {key: _view(inner) for key, inner in value.items()}
    return tuple(_view(inner) for inner in value) if isinstance(value, list) else value
