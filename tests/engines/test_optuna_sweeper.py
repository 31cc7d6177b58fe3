"""Optuna end to end: what it optimizes is a metric of the manifest."""

from __future__ import annotations

import pytest
import yaml
from engines_lab import Lab, need

pytestmark = pytest.mark.slow

OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=3", "hydra.sweeper.n_jobs=2")
SPACE = "params.x=interval(0.0, 4.0)"


@pytest.fixture(autouse=True)
def _optuna() -> None:
    need("optuna")


@pytest.mark.parametrize("launcher", ["worldflux", "joblib"])
def test_the_best_trial_is_the_best_run(launcher: str, lab: Lab) -> None:
    """Optuna's best value is the smallest metric of all manifests, found at the recorded parameter."""
    words = (SPACE, "objective=score", *OPTUNA, "hydra.sweeper.n_trials=6", f"hydra/launcher={launcher}")
    ended = lab.sweep("+recipe=mine", *words)
    assert ended.code == 0, ended.out
    found = {m["config"]["resolved"]["params"]["x"]: m["metrics"]["score"]["value"] for m in lab.manifests()}
    (results,) = (lab.root / "runs/.launcher").glob("*/optimization_results.yaml")
    best = yaml.safe_load(results.read_text())
    assert (
        best["best_value"] == min(found.values())
        and found[best["best_params"]["params.x"]] == best["best_value"]
    )
    assert len(found) == 6 and lab.clean()
    if launcher == "worldflux":
        assert len({m["run"]["sweep_id"] for m in lab.manifests()}) == 1


def test_several_objectives(lab: Lab) -> None:
    """A list of metrics goes to a study with as many directions."""
    text = (
        "command: [python, main.py, '${seed}', '${params.x}']\nseed: 0\nparams: {x: 1.0}\n"
        "metrics: {score: {file: out.json, select: score}, other: {file: out.json, select: '`2`'}}\n"
    )
    lab.recipe(text=text)
    words = (SPACE, "objective=[score,other]", *OPTUNA, "hydra.sweeper.n_trials=2")
    ended = lab.sweep("+recipe=mine", *words, "hydra.sweeper.direction=[minimize,maximize]")
    assert ended.code == 0 and lab.statuses() == ["succeeded", "succeeded"], ended.out


def test_no_objective(lab: Lab) -> None:
    """Optimizing nothing is refused before the first run, naming the recipe's metrics."""
    ended = lab.sweep("+recipe=mine", SPACE, *OPTUNA)
    assert ended.code == 2 and "objective=NAME" in ended.out and "score" in ended.out and not lab.manifests()


def test_an_unknown_metric(lab: Lab) -> None:
    """Told with the metrics that the run does have; the runs are recorded all the same."""
    ended = lab.sweep("+recipe=mine", SPACE, "objective=scor", *OPTUNA, "hydra.sweeper.n_trials=2")
    assert ended.code == 1 and "no such metric; it has score" in ended.out, ended.out
    assert lab.statuses() == ["succeeded", "succeeded"]


LOSES_ITS_WORKER = """\
import json, os, sys, time
def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
if not os.path.exists(sys.path[0] + "/lost"):
    open(sys.path[0] + "/lost", "w").close()
    os.kill(parent(os.getppid()), 9)
    time.sleep(600)
json.dump({"score": float(sys.argv[2])}, open("out.json", "w"))
"""


@pytest.mark.timeout(200)
def test_a_lost_worker_is_one_failed_trial(lab: Lab) -> None:
    """With submitit, a worker that is killed costs its own trial and not the study; its record is closed."""
    need("submitit")
    lab.recipe(LOSES_ITS_WORKER)
    words = (SPACE, "objective=score", *OPTUNA, "hydra.sweeper.n_trials=4", "hydra/launcher=submitit_local")
    ended = lab.sweep("+recipe=mine", *words, "hydra.sweeper.max_failure_rate=1.0")
    assert ended.code == 0, ended.out
    assert sorted(lab.statuses()) == ["interrupted", "succeeded", "succeeded", "succeeded"]
    (results,) = (lab.root / "runs/.launcher").glob("*/optimization_results.yaml")
    scores = [m["metrics"]["score"]["value"] for m in lab.manifests() if m["metrics"]]
    assert yaml.safe_load(results.read_text())["best_value"] == min(scores)
    assert len({m["run"]["sweep_id"] for m in lab.manifests()}) == 1 and lab.clean()


def test_a_failed_trial(lab: Lab) -> None:
    """A run that fails is a failed trial, not a value; allowed failures do not end the study."""
    words = (SPACE, "seed=choice(13,1)", "objective=score", *OPTUNA, "hydra.sweeper.n_trials=4")
    ended = lab.sweep("+recipe=mine", *words, "hydra.sweeper.max_failure_rate=1.0")
    assert ended.code == 0, ended.out
    assert {"failed", "succeeded"} == set(lab.statuses())
    (results,) = (lab.root / "runs/.launcher").glob("*/optimization_results.yaml")
    assert yaml.safe_load(results.read_text())["best_params"]["seed"] == 1
