"""Learns to cross a slippery grid with tabular Q-learning, then scores the greedy policy.

Standard library only. Files go into the current folder; a metric series is appended to the file
that the variable WORLDFLUX_METRICS names, when it is set.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from statistics import fmean

#: S start, G goal, # wall, ~ water that ends the episode.
GRID = (
    "S...#...",
    ".##...#.",
    "...~~.#.",
    ".#....~.",
    ".~~.#...",
    "...~#.#G",
)
MOVES = {"^": (-1, 0), "v": (1, 0), "<": (0, -1), ">": (0, 1)}
ARROWS = tuple(MOVES)
#: Chance that a move goes astray to one of the other three directions.
SLIP = 0.05
MAX_STEPS = 60
EVALUATION_EPISODES = 50
LEARNING_RATE, DISCOUNT = 0.2, 0.97
#: Value of what was never tried: above what can be had, so that everything is tried.
OPTIMISM = 10.0

Cell = tuple[int, int]
Values = dict[Cell, list[float]]


def find(mark: str) -> Cell:
    """Row and column of a mark that the grid holds once."""
    return next((row, line.index(mark)) for row, line in enumerate(GRID) if mark in line)


def step(cell: Cell, action: int, rng: random.Random) -> tuple[Cell, float, bool]:
    """One move: the next cell, the reward, and whether the episode is over."""
    if rng.random() < SLIP:
        action = rng.choice([other for other in range(len(ARROWS)) if other != action])
    down, right = MOVES[ARROWS[action]]
    row, column = cell[0] + down, cell[1] + right
    if not (0 <= row < len(GRID) and 0 <= column < len(GRID[0])) or GRID[row][column] == "#":
        row, column = cell
    if GRID[row][column] == "~":
        return (row, column), -5.0, True
    if GRID[row][column] == "G":
        return (row, column), 10.0, True
    return (row, column), -0.1, False


def greedy(values: Values, cell: Cell) -> int:
    """The best known action; the first of equals."""
    return values[cell].index(max(values[cell]))


def train(episodes: int, rng: random.Random) -> tuple[Values, list[float]]:
    """Action values after `episodes` of Q-learning, and the return of each episode."""
    values: Values = {(r, c): [OPTIMISM] * len(ARROWS) for r in range(len(GRID)) for c in range(len(GRID[0]))}
    returns = []
    for episode in range(episodes):
        curiosity = max(0.02, 0.2 * (1 - episode / (0.8 * episodes)))
        cell, total = find("S"), 0.0
        for _ in range(MAX_STEPS):
            action = rng.randrange(len(ARROWS)) if rng.random() < curiosity else greedy(values, cell)
            after, reward, over = step(cell, action, rng)
            target = reward if over else reward + DISCOUNT * max(values[after])
            values[cell][action] += LEARNING_RATE * (target - values[cell][action])
            cell, total = after, total + reward
            if over:
                break
        returns.append(round(total, 4))
    return values, returns


def evaluate(values: Values, rng: random.Random) -> dict[str, object]:
    """Episodes of the greedy policy on the same slippery grid."""
    reached, returns, lengths = [], [], []
    for _ in range(EVALUATION_EPISODES):
        cell, total, steps = find("S"), 0.0, 0
        over = False
        while not over and steps < MAX_STEPS:
            cell, reward, over = step(cell, greedy(values, cell), rng)
            total, steps = total + reward, steps + 1
        reached.append(cell == find("G"))
        returns.append(total)
        lengths.append(steps)
    return {
        "reached": reached,
        "mean_return": round(fmean(returns), 4),
        "mean_steps": round(fmean(lengths), 4),
    }


def drawing(values: Values) -> list[str]:
    """The greedy policy as text: an arrow in each free cell."""
    return [
        "".join(ARROWS[greedy(values, (r, c))] if mark in "S." else mark for c, mark in enumerate(line))
        for r, line in enumerate(GRID)
    ]


def record(name: str, values: list[float]) -> None:
    """Appends a series, one JSON line a value, where the run keeps its metrics; no file, no series."""
    path = os.environ.get("WORLDFLUX_METRICS")
    if path:
        with open(path, "a", encoding="utf-8") as stream:
            stream.writelines(
                json.dumps({"name": name, "value": v, "step": n}) + "\n" for n, v in enumerate(values)
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=600, help="training episodes, at least 1")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.episodes < 1:
        parser.error("--episodes must be at least 1")
    rng = random.Random(options.seed)
    values, returns = train(options.episodes, rng)
    record("train_return", returns)
    report = {
        "seed": options.seed,
        "episodes": options.episodes,
        "policy": drawing(values),
        "evaluation": evaluate(values, rng),
        "train_returns": returns,
    }
    with open("report.json", "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=1)
    scores = report["evaluation"]
    print("\n".join(report["policy"]))
    print(
        f"reached the goal in {sum(scores['reached'])} of {EVALUATION_EPISODES} episodes, "
        f"mean return {scores['mean_return']}, mean steps {scores['mean_steps']}"
    )


if __name__ == "__main__":
    main()
