"""The catalog's part of the preflight: support policy and memory floors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worldflux.catalog.policy import check, check_floor


def test_production_policy_lets_backed_pairs_run() -> None:
    """`policy: production` passes what has evidence, and says so in the facts."""
    decision = check("tiny-jepa/orby-v1", "eval", "local", "production", 0.0)
    assert decision.refuse is None
    assert decision.level == "production"
    assert decision.facts["support"]["evidence"]
    assert decision.warnings == []


@pytest.mark.parametrize(
    ("adapter", "task", "runtime"),
    [
        ("tiny-jepa/orby-v1", "train", "local"),
        ("tiny-jepa/orby-v1", "eval", "modal"),
        ("lerobot/act", "eval", "local"),
        ("openvla/openvla-7b", "eval", "aws-ec2"),
    ],
)
def test_production_policy_refuses_all_else(adapter: str, task: str, runtime: str) -> None:
    """`policy: production` refuses any pair of adapter, task and runtime without evidence."""
    decision = check(adapter, task, runtime, "production", 1000.0)
    assert decision.refuse is not None and "policy: production" in decision.refuse
    assert decision.code == "support"
    assert f"worldflux curated inspect {adapter}" in decision.hint


def test_the_refusal_says_where_it_would_be_backed() -> None:
    """The hint names the runtimes that are production-backed for this task."""
    assert "production-backed on: local" in check("tiny-jepa/orby-v1", "eval", "modal", "production").hint


def test_without_the_policy_experimental_runs_with_a_warning() -> None:
    """An experimental pair runs, is warned about, and the facts say experimental."""
    decision = check("lerobot/act", "eval", "modal", None, 24.0)
    assert decision.refuse is None
    assert any("experimental" in warning for warning in decision.warnings)
    assert decision.facts["support"]["level"] == "experimental"


def test_disabled_is_refused_under_any_policy() -> None:
    """What can not work is refused before it is paid, with the reason."""
    decision = check("openvla/openvla-7b", "train", "replicate", None, 80.0)
    assert decision.refuse is not None and "30 minutes" in decision.refuse
    assert decision.code == "support"


def test_a_stated_floor_refuses() -> None:
    """Too little memory against upstream's own figure refuses, with both figures and a way out."""
    decision = check("openvla/openvla-7b", "eval", "local", None, 12.0)
    assert decision.refuse is not None
    assert "16 GB" in decision.refuse and "12.0 GB" in decision.refuse
    assert decision.code == "vram"
    assert "int4: 6 GB" in decision.hint


def test_a_derived_floor_only_warns() -> None:
    """A figure that is not upstream's own never refuses; it is a warning."""
    decision = check("facebook/v-jepa-2", "eval", "local", None, 3.0)
    assert decision.refuse is None
    assert any("derived" in warning for warning in decision.warnings)
    assert decision.facts["fit"] == "doubtful"


def test_no_gpu_refuses_a_stated_floor() -> None:
    """A machine without a GPU does not reach a stated floor; a CPU model needs none."""
    assert check("openvla/openvla-7b", "eval", "local", None, 0.0).code == "vram"
    assert check("tiny-jepa/orby-v1", "eval", "local", None, 0.0).refuse is None


def test_unknown_memory_warns_and_does_not_refuse() -> None:
    """Where the machine is not known the floor is told as a warning."""
    decision = check("openvla/openvla-7b", "eval", "modal", None, None)
    assert decision.refuse is None
    assert any("needs 16 GB" in warning for warning in decision.warnings)


def test_the_recipes_own_floor_refuses() -> None:
    """`requires.vram_gb` above what is there refuses, with and without an adapter."""
    assert check("tiny-jepa/orby-v1", "eval", "local", None, 8.0, {"vram_gb": 9}).code == "vram"
    assert check_floor({"vram_gb": 9}, 8.0).code == "vram"
    assert check_floor({"vram_gb": 8}, 8.0).refuse is None
    assert check_floor({"vram_gb": 8}, None).refuse is None
    assert check_floor({}, 0.0).refuse is None


def test_a_recipe_that_states_less_is_taken_at_its_word_but_not_in_production() -> None:
    """An int4 recipe may say it takes 6 GB: the catalog's 16 becomes a warning, never under production."""
    decision = check("openvla/openvla-7b", "eval", "local", None, 8.0, {"vram_gb": 6})
    assert decision.refuse is None
    assert any("16 GB" in warning and "at its word" in warning for warning in decision.warnings)
    strict = check(
        "nvidia/cosmos-predict2-2b-text2image", "generate", "local", "production", 8.0, {"vram_gb": 6}
    )
    assert strict.refuse is not None


def test_a_recipe_can_not_make_up_a_gpu() -> None:
    """Stating 6 GB does not help on a machine that has no GPU at all."""
    assert check("openvla/openvla-7b", "eval", "local", None, 0.0, {"vram_gb": 6}).code == "vram"


def test_an_unknown_adapter_is_refused_with_the_nearest_name() -> None:
    """A typo is caught before anything is built."""
    decision = check("lerobot/difusion", "eval", "local")
    assert decision.code == "unknown_adapter"
    assert "lerobot/diffusion" in decision.hint


def test_an_adapter_that_is_not_imported_says_how(tmp_path: Path) -> None:
    """A policy of the Hub that is not here yet is refused with the import command."""
    decision = check("lerobot:me/act", "eval", "local", home=tmp_path)
    assert decision.hint == "import it: worldflux import lerobot:me/act"


def test_known_blockers_are_warned_about() -> None:
    """An issue that stops the task is named with its thread."""
    decision = check("nvidia/gr00t-n1.5", "eval", "local", None, 80.0)
    assert any("rejected by lerobot 0.6" in warning for warning in decision.warnings)


def test_the_facts_are_plain_json() -> None:
    """What goes to the manifest survives JSON, and holds license, floor, fit and issues."""
    facts = check("openpi/pi05", "train", "local", None, 80.0).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["license"] == {"code": "Apache-2.0", "weights": None}
    assert facts["floor"]["gb"] == 24 and facts["floor"]["kind"] == "stated"
    assert facts["fit"] == "fits"
    assert "huggingface/lerobot#4206" in facts["known_issues"]


def test_an_unusual_task_is_pointed_out() -> None:
    """A task the entry is not known for runs, with a warning."""
    decision = check("lerobot/act", "generate", "local", None, 24.0)
    assert decision.refuse is None
    assert any("not for generate" in warning for warning in decision.warnings)
