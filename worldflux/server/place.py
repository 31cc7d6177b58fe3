"""The data folder of a server, and the settings that its keeper wrote there: `server.json`.

The file holds any fields of `Settings`, so that every command finds the same database and blobs:

    {"database": "postgresql://worldflux@/runs", "trash_days": 14}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from worldflux.errors import UsageError, WorldFluxError
from worldflux.server.settings import Settings

FILE = "server.json"

#: What a value may be, by the field's type as it is written.
_KINDS: dict[str, tuple[type, ...]] = {
    "str | None": (str, type(None)),
    "tuple[str, ...]": (list,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def settings(folder: Path, given: Mapping[str, Any]) -> Settings:
    """The settings of a server: defaults, then `server.json`, then what was given. Makes the folder.

    Args:
        folder: the data folder; made for its owner alone when it is not there.
        given: fields of `Settings`; None is not given.

    Raises:
        UsageError: `server.json` is not right.
        WorldFluxError: the folder can not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WorldFluxError(
            f"{folder}: {error.strerror}", "choose another folder: --data DIR", code="storage"
        ) from None
    values = {
        **_written(folder / FILE),
        **{name: value for name, value in given.items() if value is not None},
    }
    for name in ("allowed_hosts", "trusted_proxies"):
        if name in values:
            values[name] = tuple(values[name])
    return Settings(data_dir=str(folder.resolve()), **values)


def _written(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} can not be read as JSON: {error}", "write one JSON object", code="server-json"
        ) from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object", 'such as {"trash_days": 14}', code="server-json")
    known = {each.name: str(each.type) for each in fields(Settings) if each.name != "data_dir"}
    for name, value in found.items():
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(known))}"
            raise UsageError(f"{path} has the unknown field {name!r}", hint, code="server-json")
        _check(path, name, value, known[name])
    return found


def _check(path: Path, name: str, value: Any, kind: str) -> None:
    right = isinstance(value, _KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
    if right and isinstance(value, list):
        right = all(isinstance(each, str) for each in value)
    if right and isinstance(value, (int, float)) and not isinstance(value, bool):
        right = value > 0 or (value == 0 and name in ("trash_days", "gc_grace_seconds"))
    if not right:
        raise UsageError(
            f"{path}: the field {name!r} has no right value ({kind})", "see the README", code="server-json"
        )
