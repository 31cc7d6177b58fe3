"""`runs compare --paired` and `--iqm`: on real runs, with figures that can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_cli import Run
from published import form

RECIPE = """
command: [python, main.py, "${params.skill}", "${seed}"]
params: {skill: 1}
metrics:
  won: {file: out.json, select: won, kind: success}
  score: {file: out.json, select: score}
"""
#: Skill 2 wins what skill 1 wins, and one episode more for each seed; its score is 2 higher.
PROGRAM = """
import json, sys
skill, seed = int(sys.argv[1]), int(sys.argv[2])
json.dump({"won": [i < 3 + skill for i in range(8)], "score": 10 * seed + 2 * skill}, open("out.json", "w"))
"""


@pytest.fixture
def compared(wf: Run, recipe: Callable[..., Path]) -> Callable[..., Any]:
    """Runs of two skills on three seeds; compares them with more words."""
    recipe(RECIPE, PROGRAM)
    swept = wf("-m", "+recipe=mine", "params.skill=1,2", "seed=1,2,3", program="worldflux-run")
    assert swept.code == 0, swept.err
    return lambda *words: wf("runs", "compare", "--group-by", "params.skill", *words)


def test_pairs_are_seeds_and_episodes(compared: Callable[..., Any]) -> None:
    """A score is paired by seed, a success rate episode by episode; counts and differences are exact."""
    ended = compared("--paired", "--iqm", "--json")
    assert ended.code == 0, ended.err
    form("cli").validate(ended.envelope)
    data = ended.envelope["data"]
    assert (data["paired"]["first"], data["paired"]["second"]) == ({"params.skill": 1}, {"params.skill": 2})
    won, score = data["paired"]["metrics"]["won"], data["paired"]["metrics"]["score"]
    assert (won["unit_of_pairing"], won["n"], won["b"], won["c"]) == ("episode", 24, 0, 3)
    assert won["difference"] == -3 / 24 and won["p"] == 0.25
    assert (score["unit_of_pairing"], score["n"], score["difference"], score["p"]) == ("seed", 3, -2.0, 0.25)
    assert won["p_holm"] == score["p_holm"] == 0.5
    assert [group["score"]["value"] for group in data["iqm"]] == [22.0, 24.0]
    assert "minus" in compared("--paired").out


def test_one_group_can_not_be_paired(compared: Callable[..., Any]) -> None:
    """Wrong usage, with the way out."""
    alone = compared("last~0", "--paired")
    assert alone.code == 2 and "two groups" in alone.err
