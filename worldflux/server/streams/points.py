"""Series of metrics out of a run's `metrics` stream, thinned out while they are read.

A series is kept in buckets of equally many points. When there are twice as many buckets as are asked
for, neighbours are joined; so memory depends on what is asked for, never on how long the run logged.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from worldflux.manifest.names import metric_name
from worldflux.manifest.numbers import NOT_FINITE, not_finite_name
from worldflux.server.streams.content import Stream

#: Series in one answer when none are named, and points of all series together.
MAX_SERIES = 50
MAX_POINTS = 100_000
#: Names that are told apart when names are looked for.
MAX_NAMES = 100_000
#: Longer lines are no metrics.
_MAX_LINE = 65_536

Number = float | str


@dataclass
class Series:
    """One metric over its steps.

    Attributes:
        points: how many were logged within the asked steps.
        width: points in each bucket but the last.
    """

    most: int
    points: int = 0
    width: int = 1
    _filled: int = 0
    _steps: array[int] = field(default_factory=lambda: array("q"))
    _sums: array[float] = field(default_factory=lambda: array("d"))
    _counts: array[int] = field(default_factory=lambda: array("q"))
    _lows: array[float] = field(default_factory=lambda: array("d"))
    _highs: array[float] = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float) -> None:
        """Append a point; NaN counts as one but has no size."""
        self.points += 1
        if self._filled == 0:
            if len(self._steps) >= 2 * self.most:
                self._join()
            self._steps.append(step)
            self._sums.append(0.0)
            self._counts.append(0)
            self._lows.append(math.inf)
            self._highs.append(-math.inf)
        if value == value:
            self._lows[-1] = min(self._lows[-1], value)
            self._highs[-1] = max(self._highs[-1], value)
            if abs(value) != math.inf:
                self._counts[-1] += 1
                # A mean that is kept up to date overflows later than a sum.
                self._sums[-1] += (value - self._sums[-1]) / self._counts[-1]
        self._filled = (self._filled + 1) % self.width

    def _join(self) -> None:
        """Make one bucket of each two; called when all are full and there is an even number of them."""
        pairs = range(0, len(self._steps) - 1, 2)
        counts = array("q", (self._counts[i] + self._counts[i + 1] for i in pairs))
        sums = array("d", (self._mean(i, i + 1) for i in pairs))
        self._lows = array("d", (min(self._lows[i], self._lows[i + 1]) for i in pairs))
        self._highs = array("d", (max(self._highs[i], self._highs[i + 1]) for i in pairs))
        self._steps = array("q", (self._steps[i] for i in pairs))
        self._counts, self._sums = counts, sums
        self.width *= 2

    def _mean(self, a: int, b: int) -> float:
        whole = self._counts[a] + self._counts[b]
        if not whole:
            return 0.0
        return self._sums[a] * (self._counts[a] / whole) + self._sums[b] * (self._counts[b] / whole)

    def to_json(self) -> dict[str, Any]:
        """The series as it is answered: at most `most` places, each with the mean of its points; with the
        smallest and largest of them, and of how many a place is made, when it was thinned out."""
        if len(self._steps) > self.most:
            if len(self._steps) % 2:
                self._steps.append(self._steps[-1])
                self._sums.append(0.0)
                self._counts.append(0)
                self._lows.append(math.inf)
                self._highs.append(-math.inf)
            self._join()
        places = range(len(self._steps))
        found: dict[str, Any] = {
            "step": list(self._steps), "value": [self._value(i) for i in places], "time": None,
            "points": self.points, "downsampled": self.width > 1,
        }  # fmt: skip
        if self.width > 1:
            found["width"] = self.width
            # Without a number in it, a bucket's smallest is still above its largest.
            empty = [self._lows[i] > self._highs[i] for i in places]
            found["min"] = ["NaN" if empty[i] else _plain(self._lows[i]) for i in places]
            found["max"] = ["NaN" if empty[i] else _plain(self._highs[i]) for i in places]
        return found

    def _value(self, i: int) -> Number:
        if self._counts[i]:
            return self._sums[i]
        return _plain(self._lows[i]) if self._lows[i] == self._highs[i] else "NaN"


def _plain(number: float) -> Number:
    return number if math.isfinite(number) else not_finite_name(number)


@dataclass(frozen=True)
class Since:
    """Up to where somebody has read a stream, as they are told it and tell it again.

    Attributes:
        start: byte at which the lines begin that they do not have.
        counted: points of each series before that, by which those without a step are numbered.
    """

    start: int = 0
    counted: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Since:
        """What `text` said, for the same names.

        Raises:
            ValueError: it was given for another number of names.
        """
        start, *counted = (int(part) for part in text.split("."))
        return cls(start, dict(zip(names, counted, strict=True)))

    def text(self, names: Sequence[str]) -> str:
        """For the answer about these names."""
        return ".".join(map(str, (self.start, *(self.counted.get(name, 0) for name in names))))


@dataclass(frozen=True)
class Asked:
    """What is wanted of a stream.

    Attributes:
        names: of the series; None for the first `MAX_SERIES` that come.
        most: places of each series.
        first, last: steps that are let in, None for all.
        since: only what came later.
    """

    names: Collection[str] | None = None
    most: int = 2000
    first: int | None = None
    last: int | None = None
    since: Since = Since()


class Found(NamedTuple):
    """Series in order of appearance, whether some were left out for being too many, and where to go on."""

    series: dict[str, Series]
    more: bool
    next: Since


def series(stream: Stream, asked: Asked) -> Found:
    """The series of a stream."""
    share = MAX_POINTS // max(1, MAX_SERIES if asked.names is None else len(asked.names))
    most, more = max(2, min(asked.most, share)), False
    found: dict[str, Series] = {}
    ordinals = dict(asked.since.counted)
    rows = Rows(stream, asked.since.start)
    for name, value, step in _metrics(rows):
        if asked.names is not None and name not in asked.names:
            continue
        ordinal = ordinals.get(name, 0)
        ordinals[name] = ordinal + 1
        at = ordinal if step is None else step
        if (asked.first is not None and at < asked.first) or (asked.last is not None and at > asked.last):
            continue
        one = found.get(name)
        if one is None:
            if len(found) >= MAX_SERIES and asked.names is None:
                more = True
                ordinals.pop(name)
                continue
            one = found[name] = Series(most)
        one.add(at, value)
    return Found(found, more, Since(rows.end, ordinals))


class Named(NamedTuple):
    """Names of series in order of appearance, how many there are, whether all were counted, where to go on."""

    names: list[str]
    total: int
    is_exact: bool
    next: Since


def names_of(stream: Stream, part: str, most: int, since: Since) -> Named:
    """The names of the series of a stream that have a text in them, whatever its case.

    Args:
        most: of the names; those beyond are only counted, up to `MAX_NAMES`.
        since: only series that have got points later.
    """
    rows, wanted, seen, is_exact = Rows(stream, since.start), part.lower(), dict[str, None](), True
    for name, _, _ in _metrics(rows):
        if name in seen or wanted not in name.lower():
            continue
        if len(seen) < MAX_NAMES:
            seen[name] = None
        else:
            is_exact = False
    return Named(list(seen)[:most], len(seen), is_exact, Since(rows.end))


def points(stream: Stream) -> Iterator[tuple[str, float, int | None]]:
    """Name, value and step of each line that is a metric, in their order; other lines are left out."""
    return _metrics(Rows(stream))


def _metrics(rows: Iterable[Any]) -> Iterator[tuple[str, float, int | None]]:
    names: dict[str, str] = {}
    for row in rows:
        if not isinstance(row, dict):
            continue
        raw, value, step = row.get("name"), row.get("value"), row.get("step")
        if not isinstance(raw, str):
            continue
        name = names.get(raw)
        if name is None:
            if len(names) > 10_000:
                names.clear()
            name = names[raw] = metric_name(raw)
        number = _number(value)
        if name and number is not None:
            whole = isinstance(step, int) and not isinstance(step, bool) and abs(step) < 2**53
            yield name, number, step if whole else None


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return None
    return float(value) if isinstance(value, str) and value in NOT_FINITE else None


class Rows:
    """The lines of a stream from a byte on, each as the JSON that it is; to be gone through once.

    Attributes:
        end: byte at which whoever goes on later begins: a last line that is not whole yet comes again.
    """

    def __init__(self, stream: Stream, start: int = 0) -> None:
        self.end = start
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        carry, skipping, at = b"", False, self.end
        for part in self._stream.read(at):
            at += len(part)
            block = carry + part
            end = block.rfind(b"\n") + 1
            whole, carry = block[:end], block[end:]
            if end:
                self.end = at - len(carry)
            if skipping and end:
                whole, skipping = whole[whole.index(b"\n") + 1 :], False
            if len(carry) > _MAX_LINE:
                carry, skipping = b"", True
            yield from _parsed(whole)
        if carry and not skipping:
            for row in _parsed(carry):
                if isinstance(row, dict):  # nothing but its newline can follow
                    self.end = at
                yield row


def _parsed(lines: bytes) -> list[Any]:
    rows = [line for line in lines.split(b"\n") if line and not line.isspace()]
    try:
        # All at once is much faster; one bad line sends the block to the slow way.
        found: list[Any] = orjson.loads(b"[" + b",".join(rows) + b"]")
        if len(found) == len(rows):
            return found
    except orjson.JSONDecodeError:
        pass
    return [_loose(row) for row in rows]


def _loose(line: bytes) -> Any:
    if len(line) > _MAX_LINE:
        return None
    try:
        # Python's own parser knows the NaN and Infinity that Python's own writer puts there.
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
