"""RFC 8785 canonical JSON, written by the interpreter's own encoder wherever that gives the same bytes.

It does for everything but some floats (`1.0`, `1e-05`), names outside ASCII (sorted by UTF-16 units)
and what has no JSON form: those are left to `rfc8785`.
"""

from __future__ import annotations

import json
from typing import Any

from worldflux.manifest.numbers import UNSAFE

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_json(value: Any) -> bytes:
    """The bytes of a value.

    Raises:
        ValueError: it holds something that JSON can not, such as NaN, a long integer or half of
            a surrogate pair.
        RecursionError: it is nested too deeply.
    """
    if _is_plain(value):
        return _encode(value).encode()
    if type(value) is dict and all(map(_is_plain_name, value)):
        members = (_encode(name).encode() + b":" + canonical_json(value[name]) for name in sorted(value))
        return b"{" + b",".join(members) + b"}"
    if type(value) is list:
        return b"[" + b",".join(map(canonical_json, value)) + b"]"
    import rfc8785  # only for what is rare

    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether the interpreter's encoder writes the canonical form, text that is no Unicode left out."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-UNSAFE < value < UNSAFE)
    if kind is float:
        # Between these both write the shortest decimal, and a whole number has no `.0` there.
        return 1e-4 <= abs(value) < 1e16 and not value.is_integer()
    if kind is dict:
        return all(map(_is_plain_name, value)) and (
            set(map(type, value.values())) == {str} or all(map(_is_plain, value.values()))
        )
    return kind is list and all(map(_is_plain, value))


def _is_plain_name(name: object) -> bool:
    return type(name) is str and name.isascii()
