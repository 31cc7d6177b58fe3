"""A recorded run can be repeated, and a claim of determinism can be put to the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest_cli import Ended, Run, manifests
from published import form

STEADY = """\
import json, os, sys, worldflux
a = float(sys.argv[1])
for step in range(3):
    worldflux.log({"loss": a / (step + 1)}, step=step)
json.dump({"score": a * 2, "ok": [True, False]}, open("r.json", "w"))
"""
CLAIMED = """\
command: [python, main.py, '${params.a}']
params: {a: 1.5}
seed: 3
deterministic: true
metrics:
  score: {file: r.json, select: score}
  ok: {file: r.json, select: ok, kind: success}
"""


def whats(ended: Ended) -> list[str]:
    """Names of the differences in the envelope, which must fit its schema."""
    form("cli").validate(ended.envelope)
    return [each["what"] for each in ended.envelope["data"]["differences"]]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.invalid", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_run_repeats_itself(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """The same configuration runs again, names its parent, and reproduces the metrics: exit code 0."""
    recipe(CLAIMED, STEADY)
    assert wf("run", "mine", "params.a=2.5").code == 0
    ended = wf("runs", "rerun", "last", "--check")
    assert ended.code == 0, ended.err
    assert "reproduced: 3 metrics" in ended.out and "differs" not in ended.err
    first, second = manifests(project)
    assert second["run"]["parent_id"] == first["client_run_id"]
    assert second["config"] == first["config"] and second["metrics"] == first["metrics"]


def test_the_recorded_configuration_wins(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """After the recipe's values changed, the run's own are used, and that is said."""
    recipe(CLAIMED, STEADY)
    assert wf("run", "mine").code == 0
    recipe(CLAIMED.replace("a: 1.5", "a: 9"), STEADY)
    ended = wf("runs", "rerun", "last", "--check", "--json")
    assert ended.code == 0 and ended.envelope["data"]["check"]["equal"]
    assert whats(ended) == ["config", "source"]
    assert "params.a" in ended.envelope["data"]["differences"][0]["text"]
    assert [m["config"]["resolved"]["params"]["a"] for m in manifests(project)] == [1.5, 1.5]


def test_changed_code_is_caught(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Code that computes something else is named as another source, and the check fails with code 1."""
    recipe(CLAIMED, STEADY)
    assert wf("run", "mine").code == 0
    recipe(CLAIMED, STEADY.replace("a * 2", "a * 3"))
    ended = wf("runs", "rerun", "last", "--check")
    assert ended.code == 1
    assert "the source has other files" in ended.err
    assert "not reproduced" in ended.out and "score  3 then, 4.5 now" in ended.out
    assert "loss" not in ended.out.partition("not reproduced")[2]


def test_another_curve_is_not_the_same(wf: Run, recipe: Callable[..., Path]) -> None:
    """A metric that ends at the same value by another way differs, and --json says which."""
    recipe(CLAIMED, STEADY)
    assert wf("run", "mine").code == 0
    recipe(CLAIMED, STEADY.replace("a / (step + 1)", "a / 3"))
    ended = wf("runs", "rerun", "last", "--check", "--json")
    form("cli").validate(ended.envelope)
    rows = {row["name"]: row for row in ended.envelope["data"]["check"]["metrics"]}
    assert ended.code == 1 and ended.envelope["error"]["details"]["metrics"] == ["loss"]
    assert rows["loss"]["then"] == rows["loss"]["now"] and not rows["loss"]["series_equal"]
    assert rows["score"]["equal"] and rows["ok"]["equal"]


def test_check_needs_a_claim(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Without the claim --check is refused with code 2 before anything runs; without --check it runs."""
    recipe(CLAIMED.replace("deterministic: true\n", ""), STEADY)
    assert wf("run", "mine").code == 0
    ended = wf("runs", "rerun", "last", "--check")
    assert ended.code == 2 and "deterministic: true" in ended.err
    assert len(manifests(project)) == 1
    assert wf("runs", "rerun", "last", "-q").code == 0
    assert len(manifests(project)) == 2


def test_a_failed_run(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A failed run can be repeated and gives its code; it can not be checked against."""
    recipe("command: [python, -c, 'raise SystemExit(3)']\ndeterministic: true\n")
    assert wf("run", "mine").code == 1
    assert wf("runs", "rerun", "last").code == 1
    checked = wf("runs", "rerun", "last", "--check")
    assert checked.code == 2 and "ended as failed" in checked.err and len(manifests(project)) == 2


def test_git_is_compared(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Another commit, and uncommitted changes then or now, are said plainly; --dry-run runs nothing."""
    folder = recipe(CLAIMED, STEADY)
    (project / ".gitignore").write_text("runs/\n.worldflux/\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one")
    before = git(project, "rev-parse", "HEAD")
    assert wf("run", "mine").code == 0
    (folder / "main.py").write_text(STEADY + "# two\n")
    dirty = wf("runs", "rerun", "last", "--dry-run", "--json")
    assert dirty.code == 0 and whats(dirty) == ["source", "dirty"]
    git(project, "commit", "-qam", "two")
    ended = wf("runs", "rerun", "last", "--dry-run")
    assert f"{before[:12]} then" in ended.err and f"git checkout {before[:12]}" in ended.err
    assert "2 differences; nothing was run" in ended.out and len(manifests(project)) == 1
    git(project, "checkout", "-q", before)
    same = wf("runs", "rerun", "last", "--dry-run", "--json")
    assert whats(same) == [] and same.envelope["data"]["run"] is None


def test_a_tampered_record_is_not_repeated(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A stored configuration that does not hash to what the manifest says is refused; so is one that is gone."""
    recipe(CLAIMED, STEADY)
    assert wf("run", "mine").code == 0
    (config,) = (project / "runs").glob("*/config.yaml")
    config.write_text(config.read_text().replace("1.5", "7.5"))
    ended = wf("runs", "rerun", "last")
    assert ended.code == 1 and "changed after it was recorded" in ended.err
    config.unlink()
    assert wf("runs", "rerun", "last").code == 1
    assert len(manifests(project)) == 1


def test_a_recipe_that_is_gone(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """When the recipe's folder no longer exists, that is said and nothing runs."""
    folder = recipe(CLAIMED, STEADY)
    assert wf("run", "mine").code == 0
    folder.rename(project / "elsewhere")
    ended = wf("runs", "rerun", "last", "--json")
    assert ended.code == 2 and "recipe mine is no longer" in ended.envelope["error"]["message"]


def test_values_of_the_environment_are_read_anew(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A configuration that reads a variable reads it again, and the record keeps its name only."""
    text = "command: [python, main.py, '${oc.env:AMOUNT}']\ndeterministic: true\n"
    recipe(text + "metrics: {score: {file: r.json, select: score}}\n", STEADY)
    assert wf("run", "mine", AMOUNT="1").code == 0
    ended = wf("runs", "rerun", "last", "--check", AMOUNT="4")
    assert ended.code == 1 and "score  2 then, 8 now" in ended.out
    assert all("${oc.env:AMOUNT}" in m["config"]["resolved"]["command"] for m in manifests(project))
