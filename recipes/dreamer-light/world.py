"""A court with a bouncing ball and a paddle, seen as small grey pictures.

One picture shows where the ball is but not where it is going: whoever wants to know what comes next
has to remember.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 14
PIXELS = SIZE * SIZE
#: Paddle to the left, stay, to the right.
ACTIONS = 3
BALL_SPEED, PADDLE_SPEED, PADDLE_HALF = 1.1, 1.2, 2.0
#: Widths of the soft spots that ball and paddle are drawn as.
BALL_WIDTH, PADDLE_WIDTH = 1.1, 0.6

Array = NDArray[Any]


class Courts:
    """Many courts played in step.

    Coordinates are pixels: 0 to SIZE - 1, y downwards. The ball bounces off all walls. At the bottom
    the reward is +1 when the paddle is below it and -1 when it is not; else 0.
    """

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        far = SIZE - 1
        self.ball = rng.uniform([1, 1], [far - 1, far - 4], (count, 2))
        angle = rng.uniform(0.25, 0.75, count) * np.pi / 2 + rng.integers(0, 4, count) * np.pi / 2
        self.velocity = BALL_SPEED * np.stack([np.cos(angle), np.sin(angle)], 1)
        self.paddle = rng.uniform(PADDLE_HALF, far - PADDLE_HALF, count)

    def step(self, actions: Array) -> Array:
        """Moves every court by one step. Returns the rewards."""
        far = SIZE - 1.0
        self.paddle = np.clip(self.paddle + (actions - 1) * PADDLE_SPEED, PADDLE_HALF, far - PADDLE_HALF)
        self.ball = self.ball + self.velocity
        floor = np.array([far, far - 1])
        low, high = self.ball < 0, self.ball > floor
        self.ball = np.where(low, -self.ball, np.where(high, 2 * floor - self.ball, self.ball))
        self.velocity = np.where(low | high, -self.velocity, self.velocity)
        caught = np.abs(self.ball[:, 0] - self.paddle) <= PADDLE_HALF + 0.5
        return np.where(high[:, 1], np.where(caught, 1.0, -1.0), 0.0).astype(np.float32)

    def pictures(self) -> Array:
        """What is seen, one row of PIXELS values in [0, 1] a court."""
        grid = np.arange(SIZE, dtype=np.float32)
        near_x = np.exp(-((grid - self.ball[:, :1]) ** 2) / (2 * BALL_WIDTH**2))
        near_y = np.exp(-((grid - self.ball[:, 1:]) ** 2) / (2 * BALL_WIDTH**2))
        image = near_y[:, :, None] * near_x[:, None, :]
        edge = PADDLE_HALF + 0.5 - np.abs(grid - self.paddle[:, None])
        image[:, -1, :] = np.maximum(image[:, -1, :], 1 / (1 + np.exp(-edge / PADDLE_WIDTH * 2)))
        return image.reshape(len(image), PIXELS).astype(np.float32)


def wander(count: int, steps: int, rng: np.random.Generator) -> Array:
    """Actions that are kept for a while, as (step, court): jitter alone would never cross the court."""
    actions = rng.integers(0, ACTIONS, (steps, count))
    keep = rng.random((steps, count)) < 0.7
    for step in range(1, steps):
        actions[step] = np.where(keep[step], actions[step - 1], actions[step])
    return actions


def record_games(count: int, steps: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Pictures (step + 1, court, pixel), actions (step, court) and rewards (step, court)."""
    courts = Courts(count, rng)
    actions = wander(count, steps, rng)
    pictures, rewards = [courts.pictures()], []
    for step in range(steps):
        rewards.append(courts.step(actions[step]))
        pictures.append(courts.pictures())
    return np.stack(pictures), actions, np.stack(rewards)
