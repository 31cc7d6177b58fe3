"""Open-loop controllers of the six joints of HalfCheetah-v5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Action = NDArray[np.float64]
#: What to do at a step of an episode, counted from 0.
Controller = Callable[[int], Action]

#: Seconds between two actions.
STEP = 0.05
#: One sine a joint, found by a cross-entropy search for the return: back thigh, shin and foot, then
#: front thigh, shin and foot.
STRIDES_PER_SECOND = 4.12
SWING = np.array([1.06, 1.60, 1.04, 1.07, 1.29, 0.49])
PHASE = np.array([-1.65, 0.09, 3.37, 0.43, 0.76, -0.09])
REST = np.array([-0.05, 0.09, 0.23, -0.42, -0.12, -0.99])


def gallop(_: int) -> Controller:
    """The same strides in every episode."""

    def act(step: int) -> Action:
        wave = np.sin(2 * np.pi * STRIDES_PER_SECOND * STEP * step + PHASE)
        return np.clip(REST + SWING * wave, -1.0, 1.0)

    return act


def noise(world: int) -> Controller:
    """Uniform noise, other in each world: the floor."""
    rng = np.random.default_rng((world, 1))
    return lambda step: rng.uniform(-1.0, 1.0, size=len(REST))


CONTROLLERS: dict[str, Callable[[int], Controller]] = {"gallop": gallop, "noise": noise}


def make_env(**settings: Any) -> Any:
    """The environment as registered: 1000 steps an episode, a slightly random start."""
    import gymnasium

    return gymnasium.make("HalfCheetah-v5", **settings)
