"""Runs side by side: figures over seeds, only what differs, tables for programs, pictures."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_cli import Run, manifests
from PIL import Image
from published import form

from worldflux.config import job
from worldflux.run.comparison import FILING

RECIPE = """\
command: [python, main.py, '${params.lr}', '${seed}', '${params.label}']
params: {lr: 1, label: 'run-${params.lr}', tune: {a: 1}}
seed: 0
metrics:
  score: {file: r.json, select: score, unit: points}
  ok: {file: r.json, select: ok, kind: success}
"""
PROGRAM = """\
import json, sys, worldflux
lr, seed = float(sys.argv[1]), int(sys.argv[2])
for step in range(4):
    worldflux.log({"loss": lr + seed - step}, step=10 * step)
json.dump({"score": lr * 10 + seed, "ok": [i <= seed for i in range(5)]}, open("r.json", "w"))
sys.exit(seed == 9)
"""


@pytest.fixture
def sweep(wf: Run, recipe: Callable[..., Path]) -> Callable[..., None]:
    """Run a sweep of the recipe; its jobs may fail."""
    recipe(RECIPE, PROGRAM)

    def run(*words: str, recipes: str = "mine") -> None:
        ended = wf("-m", f"+recipe={recipes}", *words, program="worldflux-run")
        assert ended.code in (0, 1), ended.err

    return run


def data(wf: Run, *words: str) -> dict[str, Any]:
    """The answer of a comparison; the envelope fits its schema."""
    ended = wf("runs", "compare", *words, "--json")
    assert ended.code == 0, ended.out
    form("cli").validate(ended.envelope)
    found: dict[str, Any] = ended.envelope["data"]
    return found


def test_figures_over_seeds(wf: Run, sweep: Callable[..., None]) -> None:
    """Mean, t interval and n over seeds are the textbook's; successes are pooled with Wilson's interval."""
    sweep("params.lr=1,2", "seed=1,2,3")
    found = data(wf, "last", "--group-by", "params.lr")
    first, second = found["groups"]
    assert [first["group"], second["group"]] == [{"params.lr": 1}, {"params.lr": 2}]
    score = first["metrics"]["score"]
    # 11, 12, 13: mean 12, standard deviation 1, t(0.975, 2) = 4.302653.
    assert (score["mean"], score["std"], score["n"], score["method"]) == (12, 1, 3, "t")
    assert math.isclose(score["high"], 12 + 4.302653 / math.sqrt(3), rel_tol=1e-6)
    assert math.isclose(score["low"], 12 - 4.302653 / math.sqrt(3), rel_tol=1e-6)
    ok = first["metrics"]["ok"]
    # 2 + 3 + 4 of 15; Wilson's interval by hand with z = 1.959964.
    assert (ok["k"], ok["trials"], ok["n"], ok["method"], ok["mean"]) == (9, 15, 3, "wilson", 0.6)
    assert math.isclose(ok["low"], 0.357465, abs_tol=1e-5) and math.isclose(
        ok["high"], 0.801759, abs_tol=1e-5
    )
    assert second["metrics"]["score"]["mean"] == 22
    narrow = data(wf, "last", "-g", "params.lr", "-m", "score", "--level", "0.5")["groups"][0]["metrics"]
    assert list(narrow) == ["score"] and narrow["score"]["high"] < score["high"]


def test_only_what_differs(wf: Run, sweep: Callable[..., None]) -> None:
    """Settings that somebody set differently are named; what interpolates them, and the rest, is not."""
    sweep("params.lr=1,2", "seed=1,2")
    found = data(wf)
    assert found["group_by"] == ["params.lr"] and found["differs"] == ["seed"]
    assert found["groups"][0]["differs"] == {"seed": [1, 2]}
    text = wf("runs", "compare", "-m", "score")
    header = text.out.splitlines()[0].split()
    assert header == ["params.lr", "seed", "metric", "mean", "95%", "interval", "n"]
    assert re.search(r"^1 +1,2 +score +11\.5 points +5\.147 to 17\.85 +2$", text.out, re.M)


def test_recipes_are_compared_by_name(
    wf: Run, sweep: Callable[..., None], recipe: Callable[..., Path]
) -> None:
    """What all runs of a recipe have in common is told by the recipe's name alone."""
    recipe(RECIPE.replace("lr: 1,", "lr: 5,").replace("a: 1", "a: 2"), PROGRAM, name="other")
    sweep("seed=1,2", recipes="mine,other")
    found = data(wf, "--group-by", "recipe")
    assert found["differs"] == ["seed"]
    assert [row["group"]["recipe"] for row in found["groups"]] == ["mine", "other"]


def test_a_mixed_group_is_said(wf: Run, sweep: Callable[..., None]) -> None:
    """Runs of different settings in one group are a warning that names the settings."""
    sweep("params.lr=1,2", "seed=1,2")
    ended = wf("runs", "compare", "-g", "recipe", "-m", "score")
    assert ended.code == 0 and "--group-by recipe,params.lr" in ended.err
    assert "mixes" not in wf("runs", "compare", "-m", "score").err


def test_failed_and_repeated_runs_do_not_count(wf: Run, sweep: Callable[..., None], project: Path) -> None:
    """A failed run is left out and counted; a seed that ran twice counts once, by its newest run."""
    sweep("seed=1,2,9")
    sweep("seed=2")
    found = data(wf)
    assert found["left_out"] == {"statuses": {"failed": 1}, "repeated": 1}
    (group,) = found["groups"]
    assert group["metrics"]["score"]["n"] == 2
    assert group["runs"][-1] == manifests(project)[-1]["client_run_id"]
    by_sweep = data(wf, "--group-by", "sweep")
    assert by_sweep["left_out"]["repeated"] == 0 and len(by_sweep["groups"]) == 2


def test_what_may_be_named(wf: Run, sweep: Callable[..., None], project: Path) -> None:
    """Sweeps and runs by id or its end, several of them, and `last`; what means nothing is an error."""
    sweep("seed=1,2")
    sweep("seed=3,4")
    made = manifests(project)
    first, second = made[0]["run"]["sweep_id"], made[-1]["run"]["sweep_id"]

    def count(*words: str) -> int:
        return sum(len(group["runs"]) for group in data(wf, *words)["groups"])

    assert (count(), count("last"), count(first), count(first[-9:], second)) == (4, 2, 2, 4)
    assert count(made[0]["client_run_id"], made[3]["client_run_id"], second) == 3
    # Sweeps are recognised by the manifests alone, such as in a folder of copied runs.
    for ledger in (project / "runs/.sweeps").iterdir():
        ledger.unlink()
    assert count(first) == 2
    for wrong in ("zzz", first[:-1] + ("0" if first[-1] != "0" else "1")):
        assert wf("runs", "compare", wrong).code == 2


def test_csv(wf: Run, sweep: Callable[..., None]) -> None:
    """--csv prints one line a group and metric, with full precision, and nothing else."""
    sweep("params.lr=1,2", "seed=1,2")
    ended = wf("runs", "compare", "-m", "score", "-m", "ok", "--csv")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [(row["params.lr"], row["metric"], row["mean"]) for row in rows] == [
        ("1", "score", "11.5"), ("1", "ok", "0.5"), ("2", "score", "21.5"), ("2", "ok", "0.5"),
    ]  # fmt: skip
    assert rows[0]["seed"] == "[1, 2]" and rows[0]["unit"] == "points" and rows[1]["k"] == "5"
    assert wf("runs", "compare", "--csv", "--json").code == 2


def test_wrong_words(wf: Run, sweep: Callable[..., None]) -> None:
    """A metric, key, level or file that is not possible is refused with the nearest right word."""
    sweep("seed=1")
    for words, told in (
        (["--metric", "scor"], "score"),
        (["--group-by", "params.l"], "params.lr"),
        (["--level", "95"], "--level"),
        (["--plot", "out.gif"], ".png or .html"),
    ):
        ended = wf("runs", "compare", *words)
        assert ended.code == 2 and told in ended.err


def test_nan_is_left_out(wf: Run, recipe: Callable[..., Path]) -> None:
    """A run that ended at NaN does not spoil the mean; it is counted and said."""
    recipe(
        "command: [python, main.py, '${seed}']\nseed: 0\n",
        "import sys, worldflux; worldflux.log({'a': float(sys.argv[1].replace('7', 'nan'))})",
    )
    wf("-m", "+recipe=mine", "seed=1,3,7", program="worldflux-run")
    (group,) = data(wf)["groups"]
    assert (group["metrics"]["a"]["mean"], group["metrics"]["a"]["left_out"]) == (2, 1)
    assert "without a finite value" in wf("runs", "compare").err


def test_no_runs(wf: Run, recipe: Callable[..., Path]) -> None:
    """Without a succeeded run, and without a metric, the answer is an error that says so."""
    assert "no run at all" in wf("runs", "compare").err
    recipe("command: [python, -c, pass]\n")
    assert wf("run", "mine").code == 0
    ended = wf("runs", "compare")
    assert ended.code == 2 and "has a metric" in ended.err


def test_png(wf: Run, sweep: Callable[..., None], project: Path) -> None:
    """--plot out.png is a picture with colours in it: a curve for each group, and all runs as lines."""
    sweep("params.lr=1,2", "seed=1,2")
    ended = wf("runs", "compare", "--plot", "out.png")
    assert ended.code == 0 and "plot: out.png" in ended.out, ended.err
    with Image.open(project / "out.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24) or ()}
        assert image.width > 800 and image.height > 800
        # The first two colours of curves, as full lines.
        assert {(31, 119, 180), (255, 127, 14)} <= colours


def test_html(wf: Run, sweep: Callable[..., None], project: Path) -> None:
    """--plot out.html holds its own drawing code, loads nothing, and has both kinds of picture."""
    sweep("params.lr=1,2", "seed=1,2", "params.label='</script><b>$x$'")
    ended = wf("runs", "compare", "-m", "loss", "-m", "score", "--plot", "out.html")
    assert ended.code == 0, ended.err
    page = (project / "out.html").read_text(encoding="utf-8")
    assert len(page) > 2**20 and not re.search(r"<(script|link)[^>]+(src|href)=", page)
    assert page.count("Plotly.newPlot(") >= 2 and '"parcoords"' in page and '"scatter"' in page
    assert "params.lr=2 (mean of 2)" in page and "</script><b>" not in page


def test_a_missing_library(wf: Run, sweep: Callable[..., None], project: Path) -> None:
    """Where the library is absent, --plot says how to install it, and everything else works."""
    sweep("seed=1,2")
    absent = project / "absent"
    absent.mkdir()
    for file, library in (("o.png", "matplotlib"), ("o.html", "plotly")):
        (absent / f"{library}.py").write_text(f"raise ModuleNotFoundError(name={library!r})\n")
        ended = wf("runs", "compare", "--plot", file, PYTHONPATH=str(absent))
        assert ended.code == 2 and "pip install 'worldflux[plot]'" in ended.err and library in ended.err
        assert not (project / file).exists()
    assert wf("runs", "compare", PYTHONPATH=str(absent)).code == 0


def test_filing_is_the_same_everywhere() -> None:
    """What does not make another job does not tell runs apart either."""
    assert set(job.FILING) <= set(FILING)
