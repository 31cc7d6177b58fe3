"""Entries by name and by what is asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from worldflux.catalog.finding import all_entries, find, get, pick
from worldflux.errors import UsageError

GB = 10**9


def ids(home: Path, **filters: object) -> list[str]:
    return [entry.id for entry in pick(all_entries(home).values(), **filters)]  # type: ignore[arg-type]


def test_names_are_found_in_any_case(tmp_path: Path) -> None:
    """An id may be typed in any letter case; a wrong one is answered with the nearest."""
    assert get("Lerobot/ACT", tmp_path).id == "lerobot/act"
    with pytest.raises(UsageError) as caught:
        get("lerobot/smollvla", tmp_path)
    assert "lerobot/smolvla" in caught.value.hint
    assert find("nothing/like-it", tmp_path) is None


def test_filters_narrow_the_list(tmp_path: Path) -> None:
    """Family, task, runtime and level each leave out what does not match; together they all hold."""
    everything = ids(tmp_path)
    assert len(everything) == 28
    families = {entry.family for entry in pick(all_entries(tmp_path).values(), family="vla")}
    assert families == {"vla"}
    assert "etched/oasis-500m" not in ids(tmp_path, task="train")
    assert ids(tmp_path, runtime="local", level="production") == [
        "tiny-jepa/orby-hier-v1",
        "tiny-jepa/orby-v1",
    ]
    assert "openpi/pi0" not in ids(tmp_path, task="train", runtime="replicate")
    assert "openpi/pi0" in ids(tmp_path, task="eval", runtime="replicate")


def test_fits_keeps_what_is_known_to_fit(tmp_path: Path) -> None:
    """On 8 GB: what states no more; never what states no floor; without a GPU only what needs none."""
    small = ids(tmp_path, fits=True, cards=[8 * GB])
    assert "lerobot/act" in small and "tiny-jepa/orby-v1" in small
    assert "openvla/openvla-7b" not in small and "diamond/atari" not in small
    none = ids(tmp_path, fits=True, cards=[])
    assert none == ["lerobot/act", "lerobot/tdmpc", "tiny-jepa/orby-hier-v1", "tiny-jepa/orby-v1"]
    assert len(ids(tmp_path, fits=True, cards=[90 * GB])) > len(small)


def test_fits_looks_at_the_task_that_is_asked(tmp_path: Path) -> None:
    """SmolVLA evaluates in 2 GB and trains in 10: on 8 GB the task decides."""
    assert "lerobot/smolvla" in ids(tmp_path, fits=True, cards=[8 * GB], task="eval")
    assert "lerobot/smolvla" not in ids(tmp_path, fits=True, cards=[8 * GB], task="train")


@pytest.mark.parametrize("filters", [{"family": "vle"}, {"task": "evaluate"}, {"level": "beta"}])
def test_unknown_words_are_refused(tmp_path: Path, filters: dict[str, str]) -> None:
    """A filter that can match nothing is a mistake and says which words there are."""
    with pytest.raises(UsageError) as caught:
        ids(tmp_path, **filters)
    assert caught.value.hint
