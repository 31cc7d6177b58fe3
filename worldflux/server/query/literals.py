"""Values as they are typed in a filter: numbers, lengths of time, times."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

_NUMBER = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII
)
_NOT_FINITE = {
    "nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf,
    "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf,
}  # fmt: skip
_LENGTH = re.compile(r"(-?)([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2})(?:[T_]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,3}))?)?"
    r"(Z|z|[+-][0-9]{2}:[0-9]{2})?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: The first and the last moment that have a form of four digits for the year, in milliseconds.
FIRST_MS, LAST_MS = -62135596800000, 253402300799999


def number(text: str) -> float | None:
    """The double that a word means, also `NaN` and `-Infinity`; None when it is no number."""
    if _NUMBER.fullmatch(text):
        return float(text)
    return _NOT_FINITE.get(text.lower())


def seconds(text: str) -> float | None:
    """The length of a time such as `90`, `10m` or `1.5h`; None when it is none."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        return number(text)
    sign, digits, unit = found.groups()
    return float(sign + digits) * _SECONDS[unit]


def span(text: str, now: float) -> tuple[int, int] | None:
    """The milliseconds since 1970 that a time covers: the first one, and the first one after it.

    `2026-11` is a month, `2026-11-01` a day, `2026-11-01T10:30` a minute, all in UTC unless an
    offset follows; `-7d` is the moment seven days before now, `today` a day.

    Args:
        now: seconds since 1970.

    Returns:
        None when the text is no time that exists.
    """
    found = _LENGTH.fullmatch(text)
    if found is not None and found[1]:
        moment = int((now - float(found[2]) * _SECONDS[found[3]]) * 1000)
        return (moment, moment) if FIRST_MS <= moment <= LAST_MS else None
    if text.lower() in ("today", "yesterday"):
        day = int(now // 86400) - (text.lower() == "yesterday")
        return day * 86_400_000, (day + 1) * 86_400_000
    parts = _TIME.fullmatch(text)
    if parts is None:
        return None
    try:
        return _covered(*parts.groups())
    except (ValueError, OverflowError):
        return None


def _covered(
    year: str, month: str, day: str | None, hour: str | None, minute: str | None, second: str | None,
    fraction: str | None, offset: str | None,
) -> tuple[int, int]:  # fmt: skip
    start = datetime(
        int(year),
        int(month),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        tzinfo=timezone.utc,
    )
    first = int((start - _EPOCH) / timedelta(milliseconds=1))
    if day is None:
        after = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        return first, int((after - _EPOCH) / timedelta(milliseconds=1))
    width = 86_400_000 if hour is None else 60_000 if second is None else 1000
    if fraction is not None:
        width = 10 ** (3 - len(fraction))
        first += int(fraction) * width
    if offset is not None and offset not in "Zz":
        hours, minutes = int(offset[1:3]), int(offset[4:6])
        if hours > 23 or minutes > 59:
            raise ValueError(offset)
        first -= (hours * 60 + minutes) * 60_000 * (-1 if offset[0] == "-" else 1)
    if not FIRST_MS <= first <= LAST_MS:
        raise ValueError(first)
    return first, first + width


def stamp(moment: int) -> str:
    """Milliseconds since 1970 as the text that manifests have; what is beyond year 9999 stops there."""
    moment = min(max(moment, FIRST_MS), LAST_MS)
    return (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds")
