"""A sweep on a terminal: a table that tells the truth at every moment; plain lines elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import warm_python
from conftest_cli import BIN, Run
from rich.console import Console

from worldflux.cli.sweep_table import Progress, SweepTable, labels

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def progress(count: int, parallel: int = 2) -> Progress:
    return Progress({f"j{i}": f"seed={i}" for i in range(count)}, parallel, begun=0.0)


def drawn(table: SweepTable) -> str:
    """The table as text, without colours."""
    stream = table.console.file
    assert isinstance(stream, io.StringIO)
    stream.truncate(stream.seek(0))
    table.console.print(table.draw())
    return ESCAPE.sub("", stream.getvalue())


def table_of(state: Progress, limit: float | None = None, width: int = 100, height: int = 24) -> SweepTable:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    return SweepTable(state, limit, lambda: 1.75, console)


def test_counts_follow_every_change() -> None:
    """A job is waiting, running, then what its newest run came to; a retry is running again."""
    state = progress(3)
    assert state.counts() == {"waiting": 3}
    state.started("j0", 1.0)
    state.started("j1", 1.0)
    state.ended("j0", "failed", "no luck", None, 2.0)
    assert state.counts() == {"failed": 1, "running": 1, "waiting": 1} and state.reasons == {"j0": "no luck"}
    state.started("j0", 3.0)
    assert state.counts() == {"running": 2, "waiting": 1} and state.reasons == {}
    for job in ("j0", "j1"):
        state.ended(job, "succeeded", "", 0.25, 5.0)
    assert state.counts() == {"succeeded": 2, "waiting": 1} and state.usd == 0.5


def test_a_record_in_the_making_is_no_running_job() -> None:
    """With two at a time, no more than two are said to run; how long one took is the time of its command."""
    state = progress(6)
    for number in range(4):
        state.started(f"j{number}", 0.0)
    state.over("j0", 10.0)
    state.over("j1", 10.0)
    assert state.counts() == {"running": 2, "recording": 2, "waiting": 2}
    shown = drawn(table_of(state))
    assert "running  seed=2" in shown and "seed=0" not in shown
    state.ended("j0", "succeeded", "", None, 12.0)
    assert state.counts() == {"succeeded": 1, "running": 2, "recording": 1, "waiting": 2}
    assert state.took == [10.0] and state.left(12.0) == pytest.approx(10.0)


def test_what_is_left() -> None:
    """Unknown before an end; then the mean of succeeded runs over what waits and what runs, side by side."""
    state = progress(6)
    state.started("j0", 0.0)
    assert state.left(5.0) is None
    state.ended("j0", "succeeded", "", None, 10.0)
    # Five wait at 10 s each, two at a time.
    assert state.left(10.0) == pytest.approx(25.0)
    state.started("j1", 10.0)
    state.started("j2", 10.0)
    # Three wait (30 s), two run and need 6 s each: 42 s by two.
    assert state.left(14.0) == pytest.approx(21.0)
    state.ended("j1", "refused", "", None, 14.0)
    assert state.left(14.0) == pytest.approx((30 + 6) / 2), "a run that was refused at once is no measure"
    # A run that takes longer than the others does not make the rest negative.
    assert state.left(1000.0) == pytest.approx(15.0)


def test_what_is_shown() -> None:
    """Counts, running jobs with their time, failed ones with the reason, and money spent."""
    state = progress(4)
    state.started("j0", 0.0)
    state.started("j1", 0.0)
    state.ended("j0", "failed", "exit code 3\nmore\x1b[2J", 0.5, 1.0)
    shown = drawn(table_of(state))
    assert re.search(r"^1 failed  1 running  2 waiting .* 0\.50 USD", shown)
    assert re.search(r"^running +seed=1 ", shown, re.M)
    assert re.search(r"^failed +seed=0 +exit code 3 *$", shown, re.M) and "more" not in shown
    assert "1.75 of 2.40 USD" in drawn(table_of(state, limit=2.4))
    stopping = table_of(state)
    stopping.stopping = lambda: True
    assert "Ctrl-C again ends the 1 running at once" in drawn(stopping)


def test_it_fits_the_terminal() -> None:
    """However many jobs run and fail, and however long their texts, no line breaks and none scrolls off."""
    state = Progress({f"j{i}": f"seed={i} " + "x" * 300 for i in range(400)}, 100, 0.0)
    for i in range(200):
        state.started(f"j{i}", 0.0)
        if i < 100:
            state.ended(f"j{i}", "failed", "reason " * 100, None, 1.0)
    lines = drawn(table_of(state, width=60, height=14)).splitlines()
    assert len(lines) <= 14 and max(len(line) for line in lines) <= 60
    assert sum(line.startswith("running ") for line in lines) == 3
    assert sum(line.startswith("failed ") and "reason" in line for line in lines) == 3
    assert any("and 97 more" in line for line in lines) and any("earlier" in line for line in lines)


def test_labels_leave_out_what_all_jobs_share() -> None:
    """A job is named by what is its own; a single job, or one without anything of its own, has a name too."""
    jobs = {"a": ["+recipe=r", "seed=1", "sweep.retries=1"], "b": ["+recipe=r", "seed=2", "sweep.retries=1"]}
    assert labels(jobs) == {"a": "seed=1", "b": "seed=2"}
    assert labels({"a": ["+recipe=r"]}) == {"a": "+recipe=r"}
    assert labels({"a": ["x=1"], "b": ["x=1", "y=2"]}) == {"a": "the job", "b": "y=2"}


def on_terminal(project: Path, *words: str, **env: str) -> tuple[int, str]:
    """Run a sweep on a pseudo terminal; its exit code and all it wrote."""
    parent, child = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **env}
    process = warm_python.WarmPopen(
        [str(BIN / "worldflux-run"), "-m", *words],
        cwd=project, env=settings, stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(parent, 65536):
                pieces.append(piece)
        except OSError:
            return  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(timeout=120)
    reader.join(timeout=10)
    os.close(parent)
    return code, b"".join(pieces).decode()


FAILING = "import sys, time; time.sleep(0.3); sys.exit(int(sys.argv[1]) == 2)"


def test_on_a_terminal(recipe: Callable[..., Path], project: Path) -> None:
    """The table is drawn over itself, its last state stays, and below it stand summary and resume command."""
    recipe("command: [python, main.py, '${seed}']\nseed: 0\n", FAILING)
    code, raw = on_terminal(project, "+recipe=mine", "seed=1,2,3", "sweep.max_parallel=2")
    assert code == 1
    shown = ESCAPE.sub("", raw)
    assert "\x1b[1A" in raw and re.search(r"running +seed=1 ", shown)
    last = shown.replace("\r", "").rpartition("2 succeeded  1 failed")[2].splitlines()
    assert [line.split()[:2] for line in last if line.startswith("failed")] == [["failed", "seed=2"]]
    assert "the command ended with exit code 1" in "\n".join(last)
    assert last[-2].startswith("sweep: 2 succeeded, 1 failed in") and "sweep.resume=" in last[-1]
    assert raw.rstrip().endswith(last[-1].strip()) and "\x1b[?25h" in raw, "the cursor is back"
    code, raw = on_terminal(project, "sweep.resume=last", TERM="dumb")
    assert code == 1 and "\x1b" not in raw and "[3/3] failed" in raw


def test_without_a_terminal(wf: Run, recipe: Callable[..., Path]) -> None:
    """One plain line for each change, and the library that draws tables is not even loaded."""
    recipe("command: [python, main.py, '${seed}']\nseed: 0\n", FAILING)
    words = ["-m", "+recipe=mine", "seed=1,2", "sweep.max_parallel=1"]
    ended = wf(*words, program="worldflux-run", PYTHONPROFILEIMPORTTIME="1", TERM="xterm")
    assert ended.code == 1
    lines = ended.out.splitlines()
    # A record may be finished before the one of the command that ran before.
    places, told = zip(*(line.split(" ")[:2] for line in lines[1:3]), strict=True)
    assert places == ("[1/2]", "[2/2]") and sorted(told) == ["failed", "succeeded"]
    assert lines[-1].startswith("go on with: ") and "\x1b" not in ended.out
    loaded = {line.rpartition("|")[2].strip() for line in ended.err.splitlines() if "import time" in line}
    assert "worldflux.cli.sweep" in loaded
    assert not {name for name in loaded if name.split(".")[0] == "rich" or name.endswith("sweep_table")}
