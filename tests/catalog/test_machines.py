"""GPU memory of rented machine types."""

from __future__ import annotations

import pytest

from worldflux.catalog.machines import cards_of, known_cards, machines_of
from worldflux.errors import UsageError

GB = 10**9


@pytest.mark.parametrize(
    ("runtime", "machine", "count", "gb"),
    [
        ("aws-ec2", "g5.xlarge", 1, 24.0),
        ("aws-ec2", "g5.12xlarge", 4, 24.0),
        ("aws-ec2", "p5.48xlarge", 8, 85.9),
        ("modal", "L4", 1, 24),
        ("modal", "l4", 1, 24),
        ("modal", "A100-80GB:2", 2, 80),
        ("modal", "H100!", 1, 80),
        ("replicate", "gpu-l40s", 1, 48),
        ("replicate", "gpu-a100-large-4x", 4, 80),
        ("replicate", "cpu", 0, 0),
    ],
)
def test_known_types(runtime: str, machine: str, count: int, gb: float) -> None:
    """A machine type has its number of cards, each with its memory."""
    assert cards_of(runtime, machine) == [round(gb * GB)] * count


def test_an_unknown_type_names_the_nearest() -> None:
    """A typo is answered with the nearest type, and with how to give the memory oneself."""
    with pytest.raises(UsageError) as caught:
        cards_of("aws-ec2", "g5.xlarg")
    assert "g5.xlarge" in caught.value.hint and "--vram" in caught.value.hint
    with pytest.raises(UsageError, match="local"):
        cards_of("local", "L4")


def test_a_runtimes_options_name_its_machine() -> None:
    """The option that each runtime calls its machine by is found; without one nothing is known."""
    assert machines_of("modal", {"gpu": "L4", "cpu": 2}) == ["L4"]
    assert machines_of("aws-ec2", {"instance_types": ["g5.xlarge", "g6.xlarge"]}) == [
        "g5.xlarge",
        "g6.xlarge",
    ]
    assert machines_of("replicate", {"hardware": "gpu-t4"}) == ["gpu-t4"]
    assert (
        machines_of("replicate", {"hardware": None}) == []
        and machines_of("modal-command", {"app": "x"}) == []
    )
    assert known_cards("modal", {"gpu": "L4"}) == [24 * GB]
    assert known_cards("modal", {"gpu": "quantum"}) is None
    assert known_cards("replicate", {"hardware": None}) is None and known_cards("modal-command", {}) is None


def test_machines_without_a_gpu_are_known_to_have_none() -> None:
    """A Modal sandbox without `gpu` and an ordinary EC2 type have no card, which is not the same as unknown."""
    assert known_cards("modal", {"gpu": None}) == []
    assert known_cards("aws-ec2", {"instance_types": ["m7i.xlarge"]}) == []
    assert known_cards("aws-ec2", {"instance_types": ["g99.xlarge"]}) is None


def test_a_fallback_to_a_smaller_machine_counts() -> None:
    """Where another type may be taken, the smaller card is what the run can rely on."""
    options = {"instance_types": ["p5.4xlarge", "g5.xlarge"], "fallback": []}
    assert known_cards("aws-ec2", options) == [85_900_000_000]
    assert known_cards("aws-ec2", {**options, "fallback": ["type"]}) == [24 * GB]
