"""Pictures of compared runs: curves of what was logged, and parallel coordinates of all runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.errors import UsageError, WorldFluxError

if TYPE_CHECKING:
    from worldflux.run.comparison import Group

MAX_PANELS = 6
MAX_POINTS = 1000
MAX_LINES = 200
MAX_TICKS = 8
#: Ending -> (library, module of ours that draws with it).
BACKENDS = {
    ".png": ("matplotlib", "worldflux.cli.plot_png"),
    ".html": ("plotly", "worldflux.cli.plot_html"),
}


@dataclass(frozen=True)
class Curve:
    """What one run logged for a metric: finite values only, at most about `MAX_POINTS`."""

    run_id: str
    steps: list[int]
    values: list[float]


@dataclass
class Band:
    """A group's mean over its runs at the steps that all of them have, with bounds where n > 1."""

    label: str
    curves: list[Curve]
    steps: list[int] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass
class Axis:
    """One upright of the parallel coordinates: a number for each run, None where it has none.

    Attributes:
        labels: for settings that are no numbers: the text at 0, 1, 2 ...
    """

    name: str
    values: list[float | None]
    labels: list[str] | None = None

    @property
    def ticks(self) -> list[tuple[float, str]] | None:
        """Place and text of the marks where the values are few; None leaves them to the scale."""
        if self.labels is not None:
            return [(float(place), text) for place, text in enumerate(self.labels)]
        few = sorted({value for value in self.values if value is not None})
        return [(value, f"{value:.6g}") for value in few] if len(few) <= MAX_TICKS else None


@dataclass
class Picture:
    """Everything that is drawn."""

    panels: dict[str, list[Band]]
    axes: list[Axis]
    groups: list[str]


Draw = Callable[[Path, Picture], None]


def backend(path: Path) -> Draw:
    """What draws into a file of this name.

    Raises:
        UsageError: the ending is unknown, or the library for it is not installed.
    """
    if path.suffix.lower() not in BACKENDS:
        raise UsageError(
            f"--plot {path.name}: must end in .png or .html", "worldflux runs compare --plot out.html"
        )
    library, module = BACKENDS[path.suffix.lower()]
    try:
        importlib.import_module(library)
    except ImportError:
        raise UsageError(
            f"--plot {path.name} needs {library}, which is not installed",
            "pip install 'worldflux[plot]'",
            code="extra",
        ) from None
    draw: Draw = importlib.import_module(module).draw
    return draw


def draw(
    into: Draw,
    path: Path,
    groups: Sequence[Group],
    metrics: Sequence[str],
    differs: Sequence[str],
    level: float,
) -> None:
    """Draw the picture of some groups.

    Raises:
        UsageError: nothing was logged over time and there is only one run.
        WorldFluxError: the file can not be written.
    """
    picture = _picture(groups, metrics, differs, level)
    if not picture.panels and not picture.axes:
        raise UsageError("there is nothing to draw: one run, and nothing logged over time", "name more runs")
    try:
        into(path, picture)
    except OSError as error:
        raise WorldFluxError(
            f"{path} can not be written: {error.strerror}", "--plot FILE", code="plot"
        ) from None


def _picture(
    groups: Sequence[Group], metrics: Sequence[str], differs: Sequence[str], level: float
) -> Picture:
    panels: dict[str, list[Band]] = {}
    for group in groups:
        found: dict[str, list[Curve]] = {}
        for sample in group.samples:
            for name, curve in _curves(sample.folder, sample.run_id, metrics):
                found.setdefault(name, []).append(curve)
        for name, curves in found.items():
            if name in panels or len(panels) < MAX_PANELS:
                panels.setdefault(name, []).append(_band(_label(group), curves, level))
    samples = [sample for group in groups for sample in group.samples]
    axes = [_axis(key, [sample.value(key) for sample in samples]) for key in differs]
    for name in metrics:
        values = [sample.metrics.get(name, {}).get("value") for sample in samples]
        axes.append(Axis(name, [_number(value) for value in values]))
    enough = len(samples) > 1 and len(axes) > 1
    labels = [_label(group) for group in groups for _ in group.samples]
    return Picture(panels, axes if enough else [], labels)


def _label(group: Group) -> str:
    return ", ".join(f"{key}={value}" for key, value in group.key.items())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _axis(name: str, values: list[Any]) -> Axis:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return Axis(name, [float(value) for value in values])
    texts = ["-" if value is None else str(value) for value in values]
    labels = list(dict.fromkeys(texts))
    return Axis(name, [float(labels.index(text)) for text in texts], labels)


def _curves(folder: Path, run_id: str, metrics: Sequence[str]) -> Iterator[tuple[str, Curve]]:
    """Curves of a run with at least two points; a value without a step stands at its position."""
    from worldflux.run.series import points

    found: dict[str, tuple[list[int], list[float]]] = {}
    for name, value, step in points(folder):
        if name in metrics and not isinstance(value, str):
            steps, values = found.setdefault(name, ([], []))
            steps.append(len(steps) if step is None else step)
            values.append(float(value))
    for name, (steps, values) in found.items():
        if len(steps) > 1:
            # Equally long curves are thinned equally, so that their steps still meet.
            every = -(-len(steps) // MAX_POINTS)
            yield name, Curve(run_id, steps[::every], values[::every])


def _band(label: str, curves: list[Curve], level: float) -> Band:
    from worldflux.run.statistics import mean_interval

    band = Band(label, curves[:MAX_LINES])
    tables = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    for step in sorted(set(tables[0]).intersection(*tables[1:])):
        found = mean_interval([table[step] for table in tables], level)
        band.steps.append(step)
        band.mean.append(found.mean)
        band.low.append(found.mean if found.low is None else found.low)
        band.high.append(found.mean if found.high is None else found.high)
    return band
