"""A manifest as it came in: its very bytes, decoded and checked as strictly as a reader may.

The checks are the manifest's own (`worldflux.manifest`), made with faster tools: orjson and
jsonschema-rs. Where orjson is more lenient than the manifest's rules, the strict parser decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from worldflux.errors import WorldFluxError
from worldflux.manifest import io, validator
from worldflux.manifest.model import FINAL_STATUSES
from worldflux.manifest.names import METRIC_NAME

#: Deepest nesting of lists and objects.
MAX_DEPTH = 100

_METRIC = re.compile(METRIC_NAME)

#: What may be a number that loses digits as a double; the strict parser then decides.
_LONG_NUMBER = re.compile(rb"[:,\[]-?[0-9]{16}")


class Invalid(Exception):
    """Why bytes are no manifest; never quotes a value."""


def read(data: bytes) -> dict[str, Any]:
    """The document in the bytes of a manifest.

    Raises:
        Invalid: not a manifest of a version that this server reads.
    """
    if len(data) > io.MAX_BYTES:
        raise Invalid(f"the manifest is larger than {io.MAX_BYTES} bytes")
    try:
        document = _decode(data)
        if not isinstance(document, dict):
            raise Invalid("the manifest is no JSON object")
        document = io.upgrade(document, "the manifest")
    except WorldFluxError as error:
        raise Invalid(error.problem) from None
    for fault in _faults(document):
        raise Invalid(f"the manifest breaks its schema {fault}")
    return document


def _decode(data: bytes) -> Any:
    """The document; equal bytes mean that nothing stands twice in it and nothing was rounded."""
    if not _LONG_NUMBER.search(data):
        try:
            document = orjson.loads(data)
            if orjson.dumps(document, option=orjson.OPT_SORT_KEYS) == data:
                return document
        except orjson.JSONDecodeError:
            pass
    document = io.parse(data, "the manifest")
    fault = validator.unportable(document)
    if fault is not None:
        raise Invalid(f"the manifest {fault.problem}")
    return document


@cache
def _schema() -> Any:
    published = validator.schema()
    published["$id"] = "urn:worldflux:manifest:reader"
    return jsonschema_rs.validator_for(_open(published))


def _open(node: Any) -> Any:
    """The same schema without its bans on unknown fields: what a newer minor version adds is let in."""
    if isinstance(node, list):
        return [_open(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {k: _open(v) for k, v in node.items() if not (k == "additionalProperties" and v is False)}


def prepare() -> None:
    """Build what `read` needs, so that the first request does not wait for it."""
    _schema()


def _faults(document: Mapping[str, Any]) -> Iterator[str]:
    schema = _schema()
    if not schema.is_valid(document):
        for error in schema.iter_errors(document):
            rule = next((str(step) for step in reversed(error.schema_path) if isinstance(step, str)), "")
            yield f"at {validator.pointer(error.instance_path) or '/'} ({rule})"
        yield "somewhere"
    yield from _beyond(document)


def known_metrics(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The metrics whose names this version knows the form of; only these the schema has checked."""
    for name, metric in document["metrics"].items():
        if _METRIC.fullmatch(name):
            yield name, metric


def _beyond(document: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in known_metrics(document):
        if metric.get("k", 0) > metric.get("n", float("inf")):
            yield f"at {validator.pointer(('metrics', name))} (more successes than trials)"
        interval = metric.get("interval")
        if interval and not interval["low"] <= interval["high"]:
            yield f"at {validator.pointer(('metrics', name))} (its interval is upside down)"
    for part in ("logs", "artifacts"):
        paths = [entry["path"] for entry in document[part]]
        if len(set(paths)) != len(paths):
            yield f"at /{part} (the same path is listed twice)"
    names = [entry["name"] for entry in document["logs"]]
    if len(set(names)) != len(names):
        yield "at /logs (the same name is listed twice)"
    if depth(document["config"]["resolved"]) > MAX_DEPTH:
        yield "at /config/resolved (nested too deeply)"


def depth(value: Any) -> int:
    """How deeply lists and objects are nested, up to one more than `MAX_DEPTH`."""
    level, layer = 0, [value]
    while layer and level <= MAX_DEPTH:
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                inner.extend(each for each in item.values() if isinstance(each, (dict, list)))
            elif isinstance(item, list):
                inner.extend(each for each in item if isinstance(each, (dict, list)))
        level, layer = level + 1, inner
    return level


def is_final(document: Mapping[str, Any]) -> bool:
    """Whether the run that a manifest tells of has ended."""
    return document["run"]["status"] in FINAL_STATUSES
