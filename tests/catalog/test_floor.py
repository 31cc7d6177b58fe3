"""Whether a task fits a machine, by figures that upstream states and figures that others report."""

from __future__ import annotations

import pytest

from worldflux.catalog.builtin import adapters
from worldflux.catalog.entry import Claim, Source
from worldflux.catalog.floor import claims_for, floor_for, judge

GB = 10**9
MIB = 2**20
#: What the driver reports for well-known cards.
T4, L4, RTX4090, RTX5090, A100_40, A100_80, L40S = (
    15360 * MIB, 23034 * MIB, 24564 * MIB, 32607 * MIB, 40960 * MIB, 81920 * MIB, 46068 * MIB,
)  # fmt: skip


@pytest.mark.parametrize(
    ("adapter", "task", "card", "state"),
    [
        ("nvidia/gr00t-n1.7-3b", "eval", T4, "fits"),
        ("nvidia/gr00t-n1.7-3b", "train", RTX4090, "too small"),
        ("nvidia/gr00t-n1.7-3b", "train", A100_40, "fits"),
        ("skywork/matrix-game-2.0", "generate", L4, "fits"),
        ("nvidia/cosmos-predict2-2b-video2world", "generate", RTX5090, "too small"),
        ("nvidia/cosmos-predict2.5-2b", "generate", RTX5090, "doubtful"),
        ("openvla/openvla-7b", "eval", T4, "doubtful"),
        ("openvla/openvla-7b", "eval", 8 * GB, "too small"),
        ("openpi/pi0", "eval", 8 * GB, "too small"),
        ("openpi/pi0", "eval", 12 * GB, "too small"),
        ("openpi/pi05", "eval", 8 * GB, "too small"),
        ("openpi/pi05", "eval", 12 * GB, "fits"),
        ("openpi/pi05", "train", A100_40, "fits"),
        ("openpi/pi05", "train", RTX4090, "doubtful"),
        ("lerobot/act", "train", 4 * GB, "tight"),
        ("lerobot/act", "train", L4, "fits"),
        ("dreamerv3/size200m", "train", L4, "doubtful"),
        ("facebook/v-jepa-2", "eval", 3 * GB, "doubtful"),
        ("dreamerv3/size12m", "train", L4, "unknown"),
    ],
)
def test_well_known_cards(adapter: str, task: str, card: int, state: str) -> None:
    """A stated floor that is not reached says `too small`; others' figures only make it doubtful."""
    assert judge(adapters()[adapter], task, [card]).state == state


def test_the_highest_first_party_figure_is_the_floor() -> None:
    """openpi states 8 GB for pi0, LeRobot 14: 14 is the floor, and the lower claim is still there."""
    entry = adapters()["openpi/pi0"]
    floor = floor_for(entry, "eval")
    assert floor is not None and floor.gb == 14
    assert [claim.gb for claim in claims_for(entry, "eval")] == [8, 14]


def test_figures_of_variants_do_not_bind_the_default_way() -> None:
    """Full fine-tuning of pi0 takes more than 70 GB, but that is not asked of every training."""
    entry = adapters()["openpi/pi0"]
    assert floor_for(entry, "train") == next(claim for claim in entry.vram if claim.gb == 24)
    full = floor_for(entry, "train", "full")
    assert full is not None and full.gb == 70
    assert judge(entry, "train", [A100_40], "full").state == "too small"


def test_where_only_variants_are_stated_the_smallest_is_the_floor() -> None:
    """Nothing stated trains OpenVLA below 27 GB; 27 is the floor, not the 72 of the default batch."""
    entry = adapters()["openvla/openvla-7b"]
    floor = floor_for(entry, "train")
    assert floor is not None and floor.gb == 27
    assert judge(entry, "train", [RTX4090]).refuses
    assert judge(entry, "train", [A100_40]).runs


def test_two_cards_are_not_one_large_card() -> None:
    """Memory of several cards is not added up: the largest one counts."""
    assert judge(adapters()["openvla/openvla-7b"], "train", [L4, L4, L4]).state == "too small"
    assert judge(adapters()["openvla/openvla-7b"], "train", [T4, A100_40]).state == "fits"


def test_more_than_means_more_than() -> None:
    """`> 8 GB` is not reached by a card sold with 8 GB, which has up to 8 * 2^30 bytes."""
    claim = Claim("eval", 8, "stated", Source("x"), over=True, binary=True)
    assert not claim.met_by(8188 * MIB)
    assert not claim.met_by(8 * 2**30)
    assert claim.met_by(8 * 2**30 + 1)
    assert claim.text == "> 8 GB"


def test_every_more_than_is_compared_that_way() -> None:
    """No built-in claim says `more than` and lets a card of that very size pass."""
    over = [claim for entry in adapters().values() for claim in entry.vram if claim.over]
    assert over and all(claim.binary for claim in over)


def test_measured_peaks_are_counted_in_binary() -> None:
    """32.54 printed by a tool is GiB: a card of 34.19e9 bytes (31.84 GiB) does not reach it."""
    binary = Claim("generate", 32.54, "stated", Source("x"), binary=True)
    assert not binary.met_by(RTX5090)
    assert Claim("generate", 32.54, "stated", Source("x")).met_by(RTX5090)


def test_without_a_gpu() -> None:
    """No GPU: fine where it is known to work, refused where upstream states a floor, else unknown."""
    known = adapters()
    assert judge(known["tiny-jepa/orby-v1"], "eval", []).state == "cpu"
    assert judge(known["lerobot/act"], "train", []).state == "cpu"
    assert judge(known["lerobot/diffusion"], "train", []).state == "too small"
    assert judge(known["tdmpc2/5m"], "eval", []).state == "too small"
    assert judge(known["facebook/v-jepa-2"], "eval", []).state == "doubtful"
    assert judge(known["diamond/atari"], "eval", []).state == "unknown"


def test_an_unknown_machine_never_refuses() -> None:
    """When the GPU's memory is not known the floor is told, and nothing is refused."""
    verdict = judge(adapters()["openvla/openvla-7b"], "eval", None)
    assert (verdict.state, verdict.refuses, verdict.runs) == ("unknown", False, False)
    assert "needs 16 GB" in verdict.why


def test_the_sentence_names_figure_and_source() -> None:
    """The reason holds the floor, where it was read, and what the machine has."""
    verdict = judge(adapters()["nvidia/gr00t-n1.7-3b"], "train", [L40S // 2])
    assert verdict.why == (
        "needs 40 GB (stated: Isaac-GR00T hardware recommendations), has 24.2 GB on the largest GPU"
    )
