"""The catalog's word before a run, as people meet it: refused with a record, warned, or written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest_cli import Run, manifests

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from lerobot_files import import_act

QUIET = "command: [python, -c, 'pass']\n"
SHOW = """command: [python, main.py]
metrics: {files: {file: seen.json, select: files}}
"""
PROGRAM = """
import json, os, pathlib
names = {k: v for k, v in os.environ.items() if k.startswith("WORLDFLUX_INPUT")}
here = names.get("WORLDFLUX_INPUT_POLICY")
files = len(list(pathlib.Path(here).iterdir())) if here else 0
json.dump({"names": names, "files": files}, open("seen.json", "w"))
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """An imported policy; returns its id."""
    return import_act(tmp_path / "source")


def test_adapter_facts_land_in_the_manifest(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Id, support level, license, fit and evidence are in the record of a run that names an adapter."""
    recipe(f"adapter: Tiny-JEPA/orby-v1\n{QUIET}")
    assert wf("run", "mine").code == 0
    (manifest,) = manifests(project)
    adapter = manifest["adapter"]
    assert (adapter["id"], adapter["support"]) == ("tiny-jepa/orby-v1", "production")
    assert (
        adapter["facts"]["license"] == {"code": "MIT", "weights": "MIT"} and adapter["facts"]["fit"] == "cpu"
    )


def test_policy_production_refuses_with_a_record(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """Exit code 4, a record with status refused that says why, and nothing was run."""
    recipe(f"adapter: lerobot/act\npolicy: production\n{QUIET}")
    ended = wf("run", "mine")
    assert ended.code == 4 and "policy: production refuses `lerobot/act`" in ended.out + ended.err
    (manifest,) = manifests(project)
    assert manifest["run"]["status"] == "refused" and manifest["run"]["error"]["code"] == "support"
    assert manifest["adapter"]["support"] == "experimental"
    assert [stage["name"] for stage in manifest["run"]["stages"]] == ["preflight"]


def test_the_projects_policy_holds_for_every_recipe(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """`policy: production` in worldflux.yaml refuses the same."""
    (project / "worldflux.yaml").write_text("project: demo\npolicy: production\n")
    recipe(f"adapter: lerobot/act\n{QUIET}")
    assert wf("run", "mine").code == 4
    recipe(f"adapter: tiny-jepa/orby-v1\n{QUIET}")
    assert wf("run", "mine").code == 0


def test_memory_that_is_not_there_refuses(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """A recipe that requires more GPU memory than any card has is refused before anything is built."""
    recipe(f"requires: {{vram_gb: 9999}}\n{QUIET}")
    ended = wf("run", "mine")
    assert ended.code == 4 and "9999 GB" in ended.out + ended.err
    assert manifests(project)[0]["run"]["error"]["code"] == "vram"


def test_experimental_warns(wf: Run, recipe: Callable[..., Path]) -> None:
    """Without the policy an experimental pair runs and is told to be one."""
    recipe(f"adapter: dreamerv3/size12m\n{QUIET}")
    ended = wf("run", "mine")
    assert ended.code == 0 and "experimental" in ended.out + ended.err


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("adapter: lerobot/atc\n", "did you mean `lerobot/act`"),
        ("adapter: lerobot:me/act\n", "worldflux import lerobot:me/act"),
        (
            'inputs: [{role: dataset, ref: "lerobot-dataset:me/x@v3.0"}]\n',
            "worldflux import lerobot-dataset:me/x@v3.0",
        ),
    ],
)
def test_what_is_not_there_leaves_nothing_behind(
    wf: Run, recipe: Callable[..., Path], project: Path, text: str, part: str
) -> None:
    """An unknown adapter or an input that is not imported: exit code 2, the next command, no run folder."""
    recipe(text + QUIET)
    ended = wf("run", "mine")
    assert ended.code == 2 and part in ended.err
    assert manifests(project) == []


def test_inputs_are_checked_given_and_recorded(
    wf: Run, recipe: Callable[..., Path], project: Path, policy: str
) -> None:
    """The command gets the folder; the manifest gets commit and digest; a changed file refuses."""
    recipe(f"inputs: [{{role: policy, ref: '{policy}'}}]\n{SHOW}", PROGRAM)
    ended = wf("run", "mine")
    assert ended.code == 0, ended.err
    (manifest,) = manifests(project)
    (entry,) = manifest["inputs"]
    assert len(entry["revision"]) == 40 and len(entry["sha256"]) == 64 and entry["files"] == 4
    assert manifest["metrics"]["files"]["value"] == 4
    seen = json.loads(next((project / "runs").glob("*/artifacts/seen.json")).read_text())["names"]
    assert seen["WORLDFLUX_INPUT_POLICY_REF"] == policy
    assert seen["WORLDFLUX_INPUT_POLICY_REVISION"] == entry["revision"]
    (Path(seen["WORLDFLUX_INPUT_POLICY"]) / "config.json").write_text("{}")
    ended = wf("run", "mine")
    assert ended.code == 4 and "config.json was changed" in ended.out + ended.err
    refused = manifests(project)[-1]
    assert refused["run"]["error"]["code"] == "input_changed" and refused["inputs"][0]["ref"] == policy


def test_a_dry_run_asks_the_catalog(wf: Run, recipe: Callable[..., Path], project: Path) -> None:
    """`--dry-run` refuses what the run would refuse, warns of what it would warn of, and runs nothing."""
    recipe(f"adapter: lerobot/act\npolicy: production\n{QUIET}")
    assert wf("run", "mine", "--dry-run").code == 4
    ended = wf("run", "mine", "policy=null", "--dry-run")
    assert ended.code == 0 and "experimental" in ended.err
    assert manifests(project) == []


def test_a_sweep_with_a_wrong_adapter_starts_nothing(
    wf: Run, recipe: Callable[..., Path], project: Path
) -> None:
    """All unknown adapters of all jobs come in one report before the first job starts."""
    recipe(f"adapter: tiny-jepa/orby-v1\n{QUIET}")
    words = ["-m", "+recipe=mine", "adapter=tiny-jepa/orby-v1,lerobot/atc,openvla/openvla", "seed=1,2"]
    ended = wf(*words, program="worldflux-run")
    assert ended.code == 2 and "2 faults" in ended.err
    assert "lerobot/act" in ended.err and "openvla/openvla-7b" in ended.err
    assert manifests(project) == []
