"""Runs side by side: what differs between them, and what came out in each group of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.manifest.leaves import leaves
from worldflux.manifest.numbers import wilson
from worldflux.run.statistics import mean_interval

if TYPE_CHECKING:
    from worldflux.manifest.model import Manifest

#: Settings that do not change what a run computes: how it is filed and paid, and by whom it is started.
FILING = ("sweep", "cost_guard", "runs_dir", "sync", "name", "tags", "project", "description", "objective")
SEED = "seed"
RECIPE = "recipe"
#: Facts of a manifest, beside its settings, that runs can be grouped by.
FACTS = ("runtime", "sweep", "commit")


@dataclass(frozen=True)
class Sample:
    """One run that succeeded.

    Attributes:
        settings: dotted key -> resolved value, without `FILING`.
        facts: the `FACTS`.
        metrics: as in the manifest.
    """

    run_id: str
    folder: Path
    settings: dict[str, Any]
    facts: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def of(cls, run_id: str, folder: Path, manifest: Manifest) -> Sample:
        resolved = {k: v for k, v in manifest.config["resolved"].items() if k not in FILING}
        facts = {
            "runtime": manifest.runtime["name"],
            "sweep": manifest.run.get("sweep_id"),
            "commit": manifest.git.get("commit") if manifest.git is not None else None,
        }
        return cls(run_id, folder, leaves(resolved), facts, dict(manifest.metrics))

    def value(self, key: str) -> Any:
        """A setting or a fact; None when the run has none of that name."""
        return self.facts[key] if key in FACTS else self.settings.get(key)


@dataclass
class Group:
    """Runs that agree in the keys they are grouped by.

    Attributes:
        key: grouped key -> value.
        samples: oldest first; one for each setting and seed.
        repeated: how many older runs of the same settings and seed were left out.
    """

    key: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    repeated: int = 0

    def values(self, key: str) -> list[Any]:
        """The different values of a key, in order of appearance."""
        found = {same(sample.value(key)): sample.value(key) for sample in self.samples}
        return list(found.values())


def same(value: Any) -> str:
    """A text that is equal for equal values, also for lists and mappings."""
    return json.dumps(value, sort_keys=True, default=str)


def varying(samples: Sequence[Sample]) -> list[str]:
    """Keys of settings that somebody set differently, the recipe first.

    Left out is what follows from something else: a value that interpolates other keys, such as
    the command; what every run of a recipe has in common; and options of a runtime likewise.
    """
    names = list(dict.fromkeys(key for sample in samples for key in sample.settings))
    names.sort(key=lambda key: key != RECIPE)
    different = [key for key in names if len({same(s.settings.get(key, "\0")) for s in samples}) > 1]
    for cause, effects in ((RECIPE, ""), ("runtime.name", "runtime.")):
        if cause in different:
            different = [
                key
                for key in different
                if key in (cause, SEED) or not key.startswith(effects) or not _follows(samples, cause, key)
            ]
    derived = _interpolated(samples, [key for key in different if key not in (RECIPE, "runtime.name")])
    return [key for key in different if key not in derived]


def _follows(samples: Iterable[Sample], cause: str, effect: str) -> bool:
    """Whether runs that agree in one key always agree in the other."""
    seen: dict[str, str] = {}
    for sample in samples:
        value = same(sample.settings.get(effect, "\0"))
        if seen.setdefault(same(sample.settings.get(cause)), value) != value:
            return False
    return True


def _interpolated(samples: Sequence[Sample], keys: Sequence[str]) -> set[str]:
    """Those keys that no run sets by itself, by the unresolved configurations in the run folders."""
    if not keys:
        return set()
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    derived = set(keys)
    for sample in samples:
        if not derived:
            break
        try:
            data = (sample.folder / "config.yaml").read_bytes()
            raw = leaves(yaml.load(data, Loader=loader))  # noqa: S506 -- a safe loader, the quick one
        except (OSError, yaml.YAMLError):
            return set()
        derived -= {key for key in derived if key in raw and "${" not in same(raw[key])}
    return derived


def grouped(samples: Iterable[Sample], keys: Sequence[str]) -> list[Group]:
    """The runs by their values of some keys, in order of appearance.

    A seed counts once: of several runs with the same settings and the same seed the newest is
    kept, since they are no independent draws. Runs without a seed all count.
    """
    groups: dict[str, dict[str, Sample]] = {}
    found: dict[str, Group] = {}
    for sample in sorted(samples, key=lambda each: each.run_id):
        key = {name: sample.value(name) for name in keys}
        group = found.setdefault(same(key), Group(key))
        kept = groups.setdefault(same(key), {})
        identity = sample.run_id if sample.settings.get(SEED) is None else same(sample.settings)
        group.repeated += kept.pop(identity, None) is not None
        kept[identity] = sample
    for name, group in found.items():
        group.samples = list(groups[name].values())
    return sorted(found.values(), key=lambda group: [_order(value) for value in group.key.values()])


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, same(value))


def statistics(group: Group, name: str, level: float) -> dict[str, Any] | None:
    """One metric over the runs of a group; None when none of them has it.

    A success rate pools the trials of all runs and has their Wilson interval. Any other metric
    has its mean with a Student t interval over runs; NaN and infinities are left out and counted.

    Returns:
        kind, mean, low, high, method, n (runs), std, min, max, k, trials, unit, left_out.
    """
    found = [sample.metrics[name] for sample in group.samples if name in sample.metrics]
    if not found:
        return None
    result: dict[str, Any] = dict.fromkeys(("low", "high", "method", "std", "k", "trials"))
    result |= {"kind": "value", "unit": found[0].get("unit")}
    values = [float(each["value"]) for each in found if _finite(each["value"])]
    result |= {"n": len(values), "left_out": len(group.samples) - len(values)}
    result |= {"min": min(values, default=None), "max": max(values, default=None), "mean": None}
    if all(each.get("kind") == "success" and each.get("n") for each in found):
        k, trials = sum(each["k"] for each in found), sum(each["n"] for each in found)
        low, high = wilson(k, trials, level)
        result |= {"kind": "success", "k": k, "trials": trials, "mean": k / trials}
        return result | {"low": low, "high": high, "method": "wilson"}
    if values:
        mean, std, below, above = mean_interval(values, level)
        result |= {"mean": mean, "std": std, "low": below, "high": above}
        result["method"] = "t" if below is not None else None
    return result


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
