"""Compositions remembered, so that the same command starts several times faster the next time.

Loading Hydra, OmegaConf and pydantic takes most of the time of a short run. What they made of the
same words and the same files is kept in `.worldflux/composed/`, under a digest of everything that
the result depends on: the words, the versions, and name, size and time of every file that was or
could have been read. A configuration that reads the environment or calls any other resolver is
never kept. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from worldflux import __version__
from worldflux.config.project import PROJECT_FILE, RECIPE_FILES, Project, builtin_dir
from worldflux.config.request import RunRequest

if TYPE_CHECKING:
    from worldflux.config.spec import RunSpec

FORMAT = 1
MAX_ENTRIES = 200
#: A file changed this recently could change again within one tick of its clock; nanoseconds.
RACY_NS = 2 * 10**9
_LIBRARIES = ("hydra", "omegaconf", "pydantic")


def compose_cached(project: Project, overrides: Sequence[str]) -> RunRequest:
    """What `Composer(project).compose(overrides)` gives, remembered from the last time if possible.

    Raises:
        ConfigError: as `Composer.compose`; faults are never remembered.
    """
    key = _key(project, overrides)
    path = project.root / ".worldflux" / "composed" / f"{key}.json" if key else None
    if path is not None:
        found = _load(path, tuple(overrides))
        if found is not None:
            return found
    from worldflux.config.compose import Composer

    request = Composer(project).compose(overrides)
    if path is not None and key == _key(project, overrides) and _is_pure(request.config):
        _store(path, request)
    return request


def _key(project: Project, overrides: Sequence[str]) -> str | None:
    """Digest of all that a composition depends on, or None when a file is too fresh to trust."""
    newest = time.time_ns() - RACY_NS
    seen: list[Any] = [FORMAT, __version__, sys.version_info[:3], str(project.root), list(overrides)]
    for library in _LIBRARIES:
        spec = importlib.util.find_spec(library)
        seen.append(_stamp(spec.origin) if spec and spec.origin else None)
    for file in _files(project, overrides):
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


def _files(project: Project, overrides: Sequence[str]) -> Iterator[str]:
    """Every file that can have a part in the result, whether it exists or not."""
    yield str(project.root / PROJECT_FILE)
    for folder in (project.root / "conf", builtin_dir("conf")):
        for root, folders, files in os.walk(folder):
            folders.sort()
            yield from (
                os.path.join(root, file) for file in sorted(files) if file.endswith((".yaml", ".yml"))
            )
    names = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith("recipe=")]
    for folder in (project.root / "recipes", builtin_dir("recipes")):
        for name in names:
            yield from (str(folder / f"{name}{suffix}") for suffix in (".yaml", ".yml"))
            yield from (str(folder / name / file) for file in RECIPE_FILES)


def _is_pure(value: Any) -> bool:
    """Whether no value calls a resolver (`${oc.env:X}`, `${now:%H}`): those may differ next time."""
    if isinstance(value, dict):
        return all(_is_pure(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_pure(inner) for inner in value)
    return not (isinstance(value, str) and "${" in value and ":" in value)


def _store(path: Path, request: RunRequest) -> None:
    """Keep a composition; a folder that can not be written is no reason to fail."""
    entry = {
        "spec": _plain(request.spec),
        "config": request.config,
        "parameters": request.parameters,
        "recipe_file": str(request.recipe_file),
        "lock_file": str(request.lock_file) if request.lock_file else None,
        "lock": "" if request.lock_file else request.lock,
        "source_dir": str(request.source_dir),
        "choices": request.choices,
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent)
        temporary.write_text(json.dumps(entry), encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, ValueError, TypeError):
        temporary.unlink(missing_ok=True)


def _make_room(folder: Path) -> None:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[: max(0, len(entries) - MAX_ENTRIES)]:
        entry.unlink(missing_ok=True)


def _load(path: Path, overrides: tuple[str, ...]) -> RunRequest | None:
    """A kept composition; None when there is none, or anything about it is not as expected."""
    try:
        entry = json.loads(path.read_bytes())
        source_dir = Path(entry["source_dir"])
        lock_file = Path(entry["lock_file"]) if entry["lock_file"] else None
        if not source_dir.is_dir():
            return None
        return RunRequest(
            spec=cast("RunSpec", _view(entry["spec"])),
            overrides=overrides,
            config=entry["config"],
            parameters=entry["parameters"],
            recipe_file=Path(entry["recipe_file"]),
            source_dir=source_dir,
            lock=lock_file.read_text(encoding="utf-8") if lock_file else entry["lock"],
            lock_file=lock_file,
            choices=entry["choices"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
