"""Trains a small world model on a court with a bouncing ball and looks at what it dreams.

Writes training.json, dream.json, loss.png, dream.png and model.npz into the current folder. Series are
appended to the file that WORLDFLUX_METRICS names, when it is set, while the training goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autodiff import Adam
from model import LATENT, WorldModel
from numpy.typing import NDArray
from pictures import draw_dreams, draw_losses
from world import record_games

Array = NDArray[Any]
Games = tuple[Array, Array, Array]

TRAIN_GAMES, TRAIN_STEPS = 512, 48
BATCH, LENGTH = 32, 16
RATE, WARM_UP = 8e-3, 50
#: Games that training never sees, and pictures that the model is shown of each before it dreams.
TEST_GAMES, SHOWN = 128, 6
#: Training steps between two lines of the log.
REPORT_EVERY = 50
LOSSES = ("loss", "picture_loss", "reward_loss", "kl")


@dataclass
class Series:
    """Values by training step, kept and, in a run, appended to the run's metrics at once."""

    values: dict[str, list[float]]

    def add(self, step: int, **values: float) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(round(value, 6))
        target = os.environ.get("WORLDFLUX_METRICS")
        if target:
            with open(target, "a", encoding="utf-8") as stream:
                for name in values:
                    row = {"name": name, "value": self.values[name][-1], "step": step}
                    stream.write(json.dumps(row) + "\n")


def rate_at(step: int, steps: int) -> float:
    """Learning rate: rises at first, then falls along a cosine to a twentieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return RATE * min(1.0, (step + 1) / WARM_UP) * (0.05 + 0.95 * cosine)


def train(model: WorldModel, games: Games, steps: int, rng: np.random.Generator, series: Series) -> None:
    """Fits the model to pieces of the games."""
    pictures, actions, rewards = games
    optimizer = Adam(model.parameters, RATE)
    for step in range(steps):
        chosen = rng.integers(0, TRAIN_GAMES, BATCH)
        start = int(rng.integers(0, TRAIN_STEPS - LENGTH))
        noise = rng.standard_normal((LENGTH + 1, BATCH, LATENT)).astype(np.float32)
        losses = model.losses(
            pictures[start : start + LENGTH + 1, chosen],
            actions[start : start + LENGTH, chosen],
            rewards[start : start + LENGTH, chosen],
            noise,
        )
        losses.total.backward()
        optimizer.rate = rate_at(step, steps)
        optimizer.step()
        told = (float(losses.total.data), losses.picture, losses.reward, losses.kl)
        series.add(step, **dict(zip(LOSSES, told, strict=True)))
        if step % REPORT_EVERY == 0 or step == steps - 1:
            words = "  ".join(f"{name} {value:.4f}" for name, value in zip(LOSSES, told, strict=True))
            print(f"step {step + 1:4d}/{steps}  {words}", flush=True)


def score(dreamed: Array, expected: Array, truth: Array, rewards: Array, games: Games) -> dict[str, Any]:
    """How close the dream is to the truth, beside two guesses that need no model.

    `repeat_last` repeats the last picture that was shown, `mean_picture` is the mean of all
    pictures of these games. A game is won when the dream is closer to the truth than both.
    """
    guesses = {
        "dream": dreamed,
        "repeat_last": np.broadcast_to(games[0][SHOWN - 1], truth.shape),
        "mean_picture": np.broadcast_to(games[0].mean((0, 1)), truth.shape),
    }
    wrong = {name: ((guess - truth) ** 2).mean(2) for name, guess in guesses.items()}
    by_game = {name: error.mean(0) for name, error in wrong.items()}
    won = (by_game["dream"] < by_game["repeat_last"]) & (by_game["dream"] < by_game["mean_picture"])
    return {
        "shown": SHOWN,
        "mse": {name: [round(float(v), 6) for v in error.mean(1)] for name, error in wrong.items()},
        "reward_mse": {
            "dream": round(float(((expected - rewards) ** 2).mean()), 6),
            "constant": round(float(rewards.var()), 6),
        },
        "games": [
            {"mse": round(float(error), 6), "dream_wins": bool(win)}
            for error, win in zip(by_game["dream"], won, strict=True)
        ],
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="training steps")
    parser.add_argument("--horizon", type=int, default=20, help="steps to dream ahead")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.steps < 1 or not 1 <= chosen.horizon <= 64 or chosen.seed < 0:
        parser.error("--steps must be 1 or more, --horizon 1 to 64, --seed 0 or more")
    return chosen


def save(path: str, document: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(document, indent=1), encoding="utf-8")


def main() -> None:
    chosen = options()
    # One stream of chance each, so that a longer training meets the same test games.
    training, testing = np.random.default_rng((chosen.seed, 0)), np.random.default_rng((chosen.seed, 1))
    model, series = WorldModel(training), Series({})
    train(model, record_games(TRAIN_GAMES, TRAIN_STEPS, training), chosen.steps, training, series)
    save("training.json", {"seed": chosen.seed, "steps": chosen.steps, **series.values})
    curves = {"picture": "picture_loss", "reward": "reward_loss", "kl": "kl"}
    draw_losses({name: series.values[key] for name, key in curves.items()}, "loss.png")
    np.savez("model.npz", *[parameter.data for parameter in model.parameters])

    games = record_games(TEST_GAMES, SHOWN - 1 + chosen.horizon, testing)
    pictures, actions, rewards = games
    dreamed, expected = model.imagine(pictures[:SHOWN], actions)
    truth = pictures[SHOWN:]
    found = score(dreamed, expected, truth, rewards[SHOWN - 1 :], games)
    save("dream.json", {"seed": chosen.seed, "horizon": chosen.horizon, **found})
    draw_dreams(pictures[:SHOWN, :3], truth[:20, :3], dreamed[:20, :3], "dream.png")
    for name, errors in found["mse"].items():
        line = f"+1: {errors[0]:.4f}   +{chosen.horizon}: {errors[-1]:.4f}   mean: {np.mean(errors):.4f}"
        print(f"mse {name:12s} {line}")
    won = sum(game["dream_wins"] for game in found["games"])
    print(f"the dream is closer to the truth than either guess in {won} of {TEST_GAMES} games")


if __name__ == "__main__":
    main()
