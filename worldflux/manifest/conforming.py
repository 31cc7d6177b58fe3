"""A JSON Schema made into plain functions that say yes or no, some ten times faster than an interpreter of it.

Only the keywords that the manifest's schema uses. A yes is a promise that a full validator finds
no fault (a test compares both). A no promises nothing: the full validator has to look.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Check = Callable[[Any], bool]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_PLAIN = frozenset(kind for kinds in _TYPES.values() for kind in kinds)
#: They say nothing about a document.
_SILENT = frozenset(("$schema", "$id", "$defs", "title", "description"))
_OBJECT = frozenset(
    ("properties", "patternProperties", "additionalProperties", "required", "propertyNames",
     "maxProperties", "dependentRequired")
)  # fmt: skip
_STRING = frozenset(("pattern", "minLength", "maxLength"))
_NUMBER = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_ARRAY = frozenset(("items", "maxItems", "uniqueItems"))
_LOGIC = frozenset(("allOf", "anyOf", "not", "if", "then", "else", "const", "enum", "type"))
_KNOWN = _SILENT | _OBJECT | _STRING | _NUMBER | _ARRAY | _LOGIC


#: Members from which on an object is remembered, and how many such objects are, for each place of the schema.
LARGE, MAX_REMEMBERED = 50, 8


class _Doubt(Exception):
    """A value of a kind that is not judged here: a subclass, or a float where an integer may stand."""


def compiled(schema: Mapping[str, Any]) -> Check:
    """A function that is true for documents that conform to a schema without references.

    Raises:
        ValueError: the schema has a keyword, or a use of one, that is not known here.
    """
    check = _compiled(schema)

    def conforms(document: Any) -> bool:
        try:
            return check(document)
        except _Doubt:
            return False

    return conforms


def _compiled(schema: Mapping[str, Any] | bool) -> Check:
    """An exact check, but for values on which it raises `_Doubt`."""
    if isinstance(schema, bool):
        return _yes if schema else _no
    unknown = sorted(schema.keys() - _KNOWN)
    if unknown:
        raise ValueError(f"no function for the keyword {unknown[0]}")
    by_kind: dict[type, Check] = {}
    for names, kinds, make in (
        (_STRING, (str,), _string),
        (_NUMBER, (int, float), _number),
        (_ARRAY, (list,), _array),
        (_OBJECT, (dict,), _object),
    ):
        if schema.keys() & names:
            by_kind.update(dict.fromkeys(kinds, make(schema)))
    checks = [_of_kind(schema.get("type"), by_kind)] if by_kind or "type" in schema else []
    return _all(checks + _logic(schema))


def _all(checks: Sequence[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) and second(value)
    return lambda value: all(check(value) for check in checks)


def _of_kind(wanted: str | Sequence[str] | None, by_kind: Mapping[type, Check]) -> Check:
    """The value has one of the wanted types (None: any), and the check of its own type finds no fault."""
    names = [wanted] if isinstance(wanted, str) else _TYPES.keys() if wanted is None else wanted
    types = {kind for name in names for kind in _TYPES[name]}
    doubtful = {float} if "integer" in names and "number" not in names else set()
    judges = {kind: by_kind.get(kind, _yes) if kind in types else _no for kind in _PLAIN - doubtful}

    def check(value: Any) -> bool:
        judge = judges.get(type(value))
        if judge is None:
            raise _Doubt
        return judge(value)

    return check


def _yes(value: Any) -> bool:
    return True


def _no(value: Any) -> bool:
    return False


def _string(schema: Mapping[str, Any]) -> Check:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    search = re.compile(schema["pattern"]).search if "pattern" in schema else None

    def check(value: str) -> bool:
        if longest is not None and len(value) > longest:
            return False
        return len(value) >= shortest and (search is None or search(value) is not None)

    return check


def _number(schema: Mapping[str, Any]) -> Check:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")

    def check(value: float) -> bool:
        # What is no number at all breaks no bound.
        return not (
            (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        )

    return check


def _array(schema: Mapping[str, Any]) -> Check:
    most, unique = schema.get("maxItems"), schema.get("uniqueItems", False)
    item = _compiled(schema["items"]) if "items" in schema else None

    def check(value: list[Any]) -> bool:
        if most is not None and len(value) > most:
            return False
        if unique:
            if set(map(type, value)) - {str}:
                raise _Doubt
            if len(set(value)) < len(value):
                return False
        return item is None or all(item(each) for each in value)

    return check


def _object(schema: Mapping[str, Any]) -> Check:
    required = frozenset(schema.get("required", ()))
    most = schema.get("maxProperties")
    names = _compiled(schema["propertyNames"]) if "propertyNames" in schema else None
    properties = {key: _compiled(each) for key, each in schema.get("properties", {}).items()}
    forms = [
        (re.compile(form).search, _compiled(each))
        for form, each in schema.get("patternProperties", {}).items()
    ]
    others = _compiled(schema.get("additionalProperties", True))
    together = schema.get("dependentRequired", {})
    simple = names is None and not forms

    def member(key: str, item: Any) -> bool:
        if names is not None and not names(key):
            return False
        known = properties.get(key)
        fits = known is not None
        for search, check in forms:
            if search(key):
                fits = True
                if not check(item):
                    return False
        return (known is None or known(item)) if fits else others(item)

    def each(value: dict[str, Any]) -> bool:
        if not required <= value.keys() or (most is not None and len(value) > most):
            return False
        for key, item in value.items():
            if type(key) is not str:
                raise _Doubt
            if not (properties.get(key, others)(item) if simple else member(key, item)):
                return False
        return all(value.keys() >= set(needed) for key, needed in together.items() if key in value)

    return _remembering(each)


def _remembering(check: Check) -> Check:
    """The same check, which does not look again into a large object that is as one before, such as all packages."""
    good: set[bytes] = set()

    def remembering(value: Any) -> bool:
        if len(value) < LARGE:
            return check(value)
        try:
            text = marshal.dumps(value, 2)  # tells types apart, and takes no others than the plain ones
        except ValueError:
            raise _Doubt from None
        if text not in good:
            if not check(value):
                return False
            if len(good) == MAX_REMEMBERED:
                good.clear()
            good.add(text)
        return True

    return remembering


def _logic(schema: Mapping[str, Any]) -> list[Check]:
    checks: list[Check] = []
    if "const" in schema:
        checks.append(_one_of([schema["const"]]))
    if "enum" in schema:
        checks.append(_one_of(schema["enum"]))
    checks += [_compiled(each) for each in schema.get("allOf", ())]
    if "anyOf" in schema:
        choices = [_compiled(each) for each in schema["anyOf"]]
        checks.append(lambda value: any(choice(value) for choice in choices))
    if "not" in schema:
        banned = _compiled(schema["not"])
        checks.append(lambda value: not banned(value))
    if "if" in schema:
        condition = _compiled(schema["if"])
        branches = {True: _compiled(schema.get("then", True)), False: _compiled(schema.get("else", True))}
        checks.append(lambda value: branches[condition(value)](value))
    return checks


def _one_of(wanted: Sequence[Any]) -> Check:
    """Equality as JSON has it: true is not 1, but 1.0 is."""
    if any(type(each) not in (str, int, bool, type(None)) for each in wanted):
        raise ValueError("only strings, integers, truth values and null are compared")
    known = {(type(each), each) for each in wanted}

    def check(value: Any) -> bool:
        kind = type(value)
        if kind is float or kind not in _PLAIN:
            raise _Doubt
        return kind not in (dict, list) and (kind, value) in known

    return check
