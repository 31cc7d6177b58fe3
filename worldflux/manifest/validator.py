"""Is a document a manifest? The published schema, plus the rules that no schema can say.

The strict form is for what this version writes. The open form, the same schema without its bans
on unknown fields, is for documents of a newer minor version. Faults never quote a value from
the document: it could be a secret.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from worldflux.errors import Fault
from worldflux.manifest.conforming import Check, compiled
from worldflux.manifest.numbers import UNSAFE

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

SCHEMA_FILE = Path(__file__).parent / "schema" / "run-manifest.v1.json"

#: Deepest nesting of lists and objects that a manifest may have.
MAX_DEPTH = 100

#: More faults than this are of no use to anybody.
MAX_FAULTS = 50

_LISTS_OF_FILES = ("logs", "artifacts")


def validate(document: Mapping[str, Any], *, strict: bool = True, portable: bool = False) -> list[Fault]:
    """Everything that is wrong with a document, at most `MAX_FAULTS`; empty means it is a manifest.

    Args:
        document: decoded JSON, for example `Manifest.to_json()`.
        strict: also refuse fields that this version does not know, as a writer must.
        portable: the caller knows that it survives JSON; see `unportable`.

    `Fault.where` is a JSON pointer into the document.
    """
    faults: list[Fault] = []
    if _conforms(strict)(document):
        errors: Iterator[ValidationError] = iter(())
    else:
        errors = _validator(strict).iter_errors(document)  # type: ignore[no-untyped-call,unused-ignore]
    for error in errors:
        fault = _fault(error)
        if fault not in faults:
            faults.append(fault)
        if len(faults) == MAX_FAULTS:
            return faults
    if not faults:
        faults.extend(_beyond_schema(document))
    where = None if portable else unportable(document)
    if where is not None:
        faults.append(where)
    return faults[:MAX_FAULTS]


def prepare() -> None:
    """Build what `validate` needs for a manifest without faults, so that a later call is quick.

    Meant for a thread that works while the run's command does.
    """
    _conforms(True)


def schema() -> dict[str, Any]:
    """The published schema, decoded; each call returns a new copy."""
    return cast("dict[str, Any]", json.loads(SCHEMA_FILE.read_bytes()))


def pointer(steps: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901) to the place that the steps lead to."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def unportable(value: Any, steps: tuple[str | int, ...] = ()) -> Fault | None:
    """The first place that does not survive JSON: NaN, long integer, half of a surrogate pair, depth."""
    if isinstance(value, str):
        return None if value.isascii() or _is_unicode(value) else _bad(steps, "is not valid Unicode text")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return (
            None
            if abs(value) < UNSAFE
            else _bad(steps, "is an integer of 2^53 or more", "write its digits as text")
        )
    if isinstance(value, float):
        return (
            None
            if math.isfinite(value)
            else _bad(steps, "is not a finite number", 'write "NaN" or "Infinity"')
        )
    if len(steps) >= MAX_DEPTH:
        return _bad(steps, f"is nested deeper than {MAX_DEPTH} levels")
    items: Iterator[tuple[Any, Any]]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or not (key.isascii() or _is_unicode(key)):
                return _bad(steps, "has a field whose name is not valid Unicode text")
        if set(map(type, value.values())) == {str} and all(map(str.isascii, value.values())):
            return None
        items = iter(value.items())
    elif isinstance(value, (list, tuple)):
        items = iter(enumerate(value))
    else:
        return _bad(steps, f"is a {type(value).__name__}, which has no JSON form")
    for step, item in items:
        fault = unportable(item, (*steps, step))
        if fault is not None:
            return fault
    return None


def _bad(steps: Sequence[str | int], problem: str, hint: str = "") -> Fault:
    return Fault(pointer(steps), problem, hint)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _beyond_schema(document: Mapping[str, Any]) -> Iterator[Fault]:
    for name, metric in document["metrics"].items():
        if metric.get("k", 0) > metric.get("n", math.inf):
            yield _bad(("metrics", name, "k"), "more successes than trials")
        interval = metric.get("interval")
        if interval and not interval["low"] <= interval["high"]:
            yield _bad(("metrics", name, "interval"), "its low end lies above its high end")
    for part in _LISTS_OF_FILES:
        seen = set()
        for index, entry in enumerate(document[part]):
            if entry["path"] in seen:
                yield _bad((part, index, "path"), "the same path is listed twice")
            seen.add(entry["path"])


@cache
def _conforms(strict: bool) -> Check:
    """Says of nearly every manifest without faults that it has none, before the validator is even imported."""
    return compiled(_complete(strict))


@cache
def _validator(strict: bool) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # slow to import

    # The schema itself is checked by a test, not here.
    return Draft202012Validator(_complete(strict))


@cache
def _complete(strict: bool) -> dict[str, Any]:
    """The schema with its references filled in, which makes a check twice as fast."""
    published = schema()
    definitions = published.pop("$defs")
    return cast("dict[str, Any]", _inlined(published, definitions, strict))


def _inlined(node: Any, definitions: Mapping[str, Any], strict: bool) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions, strict) for item in node]
    if not isinstance(node, dict):
        return node
    own = {
        key: _inlined(item, definitions, strict)
        for key, item in node.items()
        if key != "$ref" and (strict or key != "additionalProperties" or item is not False)
    }
    if "$ref" not in node:
        return own
    target = _inlined(definitions[node["$ref"].removeprefix("#/$defs/")], definitions, strict)
    return {**target, **own}


def _fault(error: ValidationError) -> Fault:
    steps = list(error.absolute_path)
    problem, hint = _explain(error)
    return _bad(steps, problem, hint)


def _explain(error: ValidationError) -> tuple[str, str]:
    """Problem and hint in words, made of the schema and of names only."""
    wanted: Any = error.validator_value
    instance: Any = error.instance
    hint = str(error.schema.get("description", "")) if isinstance(error.schema, Mapping) else ""
    if error.validator == "required":
        return f"has no field {', '.join(repr(name) for name in wanted if name not in instance)}", hint
    if error.validator == "additionalProperties":
        return f"has the unknown field {', '.join(_unknown(error.schema, instance))}", hint
    if error.validator == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        return f"must be {' or '.join(kinds)}, not {_kind(instance)}", hint
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, wanted))}", hint
    if error.validator == "const":
        return f"must be {json.dumps(wanted)}", hint
    if error.validator == "pattern":
        return f"does not have the form {wanted}", hint
    if error.validator == "dependentRequired":
        missing = sorted(
            {name for key in wanted if key in instance for name in wanted[key] if name not in instance}
        )
        return f"also needs {', '.join(missing)}", hint
    if error.validator == "not" and not wanted:
        return "must not be there", hint
    return f"breaks the rule {error.validator} {json.dumps(wanted)[:200]}", hint


def _unknown(rules: Any, instance: Mapping[str, Any]) -> list[str]:
    import re

    known = rules.get("properties", {})
    forms = rules.get("patternProperties", {})
    return [
        repr(key) for key in instance if key not in known and not any(re.search(form, key) for form in forms)
    ]


def _kind(value: Any) -> str:
    kinds = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        type(None): "null",
        int: "integer",
    }
    return kinds.get(type(value), "number")
