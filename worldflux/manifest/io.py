"""Manifests on disk: written strictly and atomically, read tolerantly.

A file holds RFC 8785 canonical JSON, so the sha256 of the file is the digest that sync,
evidence and signatures use. A reader sees the old file or the new one, never a part, also after
a power loss.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from worldflux.errors import Fault, WorldFluxError
from worldflux.manifest.canonical import canonical_json
from worldflux.manifest.model import SCHEMA, SCHEMA_VERSION, STATUSES, Manifest, is_run_id
from worldflux.manifest.numbers import UNSAFE
from worldflux.manifest.storage import sweep, sync, write_bytes_atomic
from worldflux.manifest.validator import MAX_DEPTH, prepare, unportable, validate

__all__ = [
    "MAX_BYTES",
    "SecretGate",
    "canonical",
    "from_document",
    "parse",
    "prepare",
    "read",
    "sweep",
    "sync",
    "upgrade",
    "validate",
    "write",
    "write_bytes_atomic",
]

#: Largest manifest that is written or read.
MAX_BYTES = 16 * 1024 * 1024

#: Older major version -> the step that makes it one version newer. There is no older one yet.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_SCHEMA_STEM = SCHEMA.rstrip("0123456789")
_VERSION = r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})"
_MAJOR, _MINOR = (int(number) for number in SCHEMA_VERSION.split("."))

_OBJECTS = ("run", "producer", "recipe", "config", "runtime", "metrics", "cost", "determinism", "extensions")
_ARRAYS = ("logs", "artifacts", "inputs", "secrets")
_NULLABLE = ("adapter", "series", "git", "environment", "hardware")


class SecretGate(Protocol):
    """Refuses bytes that carry a secret."""

    def refuse(self, data: bytes, what: str) -> None:
        """Raise when the bytes, which are `what`, hold a secret; else return."""


def canonical(document: Mapping[str, Any]) -> bytes:
    """The document as RFC 8785 canonical JSON: one sequence of bytes for equal documents.

    Raises:
        WorldFluxError: it holds something that JSON can not, such as NaN or a long integer; the
            message has the place.
    """
    try:
        return canonical_json(dict(document))
    except (ValueError, RecursionError):  # a TypeError is left out: the library raises ValueError for all
        raise _no_form(document) from None


def _no_form(document: Mapping[str, Any]) -> WorldFluxError:
    fault = unportable(document) or Fault("", "has no canonical form")
    return _invalid("the manifest can not be written as JSON", [fault])


def write(
    path: Path,
    manifest: Manifest | Mapping[str, Any],
    gate: SecretGate | None = None,
    validate: bool = True,
    durable: bool = True,
) -> bytes:
    """Check a manifest and put it at `path` in one step, on the disk when this returns.

    Args:
        path: the file; its folder exists.
        manifest: the record, or its document.
        gate: asked to refuse the very bytes before anything touches the disk.
        validate: check against the schema; only a caller that wrote the same parts a moment
            ago may leave it out.
        durable: False for a record that may be lost with the machine's power.

    Returns:
        The bytes of the file.

    Raises:
        WorldFluxError: the document breaks the schema, comes from a newer version, is larger
            than `MAX_BYTES`, or the disk refused. The old file is then as it was.
        RefusedError: the gate found a secret.
    """
    document = manifest.to_json() if isinstance(manifest, Manifest) else manifest
    if _is_newer(document.get("schema_version")):
        raise WorldFluxError(
            f"{path}: a manifest of a newer version; this worldflux writes {SCHEMA_VERSION}",
            "it was made by a newer worldflux: pip install -U worldflux",
            code="manifest-version",
        )
    data: bytes | None = None
    with suppress(ValueError, RecursionError):  # what is wrong is told with all other faults
        data = canonical_json(dict(document))
    if validate:
        # With fewer containers than levels that are allowed it can not be nested too deeply.
        portable = data is not None and data.count(b"{") + data.count(b"[") < MAX_DEPTH
        faults = _validate(document, portable=portable)
        if faults:
            raise _invalid(f"{path}: not a valid manifest, so it was not written", faults)
    if data is None:
        raise _no_form(document)
    if len(data) > MAX_BYTES:
        raise WorldFluxError(
            f"{path}: the manifest would have {len(data)} bytes, more than {MAX_BYTES}",
            "mark fewer files as artifacts, or record long lists in a file of their own",
            code="manifest",
        )
    if gate is not None:
        gate.refuse(data, path.name)
    write_bytes_atomic(path, data, sync_file=durable, sync_folder=durable)
    return data


_validate = validate


def parse(data: bytes, source: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Decode a JSON object as strictly as the manifest's own rules ask.

    Integers of 2^53 or more come back as floats, for that is what canonical JSON writes for large
    doubles; they must have its digits.

    Args:
        source: the file or address the bytes are from, for messages.
        limit: most bytes that are taken; a manifest has no more than `MAX_BYTES`.

    Raises:
        WorldFluxError: too large, no UTF-8, no JSON, NaN or Infinity, a number that no double
            holds, a field twice in one object, nested too deeply, or no object at the top.
    """
    if len(data) > limit:
        raise _unreadable(source, f"it is larger than {limit} bytes")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise _unreadable(source, f"it is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _unreadable(
            source, f"it is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise _unreadable(source, "it is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(source, str(error)) from None
    if not isinstance(document, dict):
        raise _unreadable(source, "it holds no JSON object")
    return document


def upgrade(document: dict[str, Any], source: str) -> dict[str, Any]:
    """The document in this major version; newer minor versions pass as they are.

    Raises:
        WorldFluxError: it is no manifest, or of a newer or forgotten major version.
    """
    version = document.get("schema_version")
    match = re.fullmatch(_VERSION, version) if isinstance(version, str) else None
    if match is None or document.get("schema") != f"{_SCHEMA_STEM}{match[1]}":
        raise _unreadable(source, "its `schema` and `schema_version` do not say WorldFlux run manifest")
    major = int(match[1])
    if major > _MAJOR:
        raise WorldFluxError(
            f"{source}: a manifest of version {version}; this worldflux reads up to {_MAJOR}",
            "install a newer worldflux: pip install -U worldflux",
            code="manifest-version",
        )
    while major < _MAJOR:
        step = UPGRADES.get(major)
        if step is None:
            raise _unreadable(source, f"version {major} of the manifest is no longer read")
        document, major = step(document), major + 1
    return document


def from_document(document: dict[str, Any], source: str) -> Manifest:
    """The manifest in a decoded document; unknown fields of a newer minor version are ignored.

    Checks the outline only: `validate(document, strict=False)` checks all of it.

    Raises:
        WorldFluxError: a part is missing or of the wrong kind, or the version is not readable.
    """
    document = upgrade(document, source)
    try:
        manifest = Manifest.from_json(document)
    except KeyError as error:
        raise _unreadable(source, f"it has no field {error.args[0]!r}") from None
    for names, kind, word in ((_OBJECTS, dict, "object"), (_ARRAYS, list, "array")):
        for name in names:
            if not isinstance(document[name], kind):
                raise _unreadable(source, f"its field {name!r} is no {word}")
    for name in _NULLABLE:
        if not isinstance(document[name], (dict, type(None))):
            raise _unreadable(source, f"its field {name!r} is no object")
    if not is_run_id(manifest.client_run_id):
        raise _unreadable(source, "its `client_run_id` is no run id")
    if manifest.run.get("status") not in STATUSES:
        raise _unreadable(source, "its run has no known status")
    return manifest


def read(path: Path) -> Manifest:
    """The manifest at `path`, tolerant of fields that this version does not know.

    Raises:
        WorldFluxError: there is no such file, it can not be read, or it is no manifest of a
            readable version; the message names the file.
    """
    return from_document(parse(_read_bytes(path), str(path)), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unreadable(str(path), "it is not a regular file")
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise WorldFluxError(
            f"{path}: there is no such manifest", "worldflux runs list", code="manifest-missing"
        ) from None
    except OSError as error:
        raise _unreadable(str(path), f"{error.strerror}") from error


def _is_newer(version: object) -> bool:
    match = re.fullmatch(_VERSION, version) if isinstance(version, str) else None
    return match is not None and (int(match[1]), int(match[2])) > (_MAJOR, _MINOR)


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:80]!r} stands twice in one object")
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int | float:
    if len(text) <= 16 and abs(number := int(text)) < UNSAFE:
        return number
    double = _float(text)
    from decimal import Decimal  # only for the rare number that is this large

    if Decimal(repr(double)) != Decimal(text):
        raise ValueError("it holds an integer of 2^53 or more, which loses digits as a number")
    return double


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("it holds a number beyond every double")
    return number


def _unreadable(source: str, problem: str) -> WorldFluxError:
    return WorldFluxError(f"{source}: {problem}", "worldflux runs list", code="manifest-unreadable")


def _invalid(problem: str, faults: Sequence[Fault]) -> WorldFluxError:
    lines = [problem]
    for fault in faults:
        lines.append(f"  {fault.where or '/'}: {fault.problem}" + (f" ({fault.hint})" if fault.hint else ""))
    return WorldFluxError(
        "\n".join(lines),
        "a value given by a runtime plugin, a recipe or worldflux itself breaks the manifest's schema: "
        "worldflux schema manifest",
        code="manifest",
        details={"faults": [vars(fault) for fault in faults]},
    )
