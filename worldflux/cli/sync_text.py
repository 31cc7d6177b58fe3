"""A sync in words: what became of the runs, and what would leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worldflux.cli import render
from worldflux.cli.answer import Answer

if TYPE_CHECKING:
    from worldflux.sync.outcome import Outcome, Summary

#: Runs that are shown to people one by one; a program gets all of them.
SHOWN = 20

_LEFT_OPEN = "worldflux runs list closes the record, then: worldflux sync"


def synced(summary: Summary, left_open: Sequence[str] = ()) -> Answer:
    """What became of the runs, as an answer; the exit code says whether all of them are there."""
    bad = [each for each in summary.outcomes.values() if not each.good]
    code = summary.exit_code or (3 if left_open else 0)
    return Answer(
        {**summary.to_json(), "left_open": list(left_open)},
        "\n".join(_lines(summary, bad, left_open)),
        exit_code=code,
        warnings=summary.warnings,
        error=_error(bad, left_open),
    )


def _lines(summary: Summary, bad: Sequence[Outcome], left_open: Sequence[str]) -> list[str]:
    lines = [
        f"{render.safe_line(each.run_id)}  {each.outcome}: {_plain(each.detail)}" for each in bad[:SHOWN]
    ]
    lines += [f"  {line}" for line in dict.fromkeys(each.hint for each in bad[:SHOWN] if each.hint)]
    if len(bad) > SHOWN:
        lines.append(f"and {len(bad) - SHOWN} more")
    torn = sum(1 for each in summary.outcomes.values() if each.torn)
    if torn:
        lines.append(f"{_runs(torn)} with a last line that is not whole; it stayed here")
    lines += [f"{run_id}  left open: the process that recorded it is gone" for run_id in left_open]
    if left_open:
        lines.append(f"  {_LEFT_OPEN}")
    counts = ", ".join(f"{count} {word}" for word, count in summary.counts.items() if count)
    where = f"{summary.server} (workspace {summary.workspace})"
    took = render.duration(summary.seconds)
    lines.append(f"{counts or 'no runs'}; {render.size(summary.sent)} in {took} to {where}")
    return lines


def _error(bad: Sequence[Outcome], left_open: Sequence[str]) -> dict[str, Any] | None:
    """The first thing that keeps a run from being there, for programs."""
    if bad:
        first = min(bad, key=lambda each: each.outcome != "failed")
        details = {"run_id": first.run_id, "runs": len(bad)}
        code = first.code or first.outcome
        return {"code": code, "message": first.detail, "hint": first.hint, "details": details}
    if left_open:
        details = {"run_id": left_open[0], "runs": len(left_open)}
        message = "the process that recorded the run is gone"
        return {"code": "left-open", "message": message, "hint": _LEFT_OPEN, "details": details}
    return None


def previewed(
    rows: Sequence[dict[str, Any]], server: str | None, workspace: str | None, warnings: list[str]
) -> Answer:
    """What would leave, as an answer.

    Args:
        rows: of `worldflux.sync.preview`.
        server: that was asked what it holds; None when nobody was.
    """
    lines = []
    for row in rows:
        if row["outcome"] == "unchanged":
            continue
        lines.append(f"{row['run_id']}  {row['outcome']}  {render.size(row['bytes'])}")
        if "detail" in row:
            lines.append(f"  {_plain(row['detail'])}")
        for each in row["ranges"]:
            place = f"bytes {each['start']}-{each['end']}"
            lines.append(f"  {each['part']:<12}  {render.safe_line(each['path'])}  {place}")
    same = sum(1 for row in rows if row["outcome"] == "unchanged")
    total = sum(row["bytes"] for row in rows)
    lines.append(
        f"{_runs(len(rows))}, {same} unchanged; {render.size(total)} would leave"
        + (f" for {server} (workspace {workspace})" if server else "")
        + "; nothing was sent"
    )
    data = {"server": server, "workspace": workspace, "bytes": total, "runs": list(rows)}
    return Answer(data, "\n".join(lines), warnings=warnings)


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _plain(text: str) -> str:
    return " ".join(render.safe_line(line) for line in text.splitlines())
