"""`worldflux runs compare`: what runs came to, over seeds, and what differs between them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldflux.cli import render
from worldflux.cli.answer import Answer
from worldflux.errors import UsageError

if TYPE_CHECKING:
    from worldflux.run.comparison import Group, Sample

SHOWN_VALUES = 3
SHOWN_METRICS = 8
MAX_GROUP_CELL = 32
STATISTICS = (
    "kind", "unit", "mean", "low", "high", "method", "n", "std", "min", "max", "k", "trials", "left_out",
)  # fmt: skip


def register(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Mean and interval of metrics over the seeds of each group of runs. Succeeded runs count; of "
        "several runs with equal settings and seed the newest. A success rate pools all trials and has "
        "their Wilson interval, any other metric a Student t interval over runs."
    )
    parser = actions.add_parser("compare", help="metrics over seeds, side by side", description=text)
    parser.add_argument(
        "which",
        nargs="*",
        metavar="RUN|SWEEP",
        help="ids, their starts or ends; `last` is the newest sweep; every run of the project when none is named",
    )
    parser.add_argument("--metric", "-m", action="append", default=[], metavar="M", help="may be repeated")
    parser.add_argument(
        "--group-by",
        "-g",
        action="append",
        default=[],
        metavar="KEY",
        help="recipe, runtime, sweep, commit or a setting such as params.lr; may be repeated "
        "(default: all that differs but the seed)",
    )
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="confidence (default 0.95)")
    parser.add_argument(
        "--paired",
        action="store_true",
        help="also the difference of the first two groups, on the seeds and episodes that both have",
    )
    parser.add_argument(
        "--iqm",
        action="store_true",
        help="also the interquartile mean over all runs of a group, with a bootstrap interval; needs worldflux[stats]",
    )
    parser.add_argument("--csv", action="store_true", help="print the table as CSV")
    parser.add_argument("--plot", metavar="FILE", help="draw curves and parallel coordinates: .png or .html")
    parser.set_defaults(function=compare)


def compare(args: argparse.Namespace) -> Answer:
    from worldflux.cli import plot
    from worldflux.cli.selection import selected
    from worldflux.config.project import load_project
    from worldflux.run import comparison

    if not 0 < args.level < 1:
        raise UsageError(
            f"--level {args.level:g}: must lie between 0 and 1", "worldflux runs compare --level 0.95"
        )
    if args.csv and args.json:
        raise UsageError("--csv and --json are two forms of the same answer", "choose one of them")
    draw = plot.backend(Path(args.plot)) if args.plot else None
    samples, left_out = selected(args.which, load_project().runs_dir)
    differs = comparison.varying(samples)
    keys = _group_keys(args.group_by, samples, differs)
    metrics = _metric_names(args.metric, samples)
    groups = comparison.grouped(samples, keys)
    shown = [key for key in differs if key not in keys and key != _shadowed(keys)]
    data = _data(groups, metrics, keys, shown, args.level)
    repeated = sum(group.repeated for group in groups)
    data |= {"left_out": {"statuses": left_out, "repeated": repeated}, "plot": None}
    if args.paired or args.iqm:
        from worldflux.cli import compare_more

        if args.paired:
            data["paired"] = compare_more.paired(groups, metrics, keys, args.level)
        if args.iqm:
            data["iqm"] = compare_more.interquartile_means(groups, metrics, args.level)
    if draw is not None:
        path = Path(args.plot)
        plot.draw(draw, path, groups, metrics, differs, args.level)
        data["plot"] = str(path)
    warnings = _warnings(data, groups, keys, shown)
    if args.csv:
        return Answer(data, _csv(data), warnings=warnings)
    return Answer(data, _text(data), warnings=warnings)


def _shadowed(keys: list[str]) -> str:
    """The setting that says the same as a fact that is grouped by."""
    return "runtime.name" if "runtime" in keys else ""


def _group_keys(typed: list[str], samples: list[Sample], differs: list[str]) -> list[str]:
    """The keys to group by: what was typed, or everything that differs but the seed.

    Raises:
        UsageError: no run has such a setting.
    """
    from worldflux.config.nearest import did_you_mean
    from worldflux.run.comparison import FACTS, RECIPE, SEED

    keys = [key.strip() for text in typed for key in text.split(",") if key.strip()]
    known = {*FACTS, *(key for sample in samples for key in sample.settings)}
    for key in keys:
        if key not in known:
            raise UsageError(f"--group-by {key}: no run has such a setting", did_you_mean(key, sorted(known)))
    return list(dict.fromkeys(keys)) or [key for key in differs if key != SEED] or [RECIPE]


def _metric_names(typed: list[str], samples: list[Sample]) -> list[str]:
    """The metrics to show: what was typed, or the first few that the runs have.

    Raises:
        UsageError: no run has such a metric, or no run has any.
    """
    from worldflux.config.nearest import did_you_mean

    known = list(dict.fromkeys(name for sample in samples for name in sample.metrics))
    if not known:
        raise UsageError("none of these runs has a metric", "worldflux runs list")
    for name in typed:
        if name not in known:
            raise UsageError(f"--metric {name}: no run has it", did_you_mean(name, known))
    return list(dict.fromkeys(typed)) or known[:SHOWN_METRICS]


def _data(
    groups: list[Group], metrics: list[str], keys: list[str], shown: list[str], level: float
) -> dict[str, Any]:
    from worldflux.run.comparison import statistics

    rows = []
    for group in groups:
        found = {name: statistics(group, name, level) for name in metrics}
        rows.append(
            {
                "group": group.key,
                "differs": {key: group.values(key) for key in shown},
                "runs": [sample.run_id for sample in group.samples],
                "metrics": {name: stats for name, stats in found.items() if stats is not None},
            }
        )
    return {"level": level, "group_by": keys, "differs": shown, "groups": rows}


def _warnings(data: dict[str, Any], groups: list[Group], keys: list[str], shown: list[str]) -> list[str]:
    """What a reader of the figures should know about the runs behind them."""
    from worldflux.run.comparison import SEED

    told = []
    statuses = data["left_out"]["statuses"]
    if statuses:
        counted = ", ".join(f"{count} {status}" for status, count in statuses.items())
        told.append(f"left out: {counted}")
    if data["left_out"]["repeated"]:
        told.append(f"left out: {data['left_out']['repeated']} older runs of equal settings and seed")
    mixed = [key for key in shown if key != SEED and any(len(group.values(key)) > 1 for group in groups)]
    if mixed:
        told.append(
            f"a group mixes runs that differ in {', '.join(mixed)}; --group-by {','.join([*keys, *mixed])}"
        )
    lacking = {
        name: stats["left_out"]
        for row in data["groups"]
        for name, stats in row["metrics"].items()
        if stats["left_out"]
    }
    told += [f"{name}: runs without a finite value are left out" for name in lacking]
    return told


def _rows(data: dict[str, Any]) -> list[tuple[dict[str, Any], str, dict[str, Any]]]:
    return [(row, name, stats) for row in data["groups"] for name, stats in row["metrics"].items()]


def _text(data: dict[str, Any]) -> str:
    header = [
        *data["group_by"],
        *data["differs"],
        "metric",
        "mean",
        f"{data['level'] * 100:g}% interval",
        "n",
    ]
    lines: list[list[Any]] = []
    previous = None
    for row, name, stats in _rows(data):
        # The first line of a group names it; the others would only repeat it.
        cells = [_cell([value]) for value in row["group"].values()]
        cells += [_cell(values) for values in row["differs"].values()]
        if row is previous:
            cells = ["" for _ in cells]
        previous = row
        lines.append([*cells, name, _mean(stats), _interval(stats), stats["n"]])
    text = render.table(lines, header)
    if "paired" in data or "iqm" in data:
        from worldflux.cli import compare_more

        text += compare_more.text(data)
    return text + (f"\nplot: {data['plot']}" if data["plot"] else "")


def _mean(stats: dict[str, Any]) -> str:
    unit = f" {stats['unit']}" if stats["unit"] else ""
    return "-" if stats["mean"] is None else f"{stats['mean']:.4g}{unit}"


def _interval(stats: dict[str, Any]) -> str:
    if stats["low"] is None:
        return "-"
    text = f"{stats['low']:.4g} to {stats['high']:.4g}"
    return f"{text} ({stats['k']} of {stats['trials']})" if stats["kind"] == "success" else text


def _cell(values: list[Any]) -> str:
    """The values of a setting in a group: each one, or their range and number."""
    if len(values) <= SHOWN_VALUES:
        text = ",".join("-" if value is None else str(value) for value in values)
        return text if len(text) <= MAX_GROUP_CELL else text[: MAX_GROUP_CELL - 2] + ".."
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{min(values)}..{max(values)} ({len(values)})"
    return f"{len(values)} values"


def _csv(data: dict[str, Any]) -> str:
    """One line for each metric of each group; several values of a setting stand as a JSON list."""
    import csv
    import io
    import json

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*data["group_by"], *data["differs"], "metric", *STATISTICS])
    for row, name, stats in _rows(data):
        sets = [values[0] if len(values) == 1 else json.dumps(values) for values in row["differs"].values()]
        writer.writerow([*row["group"].values(), *sets, name, *(stats[key] for key in STATISTICS)])
    return out.getvalue().rstrip("\n")
