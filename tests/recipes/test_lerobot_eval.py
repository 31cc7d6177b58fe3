"""The recipe lerobot-eval: metrics of every form of eval_info.json, and what is told to LeRobot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worldflux.catalog.lerobot_eval import policy_faults
from worldflux.config.compose import Composer
from worldflux.config.project import builtin_dir, load_project
from worldflux.run.collect import collect

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from hub_standin import StandInHub, standing_hub
from lerobot_files import import_act

RECIPE = builtin_dir("recipes") / "lerobot-eval"
SAMPLES = Path(__file__).parents[1] / "fixtures" / "lerobot"

#: Stands where LeRobot's evaluator stands, says what it was told, and writes a real result.
EVALUATOR = """
import json, os, shutil, sys
json.dump(sys.argv[1:], open("told.json", "w"))
shutil.copy(os.environ["SAMPLE"], "eval_info.json")
"""


def spec(root: Path, *words: str) -> Any:
    return Composer(load_project(root)).compose(["+recipe=lerobot-eval", *words]).spec


def metrics(root: Path, text: str) -> Any:
    work = root / "artifacts"
    work.mkdir()
    (work / "eval_info.json").write_text(text)
    return collect(root, spec(root).metrics, ())


@pytest.mark.parametrize(
    ("sample", "episodes", "reward"),
    [("0.4.4", 4, 4.375961126413853), ("0.6.1", 10, 5.088201407876014), ("random_act", 3, 0.0)],
)
def test_files_that_lerobot_wrote(tmp_path: Path, sample: str, episodes: int, reward: float) -> None:
    """Success by episode with its interval, and the rewards, from the files of 0.4.4 and 0.6.1."""
    found = metrics(tmp_path, (SAMPLES / f"eval_info_{sample}.json").read_text())
    assert found.faults == []
    success = found.metrics["success"]
    assert (success["k"], success["n"], success["value"]) == (0, episodes, 0.0)
    assert success["interval"]["low"] == 0.0 and 0.2 < success["interval"]["high"] < 0.6
    assert found.metrics["sum_reward"]["value"] == pytest.approx(reward)
    assert found.metrics["pc_success"] == {"value": 0, "kind": "value", "unit": "%"}


def test_several_tasks_are_counted_together(tmp_path: Path) -> None:
    """A benchmark of two tasks gives the episodes of both."""
    tasks = [{"metrics": {"successes": [True, False]}}, {"metrics": {"successes": [True]}}]
    overall = {"pc_success": 66.7, "avg_sum_reward": 1, "avg_max_reward": 1, "eval_ep_s": 0.5}
    found = metrics(tmp_path, json.dumps({"per_task": tasks, "overall": overall}))
    assert (found.metrics["success"]["k"], found.metrics["success"]["n"]) == (2, 3)


def test_the_form_before_0_4(tmp_path: Path) -> None:
    """Results of older evaluators, by episode with aggregates, give the same metrics."""
    episodes = [{"episode_ix": 0, "success": True, "sum_reward": 2.0}, {"episode_ix": 1, "success": False}]
    whole = {
        "avg_sum_reward": 1.0,
        "avg_max_reward": 0.5,
        "pc_success": 50.0,
        "eval_s": 3.0,
        "eval_ep_s": 1.5,
    }
    found = metrics(tmp_path, json.dumps({"per_episode": episodes, "aggregated": whole}))
    assert found.faults == [] and (found.metrics["success"]["k"], found.metrics["success"]["n"]) == (1, 2)
    assert found.metrics["pc_success"]["value"] == 50 and found.metrics["seconds_per_episode"]["value"] == 1.5


def test_a_reward_that_is_no_number(tmp_path: Path) -> None:
    """LeRobot writes a bare NaN, which is not JSON; it is kept as a metric that is not a number."""
    text = (SAMPLES / "eval_info_0.6.1.json").read_text().replace("5.088201407876014", "NaN")
    found = metrics(tmp_path, text)
    assert found.metrics["sum_reward"]["value"] == "NaN" and found.metrics["success"]["n"] == 10


def test_a_crash_leaves_no_invented_metrics(tmp_path: Path) -> None:
    """LeRobot writes its file at the very end: without it every metric is a fault, none is zero."""
    (tmp_path / "artifacts").mkdir()
    found = collect(tmp_path, spec(tmp_path).metrics, ())
    assert found.metrics == {} and len(found.faults) == 5


def test_the_policy_is_adapter_and_input(tmp_path: Path) -> None:
    """One parameter names the policy for the catalog, the inputs and the command."""
    asked = spec(tmp_path, "params.policy=lerobot:me/act@v1", "params.episodes=3")
    assert asked.adapter == "lerobot:me/act@v1"
    assert [(each.role, each.ref) for each in asked.inputs] == [("policy", "lerobot:me/act@v1")]
    assert asked.command[:2] == ("python", "evaluate.py") and "3" in asked.command


def evaluate(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe's program with a LeRobot that only says what it was told."""
    package = folder / "lerobot" / "scripts"
    package.mkdir(parents=True, exist_ok=True)
    (folder / "lerobot" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "lerobot_eval.py").write_text(EVALUATOR)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "SAMPLE": str(SAMPLES / "eval_info_0.6.1.json"),
        **variables,
    }
    base = [
        "--policy",
        "lerobot:me/act@main",
        "--env",
        "pusht",
        "--episodes",
        "3",
        "--batch-size",
        "1",
        "--device",
        "cpu",
        "--seed",
        "7",
    ]
    return subprocess.run(
        [sys.executable, str(RECIPE / "evaluate.py"), *base, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_what_the_evaluator_is_told(tmp_path: Path) -> None:
    """Policy by folder, simulator, episodes, seed, and every further option as it is."""
    ended = evaluate(tmp_path, "--env.obs_type=state", WORLDFLUX_INPUT_POLICY="/policies/x")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "told.json").read_text()) == [
        "--policy.path=/policies/x", "--policy.device=cpu", "--env.type=pusht", "--eval.n_episodes=3",
        "--eval.batch_size=1", "--eval.use_async_envs=false", "--seed=7", "--output_dir=.",
        "--env.obs_type=state",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--eval.recording=true"], "huggingface/lerobot#4530"),
        (["--trust_remote_code=true"], "no lock pins"),
    ],
)
def test_known_faults_are_refused_first(tmp_path: Path, words: list[str], part: str) -> None:
    """What is known to die at the second batch, or to run unpinned code, is not begun."""
    ended = evaluate(tmp_path, *words, WORLDFLUX_INPUT_POLICY="/policies/x")
    assert ended.returncode == 1 and part in ended.stderr and not (tmp_path / "told.json").exists()


def test_recording_with_one_batch_is_fine(tmp_path: Path) -> None:
    """Only recording over several batches is broken upstream."""
    ended = evaluate(tmp_path, "--batch-size", "3", "--eval.recording=true", WORLDFLUX_INPUT_POLICY="/p")
    assert ended.returncode == 0


def test_on_another_machine_the_policy_is_fetched_at_its_commit(tmp_path: Path) -> None:
    """Where only name and commit are known, the official client brings exactly that commit."""
    pytest.importorskip("huggingface_hub")
    with standing_hub() as hub:
        commit = _old_and_new(hub)
        ended = evaluate(
            tmp_path,
            HF_ENDPOINT=hub.url,
            HF_HOME=str(tmp_path / "hf"),
            HF_HUB_DISABLE_XET="1",
            WORLDFLUX_INPUT_POLICY_REVISION=commit,
        )
    assert ended.returncode == 0, ended.stderr
    folder = Path(json.loads((tmp_path / "told.json").read_text())[0].removeprefix("--policy.path="))
    assert (folder / "config.json").read_bytes() == b"{}" and folder.name == commit


def _old_and_new(hub: StandInHub) -> str:
    return str(hub.add("me/act", {"config.json": b"{}"}).commit)


def test_a_local_policy_can_not_be_fetched_elsewhere(tmp_path: Path) -> None:
    """A policy that was imported from a folder is on one machine only, and the error says so."""
    ended = evaluate(tmp_path, "--policy", "lerobot:local/x", WORLDFLUX_INPUT_POLICY_REVISION="0" * 40)
    assert ended.returncode == 1 and "not on this machine" in ended.stderr


@pytest.mark.slow
def test_a_whole_run(tmp_path: Path) -> None:
    """Import, run, metrics with interval, artifacts and the policy's commit in one manifest."""
    policy = import_act(tmp_path / "source")
    root = tmp_path / "project"
    shutil.copytree(RECIPE, root / "recipes" / "lerobot-eval")
    (root / "worldflux.yaml").write_text("project: demo\n")
    package = root / "recipes" / "lerobot-eval" / "lerobot" / "scripts"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "lerobot_eval.py").write_text(EVALUATOR)
    words = [
        "run", "lerobot-eval", f"params.policy={policy}", "env.requirements=null", "env.python=''",
        f"+env.set.SAMPLE='{SAMPLES / 'eval_info_0.6.1.json'}'",
    ]  # fmt: skip
    program = Path(sys.executable).parent / "worldflux"
    ended = subprocess.run([str(program), *words], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    manifest = json.loads(next((root / "runs").glob("*/manifest.json")).read_text())
    assert manifest["metrics"]["success"]["n"] == 10 and manifest["metrics"]["success"]["interval"]
    assert (
        manifest["adapter"]["id"] == policy
        and manifest["adapter"]["revision"] == manifest["inputs"][0]["revision"]
    )
    assert [artifact["path"] for artifact in manifest["artifacts"]] == ["artifacts/eval_info.json"]


def test_doctor_names_what_would_stop_it() -> None:
    """Faults of an import that stop an evaluation are named with their thread."""
    record: dict[str, Any] = {
        "id": "lerobot:me/old",
        "selection": {"meta_only": False, "episodes": None},
        "problems": [
            {"code": "legacy", "text": "too old", "stops": ["eval"], "sources": ["huggingface/lerobot#4047"]},
            {"code": "other", "text": "harmless", "stops": [], "sources": []},
        ],
        "facts": {"needs": [{"repo": "google/x", "gated": True}, {"repo": "a/b", "gated": False}]},
    }
    assert policy_faults(record, {}) == [
        "too old (huggingface/lerobot#4047)",
        "it fetches the gated google/x when it is loaded, and HF_TOKEN is not set",
    ]
    assert len(policy_faults(record, {"HF_TOKEN": "x"})) == 1
    assert (
        "import the rest" in policy_faults({**record, "selection": {"meta_only": True, "episodes": None}})[0]
    )
