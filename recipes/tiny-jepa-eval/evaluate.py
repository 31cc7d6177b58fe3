"""Evaluates the trained world model that the package tiny-jepa ships.

Three questions, one file each in the current folder: what does its own benchmark say (bench.json),
does planning with it beat a random player (planning.json), and how far does its dream stay with
the truth (dream.json, filmstrip.png). Series are appended to the file that WORLDFLUX_METRICS
names, when it is set. Nothing that depends on the clock is measured.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np
from filmstrip import Row, draw
from numpy.typing import NDArray
from tiny_jepa import OrbyWorld, TinyJEPA
from tiny_jepa.bench import run_benchmark

CHECKPOINT = "checkpoints/orby_v1.npz"
ACTIONS = 5
#: Steps of an episode, as in the package's own benchmark.
EPISODE_STEPS = 64
#: Situations from which the model dreams, and random steps taken before each.
DREAM_STARTS, WARM_UP_STEPS = 64, 5
#: Worlds of one seed: seed s plays the worlds s * SPAN, s * SPAN + 1, ...
SPAN = 100_000
#: The dreams start in worlds that no planning episode of the same seed uses.
DREAM_OFFSET = SPAN // 2
#: Steps that the picture shows at most, evenly spread.
FILM_COLUMNS = 12

Frames = NDArray[np.float32]


def play(world: OrbyWorld, choose: Callable[[OrbyWorld], int]) -> int:
    """Pellets eaten in one episode."""
    return sum(world.step(choose(world))[1] > 0.5 for _ in range(EPISODE_STEPS))


def plan_against_random(model: TinyJEPA, episodes: int, seed: int) -> list[dict[str, Any]]:
    """The planner and a random player, each once in the same worlds."""
    outcomes = []
    for episode in range(episodes):
        number = seed * SPAN + episode
        rng = np.random.default_rng((seed, episode))
        planned = play(OrbyWorld(seed=number), lambda world: model.plan(world.render(), world.agent))
        random = play(OrbyWorld(seed=number), lambda _, rng=rng: int(rng.integers(ACTIONS)))
        outcomes.append(
            {"world": number, "pellets": planned, "pellets_random": random, "beats_random": planned > random}
        )
    return outcomes


def dream(model: TinyJEPA, horizon: int, seed: int) -> dict[str, Frames]:
    """What happened and what was predicted, each as (start, step, height, width).

    `dream` is decoded from latents that the model imagined from the first frame and the actions
    alone. `decoded` is decoded from the latent of the true frame: the best the decoder can show.
    `repeat_last` is the first frame again and again.
    """
    found: dict[str, list[Any]] = {"true": [], "dream": [], "decoded": [], "repeat_last": []}
    for start in range(DREAM_STARTS):
        rng = np.random.default_rng((seed, 1, start))
        world = OrbyWorld(seed=seed * SPAN + DREAM_OFFSET + start)
        for _ in range(WARM_UP_STEPS):
            world.step(int(rng.integers(ACTIONS)))
        first = world.render()
        actions = [int(action) for action in rng.integers(ACTIONS, size=horizon)]
        truth = [world.step(action)[0] for action in actions]
        found["true"].append(truth)
        found["dream"].append(model.dream(first, actions))
        found["decoded"].append([model.decode(model.encode(frame)) for frame in truth])
        found["repeat_last"].append([first] * horizon)
    frames = {name: np.asarray(value, np.float32) for name, value in found.items()}
    frames["mean_frame"] = np.broadcast_to(frames["true"].mean((0, 1)), frames["true"].shape)
    return frames


def errors(frames: dict[str, Frames]) -> dict[str, list[float]]:
    """Mean squared error against the truth for each number of steps ahead."""
    truth = frames["true"]
    return {
        name: [round(float(v), 6) for v in ((frames[name] - truth) ** 2).mean((0, 2, 3))]
        for name in sorted(set(frames) - {"true"})
    }


def film(frames: dict[str, Frames], mse: dict[str, list[float]], path: str) -> None:
    """The first start as a picture: truth, what the decoder can show of it, and the dream."""
    horizon = frames["true"].shape[1]
    shown = np.unique(np.linspace(0, horizon - 1, min(horizon, FILM_COLUMNS)).round().astype(int))
    repeat = mse["repeat_last"]

    def row(title: str, note: str, name: str) -> Row:
        captions = [f"{mse[name][n]:.4f}" for n in shown] if name in mse else []
        return Row(title, note, frames[name][0, shown], captions)

    draw(
        "tiny-jepa: one frame seen, then only actions",
        f"below: mean squared error over {len(frames['true'])} starts. "
        f"Repeating the seen frame: {repeat[0]:.4f} at step 1, {repeat[-1]:.4f} at step {horizon}",
        [f"step {n + 1}" for n in shown],
        [
            row("truth", "what happened", "true"),
            row("decoded", "of the true frame", "decoded"),
            row("dreamed", "frame never seen", "dream"),
        ],
        path,
    )


def record(name: str, values: Sequence[float], first_step: int = 0) -> None:
    """Appends a series to the run's metrics; without WORLDFLUX_METRICS there is no run."""
    if target := os.environ.get("WORLDFLUX_METRICS"):
        rows = ({"name": name, "value": value, "step": step} for step, value in enumerate(values, first_step))
        with open(target, "a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(row) + "\n" for row in rows))


def save(path: str, document: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--horizon", type=int, default=12, help="steps to dream ahead")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if not 1 <= chosen.episodes <= DREAM_OFFSET:
        parser.error(f"--episodes must be 1 to {DREAM_OFFSET}")
    if not 1 <= chosen.horizon <= 64:
        parser.error("--horizon must be 1 to 64")
    return chosen


def main() -> None:
    chosen = options()
    with resources.as_file(resources.files("tiny_jepa") / CHECKPOINT) as checkpoint:
        model = TinyJEPA.load(str(checkpoint))

    report = run_benchmark(model)
    report.to_json("bench.json")

    episodes = plan_against_random(model, chosen.episodes, chosen.seed)
    save("planning.json", {"seed": chosen.seed, "steps": EPISODE_STEPS, "episodes": episodes})
    pellets, by_chance = ([e[key] for e in episodes] for key in ("pellets", "pellets_random"))
    record("episode_pellets", pellets)
    record("episode_pellets_random", by_chance)
    print(
        f"planning: {np.mean(pellets):.2f} ± {np.std(pellets):.2f} pellets an episode, random "
        f"{np.mean(by_chance):.2f} ± {np.std(by_chance):.2f}; better in "
        f"{sum(e['beats_random'] for e in episodes)} of {len(episodes)} worlds"
    )

    frames = dream(model, chosen.horizon, chosen.seed)
    mse = errors(frames)
    save("dream.json", {"seed": chosen.seed, "starts": DREAM_STARTS, "horizon": chosen.horizon, "mse": mse})
    film(frames, mse, "filmstrip.png")
    record("dream_mse", mse["dream"], first_step=1)
    record("repeat_mse", mse["repeat_last"], first_step=1)
    for name, values in mse.items():
        print(f"mse {name:12s} step 1: {values[0]:.4f}   step {chosen.horizon}: {values[-1]:.4f}")


if __name__ == "__main__":
    main()
