"""Reads the corpus of synthetic secrets and of harmless values that look like them.

A line of `tests/fixtures/secrets/*.jsonl` is one document. Its secret is stored in `parts`, cut so that
no line of the repository has the form of a credential; it is joined and put in place of `@0@` here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

FOLDER = Path(__file__).parents[1] / "fixtures" / "secrets"


@dataclass(frozen=True)
class Case:
    """One document of the corpus.

    Attributes:
        id: unique within the corpus.
        family: the idea behind the case; a family is wholly in one split.
        split: `tune` may be looked at while rules are written, `held` only to report a number.
        data: the bytes given to the gate.
        env: variables the gate is told to be visible.
        value: the secret itself; empty for a harmless document.
    """

    id: str
    family: str
    split: str
    data: bytes
    env: dict[str, str]
    value: str


def encoded(value: str, way: str) -> str:
    """The value as a program might write it: raw, hex, url, repr, or base64 behind 0, 1 or 2 bytes."""
    raw = value.encode()
    if way.startswith("base64"):
        return base64.b64encode(b"id:"[: int(way[6:] or 0)] + raw + b";ok").decode()
    if way.startswith("urlsafe"):
        return base64.urlsafe_b64encode(b"id:"[: int(way[7:] or 0)] + raw).decode().rstrip("=")
    ways = {
        "raw": value,
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "url": quote(value, safe=""),
        "repr": repr(value),
    }
    return ways[way]


def _case(line: dict[str, Any]) -> Case:
    values = ["".join(parts) for parts in line.get("parts", [])]
    body: str = line["body"]
    for index, value in enumerate(values):
        text = encoded(value, line.get("as", "raw"))
        if line["form"] == "json":
            text = json.dumps(text)[1:-1]
        body = body.replace(f"@{index}@", text)
    env = {name: values[ref] if isinstance(ref, int) else ref for name, ref in line.get("env", {}).items()}
    value = values[0] if line["secret"] else ""
    return Case(line["id"], line["family"], line["split"], body.encode(), env, value)


def load(kind: str, split: str = "") -> Iterator[Case]:
    """Cases of `positive` or `negative`, of one split or of both."""
    for text in (FOLDER / f"{kind}.jsonl").read_text("utf-8").splitlines():
        case = _case(json.loads(text))
        if split in ("", case.split):
            yield case
