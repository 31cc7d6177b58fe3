"""Compositions remembered, so that the next run starts several times faster.

Loading Hydra, OmegaConf and pydantic takes most of the time of a short run. What they made of words and
files is kept in `.worldflux/composed/`, under a digest of everything that the result depends on: the
words, less the numbers that a `Template` can write itself, the versions, and name, size and time of every
file that was or could have been read. A configuration that reads the environment or calls any other
resolver is never kept. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from worldflux import __version__
from worldflux.config.project import PROJECT_FILE, RECIPE_FILES, Project, builtin_dir
from worldflux.config.recipes import all_recipes
from worldflux.config.request import RunRequest
from worldflux.config.template import Shape, Template, are_unchecked, shape_of

if TYPE_CHECKING:
    from worldflux.config.compose import Composer
    from worldflux.config.plain_merge import PlainMerge
    from worldflux.config.spec import RunSpec
    from worldflux.config.variation import Path as Place

FORMAT = 4
#: Where they are kept in a project, and where earlier versions kept others that nobody reads any more.
FOLDER, OLD_FOLDERS = Path(".worldflux/composed"), (Path(".worldflux/composed-sweeps"),)
#: Compositions of a project that are kept, and those that one command may add.
MAX_ENTRIES, MAX_NEW = 200, 50
#: A file changed this recently could change again within one tick of its clock; nanoseconds.
RACY_NS = 2 * 10**9
_LIBRARIES = ("hydra", "omegaconf", "pydantic")


class Memory:
    """Composes runs of one project, out of what is remembered where that is possible."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._folder = project.root / FOLDER
        self._stamp = _stamp_of(project)
        self._templates: dict[str, Template | None] = {}
        self._merge: PlainMerge | None = None
        self._composer: Composer | None = None
        self._added = 0

    def compose(self, overrides: Sequence[str]) -> RunRequest:
        """What `Composer.compose` gives for these overrides.

        Raises:
            ConfigError: as `Composer.compose`; faults are never remembered.
        """
        shape, changes = shape_of(overrides)
        for words in dict.fromkeys([shape, tuple(overrides)]):
            template = self._template(words)
            made = template.write(overrides, changes) if template is not None else None
            if made is not None:
                return made
        request, texts = self._composed(overrides)
        if changes and texts is not None and are_unchecked(changes, texts):
            self._keep(shape, request, list(changes), texts)
        elif not (changes and self._added):  # of a sweep that has to be composed job by job, the first one
            self._keep(tuple(overrides), request, [], {})
        return request

    def _composed(self, overrides: Sequence[str]) -> tuple[RunRequest, Mapping[Place, list[Any]] | None]:
        """A run, and its texts with references; None when it can not be varied."""
        if self._merge is None:
            from worldflux.config.plain_merge import PlainMerge

            self._merge = PlainMerge(self._project)
        merged = self._merge.compose(overrides)
        if merged is not None:
            return merged
        if self._composer is None:
            from worldflux.config.compose import Composer

            self._composer = Composer(self._project)
        return self._composer.compose(overrides), self._composer.texts(overrides)

    def _path(self, words: Shape) -> Path | None:
        if self._stamp is None:
            return None
        key = json.dumps([self._stamp, words]).encode("utf-8", "backslashreplace")
        return self._folder / f"{hashlib.sha256(key).hexdigest()[:40]}.json"

    def _template(self, words: Shape) -> Template | None:
        path = self._path(words)
        if path is None:
            return None
        if path.name not in self._templates:
            self._templates[path.name] = _load(path)
        return self._templates[path.name]

    def _keep(
        self, words: Shape, request: RunRequest, keys: list[str], texts: Mapping[Place, list[Any]]
    ) -> None:
        """Keep a composition for these words, unless the files changed meanwhile or it may differ next time."""
        path = self._path(words)
        if path is None or self._added >= MAX_NEW or not _is_pure(request.config):
            return
        if _secret(request.overrides) or _stamp_of(self._project) != self._stamp:
            return
        self._added += 1
        entry = {
            **_entry(request),
            "keys": keys,
            "texts": [[_listed(place), _listed(pieces)] for place, pieces in texts.items()],
        }
        _store(path, entry)
        self._templates[path.name] = _load(path)


def compose_cached(project: Project, overrides: Sequence[str]) -> RunRequest:
    """What `Composer(project).compose(overrides)` gives, remembered from the last time if possible.

    Raises:
        ConfigError: as `Composer.compose`; faults are never remembered.
    """
    return Memory(project).compose(overrides)


def _secret(words: Sequence[str]) -> bool:
    """Whether a secret was typed: what is kept holds nothing but these words and what stands in files already."""
    from worldflux.manifest.secrets import Gate

    return bool(Gate.from_environment(os.environ).check(json.dumps(list(words)).encode()))


def _stamp_of(project: Project) -> str | None:
    """Digest of all that compositions depend on besides the words; None when a file is too fresh to trust."""
    newest = time.time_ns() - RACY_NS
    seen: list[Any] = [FORMAT, __version__, sys.version_info[:3], str(project.root)]
    for library in _LIBRARIES:
        spec = importlib.util.find_spec(library)
        seen.append(_stamp(spec.origin) if spec and spec.origin else None)
    for file in _files(project, all_recipes(project)):
        stamp = _stamp(file)
        if stamp is not None and stamp[1] > newest:
            return None
        seen.append([file, stamp])
    return hashlib.sha256(json.dumps(seen).encode("utf-8", "backslashreplace")).hexdigest()


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


def _store(path: Path, entry: dict[str, Any]) -> None:
    """Keep a composition that JSON can hold; a folder that can not be written is no reason to fail."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        text = json.dumps(entry)
        if json.loads(text) != entry:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except (OSError, ValueError, TypeError):
        with suppress(OSError):
            temporary.unlink()


def _make_room(folder: Path) -> None:
    """Remove those that were not asked for the longest."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
    for entry in entries[: max(0, len(entries) - MAX_ENTRIES + 1)]:
        entry.unlink(missing_ok=True)


def _load(path: Path) -> Template | None:
    """A kept composition; None when there is none, or anything about it is not as expected."""
    try:
        entry = json.loads(path.read_bytes())
        request = _request(entry)
        if not request.source_dir.is_dir():
            return None
        os.utime(path)
        texts = {tuple(place): [_tupled(piece) for piece in pieces] for place, pieces in entry["texts"]}
        return Template(request, entry["keys"], texts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _listed(pieces: Sequence[Any]) -> list[Any]:
    return [list(piece) if isinstance(piece, tuple) else piece for piece in pieces]


def _tupled(piece: Any) -> Any:
    return tuple(piece) if isinstance(piece, list) else piece


def _entry(request: RunRequest) -> dict[str, Any]:
    return {
        "spec": _plain(request.spec),
        "overrides": list(request.overrides),
        "config": request.config,
        "parameters": request.parameters,
        "recipe_file": str(request.recipe_file),
        "lock_file": str(request.lock_file) if request.lock_file else None,
        "lock": "" if request.lock_file else request.lock,
        "source_dir": str(request.source_dir),
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
