"""Does it fit? A task's memory claims against the cards of a machine.

Floors are per card: two cards of 16 GB are not one of 32. A floor belongs to a task and, where
the source says so, to a variant, batch and precision. The highest first-party figure of the
default way to do a task is the floor; where upstream only states variants, the smallest of them is,
since nothing stated is below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worldflux.catalog.entry import Claim, Entry, OnCpu

#: `fits`: the floor is reached. `tight`: inside a stated range. `cpu`: no GPU needed, or none here
#: and it is known to work without. `doubtful`: under a figure that is not upstream's own.
#: `too small`: under upstream's figure. `unknown`: no figure, or no knowledge of the machine.
STATES = ("fits", "cpu", "tight", "doubtful", "too small", "unknown")


@dataclass(frozen=True)
class Verdict:
    """Whether one task fits one machine.

    Attributes:
        state: one of `STATES`.
        why: one sentence for people, with figures and their source.
        floor: the claim that decided, None when none was made.
        refuses: a run must not start: upstream's own floor is not reached.
    """

    task: str
    state: str
    why: str
    floor: Claim | None = None

    @property
    def refuses(self) -> bool:
        return self.state == "too small"

    @property
    def runs(self) -> bool:
        """Known to fit, if only just."""
        return self.state in ("fits", "cpu", "tight")


def claims_for(entry: Entry, task: str) -> tuple[Claim, ...]:
    """The claims that bear on the default way to do a task, else those on its variants."""
    here = [claim for claim in entry.vram if claim.task == task]
    default = [claim for claim in here if claim.variant is None]
    return tuple(default or here)


def floor_for(entry: Entry, task: str, variant: str | None = None) -> Claim | None:
    """The claim to measure a machine against, first-party before any other; None when none was made."""
    if variant is not None:
        claims = tuple(claim for claim in entry.vram if claim.task == task and claim.variant == variant)
    else:
        claims = claims_for(entry, task)
    if not claims:
        return None
    own = [claim for claim in claims if claim.first_party] or list(claims)
    pick = min if own[0].variant is not None and variant is None else max
    return pick(own, key=lambda claim: claim.gb)


def judge(entry: Entry, task: str, cards: Sequence[int] | None, variant: str | None = None) -> Verdict:
    """Whether the task fits a machine with these cards.

    Args:
        cards: bytes of memory of each GPU; empty means no GPU, None means not known.
        variant: a variant the entry has claims for; None for the default way.
    """
    floor = floor_for(entry, task, variant)
    on_cpu = entry.works_on_cpu(task)
    if floor is None:
        return _without_floor(entry, task, cards, on_cpu)
    stated = f"{floor.text} ({floor.kind}: {floor.source.name})"
    if cards is None:
        return Verdict(task, "unknown", f"needs {stated}; the machine's GPU memory is not known", floor)
    if not cards:
        return _without_gpu(task, floor, stated, on_cpu)
    card = max(cards)
    have = f"{card / 1e9:.1f} GB on the largest GPU"
    if not floor.met_by(card):
        state = "too small" if floor.first_party else "doubtful"
        return Verdict(task, state, f"needs {stated}, has {have}", floor)
    over = next((claim for claim in claims_for(entry, task) if not claim.met_by(card)), None)
    if variant is None and over is not None and over.variant is None:
        return Verdict(
            task, "doubtful", f"{have}, but {over.text} is {over.kind} ({over.source.name})", floor
        )
    if not floor.comfortable_on(card):
        return Verdict(task, "tight", f"{have} is inside the stated range {stated}", floor)
    return Verdict(task, "fits", f"{have}, needs {stated}", floor)


def _without_floor(entry: Entry, task: str, cards: Sequence[int] | None, on_cpu: OnCpu | None) -> Verdict:
    if on_cpu is not None and on_cpu.works:
        return Verdict(task, "cpu", f"needs no GPU ({on_cpu.source.name})")
    if on_cpu is not None and cards is not None and not cards:
        return Verdict(task, "too small", f"needs a GPU and there is none ({on_cpu.source.name})")
    return Verdict(task, "unknown", "upstream states no floor")


def _without_gpu(task: str, floor: Claim, stated: str, on_cpu: OnCpu | None) -> Verdict:
    if on_cpu is not None and on_cpu.works:
        return Verdict(task, "cpu", f"no GPU here; it runs on the CPU, slowly ({on_cpu.source.name})", floor)
    if floor.first_party or (on_cpu is not None and not on_cpu.works):
        return Verdict(task, "too small", f"needs {stated} of GPU memory, and there is no GPU", floor)
    return Verdict(task, "doubtful", f"needs {stated} of GPU memory, and there is no GPU", floor)
