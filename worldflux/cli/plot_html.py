"""The picture as one HTML file that needs no network: the drawing code is inside."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from plotly import colors
from plotly import graph_objects as go

from worldflux.cli.plot import Axis, Band, Picture

PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>WorldFlux: runs compared</title>
<style>body{font-family:system-ui,sans-serif;margin:1rem auto;max-width:72rem}</style></head>
<body><h1>Runs compared</h1>
"""


def draw(path: Path, picture: Picture) -> None:
    """Write the picture.

    Raises:
        OSError: the file can not be written.
    """
    figures = [_curves(name, bands) for name, bands in picture.panels.items()]
    if picture.axes:
        figures.append(_parallel(picture.axes))
    parts = [
        # The library is 4 MB: the first figure brings it for all.
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures)
    ]
    path.write_text(PAGE + "\n".join(parts) + "\n</body></html>\n", encoding="utf-8")


def _curves(name: str, bands: list[Band]) -> Any:
    figure = go.Figure()
    palette = colors.qualitative.D3
    for number, band in enumerate(bands):
        color, label = palette[number % len(palette)], html.escape(band.label)
        for curve in band.curves if len(band.curves) > 1 else ():
            figure.add_scatter(
                x=curve.steps, y=curve.values, mode="lines", line={"color": color, "width": 1}, opacity=0.25,
                legendgroup=label, showlegend=False, name=curve.run_id,
            )  # fmt: skip
        if len(band.curves) > 1:
            figure.add_scatter(
                x=[*band.steps, *reversed(band.steps)], y=[*band.high, *reversed(band.low)], fill="toself",
                fillcolor=color, opacity=0.15, line={"width": 0}, legendgroup=label, showlegend=False,
                hoverinfo="skip",
            )  # fmt: skip
        title = f"{label} (mean of {len(band.curves)})" if len(band.curves) > 1 else label
        figure.add_scatter(
            x=band.steps, y=band.mean, mode="lines", line={"color": color, "width": 3}, legendgroup=label,
            name=title, showlegend=True,
        )  # fmt: skip
    shown = html.escape(name)
    figure.update_layout(title=shown, xaxis_title="step", yaxis_title=shown, template="plotly_white")
    return figure


def _parallel(axes: list[Axis]) -> Any:
    dimensions = []
    for axis in axes:
        dimension: dict[str, Any] = {"label": html.escape(axis.name), "values": axis.values}
        if axis.ticks is not None:
            dimension["tickvals"] = [place for place, _ in axis.ticks]
            dimension["ticktext"] = [html.escape(text) for _, text in axis.ticks]
        dimensions.append(dimension)
    line = {"color": axes[-1].values, "colorscale": "Viridis", "showscale": True}
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line))
    figure.update_layout(title="Every run, from its settings to its metrics", template="plotly_white")
    return figure
