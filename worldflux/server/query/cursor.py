"""Where a page ended, as a text that a client gives back to have the next one.

A cursor holds the last run's place in the order, not a count of rows, so runs that come or go in
between neither repeat nor hide another. It is not secret and grants nothing: what is in it is
checked, and only ever compared with rows that the client may see.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from worldflux.manifest.model import is_run_id
from worldflux.manifest.numbers import NOT_FINITE, not_finite_name
from worldflux.server.query.faults import CursorError

_MAX = 8000
_STALE = "start again without `cursor`"


@dataclass(frozen=True)
class Cursor:
    """The last row of a page.

    Attributes:
        list: fingerprint of the request, which the next one must share.
        phase: index of the stretch of the order the row is in.
        value: what it is ordered by there; None where only age counts.
        run: its client_run_id.
        total, is_exact: how many rows were counted for the first page.
    """

    list: str
    phase: int
    value: str | float | None
    run: str
    total: int
    is_exact: bool

    def encode(self) -> str:
        value = self.value
        if isinstance(value, float) and not math.isfinite(value):
            value = [not_finite_name(value)]  # type: ignore[assignment]
        parts = [1, self.list, self.phase, value, self.run, self.total, self.is_exact]
        text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode("utf-8")).decode().rstrip("=")


def fingerprint(parts: Sequence[object]) -> str:
    """A short digest of what was asked for."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def decode(text: str, list_: str) -> Cursor:
    """The cursor in a text.

    Args:
        list_: fingerprint of the request that it came with.

    Raises:
        CursorError: it is damaged, or was given for another request.
    """
    try:
        if len(text) > _MAX:
            raise ValueError(len(text))
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, asked, phase, value, run, total, exact = json.loads(data.decode("utf-8"))
        if isinstance(value, list) and len(value) == 1 and value[0] in NOT_FINITE:
            value = float(value[0])
        cursor = Cursor(asked, phase, value, run, total, exact)
        if version != 1 or not _is_well_formed(cursor):
            raise ValueError(version)
    except (ValueError, binascii.Error, TypeError, RecursionError, UnicodeError):
        raise CursorError("the cursor is damaged", _STALE) from None
    if cursor.list != list_:
        raise CursorError(
            "the cursor was given for another filter, order or project",
            f"{_STALE}, or repeat the first request",
        )
    return cursor


def _is_well_formed(cursor: Cursor) -> bool:
    value = cursor.value
    whole = (cursor.phase, cursor.total)
    return (
        isinstance(cursor.list, str)
        and is_run_id(cursor.run)
        and all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**53 for each in whole)
        and isinstance(cursor.is_exact, bool)
        and (value is None or isinstance(value, str | int | float))
        and not isinstance(value, bool)
        and not (isinstance(value, float) and math.isnan(value))
        and not (isinstance(value, int) and abs(value) > 2**63)
        and not (isinstance(value, str) and ("\0" in value or (not value.isascii() and _is_broken(value))))
    )


def _is_broken(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which no database takes."""
    return any(0xD800 <= ord(char) <= 0xDFFF for char in text)
