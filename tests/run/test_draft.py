"""The configuration files beside a manifest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worldflux.run.draft import stored_texts

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def texts(config: dict[str, Any], *overrides: str) -> dict[str, bytes]:
    request: Any = SimpleNamespace(config=config, overrides=overrides)
    return stored_texts(request)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=5))
def test_the_stored_configuration_reads_back(config: dict[str, Any]) -> None:
    """Whatever a configuration holds, a YAML reader gets the same from the file."""
    assert yaml.safe_load(texts(config)["config.yaml"]) == config


@pytest.mark.parametrize("seed", [7, 7.0, True, "7", None])
def test_values_that_are_equal_are_not_mixed_up(seed: Any) -> None:
    """`1`, `1.0` and `true` are equal to Python and not to people."""
    for value in (1, 1.0, True, seed):
        found = yaml.safe_load(texts({"seed": value, "params": {"a": [value]}})["config.yaml"])
        assert repr(found) == repr({"seed": value, "params": {"a": [value]}})


def test_it_is_written_for_people() -> None:
    """One line a setting, short lists in one line; overrides as typed."""
    config = {"seed": 3, "command": ["python", "x.py"], "env": {"set": {"A": "1"}, "pass": []}, "params": {}}
    found = texts(config, "+recipe=r", "seed=3")
    assert found["config.yaml"].decode() == (
        "seed: 3\ncommand: [python, x.py]\nenv:\n  set: {A: '1'}\n  pass: []\nparams: {}\n"
    )
    assert found["overrides.yaml"] == b"[+recipe=r, seed=3]\n"
