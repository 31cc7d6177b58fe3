"""The picture as a PNG, drawn without a screen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from worldflux.cli.plot import Axis, Band, Picture

WIDTH, HEIGHT = 9.0, 4.2
COLUMNS = 2


def draw(path: Path, picture: Picture) -> None:
    """Write the picture.

    Raises:
        OSError: the file can not be written.
    """
    panels = list(picture.panels.items())
    columns = min(COLUMNS, max(1, len(panels)))
    rows = math.ceil(len(panels) / columns) + bool(picture.axes)
    figure = Figure(figsize=(WIDTH * (1 if columns == 1 else 1.6), HEIGHT * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for number, (name, bands) in enumerate(panels):
        _curves(figure.add_subplot(grid[number // columns, number % columns]), name, bands)
    if picture.axes:
        _parallel(figure.add_subplot(grid[rows - 1, :]), picture.axes)
    figure.savefig(path, format="png", dpi=130)


def _plain(text: str) -> str:
    """A text in which no dollar sign begins a formula."""
    return text.replace("$", r"\$")


def _curves(axes: Any, name: str, bands: list[Band]) -> None:
    for number, band in enumerate(bands):
        color, many = f"C{number % 10}", len(band.curves) > 1
        for curve in band.curves if many else ():
            axes.plot(curve.steps, curve.values, color=color, linewidth=0.6, alpha=0.3)
        if many:
            axes.fill_between(band.steps, band.low, band.high, color=color, alpha=0.15, linewidth=0)
        label = f"{band.label} (mean of {len(band.curves)})" if many else band.label
        axes.plot(band.steps, band.mean, color=color, linewidth=2, label=_plain(label))
    axes.set_xlabel("step")
    axes.set_ylabel(_plain(name))
    axes.grid(alpha=0.3)
    if len(bands) <= 12:
        axes.legend(fontsize="small")


def _parallel(axes: Any, uprights: list[Axis]) -> None:
    """Lines from upright to upright, each upright on its own scale; the last one gives the colour."""
    scaled = [_scaled(axis) for axis in uprights]
    colors = colormaps["viridis"]
    for run in range(len(uprights[0].values)):
        heights = [column[run] for column in scaled]
        tone = heights[-1] if heights[-1] is not None else 0.0
        shown = [math.nan if height is None else height for height in heights]
        axes.plot(range(len(uprights)), shown, color=colors(tone * 0.9), linewidth=1, alpha=0.7)
    for position, axis in enumerate(uprights):
        axes.axvline(position, color="0.4", linewidth=1)
        for height, text in _ticks(axis):
            axes.annotate(
                _plain(text), (position, height), xytext=(4, 0), textcoords="offset points", fontsize=8,
                va="center", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
            )  # fmt: skip
    axes.set_xticks(range(len(uprights)), [_plain(axis.name) for axis in uprights])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(uprights) - 0.6)
    axes.spines[:].set_visible(False)


def _bounds(axis: Axis) -> tuple[float, float]:
    known = [value for value in axis.values if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _scaled(axis: Axis) -> list[float | None]:
    low, high = _bounds(axis)
    return [None if value is None else (value - low) / (high - low) for value in axis.values]


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    low, high = _bounds(axis)
    if axis.ticks is not None:
        shown = axis.ticks[:: max(1, len(axis.ticks) // 12)]
        return [((place - low) / (high - low), text[:24]) for place, text in shown]
    return [(part, f"{low + part * (high - low):.4g}") for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
