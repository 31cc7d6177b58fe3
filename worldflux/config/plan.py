"""What the words of a sweep ask for, before anything is composed.

Words of the plainest form are understood without Hydra, which takes longer to load than many sweeps
take to run; `worldflux.config.sweep.plan_jobs` understands all of them, and both say the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

MAX_JOBS = 10_000
#: Settings of the sweep as a whole, taken from the command line before there is any job.
PLANNING = ("seeds", "zip", "file", "include", "exclude")

_KEY = r"\+?[A-Za-z_]\w*(?:[./][A-Za-z_]\w*)*"
_INTEGER = r"(?:0|-?[1-9][0-9]{0,17})"
#: Parts of lists that Hydra writes as they were typed.
_PART = rf"(?:{_INTEGER}|[A-Za-z_][\w-]*)"
_SINGLE = re.compile(rf"({_KEY})=\w+(?:[./-]\w+)*", re.ASCII)
_LIST = re.compile(rf"({_KEY})=({_PART}(?:,{_PART})+)", re.ASCII)
_RANGE = re.compile(rf"({_KEY})=range\(({_INTEGER})(?:,({_INTEGER}))?(?:,([1-9][0-9]{{0,17}}))?\)", re.ASCII)
#: Words with a meaning of their own, in any case.
_NO_TEXT = ("true", "false", "null", "nan", "inf")


@dataclass
class Plan:
    """What a command line asks for, before composition."""

    settings: dict[str, Any] = field(default_factory=dict)
    jobs: list[list[str]] = field(default_factory=list)


def plain_plan(words: Sequence[str]) -> Plan | None:
    """The plan of overrides that are single words, lists and ranges of whole numbers; None for all others."""
    plan, axes, seeds = Plan(), list[Sequence[str]](), list[Sequence[str]]()
    for word in words:
        key, _, value = word.partition("=")
        if key.lstrip("+") in [f"sweep.{name}" for name in PLANNING]:
            if key != "sweep.seeds" or not re.fullmatch("[1-9][0-9]{0,4}", value) or seeds:
                return None
            plan.settings["seeds"] = int(value)
            seeds = [[f"seed={seed}" for seed in range(int(value))]]
            continue
        choices = _choices(word)
        if choices is None:
            return None
        axes.append(choices)
    if prod(len(axis) for axis in (*axes, *seeds)) > MAX_JOBS:
        return None
    plan.jobs = [list(parts) for parts in product(*axes, *seeds)]
    return plan


def _choices(word: str) -> Sequence[str] | None:
    if _SINGLE.fullmatch(word):
        return [word]
    listed = _LIST.fullmatch(word)
    if listed:
        parts = listed[2].split(",")
        return None if any(p.lower() in _NO_TEXT for p in parts) else [f"{listed[1]}={p}" for p in parts]
    ranged = _RANGE.fullmatch(word)
    if ranged is None:
        return None
    start, stop, step = (int(ranged[number] or default) for number, default in ((2, 0), (3, 0), (4, 1)))
    numbers = range(start, stop, step) if ranged[3] else range(start)
    return [f"{ranged[1]}={number}" for number in numbers] if 0 < len(numbers) <= MAX_JOBS else None
