"""Values written in the grammar of Hydra's overrides."""

from __future__ import annotations

import re
from typing import Any

#: A cell of a table as people write it: numbers and words are taken as they are.
_CELL = re.compile(r"[A-Za-z0-9_./:@+-]+\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_OTHER_MEANING = ("true", "false", "null", "nan", "inf")


def cell_override(key: str, cell: str) -> str:
    """A key and the text of a table's cell as an override: `3` is a number, `a, b` a text."""
    return f"{key}={cell}" if _CELL.match(cell) else as_override(key, cell)


def as_override(key: str, value: Any) -> str:
    """A key and a value from a file as an override in Hydra's grammar."""
    return f"{key}={_grammar(value)}"


def _grammar(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_grammar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_grammar(inner) for inner in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if not isinstance(value, str):
        return text
    if _WORD.match(text) and text.lower() not in _OTHER_MEANING:
        return text
    # Within quotes the grammar wants quotes escaped, and backslashes only before a quote.
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + "\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"
