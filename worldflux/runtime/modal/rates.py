"""What Modal charges for sandboxes."""

from __future__ import annotations

from worldflux.errors import UsageError
from worldflux.runtime.remote.money import Price, one_of

#: Day on which the figures below were last compared with their source.
DATE = "2026-10-08"
SOURCE = "modal.com/pricing"

#: US dollars a second for one GPU.
GPU: dict[str, float] = {
    "T4": 0.000164,
    "L4": 0.000222,
    "A10": 0.000306,
    "L40S": 0.000542,
    "A100": 0.000583,
    "A100-40GB": 0.000583,
    "A100-80GB": 0.000694,
    "RTX-PRO-6000": 0.000842,
    "H100": 0.001097,
    "H200": 0.001261,
    "B200": 0.001736,
}
#: Of a sandbox; functions cost about a third of it.
CPU_CORE = 0.00003942
MEMORY_GIB = 0.00000672

EXCLUDES = ("multipliers for chosen regions and non-preemptible machines", "volumes and egress", "taxes")


def price_of(gpu: str | None, cpu: float, memory_mb: int) -> Price:
    """The price of a second. Requests are limits, too, so that use can not exceed them.

    Args:
        gpu: as Modal writes it: `A100-80GB:2`.
        cpu: physical cores.
        memory_mb: MiB.

    Raises:
        UsageError: the GPU is not in the table, or its count is no number.
    """
    parts = [("cpu", cpu * CPU_CORE), ("memory", memory_mb / 1024 * MEMORY_GIB)]
    if gpu:
        name, _, count = gpu.partition(":")
        if not (count or "1").isdigit() or int(count or 1) < 1:
            raise UsageError(f"runtime.gpu: `{gpu}` has no valid count", "write it like A100-80GB:2")
        name = one_of(name.rstrip("!+"), GPU, "runtime.gpu")
        parts.insert(0, (f"{name} x {int(count or 1)}", GPU[name] * int(count or 1)))
    return Price(sum(rate for _, rate in parts), SOURCE, DATE, EXCLUDES, tuple(parts))
