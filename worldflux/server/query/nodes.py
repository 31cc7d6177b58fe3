"""A filter that has been read: a tree of tests. Each is true or false for a run, never unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worldflux.server.query.fields import Field

Sign = Literal["=", "<", "<=", ">", ">=", "~", "in", "has", "there"]
Kind = Literal["number", "text"]


@dataclass(frozen=True)
class Operand:
    """What a field is compared with.

    Attributes:
        text: as it was typed, without quotes.
        number: its number, when it is one and was not quoted; may be infinite or NaN.
        span: first millisecond since 1970, and the first one after it, when it is a time. A day
            spans 24 hours, a moment of `-7d` nothing.
    """

    text: str
    number: float | None = None
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Comparison:
    """One comparison; `there` asks whether the run has the field at all and has no operand.

    Attributes:
        kind: what every run has that has this parameter; None when that is not known or differs.
    """

    field: Field
    sign: Sign
    operands: tuple[Operand, ...] = ()
    kind: Kind | None = None

    @property
    def operand(self) -> Operand:
        return self.operands[0]


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class All:
    """True when every part is; without parts always."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any:
    """True when one part is; without parts never."""

    parts: tuple[Node, ...]


Node = Comparison | Not | All | Any
EVERY = All(())
