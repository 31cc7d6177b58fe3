"""What `runs compare` adds when asked: differences on common seeds, interquartile means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worldflux.cli import render
from worldflux.errors import UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.run.comparison import Group, Sample


def paired(
    groups: Sequence[Group], metrics: Sequence[str], keys: Sequence[str], level: float
) -> dict[str, Any] | None:
    """The first group minus the second, on what they have in common.

    A success rate is paired episode by episode where both runs of a seed still have their outcomes,
    and has McNemar's exact test; anything else is paired by seed. p-values are Holm's, too.

    Raises:
        UsageError: there are no two groups.
    """
    from worldflux.run.paired import holm

    if len(groups) < 2:
        raise UsageError(
            "--paired needs two groups of runs", "worldflux runs compare --paired --group-by KEY"
        )
    pairs = _pairs(groups[0], groups[1], keys)
    found = {}
    for name in metrics:
        row = _by_episode(name, pairs, level) or _by_seed(name, pairs, level)
        if row is not None:
            found[name] = row
    for name, corrected in zip(found, holm([row["p"] for row in found.values()]), strict=True):
        found[name]["p_holm"] = corrected
    return {"first": groups[0].key, "second": groups[1].key, "metrics": found}


def interquartile_means(
    groups: Sequence[Group], metrics: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """Of each group: metric -> interquartile mean over all its runs, each recipe a stratum of its own."""
    from worldflux.run.resampling import interquartile_mean

    rows = []
    for group in groups:
        row = {}
        for name in metrics:
            strata: dict[str, list[float]] = {}
            for sample in group.samples:
                value = _value(sample, name)
                if value is not None:
                    strata.setdefault(str(sample.value("recipe")), []).append(value)
            if strata:
                row[name] = interquartile_mean(strata, level)._asdict()
        rows.append(row)
    return rows


def text(data: dict[str, Any]) -> str:
    """Both additions as tables for people."""
    parts = []
    for row, means in zip(data["groups"], data.get("iqm", ()), strict=False):
        lines = [[name, f"{m['value']:.4g}", _interval(m), m["n"]] for name, m in means.items()]
        title = ", ".join(f"{key}={value}" for key, value in row["group"].items())
        parts.append(f"{title}\n" + render.table(lines, ["metric", "interquartile mean", "interval", "n"]))
    both = data.get("paired")
    if both is not None:
        lines = []
        for name, m in both["metrics"].items():
            figures = [f"{m['difference']:.4g}", _interval(m), f"{m['p']:.3g}", f"{m['p_holm']:.3g}"]
            lines.append([name, *figures, m["unit_of_pairing"], m["n"]])
        names = [
            ", ".join(f"{key}={value}" for key, value in both[each].items()) for each in ("first", "second")
        ]
        header = ["metric", "difference", "interval", "p", "p (Holm)", "paired by", "n"]
        parts.append(f"{names[0]} minus {names[1]}\n" + render.table(lines, header))
    return "".join(f"\n\n{part}" for part in parts)


def _interval(row: dict[str, Any]) -> str:
    return "-" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"


def _pairs(first: Group, second: Group, keys: Sequence[str]) -> list[tuple[Sample, Sample]]:
    """Runs of both groups that agree in every setting but those that tell the groups apart.

    Settings that follow from the keys, such as the command, are not held against a pair: the seed and
    the recipe decide, and where a seed stands for several runs, the other settings.
    """

    def place(sample: Sample) -> tuple[str, str]:
        recipe = "" if "recipe" in keys else str(sample.value("recipe"))
        return recipe, str(sample.settings.get("seed"))

    mine: dict[tuple[str, str], list[Sample]] = {}
    theirs: dict[tuple[str, str], list[Sample]] = {}
    for found, group in ((mine, first), (theirs, second)):
        for sample in group.samples:
            found.setdefault(place(sample), []).append(sample)
    return [
        pair
        for where in mine
        if len(mine[where]) == len(theirs.get(where, ()))
        for pair in zip(mine[where], theirs[where], strict=True)
    ]


def _by_seed(name: str, pairs: Sequence[tuple[Sample, Sample]], level: float) -> dict[str, Any] | None:
    from worldflux.run.paired import paired_difference

    values = [(_value(a, name), _value(b, name)) for a, b in pairs]
    both = [(a, b) for a, b in values if a is not None and b is not None]
    if not both:
        return None
    found = paired_difference([a for a, _ in both], [b for _, b in both], level)
    return {
        "unit_of_pairing": "seed", "n": found.n, "difference": found.mean, "low": found.low, "high": found.high,
        "p": found.p, "method": "t, sign flips", "b": None, "c": None,
    }  # fmt: skip


def _by_episode(name: str, pairs: Sequence[tuple[Sample, Sample]], level: float) -> dict[str, Any] | None:
    """The episodes of all pairs together; None where a run's outcomes are gone or do not match in number."""
    from worldflux.run.paired import mcnemar

    first: list[bool] = []
    second: list[bool] = []
    for a, b in pairs:
        mine, theirs = _outcomes(a, name), _outcomes(b, name)
        if not mine or len(mine) != len(theirs):
            return None
        first += mine
        second += theirs
    if not first:
        return None
    found = mcnemar(first, second, level)
    return {
        "unit_of_pairing": "episode", "n": found.n, "difference": found.difference, "low": found.low,
        "high": found.high, "p": found.p, "method": "newcombe, mcnemar", "b": found.b, "c": found.c,
    }  # fmt: skip


def _outcomes(sample: Sample, name: str) -> list[bool]:
    from worldflux.evidence.episodes import outcomes_of
    from worldflux.manifest import io

    if sample.metrics.get(name, {}).get("kind") != "success":
        return []
    try:
        return outcomes_of(sample.folder, io.read(sample.folder / "manifest.json"), name)
    except WorldFluxError:
        return []


def _value(sample: Sample, name: str) -> float | None:
    value = sample.metrics.get(name, {}).get("value")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
