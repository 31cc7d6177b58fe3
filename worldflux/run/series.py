"""Series of a run: what its command appended to `metrics.jsonl`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from worldflux.run.collect import _series_row

SERIES_NAME = "metrics.jsonl"


class Point(NamedTuple):
    """One logged value. NaN and infinities are the texts that the manifest has for them."""

    name: str
    value: int | float | str
    step: int | None


def points(folder: Path) -> Iterator[Point]:
    """Everything logged in a run's folder, in order; lines that are no metric are left out.

    A run that logged nothing has no points. A link is not followed.
    """
    path = folder / SERIES_NAME
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            row = _series_row(line) if line.strip() else None
            if row is not None:
                yield Point(*row)


def digests(folder: Path) -> dict[str, str]:
    """Name -> digest of its values and steps in order; equal where the curves are equal."""
    found: dict[str, hashlib._Hash] = {}
    for name, value, step in points(folder):
        digest = found.setdefault(name, hashlib.sha256())
        digest.update(f"{step} {value!r}\n".encode())
    return {name: digest.hexdigest() for name, digest in found.items()}
