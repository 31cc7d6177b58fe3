"""What the preflight looks up: findings for manifest, command and guard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from worldflux.config.compose import Composer
from worldflux.config.project import load_project
from worldflux.errors import UsageError
from worldflux.run.preflight import look_up, visible

sys.path.append(str(Path(__file__).parents[1] / "catalog"))
from lerobot_files import import_act

QUIET = "command: [python, -c, 'pass']\n"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """An imported policy; returns its id."""
    return import_act(tmp_path / "source")


def look(root: Path, text: str, *words: str) -> Any:
    folder = root / "recipes"
    folder.mkdir(exist_ok=True)
    (folder / "r.yaml").write_text(text)
    return look_up(Composer(load_project(root)).compose(["+recipe=r", *words]))


def test_a_remote_runtime_gets_name_and_commit_not_a_path(tmp_path: Path, policy: str) -> None:
    """Where this machine's files are not seen, no path of it is given; two inputs of a role stay apart."""
    text = f"inputs: [{{role: policy, ref: '{policy}'}}, {{role: policy, ref: gym-pusht==0.1.8}}]\n{QUIET}"
    near = look(tmp_path, text)
    far = look(tmp_path, text, "runtime.name=modal")
    assert "WORLDFLUX_INPUT_POLICY" in near.variables and "WORLDFLUX_INPUT_POLICY" not in far.variables
    assert far.variables["WORLDFLUX_INPUT_POLICY_REF"] == policy
    assert far.variables["WORLDFLUX_INPUT_POLICY_2_REF"] == "gym-pusht==0.1.8"


def test_an_imported_adapter_is_pinned_in_the_record(tmp_path: Path, policy: str) -> None:
    """An import as adapter brings its commit and what was read of it."""
    found = look(tmp_path, f"adapter: '{policy}'\n{QUIET}")
    assert found.adapter is not None and len(found.adapter["revision"]) == 40
    assert found.adapter["facts"]["imported"]["facts"]["type"] == "act"
    assert found.refused is None


def test_the_machine_of_a_rented_runtime_counts(tmp_path: Path) -> None:
    """Floors are held against the card that the runtime's options name."""
    text = f"adapter: openvla/openvla-7b\nruntime: {{name: modal}}\n{QUIET}"
    assert look(tmp_path, text, "+runtime.gpu=T4").refused is None
    small = look(tmp_path, text, "task=train", "+runtime.gpu=L4")
    assert small.refused is not None and small.refused.code == "vram" and "24.0 GB" in small.refused.problem
    assert look(tmp_path, text, "task=train", "+runtime.gpu=A100-80GB").refused is None


def test_a_run_that_names_nothing_asks_nothing(tmp_path: Path) -> None:
    """Without adapter, inputs and requirements there are no findings."""
    found = look(tmp_path, QUIET)
    assert (found.adapter, found.inputs, found.variables, found.warnings, found.refused) == (
        None,
        [],
        {},
        [],
        None,
    )


def test_a_wrong_adapter_is_an_error_of_use(tmp_path: Path) -> None:
    """The key is named in the error."""
    with pytest.raises(UsageError, match=r"^adapter: "):
        look(tmp_path, f"adapter: nothing/there\n{QUIET}")


def test_cuda_visible_devices() -> None:
    """Cards that are hidden from the run do not count; names of devices leave all in."""
    sizes = [24, 80, None]
    assert visible(sizes[:2], None) == [24, 80]
    assert visible(sizes[:2], "0") == [24] and visible(sizes[:2], "1,0,7") == [80, 24]
    assert visible(sizes[:2], "") == [] and visible(sizes[:2], "-1") == []
    assert visible(sizes[:2], "GPU-8f2a") == [24, 80]
    assert visible(sizes, None) is None and visible(sizes, "0") == [24]
