"""What `make test` tries a part of, and `make nightly` as a whole."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

#: Whether everything is tried.
WHOLE = os.environ.get("WORLDFLUX_TEST_NIGHTLY") == "1"

Case = TypeVar("Case")


def times(usually: int, nightly: int) -> int:
    """How often something of one kind is tried."""
    return nightly if WHOLE else usually


def part(
    cases: Sequence[Case], number: int, always: Callable[[Case], bool] = lambda case: False
) -> list[Case]:
    """So many of the cases, in their order: the first, the last, those that are `always` tried, and others.

    The others are the same each time, so that a failure can be had again.
    """
    if WHOLE or len(cases) <= number:
        return list(cases)
    chosen = {0, len(cases) - 1, *(at for at, case in enumerate(cases) if always(case))}
    others = [at for at in range(len(cases)) if at not in chosen]
    chosen.update(random.Random(0).sample(others, max(0, number - len(chosen))))
    return [cases[at] for at in sorted(chosen)]
