"""What Replicate charges for hardware."""

from __future__ import annotations

from worldflux.runtime.remote.money import Price, one_of

#: Day on which the figures below were last compared with their source.
DATE = "2026-07-15"
SOURCE = "replicate.com/pricing"

#: US dollars a second of running time, by the names that `/v1/hardware` uses.
PER_SECOND: dict[str, float] = {
    "cpu": 0.000100,
    "gpu-t4": 0.000225,
    "gpu-l40s": 0.000975,
    "gpu-l40s-2x": 0.001950,
    "gpu-a100-large": 0.001400,
    "gpu-a100-large-2x": 0.002800,
    "gpu-a100-large-4x": 0.005600,
    "gpu-a100-large-8x": 0.011200,
    "gpu-h100": 0.001525,
    "gpu-h100-2x": 0.003050,
    "gpu-h100-4x": 0.006100,
    "gpu-h100-8x": 0.012200,
}

EXCLUDES = (
    "set-up and idle time of private models and deployments",
    "models that are priced by token, image or second of video",
    "taxes",
)


def price_of(hardware: str | None) -> Price:
    """The price of a second on named hardware; unknown when nobody named it.

    The API does not say what a public model runs on, nor what it costs, so the name is the
    user's: it stands on the model's page.

    Raises:
        UsageError: the table does not have it.
    """
    if hardware is None:
        return Price(None, "runtime.hardware is not named, and the API does not tell it", None, EXCLUDES)
    name = one_of(hardware, PER_SECOND, "runtime.hardware")
    rate = PER_SECOND[name]
    return Price(rate, SOURCE, DATE, EXCLUDES, ((name, rate),))
