"""The data behind `curated list` and `curated inspect`."""

from __future__ import annotations

import json

import pytest

from worldflux.catalog import builtin
from worldflux.catalog.showing import RUNTIMES, Machine, details, environment, machine_json, summary

GB = 10**9
L4 = Machine("modal L4", "modal", (("L4", 24 * GB),))
NOTHING = Machine("this machine", "local", ())


@pytest.mark.parametrize("adapter", sorted(builtin.adapters()))
def test_every_entry_can_be_shown(adapter: str) -> None:
    """Each built-in entry is plain JSON, with an answer for each of its tasks and each runtime."""
    entry = builtin.adapters()[adapter]
    for machine in (L4, NOTHING, Machine("aws-ec2", "aws-ec2", None)):
        shown = details(entry, machine)
        assert json.loads(json.dumps(shown)) == shown
        assert [task["task"] for task in shown["tasks"]] == list(entry.tasks)
        assert [support["runtime"] for support in shown["support"]] == list(RUNTIMES)
        assert sum(len(task["claims"]) for task in shown["tasks"]) == len(entry.vram), "a claim is not shown"
        assert len(shown["known_issues"]) == len(entry.issues)


def test_every_claim_is_shown_with_its_source() -> None:
    """Variants and contradicting figures are all there, each with name and address."""
    shown = details(builtin.adapters()["openpi/pi0"], L4)
    claims = shown["tasks"][1]["claims"]
    assert {claim["text"] for claim in claims} == {"24-40 GB", "> 22.5 GB", "> 70 GB"}
    assert all(claim["source"]["url"].startswith("https://") for claim in claims)


def test_the_summary_measures_against_the_machine() -> None:
    """State, floor and support are those of the machine and runtime that were asked for."""
    row = summary(builtin.adapters()["nvidia/gr00t-n1.7-3b"], L4)
    assert row["tasks"] == {
        "eval": {"floor": "16 GB", "state": "fits"},
        "train": {"floor": "40 GB", "state": "too small"},
    }
    assert row["support"] == {"eval": "experimental", "train": "experimental"}
    only = summary(builtin.adapters()["tiny-jepa/orby-v1"], NOTHING, ["eval"])
    assert only["tasks"] == {"eval": {"floor": None, "state": "cpu"}} and only["support"] == {
        "eval": "production"
    }


def test_an_unknown_machine_is_null_not_empty() -> None:
    """`gpus` is null where the memory is not known, and an empty list where there is no GPU."""
    assert machine_json(Machine("x", "modal", None))["gpus"] is None
    assert machine_json(NOTHING)["gpus"] == []
    assert machine_json(L4)["gpus"] == [{"name": "L4", "gb": 24.0}]


@pytest.mark.parametrize("name", sorted(builtin.environments()))
def test_every_environment_can_be_shown(name: str) -> None:
    """Each environment is plain JSON; what was not measured is null."""
    shown = environment(builtin.environments()[name])
    assert json.loads(json.dumps(shown)) == shown and shown["id"] == name
    assert shown["deterministic"] in (True, False, None)
