"""The bundle: frames of one JSON line and the raw bytes it announces, one after the other.

    {"part":"stream","run":"…","stream":"metrics","offset":0,"bytes":9,"sha256":"…","project":"demo"}\\n
    <9 bytes>

A bundle that is not whole or not true is refused as a whole: nothing of it can be trusted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worldflux.manifest.model import is_run_id
from worldflux.manifest.names import PROJECT_NAME
from worldflux.server.problems import Problem

MEDIA_TYPE = "application/vnd.worldflux.bundle"

#: Longest JSON line of a frame.
MAX_LINE = 64 * 1024

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROJECT = re.compile(PROJECT_NAME)
_STREAM = re.compile(r"metrics|log:[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LARGEST = 2**53


@dataclass
class Stated:
    """What a manifest frame says of one stream: so many bytes, with this digest, whole or torn."""

    bytes: int
    sha256: str
    torn: bool = False


@dataclass
class Frame:
    """One frame, checked: its bytes have the digest it states.

    Attributes:
        part: `stream`, `blob` or `manifest`.
        offset: of a stream frame, where its bytes begin.
        final, streams, withheld: of a manifest frame.
        restore: take the run out of the trash.
    """

    run: str
    part: str
    body: memoryview
    sha256: str
    project: str | None = None
    stream: str = ""
    offset: int = 0
    final: bool = False
    streams: dict[str, Stated] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    restore: bool = False


def parse(data: bytes, *, most: int) -> list[Frame]:
    """The frames of a bundle, in their order.

    Args:
        most: frames that a bundle may have.

    Raises:
        Problem: 422, with the number of the frame and what is wrong with it.
    """
    frames: list[Frame] = []
    view, position = memoryview(data), 0
    while position < len(data):
        number = len(frames) + 1
        if number > most:
            raise Problem(422, "bundle", f"more than {most} frames", "send several bundles")
        end = data.find(b"\n", position, position + MAX_LINE)
        if end < 0:
            raise _wrong(number, f"has no line end within {MAX_LINE} bytes")
        header = _header(data[position:end], number)
        try:
            frame = _frame(header, view, end + 1)
        except _Fault as fault:
            raise _wrong(number, str(fault)) from None
        frames.append(frame)
        position = end + 1 + len(frame.body)
    if not frames:
        raise Problem(422, "bundle", "the bundle holds no frame", "see the sync API")
    _check_order(frames)
    return frames


class _Fault(Exception):
    """What is wrong with one frame."""


def _wrong(number: int, problem: str) -> Problem:
    return Problem(422, "bundle", f"frame {number} {problem}", "this is a fault of the client", frame=number)


def _header(line: bytes, number: int) -> dict[str, Any]:
    try:
        header = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _wrong(number, "does not begin with a JSON object on one line") from None
    if not isinstance(header, dict):
        raise _wrong(number, "does not begin with a JSON object on one line")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field stands twice")
    return result


def _refuse(name: str) -> float:
    raise ValueError(name)


def _frame(header: dict[str, Any], view: memoryview, start: int) -> Frame:
    size = _count(header, "bytes")
    body = view[start : start + size]
    if len(body) != size:
        raise _Fault("is cut: fewer bytes follow than it announces")
    sha256 = _text(header, "sha256", _SHA256.fullmatch)
    if hashlib.sha256(body).hexdigest() != sha256:
        raise _Fault("does not have the digest that it states")
    run = header.get("run")
    if not isinstance(run, str) or not is_run_id(run):
        raise _Fault("has no run id in `run`")
    frame = Frame(run, str(header.get("part")), body, sha256)
    frame.restore = _flag(header, "restore")
    if header.get("project") is not None:
        frame.project = _text(header, "project", _PROJECT.fullmatch)
    if frame.part == "stream":
        frame.stream = _text(header, "stream", _STREAM.fullmatch)
        frame.offset = _count(header, "offset")
    elif frame.part == "manifest":
        frame.final = _flag(header, "final")
        frame.streams = _streams(header.get("streams", {}))
        frame.withheld = _withheld(header.get("withheld", []))
    elif frame.part != "blob":
        raise _Fault("has no part `stream`, `blob` or `manifest`")
    return frame


def _count(header: dict[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise _Fault(f"has no count in `{name}`")
    return value


def _text(header: dict[str, Any], name: str, fits: Callable[[str], object]) -> str:
    value = header.get(name)
    if not isinstance(value, str) or not fits(value):
        raise _Fault(f"has no right `{name}`")
    return value


def _flag(header: dict[str, Any], name: str) -> bool:
    value = header.get(name, False)
    if not isinstance(value, bool):
        raise _Fault(f"has no true or false in `{name}`")
    return value


def _streams(stated: object) -> dict[str, Stated]:
    if not isinstance(stated, dict):
        raise _Fault("has no object in `streams`")
    found: dict[str, Stated] = {}
    for name, entry in stated.items():
        if not _STREAM.fullmatch(name) or not isinstance(entry, dict):
            raise _Fault("has a stream that is none")
        found[name] = Stated(
            _count(entry, "bytes"), _text(entry, "sha256", _SHA256.fullmatch), _flag(entry, "torn")
        )
    return found


def _withheld(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) > 1000:
        raise _Fault("has no list in `withheld`")
    for name in names:
        if not isinstance(name, str) or not (name == "logs" or _STREAM.fullmatch(name)):
            raise _Fault("withholds a stream that is none")
    return tuple(dict.fromkeys(names))


def _check_order(frames: list[Frame]) -> None:
    committed: set[str] = set()
    for number, frame in enumerate(frames, 1):
        if frame.run in committed:
            raise _wrong(number, "comes behind the manifest of its run, which must be the last")
        if frame.part == "manifest":
            committed.add(frame.run)
